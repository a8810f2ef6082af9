"""What a user means by a path."""

import os
from pathlib import Path

from dlrun.errors import Mistake


def path(text: str | Path, key: str) -> Path:
    """The path that is meant: `~` and `~user` are home directories, as in a shell.

    Raises Mistake where no path can be so: one with a name of more than 255 bytes, say.
    """
    meant = os.path.expanduser(text)
    try:
        os.lstat(meant)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        short = str(text) if len(str(text)) <= 80 else f"{str(text)[:60]}…"
        raise Mistake(f"{key}={short}: {getattr(error, 'strerror', None) or error}") from None
    return Path(meant)
