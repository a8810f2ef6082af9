"""Some classes of a set alone."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

import torch

from dlrun import shell
from dlrun.data import Source
from dlrun.data.fingerprint import hash_content
from dlrun.errors import Mistake


def check(classes: Sequence[str | int]) -> None:
    """Raise ValueError for a choice that no set has."""
    named = list(map(str, classes))
    if len(named) < 2 or len(set(named)) < len(named):
        raise ValueError(f"classes must name two or more, each once, got {list(classes)}")


def among(source: Source, classes: Sequence[str | int]) -> Source:
    """The source with these classes alone, labelled 0, 1, ... in the order given.

    classes: names, or numbers of classes from 0 on where none has the number as its name. Rows
    keep their places: those of other classes are in no split, and their label is -1.
    Raises Mistake for a class that the set does not have.
    """
    known = source.classes
    if not known:
        raise Mistake("data.classes: the set has no classes to choose from")
    chosen = [_place(each, known) for each in classes]
    check([known[place] for place in chosen])
    labels = torch.full((len(known),), -1, dtype=source.y.dtype)
    labels[chosen] = torch.arange(len(chosen))
    y, names = labels[source.y], tuple(known[place] for place in chosen)
    kept = y >= 0
    rows = kept.nonzero().squeeze(1)
    digest = hash_content(source.hashes[rows].numpy(), y[rows].numpy(), names, {})
    given = {name: some[kept[some]] for name, some in source.given.items()}
    return replace(source, y=y, classes=names, given=given, rows=rows, digest=digest)


def _place(asked: str | int, known: Sequence[str]) -> int:
    """The number of a class in the set."""
    if str(asked) in known:
        return known.index(str(asked))
    if isinstance(asked, int) and 0 <= asked < len(known):
        return asked
    words = [] if isinstance(asked, int) else known
    near = difflib.get_close_matches(str(asked), words, n=1, cutoff=0.6)
    right = f"did you mean {near[0]}?" if near else f"there are {shell.some(known)}"
    raise Mistake(f"data.classes: the set has no class {str(asked)!r}; {right}")
