"""What tests of sweeps share: a sweep typed in a child process, and what it left on disk."""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrun.record.sweep import Point, latest

PRELOAD = ("dlrun.sweep.command", "dlrun.recipe.build", "dlrun.report.sweep", "sklearn.datasets")
SERVER = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")

LR = "optimizer.lr=tag(log,interval(1e-3,1))"
"""A range of rates, as one types it."""


def directory(folder: Path) -> Path:
    """The one sweep below a working directory."""
    [found] = (folder / "outputs" / "sweeps").iterdir()
    return found


def points(folder: Path) -> tuple[Point, ...]:
    """The points of the one sweep below a working directory."""
    return latest(directory(folder))


def table(folder: Path) -> list[tuple[Any, ...]]:
    """What a sweep found, without what names its runs."""
    return [
        (
            point.trial,
            point.hash,
            tuple(sorted((key, str(value)) for key, value in point.values.items())),
            point.status,
            point.value,
            point.stderr,
            tuple((run.seed, run.status, run.value, run.loss, run.epochs) for run in point.runs),
        )
        for point in points(folder)
    ]


def start(words: Sequence[str], folder: Path) -> Any:
    """A child process that types the sweep in `folder`."""
    SERVER.set_forkserver_preload([*PRELOAD])
    child = SERVER.Process(target=_type, args=(words, folder))
    child.start()
    return child


def _type(words: Sequence[str], folder: Path) -> None:
    os.chdir(folder)
    with (
        open("output.txt", "a", encoding="utf-8") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        from dlrun.__main__ import main

        code = main(["-m", *words])
    os._exit(code)
