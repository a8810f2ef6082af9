"""The standard streams of a command, and what is said where one cannot be written."""

from dataclasses import dataclass
from typing import IO, Any

from dlrun.errors import Failure


@dataclass
class Standard:
    """Standard output, or the stream of errors, which drops what it cannot write.

    lost: why something that was written is nowhere; "" where all is there, or the reader of a pipe
    has gone, who has seen enough.
    """

    stream: IO[str]
    drops: bool
    lost: str = ""

    def write(self, text: str) -> int:
        """Write a text. Raises Failure where that cannot be done, and it is not to be dropped."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush what is written. Raises Failure as `write` does."""
        try:
            self.stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.lost = f"cannot write to standard output: {error.strerror or error}"
        if not self.drops:
            raise Failure(self.lost) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
