"""How a failed command ends, with one short message on stderr and an exit code; warnings."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from dlrun import shell
from dlrun.errors import DlrunError, Failure, Interrupted, Mistake, place, told


def report(error: BaseException, job: str = "") -> int:
    """Print on stderr what went wrong, and in which job of a sweep; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted(2)
    if not isinstance(error, DlrunError | Interrupted) and place(error):
        owned = Failure(told(error))
        owned.__cause__, error = error, owned
    foreseen = isinstance(error, DlrunError | Interrupted)
    if not foreseen or os.environ.get("DLRUN_DEBUG") == "1":
        print(shell.clean("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, DlrunError | Interrupted):
        message, code = str(error), error.exit_code
    else:
        message, code = "dlrun did not foresee this; please report it with the lines above", 1
    kind = "stopped" if isinstance(error, Interrupted) else "error"
    named = job and not message.startswith(f"{job}: ")  # of one key, which the message is about
    said = shell.message(kind, f"{job}: {message}" if named else message)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    said = said.encode(encoding, "backslashreplace").decode(encoding)
    print(said, file=sys.stderr, flush=True)
    return code


@contextmanager
def warnings(once: bool = False) -> Iterator[None]:
    """Show what the logger `dlrun` says on stderr, while a command runs; once: each message."""
    logger = logging.getLogger("dlrun")
    logger.setLevel(logging.WARNING)  # libraries change the root logger's level on import
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain())
    said: set[str] = set()
    if once:
        handler.addFilter(lambda record: _is_new(record.getMessage(), said))
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


@contextmanager
def unless_mistaken() -> Iterator[None]:
    """Inside, warnings wait; they are dropped where a Mistake is raised, which stands alone."""
    logger, waiting = logging.getLogger("dlrun"), list[logging.LogRecord]()

    def wait(said: logging.LogRecord) -> bool:
        waiting.append(said)
        return False

    logger.addFilter(wait)
    try:
        yield
    except Mistake:
        waiting.clear()
        raise
    finally:
        logger.removeFilter(wait)
        for said in waiting:
            logger.handle(said)


def _is_new(message: str, said: set[str]) -> bool:
    """Whether a message has not been said yet."""
    known = message in said
    said.add(message)
    return not known


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shell.message(record.levelname.lower(), record.getMessage())
