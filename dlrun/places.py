"""What a user means by a path."""

import os
from pathlib import Path


def path(text: str | Path) -> Path:
    """The path that is meant: `~` and `~user` are home directories, as in a shell."""
    return Path(os.path.expanduser(text))
