"""The command. Imports nothing before SIGINT is handled; a mistake becomes one short message.

dlrun [key=value ...]           train one recipe
dlrun -m key=a,b ...            train every combination
dlrun resume=last ...           go on with a run
dlrun <verb> [run ...]          do something with what has been recorded: list, evaluate, ...
dlrun --help [group|option|key] what can be chosen
"""

# Not `signal`, which makes enumerations of it: that takes longer than all of the rest here.
import _signal  # type: ignore[import-not-found]
import io
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:  # known without importing typing
    from collections.abc import MutableMapping, Sequence

_WAITING = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}


def console() -> None:
    """The command `dlrun`."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # else it is ignored
        _signal.signal(_signal.SIGINT, _leave)
    wait_briefly(os.environ)
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    os._exit(_guarded())  # all is written; taking torch and mlflow apart would cost another second


def _guarded() -> int:
    """Run the command; its exit code, 1 where standard output could not be written."""
    from dlrun.console.outcome import report
    from dlrun.console.standard import Standard
    from dlrun.errors import Failure

    out, sys.stderr = Standard(sys.stdout, drops=False), Standard(sys.stderr, drops=True)
    sys.stdout = out
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError, Failure):  # the reader has seen enough, or it is said below
            stream.flush()
    return code or (report(Failure(out.lost)) if out.lost else 0)


def _open_closed() -> None:
    """Open /dev/null in the place of standard streams that are closed, as with >&-.

    On their own descriptors: the next file to be opened would get one of these, and what any
    library prints with it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened == number:
                os.set_inheritable(number, True)  # as dup2 makes it
            else:
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _leave(signum: int, frame: object) -> None:
    """End the command at SIGINT where no job is under way, and nothing is to be kept."""
    try:
        sys.stdout.flush()
        os.write(2, b"stopped: by SIGINT\n")
    finally:
        os._exit(128 + signum)


def wait_briefly(environment: "MutableMapping[str, str]") -> None:
    """Let torch's threads spin only briefly for their next work, unless the user has said how.

    Beside other busy processes spinning takes the cores from the threads that it waits for.
    OpenMP reads this when torch is imported.
    """
    if not _WAITING & environment.keys():
        environment["GOMP_SPINCOUNT"] = "10000"


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; returns its exit code. Can be called many times in a process."""
    from dlrun.console.outcome import report
    from dlrun.engine import interrupt
    from dlrun.errors import Failure, Interrupted

    words = list(sys.argv[1:] if argv is None else argv)
    modules = list(sys.path)
    try:
        sys.path.append(_here())  # the user's own modules, e.g. model._target_=mynet.Net
        from dlrun.cli import command

        return command.run(words)
    except BrokenPipeError:  # dlrun --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except SystemExit as stop:
        return report(Failure(f"{_where(stop)}: ended the program with sys.exit({stop.code!r})"))
    except (Exception, KeyboardInterrupt, Interrupted) as error:
        return report(interrupt.within(error) or error)
    finally:
        sys.path[:] = modules


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        from dlrun.errors import Mistake

        raise Mistake("the working directory is gone; cd to one that exists") from None


def _where(error: BaseException) -> str:
    """The file and line that an error comes from."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


if __name__ == "__main__":
    console()
