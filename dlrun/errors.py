"""Every exception that dlrun raises on purpose, and the exit code each one means.

    DlrunError            shown as one short message; DLRUN_DEBUG=1 adds the traceback
    ├── Mistake           2   the user asked for something that cannot be
    │   └── Lost          2   the weights of a run that had been trained are gone
    └── Failure           1   the run went wrong: a non-finite loss, a full disk
    Interrupted           130 or 143   SIGINT or SIGTERM; the state is saved
    └── OutOfTime         0   the time of stop_after is over

What comes out of the user's own code is shown as a message too, with its file and line; anything
else is a bug of dlrun and keeps its traceback.
"""

import os
import re
import signal
from collections.abc import Iterable, Iterator, Sequence

from dlrun.finding import NAMES


class DlrunError(Exception):
    """A message for the user: names the key, the value, and what would be right."""

    exit_code = 1


class Mistake(DlrunError):
    """Found before training: a key, a value, a file or a device that cannot be."""

    exit_code = 2

    def __init__(self, message: str, finding: str = "") -> None:
        """finding: the name of what was found, where preflight has one for it; ends the message."""
        assert not finding or finding in NAMES, finding
        super().__init__(f"{message} ({finding})" if finding else message)


class Lost(Mistake):
    """The weights of a run that had been trained are gone."""


class Failure(DlrunError):
    """Found during training: the run is marked FAILED, what it recorded is kept."""


class Interrupted(BaseException):
    """A signal asked the run to stop; the run is marked KILLED and can be resumed.

    No Exception, like KeyboardInterrupt: a library that catches all errors must not eat it.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        name = signal.Signals(signum).name
        super().__init__(message or f"by {name}")
        self.exit_code = 128 + signum


class OutOfTime(Interrupted):
    """The time of `stop_after` is over: as after a signal, but this is what was asked for."""

    def __init__(self, message: str = "by stop_after; the state is saved") -> None:
        BaseException.__init__(self, message)
        self.exit_code = 0


def refuse(wrong: Iterable[str]) -> None:
    """Raise one Mistake that names all that is wrong, each once; do nothing where nothing is."""
    if found := dict.fromkeys(wrong):
        raise Mistake("\n".join(found))


def not_negative(**values: float | None) -> None:
    """Raise ValueError for what is below 0; None is let pass."""
    for name, value in values.items():
        if value is not None and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def below_one(**values: float | Sequence[float] | None) -> None:
    """Raise ValueError for what is not at least 0 and below 1, or has such; None is let pass."""
    for name, value in values.items():
        parts = value if isinstance(value, Sequence) else [value]
        if not all(each is None or 0 <= each < 1 for each in parts):
            shown = list(value) if isinstance(value, Sequence) else value
            raise ValueError(f"{name} must be at least 0 and below 1, got {shown}")


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def led_to(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what has led to it, the latest first.

    Each once: what is raised out of its own consequence (`raise error.__cause__`) makes a ring.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def place(error: BaseException, called: bool = False) -> tuple[str, int] | None:
    """File and line of the user's own code that an error has come out of; None for dlrun's errors.

    What their code calls in torch or in any other installed package is theirs too, and in dlrun
    where it is known that they have `called` that.
    """
    import sysconfig
    import traceback  # which takes long to import

    libraries = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if file.startswith(_PACKAGE):
            if called:
                continue
            return None
        if not (file.startswith(("<", *libraries)) or _INSTALLED.search(file)):
            return file, frame.lineno or 0
    return None


_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")


def told(error: BaseException, called: bool = False) -> str:
    """The kind of an error and what it says, in one line, and the line of the user's own code."""
    kind, said, found = type(error).__name__, first_line(error), place(error, called)
    where = f" ({found[0]}:{found[1]})" if found else ""
    return f"{kind}{'' if said == kind else f': {said}'}{where}"


def brief(error: BaseException, called: bool = False) -> str:
    """What an error says, in one line; all of `told` where it has come out of the user's code."""
    return told(error, called) if place(error, called) else first_line(error)


def kind_of(value: object) -> str:
    """The kind of a value with its article, e.g. `an int`; None as it is."""
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
