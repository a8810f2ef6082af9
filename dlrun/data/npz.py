"""What is wrong with a file of numpy's arrays, and how to write a right one."""

import zipfile
from pathlib import Path

_NPY = b"\x93NUMPY"
SAVED = "numpy.savez(file, x=x, y=y) writes one"
"""How to write a right one."""


def objects(name: str) -> str:
    """Of an array whose values are Python's own objects, which only running code could read."""
    numbers = name.startswith("x")
    kind = f"numbers: {name}.astype('float32')" if numbers else f"texts: {name}.astype(str)"
    return f"{name} holds Python objects, which are not read; save e.g. {kind}"


def not_npz(file: Path) -> str:
    """Why a file is no .npz; "" where it is one."""
    if zipfile.is_zipfile(file):
        return ""
    with file.open("rb") as stream:
        head = stream.read(6)
    if not head:
        return "it is empty"
    if head == _NPY:
        return f"it is one array, an .npy, and no .npz; {SAVED}"
    if head.startswith(b"PK"):
        return "it is cut off: its end is missing; copy it or write it again"
    return f"it is not an .npz file; {SAVED}"


def not_npy(file: Path) -> str:
    """Why a file is no .npy; "" where it is one."""
    with file.open("rb") as stream:
        head = stream.read(6)
    if not head:
        return "it is empty"
    return "" if head == _NPY else "it is not an .npy file; numpy.save(file, x) writes one"


def damaged(error: Exception) -> str:
    """Of a file whose content is not what it was."""
    return f"it is damaged ({error}); copy it or write it again"
