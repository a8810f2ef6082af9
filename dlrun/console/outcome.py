"""How a failed command ends: one short message on stderr and an exit code."""

import os
import sys
import traceback

from dlrun import shell
from dlrun.errors import DlrunError, Interrupted


def report(error: BaseException, job: str = "") -> int:
    """Print on stderr what went wrong, and in which job of a sweep; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted(2)
    foreseen = isinstance(error, DlrunError | Interrupted)
    if not foreseen or os.environ.get("DLRUN_DEBUG") == "1":
        print(shell.clean("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, DlrunError | Interrupted):
        message, code = str(error), error.exit_code
    else:
        message, code = "dlrun did not foresee this; please report it with the lines above", 1
    kind = "stopped" if isinstance(error, Interrupted) else "error"
    said = shell.message(kind, f"{job}: {message}" if job else message)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    said = said.encode(encoding, "backslashreplace").decode(encoding)
    print(said, file=sys.stderr, flush=True)
    return code
