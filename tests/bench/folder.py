"""Folders of the commands that are timed, which stay until the benchmark ends.

For minutes after thousands of files are deleted, ext4 takes up to ten times as long to make new
ones, since it passes over every inode that was freed lately.
"""

import tempfile

_ALL = tempfile.TemporaryDirectory(prefix="dlrun-bench-")


def new() -> str:
    """An empty folder."""
    return tempfile.mkdtemp(dir=_ALL.name)
