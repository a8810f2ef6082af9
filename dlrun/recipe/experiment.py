"""Experiments: their short form, and which commands they say what to expect of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import mistakes, settle, suggest, view
from dlrun.recipe.catalogue import within
from dlrun.recipe.compose import Composer
from dlrun.recipe.schema import ROOT

SHORT = "short"
_FREE = (
    *("outputs", "name", "resume", "device", "threads", "tracking", "hydra", "seed", SHORT),
    *("data.root", "data.path", "data.cache", "checkpoint_every", "stop_after", "sweep.parallel"),
    "sweep.stack",
)
"""Settings that leave a command the one that the expectations of a file are of."""


def shortened(composer: Composer, words: Sequence[str]) -> list[str]:
    """The words of a command, with those of the experiment's short form in place of `short=true`.

    What is typed beside it wins. Raises Mistake where there is no short form.
    """
    asked = [word for word in words if shell.key(word) == SHORT]
    rest = [word for word in words if word not in asked]
    if not asked or asked[-1] == f"{SHORT}=false":
        return rest
    if asked[-1] != f"{SHORT}=true":
        raise Mistake(f"{asked[-1]}: write {SHORT}=true, for the short form of an experiment")
    chosen = [word for word in rest if settle.is_whole(composer.catalogue, word)]
    mistakes.words(composer, chosen)
    if any(override.is_sweep_override() for override in composer.parse(chosen)):
        raise Mistake(f"{asked[-1]}: each experiment has its own short form; type one alone")
    with mistakes.explained(composer, chosen):
        short = view.plain(composer.recipe(chosen).short) or {}
    found = shell.words(short.get("words"))
    if not found:
        of = f"{' '.join(chosen)} has none" if chosen else "add one, e.g. +experiment=random_search"
        raise Mistake(f"{asked[-1]}: is the short form of an experiment; {of}")
    typed = [shell.key(word) for word in rest]
    last = max((place for place, word in enumerate(rest, 1) if word in chosen), default=0)
    return [*rest[:last], *(w for w in found if shell.key(w) not in typed), *rest[last:]]


def expectations(recipe: DictConfig, overrides: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What a recipe is expected to come to, and why that does not judge it; "" where it does.

    overrides: as typed. They are the file's own where they change nothing of what is found, or
    are those of its short form.
    """
    expect = view.plain(recipe.expect) or {}
    short = view.plain(recipe.short) or {}
    if any(shell.key(word) == "expect" for word in overrides):
        return expect, ""
    # A file that freezes layers is of trained weights, which are typed: each has a run of its own.
    free = (*_FREE, "weights") if recipe.freeze else _FREE
    typed = [word.lstrip("+") for word in overrides if not _is_free(word, free)]
    own = shell.words(short.get("words"))
    if own and set(own) <= set(typed):
        expect, typed = short.get("expect") or expect, [word for word in typed if word not in own]
    keys = ", ".join(map(shell.key, typed))
    return expect, f"the command changes {keys}, so that this is shown and judges nothing" * bool(
        keys
    )


def disagreement(rows: Iterable[Mapping[str, Any]], got: Iterable[str]) -> str:
    """What is not as expected, by its names; "" where all is. got: the names of what there is."""
    wrong = [row for row in rows if not row["within"]]
    names = list(got)
    said = [
        str(row["name"])
        + (" (nothing has this name" + suggest.nearest(row["name"], names) + ")")
        * (row["got"] is None)
        for row in wrong
    ]
    return f"not as expected: {', '.join(said)}" if said else ""


def _is_free(word: str, free: Sequence[str]) -> bool:
    """Whether a word leaves what is found as it is, or names the experiment itself."""
    key = shell.key(word)
    names_it = "." not in key and "/" not in key and key not in ROOT
    return names_it or any(within(key.replace("/", "."), each) for each in free)
