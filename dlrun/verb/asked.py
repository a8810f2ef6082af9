"""The words of a command about records: `dlrun <verb> [run ...] [key=value ...] [--flag]`."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import load
from dlrun.recipe.schema import GROUPS

_PATH = re.compile("[^=]*/")
"""Begins a word with = in it that is a path: no key of a verb has a / in it."""


@cache
def verbs() -> dict[str, Any]:
    """What verbs.yaml says of each verb."""
    found: dict[str, Any] = load(Path(__file__).with_name("verbs.yaml"))
    return found


@dataclass(frozen=True)
class Asked:
    """What a command asks of a verb.

    names: the words that are neither keys nor flags: runs, and files where a verb takes some.
    words: the word of each key, as typed, in their order. flags: the value of each flag; "" of
    a switch.
    """

    verb: str
    names: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)

    def text(self, key: str, usual: str = "") -> str:
        """What a key is set to, or the usual."""
        if key not in self.words:
            return usual
        from dlrun.recipe import compose  # imports Hydra

        return compose.text(self.words[key]) or usual

    def choice(self, key: str, usual: str, more: Iterable[str] = ()) -> str:
        """One of the words that verbs.yaml lists for a key, or of `more`. Raises Mistake else."""
        value, words = self.text(key, usual), [*verbs()[self.verb][key]]
        words += [word for word in more if word not in words]
        if value not in words:
            near = suggest.nearest(value, words, f"{key}={{}}")
            raise Mistake(f"{key}={value}: write one of {', '.join(words)}{near}")
        return value

    @property
    def outputs(self) -> Path:
        """Where the runs are. Raises Mistake where that is a file, or a link to nothing."""
        from dlrun.record.files import in_the_way

        folder = shell.path(self.text("outputs", "outputs"), "outputs")
        if met := in_the_way(folder / "runs"):
            which, why = met
            said = why if which == folder else f"{shell.near(which)} {why}"
            raise Mistake(f"outputs={folder}: {said}; write the directory that runs/ is in")
        return folder

    def those(self, *keys: str) -> list[str]:
        """The words of these keys, and of what lies below them, as typed."""
        mine = [key for key in self.words if key in keys or key.partition(".")[0] in keys]
        return [self.words[key] for key in mine]


def parse(verb: str, typed: Sequence[str]) -> Asked:
    """Sort the words after a verb. Raises Mistake for a key or a flag that it does not take."""
    keys, known = verbs()[verb]["keys"], verbs()[verb]["flags"]
    names, words, flags = [], {}, {}
    left = list(typed)
    while left:
        word = left.pop(0)
        if word.startswith("-") and word != "-":
            flag, value = _flag(verb, word, known, left)
            flags[flag] = value
        elif "=" in word and not _PATH.match(word):
            key = word.partition("=")[0]
            group = key.partition(".")[0]
            if key not in keys and (group not in keys or group not in GROUPS):
                near = _as_path(word) or _near(word, key, keys)
                raise Mistake(f"{word}: {verb} takes {_listed(keys)}{near}")
            words[key] = word
        elif not word:
            raise Mistake(f"'': name a run, e.g. dlrun {verb} last")
        else:
            names.append(word)
    shell.refuse_empty(words.values())
    return Asked(verb, tuple(names), words, flags)


def _flag(verb: str, word: str, known: Mapping[str, Any], left: list[str]) -> tuple[str, str]:
    """A flag and its value, taken from the words that are left where it is not inside."""
    flag, given, value = word.partition("=")
    if flag not in known:
        near = suggest.nearest(flag, list(known)) or (
            f"; it takes {', '.join(known)}" if known else "; it takes none"
        )
        key = flag.lstrip("-")
        if key in verbs()[verb]["keys"]:
            near = f"; did you mean {key}={value or '...'}?"
        raise Mistake(f"unknown flag {flag} of {verb}{near}")
    allowed = known[flag]
    if allowed is None:
        if given:
            raise Mistake(f"{word}: {flag} takes no value")
        return flag, ""
    form = f"one of {', '.join(allowed)}" if allowed != "any" else "a value"
    if not given:
        if not left or left[0].startswith("-"):
            raise Mistake(f"{flag} needs {form}")
        value = left.pop(0)
    if not value or (allowed != "any" and value not in allowed):
        near = suggest.nearest(value, allowed) if allowed != "any" else ""
        raise Mistake(f"{flag} {value or chr(39) * 2}: write {form}{near}")
    return flag, value


def _as_path(word: str) -> str:
    """How to name what lies there under a name that passes for a setting; "" where nothing does."""
    there = os.path.lexists(word)
    return f"; to name the path, write {shell.quote(f'./{word}')}" if there else ""


def _listed(keys: Sequence[str]) -> str:
    names = [f"{key}=" for key in keys]
    names += [f"{key}.…=" for key in keys if key in GROUPS]
    return shell.listed(names)


def _near(word: str, key: str, keys: Sequence[str]) -> str:
    value = word.partition("=")[2]
    return suggest.nearest(key, list(keys), f"{{}}={value}")
