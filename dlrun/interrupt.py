"""SIGINT and SIGTERM: raised at once outside the loop, noticed between steps inside it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from dlrun.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Request:
    """The signal that asked the run to stop; 0 while none has."""

    signum: int = 0


@contextmanager
def raised() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise Interrupted where the program stands."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    with _handled(stop):
        yield


@contextmanager
def deferred() -> Iterator[Request]:
    """Inside, the first signal is only noted in the Request; a second one is raised."""
    request = Request()

    def note(signum: int, frame: FrameType | None) -> None:
        if request.signum:
            raise Interrupted(signum, "at once; the last checkpoint stands")
        request.signum = signum

    with _handled(note):
        yield request


@contextmanager
def _handled(handler: "signal._HANDLER") -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number in SIGNALS}
    except ValueError:  # not in the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
