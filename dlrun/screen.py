"""Standard output for what a command shows while it works."""

import sys
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console


class Output:
    """Standard output that may be closed or full: what cannot be shown is left out.

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


def console() -> Console:
    """A console on standard output, whatever happens to that."""
    return Console(file=cast(IO[str], Output()), highlight=False)
