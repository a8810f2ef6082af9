"""The command. Imports nothing heavy; a mistake of the user becomes one short message.

dlrun [key=value ...]           train one recipe
dlrun -m key=a,b ...            train every combination
dlrun resume=last ...           go on with a run
dlrun sync [run ...]            deliver what a tracking server has missed
dlrun --help [group[=option]]   what can be chosen
"""

import os
import sys
from collections.abc import Sequence

from dlrun import flags
from dlrun.errors import Mistake
from dlrun.flags import Flags
from dlrun.outcome import report


def console() -> None:
    """The command `dlrun`."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Can be called many times in a process."""
    words = list(sys.argv[1:] if argv is None else argv)
    modules = list(sys.path)
    sys.path.append(os.getcwd())  # the user's own modules, e.g. model._target_=mynet.Net
    try:
        return _dispatch(words)
    except BrokenPipeError:  # dlrun --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return report(error)
    finally:
        sys.path[:] = modules


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["sync"]:
        return _sync(words[1:])
    asked = flags.parse(words)
    if asked.version:
        from importlib.metadata import version

        print(f"dlrun {version('dlrun')}")
        return 0
    if asked.help:
        from dlrun import help

        print(help.text(asked.words, asked.directories()), end="")
        return 0
    if not asked.completion:
        _check_form(asked)
    from dlrun import command

    return command.run(asked, ["dlrun", *words])


def _check_form(asked: Flags) -> None:
    for word in asked.words:
        if "=" not in word and not word.startswith("~"):
            near = flags.nearest(word, ["sync"], "dlrun {}")
            raise Mistake(f"{word}: write key=value, e.g. epochs=20{near}")


def _sync(words: list[str]) -> int:
    outputs = [word.partition("=")[2] for word in words if word.startswith("outputs=")]
    runs = [word for word in words if not word.startswith("outputs=")]
    wrong = [word for word in runs if word.startswith("-") or "=" in word]
    if wrong:
        raise Mistake(f"{wrong[0]}: write dlrun sync [run ...] [outputs=directory]")
    from dlrun.tracking import sync

    sync.sync(outputs[-1] if outputs else "outputs", runs)
    return 0


if __name__ == "__main__":
    console()
