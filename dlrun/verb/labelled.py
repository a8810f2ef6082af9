"""Labelled samples that a run is measured on: a split of its own data, or other data.

Other data are read as the run's were, and said in its terms: classes by their names, columns by
theirs, targets on its scale.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from dlrun import shell
from dlrun.data import blame
from dlrun.data.tables.file import FORMS
from dlrun.errors import Mistake
from dlrun.recipe import build
from dlrun.recipe.resume import placed
from dlrun.recipe.schema import SPLITTING
from dlrun.recipe.view import plain
from dlrun.verb.opened import Opened

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.data import Source, Split

_DATA, _ALL, _TEST = "data", "all", "test"
_READ = ("target", "missing", "decimal")
"""Settings of another table that the run does not decide."""

_log = logging.getLogger("dlrun")


@dataclass(frozen=True)
class Labelled:
    """Samples to measure a run on.

    split: which of their data they are. own: whether these are the data that it was trained on.
    name: of the data, as one says it.
    """

    samples: "Split"
    split: str
    own: bool
    name: str

    @property
    def are_test(self) -> bool:
        """Whether the run's own test split is among them."""
        return self.own and self.split in (_TEST, _ALL)

    @property
    def said(self) -> str:
        """What is measured, in a few words."""
        which = "all samples" if self.split == _ALL else f"the {self.split} split"
        samples = shell.counted(len(self.samples), "sample")
        return f"{which} of {shell.name(self.name)}: {samples}"


def labelled(made: Opened, split: str) -> Labelled:
    """The samples that are asked for.

    split: "" for test, or for all samples of other data that come without one.
    Raises Mistake where there are none, or none that the run could be asked about.
    """
    if not made.other_data:
        return _own(made, split or _TEST)
    for key in made.typed:
        group, _, name = key.partition(".")
        if group == _DATA and name in SPLITTING:
            raise Mistake(f"{key}: is about training; split= says which samples are measured")
    if table := _other_table(made):
        return _of_table(made, table, split)
    if plain(placed(made.config, Path.cwd()).data) == plain(made.recorded.data):
        return _own(made, split or _TEST)
    _read_as_before(made)
    source = build.read_data(made.config, made.session.show.loading, partly=True)
    if source.digest == made.info["data"]["digest"]:
        return _own(made, split or _TEST)
    return _other(made, source, split)


def _own(made: Opened, split: str) -> Labelled:
    """A split of the run's own data; where they have changed since, these are not its own rows."""
    import torch

    data = made.data
    if split != _ALL:
        samples = data.splits[split]
        if not len(samples):
            named = f"split={split}: run {made.directory.name}"
            raise Mistake(f"{named} has no {split} samples{_has(made)}")
    else:
        rows = torch.cat([each.rows for each in data.splits.values()]).unique()
        samples = replace(data.train, rows=rows)
    return Labelled(samples, split, not made.changed, data.name)


def _has(made: Opened) -> str:
    """Why a run lacks a split, and which of those that it has is measured by what word."""
    there = {name: len(each) for name, each in made.data.splits.items() if len(each)}
    counts = ", ".join(f"{count:,} of {name}" for name, count in there.items())
    why = "its data have" if "parent" not in made.info else "one of a procedure, it has its own:"
    right = next((name for name in reversed(there) if name != "train"), "train")
    return f": {why} {counts}; split={right} measures these"


def _other_table(made: Opened) -> Path | None:
    """The file of another table than the one that the run was trained on; None for other data."""
    known = made.info["data"]["reading"]
    path, own = (each.data.get("path") for each in (made.config, made.recorded))
    if "columns" not in known or not path or Path(path).suffix.lower() not in FORMS:
        return None
    file = shell.path(path, "data.path")
    if not file.is_file():
        raise Mistake(f"data.path={path}: there is no such file")
    return None if own and Path(own).exists() and file.samefile(own) else file


def _of_table(made: Opened, file: Path, split: str) -> Labelled:
    """The rows of another table that have a target, in the terms of the run's own."""
    import torch

    from dlrun.data import Split
    from dlrun.data.tables import other
    from dlrun.data.tables.read import left_out

    if split not in ("", _ALL):
        raise Mistake(f"split={split}: {file.name} has no splits; split=all takes all of it")
    about = made.info["data"]
    reading = {**about["reading"], **_read_otherwise(made)}
    with blame(f"data.path={file}"):
        raw = other.read_frame(file)
        y, rows = other.targets(raw, reading, about["classes"])
        if not len(rows):
            raise Mistake(f"no row has a value of {reading['target']}")
        found = other.encode(raw.iloc[rows], reading)
        other.refuse_unread(found.unread, found.read, reading)
    said = other.notes(found.unread, found.unknown)
    if lacking := len(raw) - len(rows):
        said.insert(0, left_out(lacking, len(raw), reading["target"]))
    for note in said:
        _log.warning(f"{shell.name(file.name)}: {note}")
    scaled = _scaled(made, torch.from_numpy(y))
    kept = Split(torch.from_numpy(found.x), scaled, torch.arange(len(rows)))
    return Labelled(kept, _ALL, False, file.stem)


def _read_otherwise(made: Opened) -> dict[str, Any]:
    """What is typed of how another table is read. Raises Mistake for what the run has decided."""
    found: dict[str, Any] = {}
    for key in made.typed:
        group, _, name = key.partition(".")
        if group != _DATA or not name or name == "path":
            continue
        if name not in _READ:
            also = ", ".join(f"data.{each}" for each in _READ)
            raise Mistake(f"{key}: another table is read as the run's was, but for {also}")
        value = plain(made.config.data[name])
        found |= {} if value is None and name == "decimal" else {name: value}
    return found


def _read_as_before(made: Opened) -> None:
    """Set what the source takes to what has made the run's samples, where nothing is typed."""
    about = made.info["data"]
    wanted = reading(about)
    wanted["task"] = "classification" if about["classes"] else "regression"
    for name, value in wanted.items():
        key = f"{_DATA}.{name}"
        if name in made.config.data and key not in made.typed and value is not None:
            OmegaConf.update(made.config, key, value, merge=False)


def reading(about: dict[str, Any]) -> dict[str, Any]:
    """How images become samples of a run, as settings of a folder; empty where they are none.

    about: what its record says of its data. depth: 0 or None where values are taken as they are.
    """
    known = dict(about["reading"])
    if "size" in known or len(about["shape"]) != 3:
        return {**known, "depth": known.get("depth") or None} if "size" in known else {}
    channels, *size = about["shape"]
    if channels not in (1, 3):
        return {}
    return {"size": size, "channels": "rgb" if channels == 3 else "grey"}


def _other(made: Opened, source: "Source", split: str) -> Labelled:
    """Samples of a source that the run has not been trained on."""
    import numpy as np
    import torch

    from dlrun.data import Split

    if split not in ("", _ALL) and split not in source.given:
        has = f"comes with {', '.join(source.given)}" if source.given else "has no splits"
        raise Mistake(f"split={split}: {source.name} {has}; split=all takes all of it")
    split = split or (_TEST if _TEST in source.given else _ALL)
    if source.settle is not None:
        every = np.arange(len(source.y))
        reading = made.info["data"]["reading"]
        told = dict.fromkeys(("train", "val", "test", "fit"), every)
        source = source.settle(told, reading if "columns" in reading else None)
    x = _as_trained(made, source)
    rows = torch.arange(len(x)) if split == _ALL else source.given[split]
    return Labelled(Split(x, _targets(made, source), rows), split, False, source.name)


def _as_trained(made: Opened, source: "Source") -> "Tensor":
    """The samples, where they are such as the run takes. Raises Mistake."""
    about, x = made.info["data"], source.x
    names, wanted = list(source.columns), list(about.get("columns", ()))
    if wanted and names != wanted:
        if missing := [name for name in wanted if name not in names]:
            columns = "column" if len(missing) == 1 else "columns"
            raise Mistake(f"data: {source.name} lacks the {columns} {', '.join(missing)}")
        x = x[:, [names.index(name) for name in wanted]]
    require_alike(f"data: {source.name}", x, about)
    return x


def require_alike(name: str, x: Any, about: Mapping[str, Any]) -> None:
    """Raise Mistake where samples, of torch or numpy, are of another shape or type than a run's.

    name: of these. about: what the run's record says of its data.
    """
    own = about["shape"], about["types"]["x"]
    given = list(x.shape[1:]), str(x.dtype).removeprefix("torch.")
    if given != own:
        here, there = (f"{'×'.join(map(str, shape))} {kind}" for shape, kind in (given, own))
        raise Mistake(f"{name} has samples of {here}, the run takes {there}")


def _targets(made: Opened, source: "Source") -> "Tensor":
    """The targets by the run's classes, or on the scale of its numbers. Raises Mistake."""
    import torch

    about = made.info["data"]
    classes = about["classes"]
    if bool(classes) != bool(source.classes):
        kinds = ("numbers", "classes") if classes else ("classes", "numbers")
        raise Mistake(f"data: {source.name} has {kinds[0]} as targets, the run predicts {kinds[1]}")
    if classes:
        places = {name: place for place, name in enumerate(classes)}
        there = [source.classes[each] for each in source.y.unique().tolist()]
        if strange := [name for name in there if name not in places]:
            raise Mistake(
                f"data: {source.name} has the class {strange[0]}, which the run does not know; "
                f"it knows {shell.some(classes)}"
            )
        return torch.tensor([places.get(name, -1) for name in source.classes])[source.y]
    if source.y.shape[1] != about["outputs"]:
        told = f"{source.y.shape[1]} targets, the run predicts {about['outputs']}"
        raise Mistake(f"data: {source.name} has {told}")
    y, names, own = source.y, source.targets, about.get("targets", ())
    if names and own:
        if strange := [name for name in names if name not in own]:
            raise Mistake(
                f"data: {source.name} has the target {strange[0]}, which the run does not know; "
                f"it knows {shell.some(own)}"
            )
        y = y[:, [names.index(name) for name in own]]
    return _scaled(made, y)


def _scaled(made: Opened, y: "Tensor") -> "Tensor":
    """Targets on the scale of the run's own, where these are numbers."""
    from dlrun.data.scale import scale_of

    scale = scale_of(made.info["data"])
    if scale is None:
        return y
    return ((y.double() - scale.mean.double()) / scale.std.double()).float()
