"""`dlrun predict`: what a run predicts for images, arrays or tables without labels."""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import record, shell
from dlrun.console import screen
from dlrun.errors import Failure, Mistake
from dlrun.verb import inputs
from dlrun.verb.asked import Asked
from dlrun.verb.opened import Opened, chosen, opened, refuse_alone

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.verb.inputs import Batch, Inputs

Columns = Mapping[str, Any]
_FORMS = (".csv", ".parquet")
_ESCAPED = "backslashreplace"  # as names are on a terminal
_LISTED = 100
"""Files that are named, at most, where they cannot be read."""


def run(asked: Asked) -> int:
    """Predict, and write what is said of each sample; 1 where something could not be read."""
    which, words = _sorted(asked)
    output = _output(asked, words)
    directory = chosen(asked, which)
    with opened(asked, str(directory)) as made:
        found = inputs.of(words, made.info["data"])
        count, escaped = 0, 0
        with written(output) as write:
            for columns in predicted(made, found):
                write(columns)
                names = columns[found.ids[0]]
                count += len(names)
                escaped += sum(_utf8(name) != name for name in names)
        if escaped:
            have = f"{shell.counted(escaped, 'name')} {'has' if escaped == 1 else 'have'}"
            said = "bytes that are not UTF-8, which are written as \\udcfc and the like"
            found.notes.append(f"{have} {said}")
        if not count:
            raise Failure(f"nothing could be predicted: {_some(found.faults)}")
    _say(made, found, count, output)
    return 1 if found.faults or found.unread else 0


def _sorted(asked: Asked) -> tuple[str, list[str]]:
    """The run that is named, `last` without any, and the files and folders."""
    words = list(asked.names)
    if words and not inputs.is_input(words[0]) and not _is_path(words[0]):
        return words[0], _some_input(words[1:], words[0])
    return "last", _some_input(words)


def _is_path(word: str) -> bool:
    """Whether a word that is no file looks like one, rather than like a run."""
    path = Path(word)
    known = path.is_dir() and not inputs.is_input(word)  # a record
    return not known and (bool(path.suffix) or word.endswith("/"))


def _some_input(words: list[str], run: str = "") -> list[str]:
    """The files and folders, of which there must be one. run: the word before them."""
    if not words:
        known = run in ("", "last") or Path(run).exists()
        said = "" if known else f"{shell.name(run)} is no file or folder here; "
        right = "e.g. dlrun predict last photos/ -o out.csv"
        raise Mistake(f"predict: {said}name what to predict, {right}")
    return words


def _output(asked: Asked, words: Sequence[str]) -> Path | None:
    """The file to write; None for standard output. Raises Mistake where it cannot be one."""
    word = asked.flags.get("-o")
    if word is None or word == "-":
        return None
    path = shell.path(word, "-o")
    if path.suffix.lower() not in _FORMS:
        raise Mistake(f"-o {word}: write a file {' or '.join(_FORMS)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "is a directory" if path.is_dir() else "its directory is not there"
        raise Mistake(f"-o {word}: {why}")
    if why := record.unwritable(path.absolute().parent):
        raise Mistake(f"-o {word}: its directory cannot be written: {why}; name another place")
    if any(path.exists() and path.samefile(each) for each in map(Path, words) if each.exists()):
        raise Mistake(f"-o {word}: is what is to be predicted; name another file")
    return path


def predicted(made: Opened, found: "Inputs") -> Iterator[Columns]:
    """What the run says of the inputs, batch by batch, as columns."""
    import torch

    from dlrun.engine.evaluate import evaluating

    run, show = made.run, made.session.show
    with evaluating(run):
        size = run.lengths.evaluation_batch
        for batch in _joined(found.batches(size), size):
            show.busy(f"predicted  {batch.done:,} of {found.total:,}", batch.done, found.total)
            ids = dict(zip(found.ids, zip(*batch.ids, strict=True), strict=True))
            x = torch.from_numpy(batch.x)
            refuse_alone(made, x)
            yield {**ids, **answers(made, x)}
    show.end()


def _joined(batches: "Iterator[Batch]", size: int) -> "Iterator[Batch]":
    """The batches, of which a single sample goes with others of its own or another file.

    A norm over a batch has no variance of one sample. size: how large a batch is meant to be.
    """
    import numpy as np

    held: Batch | None = None
    for batch in batches:
        if not len(batch.x):
            continue
        if held is not None and 1 in (len(held.x), len(batch.x)) and len(held.x) < 2 * size:
            x, ids = np.concatenate([held.x, batch.x]), [*held.ids, *batch.ids]
            held = replace(batch, x=x, ids=ids)
            continue
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held


def answers(made: Opened, x: "Tensor") -> dict[str, Any]:
    """What the run says of raw samples, by the names of the columns.

    prediction: the class, or the number. p_<class>: its probability; score_<class> where the loss
    knows none. Of several labels, <label> is 0 or 1, and of several numbers prediction_<target> is
    one; they are numbered where they have no names. Of an autoencoder, the mean squared error of
    what it gives back.
    """
    from dlrun.engine.evaluate import answer

    run, classes = made.run, made.info["data"]["classes"]
    if run.reconstructs:
        return {"reconstruction_error": _reconstruction_error(made, x)}
    said = run.said(answer(run, x, run.views)).cpu()
    if run.labels:
        labels, shares = _of_labels(made, said.shape[1])
        is_so = dict(zip(labels, (said > 0.5).long().T.numpy(), strict=True))
        return {**is_so, **dict(zip(shares, said.T.numpy(), strict=True))}
    if not classes:
        names = [f"prediction_{name}" for name in made.targets(said.shape[1])]
        return dict(zip(names if names[1:] else ["prediction"], said.T.numpy(), strict=True))
    head = "p" if run.loss.link else "score"
    best = [classes[place] for place in said.argmax(1).tolist()]
    named_so = (f"{head}_{name}" for name in classes)
    return {"prediction": best, **dict(zip(named_so, said.T.numpy(), strict=True))}


def _of_labels(made: Opened, count: int) -> tuple[list[str], list[str]]:
    """The columns of labels and of their probabilities; numbered where names would be taken."""
    labels = made.targets(count)
    shares = [f"p_{name}" for name in labels]
    if labels[0] == "1" or {*labels} & {*shares, "file", "row"}:
        numbers = range(1, count + 1)
        return [f"label_{number}" for number in numbers], [f"p_{number}" for number in numbers]
    return labels, shares


def _reconstruction_error(made: Opened, x: "Tensor") -> Any:
    """(n,) Of each sample as the model sees it."""
    from dlrun.engine.evaluate import ready

    run = made.run
    seen = ready(run, run.evaluation(x.to(run.device)))
    back = run.loss.predicted(run.forward(seen)).double().flatten(1)
    return (back - seen.double().flatten(1)).square().mean(1).cpu().numpy()


def _say(made: Opened, found: "Inputs", count: int, output: Path | None) -> None:
    """What was done, and what could not be."""
    notes = list(found.notes)
    if made.run.views is not None and not made.run.reconstructs:
        option = made.info["choices"].get("test_augmentation")
        notes.append(f"test_augmentation={option}: each answer is the mean over its views")
    where = f": {shell.near(output.absolute())}" if output else ""
    lines = [*notes, f"{count:,} predicted by run {made.directory.name}{where}"]
    if found.faults:
        lines.append(f"{len(found.faults):,} cannot be read: {_some(found.faults)}")
    console = screen.console("stderr")
    for line in lines:
        screen.say(console, line)


def _some(faults: Sequence[tuple[str, str]]) -> str:
    named = ", ".join(f"{shell.name(file)} ({why})" for file, why in faults[:_LISTED])
    return named + shell.more(len(faults) - _LISTED)


@contextmanager
def written(output: Path | None) -> Iterator[Callable[[Columns], None]]:
    """Inside, columns of more and more rows can be written to a file; None: to standard output.

    The file is written beside its place, and moved there when all is done: whatever ends the
    command before, what was there stays as it was. What a killed command has left there is
    removed by the next one.
    """
    if output is None:
        yield _csv(sys.stdout)
        return
    with record.guard(output):
        for left in output.parent.glob(f".{output.name}.*.part"):
            if not _is_alive(left.name.split(".")[-2]):
                left.unlink(missing_ok=True)
    with record.replacing(output) as part:
        if output.suffix.lower() == ".parquet":
            with _parquet(part) as write:
                yield write
        else:
            with part.open("w", encoding="utf-8", errors=_ESCAPED, newline="") as file:
                yield _csv(file)
        with part.open("rb") as file:
            os.fsync(file.fileno())


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # of somebody else
        return True
    return True


def _csv(file: Any) -> Callable[[Columns], None]:
    """Writes rows below a first line with the names of the columns."""
    writer = csv.writer(file, lineterminator="\n")
    begun = False

    def write(columns: Columns) -> None:
        nonlocal begun
        if not begun:
            writer.writerow(columns)
            begun = True
        writer.writerows(zip(*map(_texts, columns.values()), strict=True))

    return write


def _texts(column: Any) -> Any:
    """Floats with nine digits, as many as float32 has."""
    kind = getattr(getattr(column, "dtype", None), "kind", "")
    return [f"{value:.9g}" for value in column] if kind == "f" else column


def _utf8(text: str) -> str:
    """A text that can be written: bytes in the name of a file that are no UTF-8 are escaped."""
    return text.encode(errors=_ESCAPED).decode()


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Columns], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None

    def write(columns: Columns) -> None:
        nonlocal writer
        arrays = {
            _utf8(name): pa.array(column if hasattr(column, "dtype") else map(_utf8, column))
            for name, column in columns.items()
        }
        table = pa.table(arrays)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
