"""Trainings that run at once as one network: which go together, and each to its own end.

`Stacks` decides, once for each group of like recipes, and keeps that in a file, so that a command
typed again does as before. `train` does it.
"""

import gc
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from dlrun import record
from dlrun.console.siblings import Siblings
from dlrun.errors import Interrupted
from dlrun.job.training import run_of
from dlrun.procedure import BuiltRun, Training
from dlrun.procedure.train import conclude
from dlrun.recipe import identity
from dlrun.recipe.schema import AUTO, OFF

if TYPE_CHECKING:
    from dlrun.engine.run import Run
    from dlrun.engine.state import State
    from dlrun.engine.train import Member, Show
    from dlrun.job.lab import Lab

KEPT = "stacks.json"
"""What is decided, in the directory of a sweep or of a procedure's record."""
SOON = 2000  # steps in all that are over sooner than it is found out how to take them faster
_TIMED = 16  # runs that are timed at once
_NEVER = 2**30  # collections of younger garbage between two of all


@dataclass(frozen=True, eq=False)
class Wanted:
    """A training that is asked for. place: in the list. resume: the run that it goes on with."""

    lab: "Lab"
    training: Training
    resume: str | None = None
    place: int = 0

    def built(self) -> "Run":
        """Its run, without a record."""
        config, _ = self.lab.typed(self)
        self.lab.session.settled(config, {})
        lab = self.lab
        return run_of(config, self.training, lab.session, lab.rules, self.resume, lab.begins)

    @property
    def kin(self) -> str:
        """What it has in common with those that it may train with."""
        rows = {name: len(some) for name, some in (self.training.rows or {}).items()}
        changed = self.training.settings
        recipe = self.lab.recipe_of(self.training) if changed else self.lab.config
        return identity.short([identity.kin(recipe), self.training.halved, rows.get("train")])


@dataclass(frozen=True)
class Decision:
    """Of a group: how many train at once, 1 for none; how many times as fast; why they do not."""

    size: int
    gain: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Among:
    """What a run is told that trains with others: whether it fits to them, and its screen.

    id: of the stack, and size: how many they are to be.
    """

    id: str
    size: int
    fits: Callable[["Run"], bool]
    show: "Show"


@dataclass(frozen=True)
class Ended:
    """A training that has ended: its directory, and how it has failed, if it has."""

    wanted: Wanted
    directory: Path
    error: BaseException | None


@dataclass(frozen=True)
class Stack:
    """Trainings that run at once, and how many times as fast that is, where it was measured."""

    wanted: list[Wanted]
    gain: float | None

    @property
    def said(self) -> str:
        """It in one line."""
        line = f"{len(self.wanted)} runs at once as one network"
        return f"{line}, {self.gain:.1f} times as fast as one by one" if self.gain else line


class Apart(Exception):
    """A run that does not fit to the others."""


class Stacks:
    """Which trainings run at once.

    asked: `auto`, where a few steps of both ways decide, `off`, or how many.
    """

    def __init__(self, asked: int | str, file: Path) -> None:
        """file: that keeps what is decided."""
        self._asked, self._file = asked, file

    def divided(self, wanted: Sequence[Wanted]) -> list["Stack"]:
        """Those that train at once, stack by stack; all others train alone."""
        groups: dict[str, list[Wanted]] = {}
        for each in wanted if self._asked != OFF else ():
            groups.setdefault(each.kin, []).append(each)
        found = []
        for kin, group in groups.items():
            decision = self.decision(kin, group) if len(group) > 1 else Decision(1)
            if decision.size > 1:
                parts = (p for some in _side_by_side(group) for p in _parts(some, decision.size))
                found += [Stack(part, decision.gain) for part in parts if len(part) > 1]
        return found

    def decision(self, kin: str, group: Sequence[Wanted]) -> Decision:
        """How a group trains, as decided before or now."""
        key = f"{self._asked} {kin}"
        kept = record.read_json(self._file)
        if key in kept:
            found = Decision(**kept[key])
            return replace(found, size=min(found.size, _records()))  # which may be fewer by now
        found = decide(group, self._asked)
        record.write_json(self._file, kept | {key: asdict(found)})
        return found


def decide(group: Sequence[Wanted], asked: int | str) -> Decision:
    """How the trainings of a group run best; they are built for that, and not begun."""
    from dlrun.stack import apart, unfit, worth

    try:
        runs = [group[0].built()]
        if why := unfit(runs[0]):
            return Decision(1, why=why)
        if asked != AUTO:
            return Decision(min(int(asked), _records()))
        if runs[0].lengths.total_steps * len(group) < SOON:
            return Decision(1, why="they are over soon")
        others = (each.built() for each in group[1:_TIMED])
        runs += [run for run in others if not apart(runs[0], run)]
        room = worth.room(runs[0])
        if len(runs) < 2 or room < 2:
            return Decision(1, why="memory is short" if room < 2 else "they have no like")
        gain = worth.gain(runs)
    except Exception:  # is said by the one that it is about, when it is about to train
        return Decision(1, why="one of them can't be built")
    if gain < worth.LEAST:
        return Decision(1, round(gain, 2), "they are faster one after another")
    return Decision(min(len(group), room, _records()), round(gain, 2))


def _records() -> int:
    """How many records this process can hold open: each has three files."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (most - 100) // 4) if most != resource.RLIM_INFINITY else 2**20


@contextmanager
def keeping() -> Iterator[None]:
    """Inside, Python looks for garbage among young objects alone.

    What a stack is built of stays until it ends, and to look through that takes longer with each
    run: a tenth of the time of a hundred small ones.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


def train(stack: Stack, say: Callable[[str], None]) -> Iterator[Ended]:
    """Train those of a stack at once; gives each when it has ended.

    Those that do not fit to the first make another stack. Leaves out those that can't begin: they
    train alone, and say there what is wrong with them. say: is told who trains at once.
    """
    left = stack.wanted
    while len(left) > 1:
        screen = Siblings(left[0].lab.session.show)
        with ExitStack() as ends, keeping():
            ends.callback(screen.end)
            begun, left = _begin(left, ends, screen)
            for each in list(begun):
                try:
                    each.wanted.lab.check(each.wanted, each.built)
                except Exception as error:
                    begun.remove(each)
                    yield each.end(error)
            if not begun:
                return
            if len(begun) > 1:
                say(Stack([each.wanted for each in begun], stack.gain).said)
            yield from _trained(begun, screen)


def _begin(
    wanted: Sequence[Wanted], ends: ExitStack, screen: Siblings
) -> tuple[list["_Begun"], list[Wanted]]:
    """Open the records of those that fit together; gives the others too, as far as they are sound.

    ends: closes the records, however all ends.
    """
    from dlrun.stack import apart, unfit

    begun: list[_Begun] = []
    others: list[Wanted] = []

    def fits(run: "Run") -> bool:
        return not (apart(begun[0].built.run, run) if begun else unfit(run))

    id = token_hex(8)
    with record.durable_together():
        for each in wanted:
            end = ends.enter_context(ExitStack())
            among = Among(id, len(wanted), fits, screen.show(len(begun)))
            try:
                begun.append(_Begun(each, end.enter_context(each.lab.opened(each, among)), end))
            except Apart:
                others.append(each)
            except Exception:
                continue
    return begun, others


def _trained(begun: Sequence["_Begun"], screen: Siblings) -> Iterator[Ended]:
    """Train what has begun; an error of the step, which is of all at once, ends all of them."""
    from dlrun.engine import device, interrupt
    from dlrun.engine.step import SingleStep
    from dlrun.engine.train import Member, train_together
    from dlrun.stack import StackedStep, worth

    runs = [each.built.run for each in begun]
    state = _state(begun)
    members = [
        Member(each.built.run, standing, each.built.record, each.built.show)
        for each, standing in zip(begun, state.runs, strict=True)
    ]
    screen.begin(
        [run.score for run in runs],
        runs[0].monitor,
        max(run.lengths.total_steps for run in runs),
        runs[0].lengths.steps_per_epoch,
    )
    step = StackedStep(runs) if len(runs) > 1 else SingleStep(runs[0])
    left = {id(member): each for member, each in zip(members, begun, strict=True)}
    training, lab = train_together(members, state, step), begun[0].wanted.lab
    try:
        while left:
            at_once = [each.built.run for each in left.values()]
            with device.threads(worth.threads(at_once, lab.config.threads, lab.session.cores)):
                leaving = next(training)
            with record.durable_together():
                ended = [left.pop(id(member)).concluded(member) for member in leaving]
            yield from ended
    except (Exception, Interrupted) as error:
        stopped = interrupt.within(error)
        for each in left.values():
            yield each.end(stopped or error)
        if stopped is not None:
            raise stopped from None


@dataclass(frozen=True, eq=False)
class _Begun:
    """A training whose run has a record, and what ends that."""

    wanted: Wanted
    built: BuiltRun
    ends: ExitStack

    def concluded(self, member: "Member") -> Ended:
        """Record what comes after its last step, and end it."""
        built, lab = replace(self.built, state=member.ended), self.wanted.lab
        try:
            with self.ends, lab.after(self.wanted, built):
                if member.failure is not None:
                    raise member.failure
                conclude(built, lab.ending(self.wanted, built))
        except Exception as error:
            return Ended(self.wanted, built.record.directory, error)
        return Ended(self.wanted, built.record.directory, None)

    def end(self, error: BaseException) -> Ended:
        """End it by an error, which comes out in the words of its record."""
        try:
            with self.ends:
                raise error
        except (Exception, Interrupted) as told:
            error = told
        return Ended(self.wanted, self.built.record.directory, error)


def _state(begun: Sequence[_Begun]) -> "State":
    """From which all train on: the newest that all have a checkpoint of."""
    from dlrun.engine.state import begin_together, together

    states = [each.built.state for each in begun]
    if len({state.counters.step for state in states}) == 1:
        return together(states)
    return begin_together([each.built.run for each in begun], [each.built.record for each in begun])


def _side_by_side(group: Sequence[Wanted]) -> list[list[Wanted]]:
    """Those of one stack that stand at the same step, or stood there a moment ago, go together."""
    from dlrun.engine.state import steps as steps_of

    found: list[tuple[Any, set[int], list[Wanted]]] = []
    for each in group:
        known = steps_of(Path(each.resume)) if each.resume else {0}
        later = known - {0} or known
        told = record.read_json(Path(each.resume) / "run.json") if each.resume else {}
        stack = told.get("stack") if later - {0} else None
        for other, steps, some in found:
            if other == stack and steps & later:
                steps &= later
                some.append(each)
                break
        else:
            found.append((stack, later, [each]))
    return [some for *_, some in found]


def _parts(group: Sequence[Wanted], most: int) -> Iterator[list[Wanted]]:
    """A group in stacks of at most so many, as equal as can be."""
    count = -(-len(group) // most)
    for place in range(count):
        yield list(group[place * len(group) // count : (place + 1) * len(group) // count])
