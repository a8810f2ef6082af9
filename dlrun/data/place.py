"""Whether what a setting names is there, and is a file or a folder as it must be."""

import os
from pathlib import Path

from dlrun import shell
from dlrun.data.images.scan import suffixes
from dlrun.data.tables.file import FORMS
from dlrun.errors import Mistake

STORED = (".npz", ".safetensors")
"""How the names of files with arrays end."""


def require_file(path: Path, typed: str) -> None:
    """Raise Mistake where there is no such file; of a folder it says what reads that.

    typed: the path as the user has it.
    """
    if path.is_dir():
        raise Mistake(f"it is a folder, not a file{_within(path, typed)}")
    if not path.is_file():
        raise Mistake("there is no such file")


def require_folder(path: Path, typed: str, right: str) -> None:
    """Raise Mistake where there is no such folder; of a file it says what reads that.

    typed: the path as the user has it. right: which folder to name.
    """
    if path.is_file():
        reads = shell.line(["data=arrays", shell.setting("data.path", typed)])
        known = path.suffix.lower() in (*STORED, *FORMS)
        raise Mistake(f"it is a file, not a folder; {f'{reads} reads it' if known else right}")
    if not path.is_dir():
        raise Mistake(f"there is no such folder; {right}")


def _within(folder: Path, typed: str) -> str:
    """What reads the first table, arrays or image in a folder; empty where there is none."""
    for inside, _, names in os.walk(folder):
        for name in sorted(names):
            end = os.path.splitext(name)[1].lower()
            if end in (*STORED, *FORMS):
                there = os.path.join(typed, os.path.relpath(inside, folder), name)
                right = shell.setting("data.path", os.path.normpath(there))
                return f"; {shell.quote(right)} is a file in it"
            if end in suffixes():
                right = shell.line(["data=imagefolder", shell.setting("data.root", typed)])
                return f"; {right} reads the images in it, one folder per class"
    return ""
