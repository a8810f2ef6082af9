"""Standard output for what a command shows while it works."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from dlrun import shell
from dlrun.errors import Failure


@dataclass(frozen=True)
class Output:
    """Standard output, or another stream of sys, that may be closed or full.

    Drops what it cannot write: a reader that has gone away (`dlrun | head -1`) must not end hours
    of training.
    """

    name: str = "stdout"

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError, Failure):
            getattr(sys, self.name).write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError, Failure):
            getattr(sys, self.name).flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(sys, self.name), name)


class _Clean(RenderHook):
    """Removes control sequences, which the name of a file may contain."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """What is printed, each part cleaned."""
        return [_Pieces(each) for each in renderables]


@dataclass
class _Pieces:
    what: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for piece in console.render(self.what, options):
            yield piece if piece.control else Segment(shell.clean(piece.text), piece.style)


def console(stream: str = "stdout") -> Console:
    """A console on standard output or `stderr`, whatever happens to it."""
    made = Console(file=cast(IO[str], Output(stream)), highlight=False)
    made.push_render_hook(_Clean())
    return made


def wide() -> Console:
    """A console on standard output that cuts no line of a table where nobody watches."""
    made = console()
    if not made.is_terminal:
        made.width = 10_000
    return made


def say(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: brackets are no markup, and no line is broken."""
    console.print(text, style=style or None, markup=False, soft_wrap=True)
