"""Comparing what two runs left, bit for bit, and spoiling it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from dlrun.engine import checkpoint


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Write a whole state, as a run does that trains alone."""
    with checkpoint.saving(state, folder):
        pass


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two states are not the same bit for bit, at any depth."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for key in a for d in differences(a[key], b[key], f"{where}/{key}")]
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, pair in pairs for d in differences(*pair, f"{where}/{i}")]
    else:
        same = a == b
    return [] if same else [where]


def flip(file: Path) -> None:
    """Change bytes in the middle of a file, as among the numbers of weights."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    file.write_bytes(content)


def timeless(points: Iterable[Mapping[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    """Of each point its step and its values, without what the clock says."""
    return [
        (point["step"], {k: v for k, v in point["values"].items() if not k.startswith("time/")})
        for point in points
    ]


def without_clock(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint without times, and without the length of a record that holds them."""
    position = {k: v for k, v in state["position"].items() if k != "elapsed"}
    window = {k: v for k, v in state["window"].items() if k != "seconds"}
    good = without_clock(state["good"]) if state.get("good") else None
    return state | {"position": position, "window": window, "recorded": 0, "good": good}
