"""`dlrun compare`: in what runs differ, what that changed, and whether it may be chance."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from dlrun import format, record, shell
from dlrun.console import screen
from dlrun.errors import Failure, Mistake
from dlrun.recipe.catalogue import Catalogue
from dlrun.recipe.identity import NEUTRAL, canonical
from dlrun.recipe.schema import SEVERAL
from dlrun.record import named, test_set
from dlrun.record.sweep import OF_INPUTS
from dlrun.report import comparison, results
from dlrun.report.comparison import Change
from dlrun.report.evidence import Difference
from dlrun.report.paired import binomial, mcnemar, paired, unpaired
from dlrun.verb.asked import Asked

if TYPE_CHECKING:
    from rich.console import Console

_APART = (*NEUTRAL, "procedure", "test", "model.shape", "model.outputs")
"""Settings that make no difference to what a run finds, or follow from others."""
_log = logging.getLogger("dlrun")
ACCURACY, MAE, ERROR = "accuracy", "mae", "error"
_SEED = "seed"
_LETTERS = 40  # of a name, about
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """Runs of one recipe that differ only in their seed; in most cases it is one run.

    samples: what each says of every sample; None where that is not known.
    """

    name: str
    directories: Sequence[Path]
    samples: "Samples | None" = None


@dataclass(frozen=True)
class Samples:
    """Of samples, by their rows in the data set, the values of a metric: (seeds, n).

    ACCURACY: whether each is right. MAE, or ERROR of an autoencoder: how far off it is.
    y: what is to be predicted of each.
    """

    metric: str
    rows: NDArray[Any]
    values: Values
    y: NDArray[Any] | None = None

    @property
    def error(self) -> float:
        """The standard error of their mean, where nothing else is known of the same samples."""
        some = self.values.mean(0)
        if self.metric == ACCURACY:
            return binomial(float(some.mean()), len(some))
        return float(some.std(ddof=1)) / math.sqrt(len(some)) if len(some) > 1 else math.inf

    @property
    def of_seeds(self) -> float:
        """What chance in the training adds to the error of a mean over seeds."""
        means = self.values.mean(1)
        return float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else 0.0


def run(asked: Asked) -> int:
    """Print what differs, the results, and how sure they are; draw the curves."""
    names = asked.names or _last_two(asked)
    directories = [named.find(asked.outputs, name) for name in names]
    if len(directories) < 2:
        raise Mistake("compare takes two runs or more, or none for the last two")
    for name, one in zip(names, directories, strict=True):
        named.finished(one)
        if directories.count(one) > 1:
            raise Mistake(f"compare {name}: is named twice")
        if not record.read_points(one):
            raise Mistake(f"compare {name}: has not come to a first point")
    split = asked.choice("split", "val")
    groups = _told_apart(_grouped(directories, _names(directories)))
    groups = [_with_values(asked, group, split) for group in groups]
    firsts = [group.directories[0] for group in groups]
    changes = _changes(firsts)
    path = asked.outputs / "compared" / f"{'_'.join(each.name for each in directories[:3])}.png"
    drawn = _drawn(groups, path)
    tests = [_told(groups[0], other, split) for other in groups[1:]]
    if split == "test":
        _warn_of_choosing(asked, directories[0])
    if "--json" in asked.flags:
        print(record.text(_plain(groups, changes, tests, drawn)))
    else:
        _show(screen.wide(), groups, changes, tests, drawn)
    return 0


def _drawn(groups: Sequence[Compared], path: Path) -> Path | None:
    """The figure of the curves; None, which is said, where it cannot be written."""
    try:
        comparison.draw([(group.name, group.directories) for group in groups], path)
    except Failure as failure:
        _log.warning(f"the curves are not drawn: {failure}")
        return None
    return path


def _warn_of_choosing(asked: Asked, directory: Path) -> None:
    """Say how many recipes have been measured on the test split by now."""
    same = test_set.set_of(record.read_json(directory / "run.json")["data"])
    said = test_set.warning(len(test_set.recipes(asked.outputs / "runs", same)))
    if said:
        _log.warning(said)


def _last_two(asked: Asked) -> list[str]:
    """The ids of the two runs that were trained last, the earlier one first.

    Those of procedures only where there are no others.
    """
    runs = [each for each in record.all_runs(asked.outputs) if (each / "checkpoints").is_dir()]
    own = [each for each in runs if "parent" not in record.read_json(each / "run.json")]
    runs = own if len(own) > 1 else runs
    if len(runs) < 2:
        there = "is 1" if runs else "are none"
        raise Mistake(f"compare needs two runs; there {there} in {asked.outputs / 'runs'}")
    record.warn_of_newer(asked.outputs, runs[-1])
    return [each.name for each in runs[-2:]]


def _names(directories: Sequence[Path]) -> list[str]:
    """What the runs are called: by the words of their names that tell them apart."""
    names = [str(record.read_json(each / "run.json").get("name") or "") for each in directories]
    shared = set.intersection(*(set(name.split()) for name in names))
    return [_short([word for word in name.split() if word not in shared]) for name in names]


def _told_apart(groups: Sequence[Compared]) -> list[Compared]:
    """The same, with the end of an id where a name is empty or that of others."""
    names = [group.name for group in groups]
    return [
        group
        if group.name and names.count(group.name) == 1
        else replace(group, name=f"{group.name} {group.directories[0].name[-4:]}".strip())
        for group in groups
    ]


def _short(words: Sequence[str]) -> str:
    """The first words, as many as stand in the head of a column."""
    kept = ""
    for place, word in enumerate(words):
        cut = word if len(word) <= _LETTERS else f"{word[: _LETTERS // 2]}…{word[-_LETTERS // 3 :]}"
        if kept and len(kept) + 1 + len(cut) > _LETTERS:
            return f"{kept} and {len(words) - place} more"
        kept = f"{kept} {cut}".strip()
    return kept


def _grouped(directories: Sequence[Path], names: Sequence[str]) -> list[Compared]:
    """Runs that differ only in their seed belong together, unless nothing else differs."""
    known: dict[str, list[int]] = {}
    for place, each in enumerate(directories):
        settings = {k: v for k, v in _settings(each).items() if k != _SEED}
        known.setdefault(json.dumps(settings, sort_keys=True), []).append(place)
    if len(known) == 1:
        return [Compared(name, [each]) for name, each in zip(names, directories, strict=True)]
    return [
        Compared(
            _of_several(names[places[0]], len(places)) if places[1:] else names[places[0]],
            [directories[place] for place in places],
        )
        for places in known.values()
    ]


def _of_several(name: str, seeds: int) -> str:
    """The name of a recipe, from that of one of its runs."""
    words = [word for word in name.split() if not word.startswith(f"{_SEED}=")]
    return f"{' '.join(words) or 'default'} ({seeds} seeds)"


def _settings(directory: Path) -> dict[str, str]:
    """The settings of a run that decide what it finds, by their dotted keys."""
    return _flat(record.recipe(directory))


def _flat(recipe: Any) -> dict[str, str]:
    """The settings of a plain recipe by their dotted keys, each in one form."""
    found: dict[str, str] = {}

    def walk(node: Any, above: str) -> None:
        for key, value in node.items():
            name = f"{above}{key}"
            if name in _APART:
                continue
            if isinstance(value, dict) and value:
                walk(value, f"{name}.")
            else:
                found[name] = shell.typed(value)

    walk(canonical(recipe), "")
    return found


def _changes(directories: Sequence[Path]) -> list[Change]:
    choices = [
        {
            group: name
            for group, name in record.read_json(each / "run.json").get("choices", {}).items()
            if group not in _APART
        }
        for each in directories
    ]
    settings = [_settings(each) for each in directories]
    pairs = zip(choices, settings, strict=True)
    away = {key for chosen, values in pairs for key in _away(chosen, values)}
    found = comparison.changes(choices, settings, SEVERAL, away)
    return [each for each in found if not each.key.endswith("._target_")] or found


def _away(choices: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[str]:
    """The settings of options that are not as the option's file has them.

    What follows from others is left out, and so is an option that is not known here.
    """
    catalogue, own = Catalogue(), OmegaConf.create({})
    for group, names in choices.items():
        options = catalogue.options(group)
        for option in (options[name] for name in names.split(", ") if name in options):
            for each in () if option.across else option.settings:
                told = each.value not in ("", "???") and "${" not in each.value
                if told and each.full in settings:
                    read = OmegaConf.create(f"own: {each.value}")
                    OmegaConf.update(own, each.full, read.own)
    for key, value in _flat(OmegaConf.to_container(own)).items():
        if settings.get(key, value) != value:
            yield key


def _with_values(asked: Asked, group: Compared, split: str) -> Compared:
    """The runs with what each says of every sample."""
    found = [_of_samples(asked, each, split) for each in group.directories]
    known = [each for each in found if each is not None]
    if len(known) < len(found) or not all(_same(each, known[0]) for each in known):
        return group
    values = np.concatenate([each.values for each in known])
    return replace(group, samples=replace(known[0], values=values))


def _same(one: Samples, other: Samples) -> bool:
    """Whether both are of the same samples."""
    return one.metric == other.metric and np.array_equal(one.rows, other.rows)


def _of_samples(asked: Asked, directory: Path, split: str) -> Samples | None:
    """What a run says of each sample of a split; None where it has none."""
    kept = record.read_arrays(directory / record.VALIDATION) if split == "val" else {}
    if not kept:
        return _asked_of(asked, directory, split)
    if "error" in kept:
        return Samples(ERROR, kept["row"], kept["error"][None].astype(np.float64))
    if "truth" in kept:
        right = kept["y"] == kept["predicted"]
        return Samples(ACCURACY, kept["row"], right[None].astype(np.float64), kept["y"])
    far = np.abs(kept["predicted"] - kept["y"]).mean(1)
    return Samples(MAE, kept["row"], far[None], kept["y"])


def _asked_of(asked: Asked, directory: Path, split: str) -> Samples | None:
    """The same, by asking the model now."""
    from dlrun.verb.opened import noting_test, opened

    with opened(asked, str(directory)) as made:
        from dlrun.engine.evaluate import assess
        from dlrun.engine.feed import prepare

        run, samples = made.run, made.data.splits[split]
        if not len(samples) or run.reconstructs:
            return None
        is_test = split == "test" and not made.changed
        with noting_test(made) if is_test else nullcontext() as noted:
            feed = prepare(samples, run.evaluation, run.device, fixed=False)
            _, predicted, y = assess(run, feed, run.views if split == "test" else None)
            if noted is not None:
                noted()
    rows = samples.rows.cpu().numpy()
    if y.dim() == 1:
        right = (predicted.argmax(1) == y).double().numpy()
        return Samples(ACCURACY, rows, right[None], y.numpy())
    return Samples(MAE, rows, (predicted - y).abs().mean(1).double().numpy()[None], y.numpy())


@dataclass(frozen=True)
class Told:
    """By how much a run is better than the first one.

    metric: of what. ours, theirs: its values. paired: whether both said something of the same
    samples. first, second: how many of them the first and this one alone have right, and chance:
    how often chance would part them as much; None where that is no question.
    """

    name: str
    metric: str
    difference: Difference
    paired: bool
    first: int | None = None
    second: int | None = None
    chance: float | None = None


def _told(first: Compared, other: Compared, split: str) -> Told | None:
    """How a run compares with the first; None where nothing tells."""
    before, now = first.samples, other.samples
    if before is None or now is None or before.metric != now.metric or _on_others(first, other):
        return None
    name = f"{split}/{now.metric}"
    if not _same(before, now):
        means = [float(each.values.mean()) for each in (now, before)]
        return Told(
            other.name, name, unpaired(means[0], means[1], (now.error, before.error)), False
        )
    apart = paired(now.values.mean(0), before.values.mean(0))
    apart = replace(apart, error=math.hypot(apart.error, before.of_seeds, now.of_seeds))
    if now.metric != ACCURACY or len(before.values) + len(now.values) > 2:
        return Told(other.name, name, apart, True)
    right, was_right = now.values[0] > 0.5, before.values[0] > 0.5
    only_first, only_second = int((was_right & ~right).sum()), int((right & ~was_right).sum())
    chance = mcnemar(only_first, only_second)
    return Told(other.name, name, apart, True, only_first, only_second, chance)


def _on_others(first: Compared, other: Compared) -> str:
    """Why a run was measured on other data than the first; "" where they can be compared.

    The same samples with another size or other columns can: what is to be predicted is the same.
    """
    was, now = (_data(each.directories[0]) for each in (first, other))
    if was.get("digest") == now.get("digest"):
        return ""
    settings = [_settings(each.directories[0]) for each in (first, other)]
    keys = {key for key in settings[0] | settings[1] if key.partition(".")[0] == "data"}
    shaping = tuple(f"data.{key}" for key in OF_INPUTS)
    apart = {key for key in keys if settings[0].get(key) != settings[1].get(key)}
    alike = all(key.startswith(shaping) for key in apart)
    if alike and was.get("classes") == now.get("classes") and _same_targets(first, other):
        return ""
    names = [f"{each.get('name')}{_of_classes(each)}" for each in (now, was)]
    if names[0] == names[1]:
        return f"its data, {names[0]}, are not those of the first"
    return f"it was trained on {names[0]}, the first on {names[1]}"


def _same_targets(first: Compared, other: Compared) -> bool:
    """Whether the same is to be predicted of the same rows."""
    before, now = first.samples, other.samples
    if before is None or now is None or before.y is None or now.y is None:
        return False
    return _same(before, now) and np.array_equal(before.y, now.y)


def _data(directory: Path) -> Mapping[str, Any]:
    """What the record of a run says of its data."""
    return record.read_json(directory / "run.json").get("data") or {}


def _of_classes(data: Mapping[str, Any]) -> str:
    count = len(data.get("classes") or ())
    return f" ({count} classes)" if count else ""


def _table(groups: Sequence[Compared]) -> dict[str, list[list[float]]]:
    """Each result with its values in every group, of each of its runs."""
    found: dict[str, list[list[float]]] = {}
    for place, group in enumerate(groups):
        for each in group.directories:
            for name, value in _results(each).items():
                found.setdefault(name, [[] for _ in groups])[place].append(value)
    return found


def _results(directory: Path) -> dict[str, float]:
    """What a run has come to: its best validation, and what was measured at its end."""
    info, points = record.read_json(directory / "run.json"), record.read_points(directory)
    columns = {each.name: each for each in results.columns(points, info)}
    best = columns.get("best val, all") or columns.get("best val") or columns.get("val")
    found = {f"val/{name}": value for name, value in (best.values if best else {}).items()}
    for name, column in columns.items():
        if name not in ("train", "train_eval", "val", "best val", "best val, all"):
            found |= {f"{name}/{key}": value for key, value in column.values.items()}
    if best is not None:
        found["epoch of the best"] = float(best.point["epoch"])
    found["last epoch"] = float(points[-1]["epoch"])
    found["parameters"] = float(info.get("parameters", 0))
    elapsed = record.last_values(points).get("time/elapsed")
    seconds = [p["values"]["time/elapsed"] for p in points if "time/elapsed" in p["values"]]
    if elapsed is not None or seconds:
        found["seconds"] = float(seconds[-1] if seconds else elapsed or 0.0)
    splits = ("val/", "train_dev/", "test/")
    monitor = str(info.get("monitor", ""))

    def place(item: tuple[str, float]) -> tuple[bool, int]:
        """The monitored first, then split by split."""
        known = [item[0].startswith(split) for split in splits]
        return item[0] != monitor, known.index(True) if any(known) else len(splits)

    return dict(sorted(found.items(), key=place))


def _said(changes: Sequence[Change], seeds: bool) -> str:
    """How much differs. seeds: whether some runs differ only in their seed."""
    counted = [each for each in changes if each.key != _SEED]
    seed = " and the seed" if len(counted) < len(changes) and not seeds else ""
    if not counted:
        return "the recipes differ only in their seed" if seed else "the recipes are the same"
    if len(counted) == 1:
        return f"one change{seed}"
    return (
        f"{len(counted)} changes{seed}: which of them made the difference is not known; change "
        "one at a time to find out"
    )


def _verdict(told: Told, better: bool) -> str:
    """A difference in one sentence."""
    apart, number = told.difference, told.metric
    if told.paired and apart.mean == apart.error == 0:
        return f"{told.name}: {number} is the same on each of the same {apart.pairs:,} samples"
    sign = "+" if apart.mean >= 0 else "-"
    said = f"{told.name}: {number} {sign}{abs(apart.mean):.4g} ± {apart.error:.2g}"
    samples = f", by the same {apart.pairs:,} samples" if told.paired else ", by other samples"
    gone = apart.mean if better else -apart.mean
    if not apart.decided:
        sure = ", which may be chance"
    else:
        sure = f", {'better' if gone > 0 else 'worse'} by more than two standard errors"
    if told.chance is None:
        return f"{said}{samples}{sure}"
    return (
        f"{said}{samples}{sure}; only this one is right on {told.second:,}, only the first on "
        f"{told.first:,}: McNemar's test p = {told.chance:.2g}"
    )


def _show(
    console: "Console",
    groups: Sequence[Compared],
    changes: Sequence[Change],
    tests: Sequence[Told | None],
    path: Path | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for group in groups:
        table.add_column(Text(shell.name(group.name)), justify="right", overflow="fold")
    table.add_row("run", *(" ".join(d.name for d in group.directories) for group in groups))
    for change in changes:
        table.add_row(Text(change.key), *(Text(value or "-") for value in change.values))
    table.add_section()
    for name, values in _table(groups).items():
        table.add_row(Text(name), *map(_cell, values))
    console.print(table)
    stacked = [each.name for each in groups if any(map(_is_stacked, each.directories))]
    if stacked:
        line = f"seconds: {', '.join(stacked)} trained at once with others, all in this time"
        screen.say(console, line)
    console.print(_said(changes, any(len(g.directories) > 1 for g in groups)), soft_wrap=True)
    for told, group in zip(tests, groups[1:], strict=True):
        if told is None and (why := _on_others(groups[0], group)):
            line = f"{group.name}: cannot be compared with the first: {why}"
        elif told is None:
            line = f"{group.name}: its predictions cannot be compared with those of the first"
        else:
            line = _verdict(told, told.metric.endswith(ACCURACY))
        screen.say(console, line)
    if path is not None:
        screen.say(console, f"the curves: {shell.near(path)}")


def _is_stacked(directory: Path) -> bool:
    return "dlrun.stack" in record.read_json(directory / "run.json").get("tags", {})


def _cell(values: Sequence[float]) -> str:
    """The mean over seeds, with its standard error."""
    if not values:
        return ""
    mean = fmean(values)
    whole = all(float(value).is_integer() for value in values) and mean >= 1
    text = f"{mean:,.0f}" if whole else format.cell(mean)
    if len(values) < 2 or stdev(values) == 0:
        return text
    return f"{text} ± {stdev(values) / math.sqrt(len(values)):.2g}"


def _plain(
    groups: Sequence[Compared],
    changes: Sequence[Change],
    tests: Sequence[Told | None],
    path: Path | None,
) -> Mapping[str, Any]:
    """All of it as plain values."""
    table = _table(groups)
    return {
        "runs": [
            {
                "name": group.name,
                "ids": [each.name for each in group.directories],
                "results": {name: values[place] for name, values in table.items()},
            }
            for place, group in enumerate(groups)
        ],
        "changes": [asdict(each) for each in changes],
        "differences": [
            None if told is None else asdict(told) | {"decided": told.difference.decided}
            for told in tests
        ],
        "curves": path and str(path),
    }
