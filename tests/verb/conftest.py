"""Runs that have been trained, for whatever is done with their records."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dlrun
from dlrun import record
from dlrun.__main__ import main

SHORT = ("epochs=2", "tracking=none", "preflight=off", "threads=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with a run on digits, one on a table of prices, and one on photos."""
    folder, before = tmp_path_factory.mktemp("home"), Path.cwd()
    os.chdir(folder)
    try:
        write_houses("houses.csv", 120)
        write_photos("photos", 40)
        words = ["data=arrays", "data.path=houses.csv", "data.target=price", "loss=mse"]
        assert main(["name=prices", *words, *SHORT]) == 0
        assert main(["name=photos", "data=imagefolder", "data.root=photos", *SHORT]) == 0
        assert main(["name=digits", *SHORT]) == 0
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def runs(home, monkeypatch):
    """The directories of these runs by their names; it is the working directory."""
    monkeypatch.chdir(home)
    found = record.all_runs("outputs")
    return {record.read_json(run / "run.json")["name"]: run for run in found}


@pytest.fixture
def read_only(monkeypatch):
    """Nothing can be written into a directory that is handed to it, as if it were another's."""
    real = tempfile.TemporaryFile

    def refuse(directory):
        def made(*args, **kwargs):
            if kwargs.get("dir") == directory:
                raise PermissionError(errno.EACCES, "Permission denied", str(directory))
            return real(*args, **kwargs)

        monkeypatch.setattr(tempfile, "TemporaryFile", made)

    return refuse


def write_houses(path, count, columns=("rooms", "area", "price"), seed=0):
    """A table of houses whose price follows from the others, nearly."""
    draw = np.random.default_rng(seed)
    rooms, area = draw.integers(1, 9, count), draw.uniform(20, 200, count).round(1)
    values = {"rooms": rooms, "area": area, "note": [f"n{k}" for k in range(count)]}
    values["price"] = (900 * area + 5000 * rooms + draw.normal(0, 3000, count)).round()
    lines = [",".join(columns)]
    lines += [",".join(str(values[name][row]) for name in columns) for row in range(count)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_photos(root, each, size=(6, 6), classes=("dark", "light"), seed=0):
    """Grey pictures of two kinds: root/<class>/<number>.png."""
    draw = np.random.default_rng(seed)
    for name in classes:
        folder = Path(root, name)
        folder.mkdir(parents=True)
        low = 0 if name == "dark" else 110
        for number in range(each):
            pixels = draw.integers(low, low + 140, size, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")


def write_trips(path, count, seed=0):
    """A table with a nameless first column, texts, dates, holes and numbers."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "city": draw.choice(["Oslo", "Rome", "Cairo"], count),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 300, count), "D"),
            "km": np.where(draw.random(count) < 0.1, np.nan, draw.uniform(1, 50, count).round(1)),
        },
        index=[f"trip {row}" for row in range(count)],
    )
    frame["late"] = np.where((frame.city == "Rome") | (frame.km > 30), "yes", "no")
    if path.suffix == ".parquet":
        frame.reset_index(names="trip id").to_parquet(path)
    else:
        frame.to_csv(path)
    return frame


@pytest.fixture(scope="module")
def trips(tmp_path_factory):
    """A run on such a table, and its directory."""
    folder = tmp_path_factory.mktemp("trips")
    write_trips(folder / "trips.csv", 200)
    words = ["data=arrays", f"data.path={folder / 'trips.csv'}", "data.target=late"]
    assert main([*words, *SHORT, f"outputs={folder / 'outputs'}", "epochs=5"]) == 0
    return folder, dlrun.open("last", folder / "outputs").directory
