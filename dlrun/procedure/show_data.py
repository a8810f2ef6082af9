"""Look at the data before a network does: how many, of what, and what a network sees of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.data import Data
from dlrun.data.sample import sample
from dlrun.data.tables import told
from dlrun.engine.look import are_images
from dlrun.engine.preflight import preflight
from dlrun.engine.run import Run
from dlrun.engine.shift import NEIGHBOURS, independent, told_apart
from dlrun.errors import Mistake
from dlrun.finding import NOTE, WARN, Finding
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.report import gallery
from dlrun.report.known import SURE, redrawn
from dlrun.report.splits import UNLUCKY

_OF_DATA = (
    *("leak", "label_noise", "class_missing", "class_imbalance", "input_scale"),
    *("dependent_inputs", "label_range"),
)
_USES = (
    *("data", "preprocessing", "augmentation", "model", "activation", "loss", "regularization"),
    *("sampling", "class_weights", "batch_size", "seed", "precision"),
)
_COLUMNS = 50  # of a table, at most, that are listed


@procedure(judged=False, trains=False, uses=_USES)
def show_data(lab: Lab, examples: int = 10, tell_apart: bool = False) -> Outcome:
    """The procedure `show_data`: counts, ranges and examples, and what is wrong with the data.

    examples: how many images are drawn. tell_apart: whether a classifier tries to tell training
    inputs from validation inputs. Raises Mistake where there are no examples, or no validation.
    """
    if examples < 1:
        raise Mistake(f"procedure.examples={examples}: must be above 0")
    data = lab.data()
    if tell_apart and len(data.val) < NEIGHBOURS:
        raise Mistake(
            f"procedure.tell_apart=true: needs {NEIGHBOURS} validation samples, not {len(data.val)}"
        )
    with lab.built(Training(recorded=False)) as built:
        found = [each for each in preflight(built.run) if each.name in _OF_DATA]
        if tell_apart and data.groups is not None:
            fewest = min(independent(built.run, part) for part in (data.train, data.val))
            if fewest < NEIGHBOURS:
                raise Mistake(
                    f"procedure.tell_apart=true: needs {NEIGHBOURS} groups in training and in "
                    f"validation, not {fewest}, as samples of a group lie near each other"
                )
        if tell_apart:
            found.append(_shift(told_apart(built.run), "val" in data.drawn, lab.recipe))
        if len(data.shape) == 3 and data.shape[0] in (1, 3) and lab.directory is not None:
            rows = [each.numpy() for each in _examples(built.run, examples)]
            gallery.write(rows, lab.directory / "figures" / "examples.png")
    target = data.targets or lab.recipe["data"].get("target") or ()
    names = [f"{name} (target)" for name in ([target] if isinstance(target, str) else target)]
    table = _classes(data) if data.classes else _ranges(data.train.y, data, names, "target")
    if len(data.shape) == 1:
        table += _ranges(data.train.x, data, data.columns, "column")
    table += told.listed(data.reading)
    findings = [each.completed(lab.advice) for each in found]
    return Outcome(findings=findings, table=table, text=_described(data))


def _shift(told: Mapping[str, float], drawn: bool, recipe: Mapping[str, Any]) -> Finding:
    """What a classifier that tells training from validation comes to; drawn: at random."""
    share, error = told["share"], told["error"]
    said = (
        f"Nearest neighbours tell training inputs from validation inputs in {share:.1%} of "
        f"{2 * told['samples']:.0f} samples, where chance is right in 50%"
    )
    if share - 0.5 > SURE * error:
        why = UNLUCKY if drawn else "the two splits come from different distributions"
        changes = redrawn(recipe) if drawn else {}
        return Finding("distribution_shift", WARN, f"{said}: {why}.", dict(told), changes=changes)
    return Finding(
        "same_distribution",
        NOTE,
        f"{said}: more than {0.5 + SURE * error:.1%} would tell them apart.",
        dict(told),
    )


def _described(data: Data) -> str:
    """The set in one sentence."""
    x = _values(data.train.x, data)
    kind = str(data.train.x.dtype).removeprefix("torch.")
    sizes = ", ".join(f"{len(split):,} to {name}" for name, split in data.splits.items())
    return (
        f"{data.name}: {sizes}; samples of shape {'×'.join(map(str, data.shape))} ({kind}) with "
        f"values from {float(x.min()):g} to {float(x.max()):g}, mean {float(x.mean()):.4g}, "
        f"standard deviation {float(x.std(correction=0)):.4g}"
    )


def _classes(data: Data) -> list[Mapping[str, Any]]:
    """How many samples of each class are in each split."""
    counts = {
        name: torch.bincount(split.y[split.rows], minlength=data.outputs).tolist()
        for name, split in data.splits.items()
    }
    return [
        {"class": label, **{name: many[place] for name, many in counts.items()}}
        for place, label in enumerate(data.classes)
    ]


def _ranges(source: Tensor, data: Data, names: Sequence[str], what: str) -> list[Mapping[str, Any]]:
    """What the columns of the training split hold; what: of those that have no name each."""
    values = _values(source, data).flatten(1)
    if what == "target" and data.scale is not None:
        std, mean = data.scale.std.double(), data.scale.mean.double()
        # What float32 keeps of standardized targets, as a power of 10: below it are no digits
        # of the data, and 1,000 would come back as 999.9999.
        eps = torch.finfo(torch.float32).eps
        least = 4 * eps * torch.maximum(values.abs().amax(0) * std, mean.abs())
        digit = 10 ** least.clamp(min=eps**4).log10().ceil()
        values = ((values * std + mean) / digit).round() * digit
    return [
        {
            "column": names[place] if len(names) == values.shape[1] else f"{what} {place + 1}",
            "lowest": float(column.min()),
            "mean": float(column.mean()),
            "highest": float(column.max()),
            "std": float(column.std(correction=0)),
        }
        for place, column in enumerate(values.T[:_COLUMNS])
    ]


def _values(source: Tensor, data: Data) -> Tensor:
    """At most 10,000 training samples, as numbers."""
    return source[sample(data.train, 10_000, seed=0)].float()


def _examples(run: Run, count: int) -> list[Tensor]:
    """Rows of images (count, channels, height, width): raw, then as the network sees them."""
    rows = sample(run.data.train, count, seed=0)
    raw = run.data.train.x[rows].to(run.device)
    shown = [raw]
    y = run.data.train.y[rows].to(run.device)
    for seed in range(3 if run.augmentation is not None else 1):
        x = raw
        if run.augmentation is not None:
            generator = torch.Generator(run.device).manual_seed(seed)
            x, _ = run.augmentation(raw, y, generator)
        with torch.no_grad():
            x = run.preprocessing(x)
        if are_images(x):
            shown.append(x)
    return [each.float().cpu() for each in shown]
