"""How good the verdicts are: every planted fault and every sound recipe typed as a user would.

    DLRUN_CIFAR10=cifar10 python -m tests.faults.rates tuning
    DLRUN_CIFAR10=cifar10 python -m tests.faults.rates final
    DLRUN_CIFAR10=cifar10 python -m tests.faults.rates fresh
    DLRUN_CIFAR10=cifar10 python -m tests.faults.rates unseen

Of the set it prints what was said of each recipe that was judged wrongly, then the rates with
their 95 % intervals (Wilson 1927). A command counts as a help where the mean of five paired
seeds is better by more than two standard errors, when it is typed as it stands.
"""

import logging
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

import torch

from dlrun import procedure, record
from dlrun.errors import Failure, Mistake
from dlrun.finding import FAIL, NAMES, NOTE, Finding, by_level
from dlrun.job.lab import Lab
from dlrun.job.recording import Invocation
from dlrun.job.session import Session
from dlrun.recipe import compose, instantiate
from tests.faults import fresh, measure, sets
from tests.faults.fresh import FRESH
from tests.faults.table import FAULTS, Fault, half, healthy
from tests.faults.unseen import UNSEEN


@dataclass(frozen=True)
class Verdict:
    """What was said of a recipe: its failures and warnings, the first one to be believed most."""

    name: str
    found: list[Finding]
    causes: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether the first of them names an accepted cause."""
        return bool(self.found) and self.found[0].name in self.causes


@dataclass
class Rate:
    """A share, how many it is of, and its interval."""

    hits: int = 0
    all: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, hit: bool, missed: str) -> None:
        """Count one more."""
        self.hits, self.all = self.hits + hit, self.all + 1
        if not hit:
            self.missed.append(missed)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 %, by recipe."""
        return wilson(self.hits, self.all)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.hits}/{self.all} = {self.hits / max(self.all, 1):.0%} [{low:.0%}, {high:.0%}]"
        )


def wilson(hits: int, all: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share by its score test (Wilson 1927)."""
    if not all:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), hits / all
    middle = share + z * z / (2 * all)
    reach = z * (share * (1 - share) / all + z * z / (4 * all * all)) ** 0.5
    return (middle - reach) / (1 + z * z / all), (middle + reach) / (1 + z * z / all)


def judged(name: str, words: str, folder: Path, causes: tuple[str, ...] = ()) -> Verdict:
    """Train a recipe as the command does, without figures, and read what its record says.

    A refusal has the name in its message.
    """
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        typed = sets.typed(words, folder)
        typed += ["threads=1", "tracking=none", f"outputs={outputs}"]
        refused = ""
        with compose.composer([]) as composer:
            composed = composer.full(typed)
            config, choices = composer.recipe(typed), compose.choices(composed)
        made = procedure.of(instantiate.part(config, "procedure"))
        asked = Invocation(typed, ["dlrun", *typed], choices)
        try:
            Lab(config, asked, Session(), made, whole=True).perform()
        except (Mistake, Failure) as error:
            refused = str(error)
        runs = record.all_runs(outputs)
        found = record.findings_of(runs[-1]) if runs else []
    if not runs:
        found = [Finding(each, FAIL, "") for each in NAMES if f"({each})" in refused]
    return Verdict(name, [each for each in by_level(found) if each.level != NOTE], causes)


def helps(fault: Fault, command: str, trainer: measure.Trainer) -> bool:
    """Whether a command gives a better result than the broken recipe."""
    words = shlex.split(command)[1:]
    kept = [word for word in words if word.partition("=")[0] not in ("outputs", "tracking")]
    if any(word.startswith("procedure=") for word in kept):
        return False  # it trains nothing better by itself
    known = measure.known()[fault.name]
    assert measure.current(fault, known), f"{fault.name}: measure it anew"
    before = known["values"]
    after = trainer.values(shlex.join(kept), fault.by)
    if before.count(None) > len(before) / 2:
        return after.count(None) <= len(after) / 2
    return measure.judge(before, after)[2]


def recipes(which: str) -> tuple[list[Fault], dict[str, str]]:
    """The faults and the sound recipes of a set: a half, `tuning` or `final`, `fresh`, `unseen`.

    Of the last the sound recipes are those twins that no other set has.
    """
    if which == "fresh":
        faults, sound = list(FRESH), healthy(FRESH, fresh.SOUND)
    elif which == "unseen":
        known = {**healthy(), **healthy(FRESH, fresh.SOUND)}
        sound = {n: words for n, words in healthy(UNSEEN, known).items() if n not in known}
        faults = list(UNSEEN)
    else:
        faults = [fault for fault in FAULTS if half(fault.name) == which]
        sound = {name: words for name, words in healthy().items() if half(name) == which}
    return (
        [fault for fault in faults if not sets.missing(fault.words)],
        {name: words for name, words in sound.items() if not sets.missing(words)},
    )


def rates(which: str, folder: Path, commands: bool = True) -> dict[str, Rate]:
    """The rates of a set: detected, right, healthy and helped."""
    found = {name: Rate() for name in ("detected", "right", "healthy", "helped")}
    trainer = measure.Trainer(folder)
    faults, sound = recipes(which)
    for fault in faults:
        verdict = judged(fault.name, fault.words, folder, fault.causes)
        names = ", ".join(each.name for each in verdict.found) or "nothing"
        missed = f"{fault.name}: {names}, not {' or '.join(fault.causes)}"
        found["detected"].add(bool(verdict.found), missed)
        found["right"].add(verdict.right, missed)
        if commands and fault.mendable and verdict.found:
            command = verdict.found[0].command
            helped = bool(command) and helps(fault, command, trainer)
            found["helped"].add(helped, f"{fault.name}: {command}")
    for name, words in sound.items():
        verdict = judged(name, words, folder)
        names = ", ".join(each.name for each in verdict.found)
        found["healthy"].add(not verdict.found, f"{name}: {names}")
    return found


def main(which: str) -> None:
    """Print the rates of a set."""
    torch.set_num_threads(1)
    logging.getLogger("dlrun").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DLRUN_CACHE", f"{folder}/cache")
        for name, rate in rates(which, Path(folder)).items():
            print(f"{name}: {rate}")
            for missed in rate.missed:
                print(f"    {missed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
