"""`dlrun clean`: what takes space, checkpoints that nobody needs any more, runs never begun."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlrun import format, record, shell
from dlrun.console import screen
from dlrun.errors import Mistake
from dlrun.recipe import compose, start
from dlrun.record import named
from dlrun.record import sweep as sweeps
from dlrun.verb.asked import Asked
from dlrun.verb.list import row

_CHECKPOINTS, _MODEL = "checkpoints", "model"
_SHOWN = 20
"""Runs whose checkpoints stay that are named, at most."""


def run(asked: Asked) -> int:
    """List what takes space; with --yes remove what nobody needs, 1 where some could not be."""
    outputs, console = asked.outputs, screen.wide()
    record.warn_of_damaged(outputs)
    runs = record.all_runs(outputs)
    kept: dict[Path, str] = {}
    for directory, why in _needed(asked, outputs, runs):
        kept.setdefault(directory, why)
    held = [each for each in runs if (each / _CHECKPOINTS).is_dir()]
    needless = {each: _bytes(each / _CHECKPOINTS) for each in held if each not in kept}
    _print(console, [(what, _size(size)) for what, size in _parts(outputs, runs)])
    stays = [f"{each.name} ({kept[each]})" for each in held if each in kept]
    if stays:
        said = ", ".join(stays[-_SHOWN:]) + shell.more(len(stays) - _SHOWN)
        screen.say(console, f"checkpoints that stay: {said}", style="dim")
    empty = record.never_begun(outputs)
    if not needless and not empty:
        console.print("there are no others")
        return 0
    if "--yes" in asked.flags:
        left = _remove_empty(empty, console)
        return max(left, _remove(needless, console) if needless else 0)
    if empty:
        said = ", ".join(each.name for each in empty[:_SHOWN]) + shell.more(len(empty) - _SHOWN)
        screen.say(console, f"folders of runs that were killed before they began: {said}")
    if needless:
        console.print(f"not needed: {_size(sum(needless.values()))} of {_runs(len(needless))}")
    _print(console, [(each.name, *_told(each), _size(size)) for each, size in needless.items()])
    words = ["dlrun", "clean", *asked.names, *asked.those("outputs"), "--yes"]
    screen.say(console, f"to remove them: {shell.line(words)}")
    return 0


def _needed(asked: Asked, outputs: Path, runs: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The runs whose checkpoints stay, each with the reason."""
    for name in asked.names:
        yield named.find(outputs, name), "named here"
    lost = record.damaged(outputs)
    yield from lost.items()
    if runs:
        yield record.last({run: record.read_json(run / "run.json") for run in runs}), "the last"
    for folder in sorted((outputs.absolute() / "sweeps").glob(f"*/{sweeps.SWEEP}")):
        sweep = sweeps.read(folder.parent)
        if (best := sweep.best_run) is not None and best.directory:
            yield outputs.absolute() / best.directory, f"the best of sweep {sweep.id}"
        ended = record.read_status(folder.parent).get("status") == record.FINISHED
        if sweep.later or not ended:
            chosen = [f"{each.key}={word}" for each in sweep.dimensions for word in each.words()]
            first = next((run for point in sweep.points for run in point.directories), "")
            written = _written(outputs.absolute() / first) if first else []
            words = [*sweep.overrides, *chosen, *written, *sweep.later]
            sources = _sources(outputs, words, sweep.cwd)
            # what the best one is made of measures the test split at the end
            parts = named.children(outputs.absolute() / str(best.directory)) if best else []
            for each in (*sources, *parts):
                yield each, f"sweep {sweep.id} goes on with it"
    names = [each.name for each in lost]
    for directory in runs:
        if record.read_json(directory / "run.json").get("parent") in names:
            yield directory, "what made it is damaged"
        yield from _own_needs(directory)


def _own_needs(directory: Path) -> Iterator[tuple[Path, str]]:
    """What one record says of its checkpoints, or of those of the runs of a procedure."""
    info = record.read_json(directory / "run.json")
    status = record.mark_killed(directory).get("status")
    if status == record.RUNNING:
        yield directory, "running"
    if named.is_procedure(directory):
        made = named.children(directory)
        if status != record.FINISHED:
            words = [*info.get("overrides", ()), *_written(directory)]
            sources = _sources(directory.parents[1], words, info.get("cwd", ""))
            everything = {*made, *_begun(directory), *sources}
            yield from ((each, f"{directory.name} goes on with it") for each in everything)
        elif any(named.score(each) is not None for each in made):
            run, why = named.result_of(directory)
            yield run, f"{why} of {directory.name}"
    elif status != record.FINISHED and (info.get("sweep") or info.get("parent")):
        if status != record.PRUNED:
            yield directory, "what made it goes on with it"
    elif "parent" not in info and any(
        word.startswith("name=") for word in info.get("overrides", ())
    ):
        yield directory, "has a name of its own"


def _begun(directory: Path) -> list[Path]:
    """The runs that a procedure has begun, which it lists only once it has ended."""
    found = directory.parent.glob("*/run.json")
    return [file.parent for file in found if record.read_json(file).get("parent") == directory.name]


def _sources(outputs: Path, words: Iterable[str], cwd: str) -> Iterator[Path]:
    """The runs whose weights a command starts from that was typed in the directory `cwd`."""
    for word in (each for some in words for each in _alone(some)):
        key = shell.key(word)
        if key.partition(".")[0] == "procedure":
            yield from _sources(outputs, _inside(compose.parse([word])[0].value()), cwd)
        elif key == start.KEY:
            which = compose.text(word)
            path = Path(os.path.abspath(Path(cwd) / which))
            if path.is_file():
                yield path.parents[1]
            else:
                with suppress(Mistake):  # it is gone, and keeps nothing
                    yield named.find(outputs, str(path) if path.exists() else which)


def _alone(word: str) -> list[str]:
    """A word that names weights once for each of its values; another one as it is."""
    if shell.key(word) != start.KEY:
        return [word]
    return [f"{start.KEY}={each}" for each in start.values_of(word)]


def _written(directory: Path) -> list[str]:
    """What a recipe starts from, as words, wherever it is written, such as in an experiment."""
    with suppress(Mistake):
        recipe = record.recipe(directory)
        own = recipe.get(start.KEY)
        words = [f"{start.KEY}={shell.spelled(own)}"] if own else []
        return words + _inside(recipe.get("procedure"))
    return []


def _inside(value: Any) -> list[str]:
    """The overrides in a setting of a procedure, such as those of its variants."""
    if isinstance(value, Mapping | list):
        parts = value.values() if isinstance(value, Mapping) else value
        return [word for part in parts for word in _inside(part)]
    try:
        return [word for word in shell.words(str(value)) if shell.key(word) == start.KEY]
    except (Mistake, ValueError):  # no words
        return []


def _remove(needless: dict[Path, int], console: Console) -> int:
    """Remove the checkpoints of these runs, each while nobody else holds it."""
    removed = 0
    for directory, size in needless.items():
        try:
            kept = record.open_existing(directory)
        except Mistake as mistake:
            screen.say(console, str(mistake))
            continue
        try:
            kept.update(cleaned=datetime.now(UTC).isoformat(timespec="seconds"))
            shutil.rmtree(directory / _CHECKPOINTS)
            removed += size
        except OSError as error:
            said = f"{shell.near(directory / _CHECKPOINTS)}: cannot be removed: {error.strerror}"
            screen.say(console, said)
            if _bytes(directory / _CHECKPOINTS) == size:
                kept.update(cleaned=None)
        finally:
            kept.close()
    left = sum((each / _CHECKPOINTS).is_dir() for each in needless)
    console.print(f"removed {_size(removed)} of {_runs(len(needless) - left)}")
    return 1 if left else 0


def _remove_empty(folders: Sequence[Path], console: Console) -> int:
    """Remove the folders of runs that never began; 1 where some could not be."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            said = f"{shell.near(folder)}: cannot be removed: {error.strerror}"
            screen.say(console, said)
    left = sum(folder.is_dir() for folder in folders)
    if len(folders) > left:
        gone = shell.counted(len(folders) - left, "folder")
        console.print(f"removed {gone} of runs that were killed before they began")
    return 1 if left else 0


def _parts(outputs: Path, runs: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """What takes space, the largest first, and how much in bytes."""
    from dlrun.data import cache

    checkpoints = sum(_bytes(each / _CHECKPOINTS) for each in runs)
    models = sum(_bytes(each / _MODEL) for each in runs)
    inside = sum(map(_bytes, runs))
    whole, of_sweeps = _bytes(outputs), _bytes(outputs / "sweeps")
    lost = [each for each in record.damaged(outputs) if each not in runs]
    of_lost = sum(map(_bytes, lost))
    kept = cache.home()
    found = {
        f"checkpoints of {_runs(len(runs))}": checkpoints,
        "their models, model/": models,
        "their points, figures and the rest": inside - checkpoints - models,
        "sweeps": of_sweeps,
        **({f"{_runs(len(lost))} without a run.json that can be read": of_lost} if lost else {}),
        f"the rest of {shell.near(outputs.absolute())}, such as MLflow's database": (
            whole - inside - of_sweeps - of_lost
        ),
        f"decoded data in {kept}, made again where they are needed": _bytes(kept),
    }
    yield from sorted(found.items(), key=lambda each: -each[1])


def _told(directory: Path) -> tuple[str, str, str]:
    """The status of a run, its best value and its name."""
    about = row(directory)
    value = "" if about["value"] is None else format.cell(about["value"])
    return str(about["status"]), value, shell.name(about["name"])


def _print(console: Console, rows: Sequence[Sequence[Any]]) -> None:
    """Rows without a head; what the last column says is a size."""
    table = Table(box=None, pad_edge=False, show_header=False)
    width = max(map(len, rows), default=0)
    for place in range(width):
        table.add_column(justify="right" if place == width - 1 else "left", overflow="ellipsis")
    for cells in rows:
        table.add_row(*map(Text, cells))
    console.print(table)


def _runs(count: int) -> str:
    return f"{count:,} run{'s' if count != 1 else ''}"


def _bytes(path: Path) -> int:
    """What is below a folder, without what links lead to."""
    found = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):  # gone by now
                found += os.lstat(os.path.join(folder, name)).st_size
    return found


def _size(count: int) -> str:
    """Bytes as one says them."""
    for unit, many in (("GB", 1e9), ("MB", 1e6)):
        if count >= many:
            return f"{count / many:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"
