"""Runs beside each other: in what their recipes differ, and their curves in one figure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.metric import known
from dlrun.report.curves import (
    Curve,
    curve,
    finish,
    logarithmic,
    looks,
    new_figure,
    save,
    wants_log,
    whole_numbers,
)
from dlrun.report.plots import shortened

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

_LETTERS = 60  # of a name in the legend, at most


@dataclass(frozen=True)
class Change:
    """What runs do not have in common: a group's option or a setting, and its value in each."""

    key: str
    values: Sequence[str]


def changes(
    choices: Sequence[Mapping[str, str]],
    settings: Sequence[Mapping[str, str]],
    several: Sequence[str] = (),
    away: Collection[str] = (),
) -> list[Change]:
    """In what recipes differ, each change once.

    choices: the option of each group, of those in `several` with commas between. settings: by
    their dotted keys. Another option is one change, whatever settings it brings, but for those in
    `away`, which are not as their option has them; of `several` each option is one that not all
    have.
    """
    found, gone = [], []
    for group in dict.fromkeys(name for each in choices for name in each):
        chosen = [each.get(group, "none") for each in choices]
        if len({*chosen}) == 1:
            continue
        if group not in several:
            found.append(Change(group, chosen))
            gone.append(group)
            continue
        lists = [[name for name in one.split(", ") if name != "none"] for one in chosen]
        for name in dict.fromkeys(name for one in lists for name in one):
            having = ["yes" if name in one else "no" for one in lists]
            if "no" in having:
                found.append(Change(f"{group}={name}", having))
                gone.append(f"{group}.{name}")
    for key in dict.fromkeys(key for each in settings for key in each):
        if key in several:  # an empty group
            continue
        values = [each.get(key, "") for each in settings]
        brought = key not in away and any(f"{key}.".startswith(f"{top}.") for top in gone)
        if len({*values}) > 1 and not brought:
            found.append(Change(key, values))
    return found


def draw(runs: Sequence[tuple[str, Sequence[Path]]], path: Path) -> None:
    """Draw what the first run monitors and the loss of runs, validation strong, training pale.

    runs: by their names in the legend; those of one name have one look.
    """
    info = record.read_json(runs[0][1][0] / "run.json")
    monitor, metrics = str(info.get("monitor", "val/loss")), known(info.get("metrics"))
    keys = list(dict.fromkeys([monitor.rpartition("/")[2], "loss"]))  # the second have all
    legend = 0.25 * len(runs) + 0.15
    height = 2.6 * len(keys) + 0.2 + legend
    figure = new_figure(6.4, height)
    look_of = dict(zip((name for name, _ in runs), looks(), strict=False))
    points = [(name, record.read_points(each)) for name, some in runs for each in some]
    handles: dict[str, Line2D] = {}
    for row, key in enumerate(keys):
        bottom = height - legend - 2.6 * (row + 1) + 0.5
        axes = figure.add_axes((0.13, bottom / height, 0.84, 1.95 / height))
        everything: list[float] = []
        for name, each in points:
            colour, dash = look_of[name]
            pale = curve(each, f"train/{key}")
            axes.plot(*pale, color=colour, linestyle=dash, linewidth=0.9, alpha=0.4)
            epochs, values = _strong(each, key)
            style: Any = {"marker": "o" if len(epochs) <= 40 else "", "markersize": 3}
            (line,) = axes.plot(epochs, values, color=colour, linestyle=dash, **style)
            everything += [*values, *pale[1]]
            handles.setdefault(name, line)
        metric = metrics.get(key)
        if wants_log(metric, everything):
            logarithmic(axes)
        whole_numbers(axes)
        label = metric.label if metric and metric.label else key.replace("_", " ")
        finish(axes, "epoch", label, legend=False)  # one for all panels stands above them
    labels = shortened(tuple(handles), _LETTERS)
    figure.legend(
        [*handles.values()], labels, loc="upper left", bbox_to_anchor=(0.1, 1.0),
        frameon=False, fontsize=8,
        title="validation; pale: training", title_fontsize=8, alignment="left",
    )  # fmt: skip
    with record.guard(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def _strong(points: list[dict[str, Any]], key: str) -> Curve:
    found = curve(points, f"val/{key}")
    return found if found[0] else curve(points, f"train/{key}")
