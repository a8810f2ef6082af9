"""Standard output for what a command shows while it works."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from dlrun import shell


class Output:
    """Standard output that may be closed or full; drops what it cannot write.

    A reader that has gone away (`dlrun | head -1`) must not end hours of training.
    """

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            sys.stdout.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


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


def console() -> Console:
    """A console on standard output, whatever happens to it."""
    made = Console(file=cast(IO[str], Output()), highlight=False)
    made.push_render_hook(_Clean())
    return made
