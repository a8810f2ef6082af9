"""Images that a table names, and what is to be predicted of each."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any

from numpy.typing import NDArray

from dlrun import shell
from dlrun.data import Report, Source, blame
from dlrun.data.fingerprint import stat_files
from dlrun.data.images.samples import Listed, Place, read_images, read_wanted
from dlrun.data.images.scan import suffixes
from dlrun.data.place import require_file, require_folder
from dlrun.data.tables import cells
from dlrun.data.tables.file import FORMS, File, read_file
from dlrun.data.tables.read import (
    read_groups,
    read_targets,
    require_column,
    require_single,
    with_target,
)
from dlrun.data.tables.targets import encode, for_task, require_task
from dlrun.errors import Mistake

_LOOK = 100  # rows that are looked at for a guess
_log = logging.getLogger("dlrun")

Rows = Mapping[str, NDArray[Any]]


def imagetable(
    path: str,
    files: str | None = None,
    target: str | list[str] | None = None,
    root: str | None = None,
    suffix: str = "",
    group: str | None = None,
    missing: list[Any] | None = None,
    decimal: str | None = None,
    task: str = "auto",
    scale_targets: bool | None = None,
    size: int | list[int] | None = None,
    resize: str = "short",
    channels: str = "auto",
    depth: int | None = None,
    background: str = "white",
    skip_bad: bool = False,
    cache: str | None = None,
    report: Report | None = None,
) -> Source:
    """Read the images that the rows of a table name.

    path: a CSV whose first line names the columns, a Parquet or an Arrow file.
    files: the column of the files. None takes the one that holds names of files or of images, and
        is neither target nor group.
    target: the column to predict, or several: labels, each 0 or 1, or numbers. None takes the only
        other one. Rows that lack a value of it are left out; beside other words, None is a class.
    root: the folder that the names begin in; None: that of the table. suffix: what is added to
        each name.
    group: the column whose rows with one value stay in one split; none may lack it.
    missing: the texts that mean a missing value, instead of the usual ones.
    decimal, task, scale_targets: as for `arrays`; the others as for `imagefolder`.
    skip_bad: leave out rows whose file is missing or cannot be read, with a warning.
    Returns x (n, channels, height, width) uint8 or float32; y (n,) int64, or (n, targets) float32.
    Raises ValueError for an argument out of range, Mistake for what the table or the folder lacks.
    """
    require_task(task)
    wanted = read_wanted(size, resize, channels, depth, background)
    cells.require_decimal(decimal)
    cells.find_missing(missing)  # raises ValueError
    table = shell.path(path, "data.path").absolute()
    folder = table.parent if root is None else shell.path(root, "data.root").absolute()
    asked = {"files": files, "target": target, "group": group, "missing": missing}
    asked |= {"decimal": decimal, "task": task}
    with blame(f"data.path={path}"):
        require_file(table, path)
        if table.suffix.lower() not in FORMS:
            raise Mistake("expected a file .csv, .parquet or .arrow with a row for each image")
        if root is not None:
            with blame(f"data.root={root}"):
                require_folder(folder, root, "name the one that the files are in")
        content = read_file(table)
        column = _file_column(content, folder, suffix, asked)
        names = [name + suffix for name in content.texts[column]]
        stats, gone = _stats(folder, names)
        if gone:
            _say_missing(folder, column, names, gone, skip_bad, suffix)
        rows = _Rows(content, column, suffix, frozenset(gone), folder)
        place = Place(
            "imagetable",
            table.stem,
            f"data.path={path}",
            [*stat_files([table]), *stats],
            (str(folder), suffix, *asked.values()),
            partial(_listed, rows, asked),
            cache,
            report,
        )
        source = for_task(read_images(place, wanted, skip_bad), task, scale_targets)
    return replace(source, settle=source.settle and partial(_settled, source))


def _settled(source: Source, rows: Rows, fitted: Mapping[str, Any] | None) -> Source:
    """The settled source, with what the task says of the targets."""
    assert source.settle is not None
    again = source.settle(rows, fitted)
    return replace(again, labels=source.labels, scale_targets=source.scale_targets)


@dataclass(frozen=True)
class _Rows:
    """A table of files. column: that names them, but for a suffix; gone: rows without a file."""

    content: File
    column: str
    suffix: str
    gone: frozenset[int]
    folder: Path


def _file_column(content: File, folder: Path, suffix: str, asked: Mapping[str, Any]) -> str:
    """The column that names the files: asked for, else one of files that are there.

    Without a suffix one of images by their names will do, so that the files are said to be missing.
    """
    texts, target = content.texts, asked["target"]
    if asked["files"] is not None:
        require_column("data.files", asked["files"], texts, content.unusable)
        return str(asked["files"])
    taken = {asked["group"], *([target] if isinstance(target, str) else target or ())}
    others = [name for name in texts if name not in taken]

    def most(name: str, fits: Callable[[str], bool]) -> bool:
        looked = texts[name][:_LOOK]
        return sum(fits(text + suffix) for text in looked) > len(looked) / 2

    def is_there(name: str) -> bool:
        return os.path.isfile(os.path.join(folder, name))

    def is_image(name: str) -> bool:
        return os.path.splitext(name)[1].lower() in suffixes()

    for fits in (is_there,) if suffix else (is_there, is_image):
        if found := next((name for name in others if most(name, fits)), None):
            return found
    of = f"files in {folder} that end with data.suffix={suffix}" if suffix else "images"
    named = f"name it: {shell.some(others)}" if others else "the table has no other"
    raise Mistake(f"data.files=null: no column holds names of {of}; {named}")


def _stats(folder: Path, names: Sequence[str]) -> tuple[list[tuple[str, int, int]], list[int]]:
    """The (path, size, time of change) of each file; the rows whose file is not there."""
    stats, gone = [], []
    for row, name in enumerate(names):
        try:
            stat = os.stat(os.path.join(folder, name))
            there = S_ISREG(stat.st_mode)  # an empty name is the folder
        except OSError:
            there = False
        if there:
            stats.append((name, stat.st_size, stat.st_mtime_ns))
        else:
            gone.append(row)
            stats.append((name, 0, -1))
    return stats, gone


def _say_missing(
    folder: Path,
    column: str,
    names: Sequence[str],
    gone: Sequence[int],
    skip_bad: bool,
    suffix: str,
) -> None:
    """Say which files are missing. Raises Mistake where they must be there."""
    listed = ", ".join(shell.name(names[row]) or "''" for row in gone[:3])
    are = "is" if len(gone) == 1 else "are"
    said = f"{len(gone):,} of {len(names):,} files named in the column {column} {are} not in "
    said += f"{folder}: {listed}{shell.more(len(gone) - 3)}"
    some_there = len(gone) < len(names)
    if skip_bad and some_there:
        _log.warning(f"{said}; left out")
        return
    first = os.path.join(folder, names[gone[0]])
    endings = [end for end in sorted(suffixes()) if not suffix and os.path.exists(first + end)]
    if endings:
        raise Mistake(f"{said}; did you mean data.suffix={endings[0]}?")
    right = "data.root names the folder that they are in"
    right += ", data.skip_bad=true leaves these rows out" if some_there else ""
    raise Mistake(f"{said}; {right}")


def _listed(rows: _Rows, asked: Mapping[str, Any]) -> Listed:
    """The rows with a file and a target."""
    content, notes = rows.content.without(rows.gone), list(rows.content.notes)
    targets = _targets(content, rows.column, asked)
    for name in targets:
        require_single(name, content)
        content, more = with_target(content, name, asked["missing"])
        notes += more
    y, more = read_targets(content.texts, targets, asked["task"], asked["decimal"])
    y, classes = encode(y, asked["task"])
    groups = None
    if asked["group"] is not None:
        groups = read_groups(content, asked["group"], asked["missing"])
    paths = [name + rows.suffix for name in content.texts[rows.column]]
    return Listed(str(rows.folder), paths, y, classes, groups=groups, notes=[*notes, *more])


def _targets(content: File, column: str, asked: Mapping[str, Any]) -> list[str]:
    """The columns to predict."""
    texts = content.texts
    target, group = asked["target"], asked["group"]
    if target is None:
        others = [name for name in texts if name not in (column, group)]
        if len(others) != 1:
            there = f"name the columns to predict: {shell.some(others)}"
            raise Mistake(f"data.target=null: {there if others else 'it has no other'}")
        return others
    wanted = [target] if isinstance(target, str) else list(target)
    if not wanted:
        raise Mistake("data.target=[]: name the columns to predict")
    for name in wanted:
        require_column("data.target", name, texts, content.unusable)
        if name in (column, group):
            raise Mistake(f"data.target={name}: is the column of the files or of the groups")
    return wanted
