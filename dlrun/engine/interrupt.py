"""SIGINT and SIGTERM: raised at once outside the loop, noticed between steps inside it.

Before there is a job to stop, SIGINT just ends the command, see `dlrun.__main__`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from dlrun.errors import Interrupted, led_to

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE = "at once; the last checkpoint stands"
_AGAIN = 0.05  # seconds after which a signal that came at a bad moment is sent once more


@dataclass
class Request:
    """The signal that asked the run to stop; 0 while none has."""

    signum: int = 0


_met = Request()  # the last signal that was raised, inside `raised`


@contextmanager
def raised() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise Interrupted where the program stands.

    In the midst of an import they wait for its end: Python ignores what is raised while it
    lets go of a module's lock, and a library may make another error of it. C code may, too, and
    leave no trace of the signal: whatever fails after one was stopped by it.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        if _importing(frame):
            thread = threading.get_ident()
            again = threading.Timer(_AGAIN, signal.pthread_kill, (thread, signum))
            again.daemon = True
            again.start()
        else:
            _met.signum = signum
            raise Interrupted(signum)

    before = _met.signum
    try:
        with _handled(stop):
            yield
    except Exception as error:
        if (stopped := within(error)) is not None:
            raise stopped from None
        raise
    finally:
        _met.signum = before


def within(error: BaseException | None) -> Interrupted | None:
    """The signal in what a library has made of it; None where there was none."""
    stopped = next((each for each in led_to(error) if isinstance(each, Interrupted)), None)
    lost = isinstance(error, Exception) and _met.signum
    return Interrupted(_met.signum) if lost and stopped is None else stopped


@contextmanager
def deferred() -> Iterator[Request]:
    """Inside, the first signal is only noted in the Request; a second one is raised.

    One that was raised before, and that a library has let pass, counts as the first. At the end
    that one is raised, too, which nobody has looked for since; and what fails after a second one
    was stopped by it, as in `raised`.
    """
    request, second = Request(_met.signum), Request()

    def note(signum: int, frame: FrameType | None) -> None:
        if request.signum:
            second.signum = signum
            raise Interrupted(signum, _AT_ONCE)
        request.signum = signum

    try:
        with _handled(note):
            yield request
    except Exception:
        if second.signum:
            raise Interrupted(second.signum, _AT_ONCE) from None
        raise
    if request.signum:
        raise Interrupted(request.signum)


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


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
