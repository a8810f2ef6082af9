"""The page of a run: recipe, findings, results, curves and figures, in one file of HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dlrun import record
from dlrun.record import expected
from dlrun.report import html, results
from dlrun.report.steps import PAGE

_SECTIONS = {
    "What it says of validation samples": ("predictions", "mistakes", "confusion", "reliability"),
    "What goes in": ("inputs",),
    "What is inside": ("filters", "weights", "activations", "layers", "layer_curves"),
    "The loss around the trained weights": ("loss_line", "loss_plane"),
}
"""Figures by their names; all others are curves."""


def write(directory: Path) -> Path | None:
    """Write the page of a run from what its record holds now; its path, None for a procedure."""
    info, status = record.read_json(directory / "run.json"), record.read_status(directory)
    if info.get("kind") == "procedure":
        return None
    points = record.read_points(directory)
    title = str(info.get("name") or directory.name)
    parts = [_head(title, directory, info, status, points)]
    found = record.findings_of(directory)
    if found:
        parts.append(html.section("What was found", html.findings(found)))
    if points:
        parts.append(html.section("Results", _results(points, info)))
    if rows := expected.table(info):
        parts.append(html.section("As expected?", html.table(rows)))
    parts += _figures(directory / "figures")
    parts.append(_recipe(directory, info))
    path = directory / PAGE
    record.write(path, html.document(title, parts))
    return path


def _head(
    title: str,
    directory: Path,
    info: Mapping[str, Any],
    status: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]],
) -> str:
    started = str(info.get("started", ""))[:16].replace("T", " ")
    data = info.get("data") or {}
    counts = data.get("samples") or {}
    sizes = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    shown = {
        **_best(info, points),
        "status": record.said(status),
        "data": str(data.get("name", "")),
        "samples": sizes,
        "parameters": f"{info['parameters']:,}" if "parameters" in info else "",
        "of them trained": f"{info['trained']:,}" if "trained" in info else "",
        "device": str(info.get("device", "")),
    }
    numbers = html.numbers({name: value for name, value in shown.items() if value})
    under = html.soft(f"run {directory.name}, {started}")
    return f"{html.heading(title)}{under}<section>{html.typed(info['command'])}{numbers}</section>"


def _best(info: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    last = record.last_values(points) if points else {}
    monitor = str(info.get("monitor", ""))
    value = last.get(f"best/{monitor.replace('/', '_')}")
    return {} if value is None else {f"best {monitor}": f"{value:.4g}"}


def _results(points: Sequence[Mapping[str, Any]], info: Mapping[str, Any]) -> str:
    """The table of results, and of which epoch the weights of each column are."""
    columns = results.columns(points, info)
    names = [f"{each.name}, epoch {each.point['epoch']:.4g}" for each in columns]
    rows = [
        {"": name} | dict(zip(names, values, strict=True)) for name, values in results.rows(columns)
    ]
    return html.table(rows) if rows else ""


def _figures(folder: Path) -> list[str]:
    """The figures that there are, section by section, the curves first."""
    files = {path.stem: path for path in sorted(folder.glob("*.png"))}
    named = [name for names in _SECTIONS.values() for name in names]
    curves = [name for name in files if name not in named]
    curves.sort(key=lambda name: name in ("lr", "grad_norm", "sharpness"))
    parts = []
    if curves:
        pictures = "".join(html.picture(files[name], name) for name in curves)
        parts.append(html.section("Curves", f'<div class="plots two">{pictures}</div>'))
    for title, names in _SECTIONS.items():
        pictures = "".join(html.image(files[name], name) for name in names if name in files)
        if pictures:
            parts.append(html.section(title, pictures))
    return parts


def _recipe(directory: Path, info: Mapping[str, Any]) -> str:
    """What was chosen of each group, and all settings."""
    chosen = [{"group": group, "chosen": name} for group, name in info.get("choices", {}).items()]
    path = directory / "recipe.yaml"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = f"<details><summary>all settings</summary><code>{escape(text)}</code></details>"
    return html.section("Recipe", html.table(chosen, numbers=False) + (whole if text else ""))
