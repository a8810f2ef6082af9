"""The data of the planted faults, made from a file's name: the same name gives the same arrays.

A name says which set it is and, where something is wrong with it, what and how much:

    digits.npz    digits-relabelled-0.4.npz    quantiles.csv

An .npz file has fixed training, validation and test splits, so that a broken set and its sound
twin differ in what is broken alone; a .csv file leaves the splits to the recipe. Photographs are
CIFAR-10's, from the folder that $DLRUN_CIFAR10 names (train/<class>/0000.jpg ...).
"""

import os
import shlex
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

Array = NDArray[Any]
Arrays = dict[str, Array]  # x_train, y_train, x_val, y_val, x_test, y_test
Generator = np.random.Generator

CIFAR10 = "DLRUN_CIFAR10"
_OF_CIFAR10 = ("cifar", "scenes")
FOLDER = "{sets}"
"""Stands in a recipe for the folder of the files."""
_PHOTOGRAPHED = ("airplane", "automobile", "frog")
_PHOTOGRAPHS = 600  # of each class
_SCENES = ("deer", "horse", "ship", "truck")
_SHAPES = ("row", "column", "diagonal", "cross", "ring", "disc")


def typed(words: str, folder: Path) -> list[str]:
    """The words of a recipe as a shell would hand them over; makes the files that it reads."""
    given = shlex.split(words.replace(FOLDER, str(folder)))
    for word in given:
        if word.startswith("data.path="):
            make(Path(word.partition("=")[2]))
    return given


def missing(words: str) -> bool:
    """Whether a recipe needs photographs, and nothing says where they are."""
    return CIFAR10 not in os.environ and any(f"{FOLDER}/{name}" in words for name in _OF_CIFAR10)


def make(file: Path) -> None:
    """Make a file unless it is there."""
    if file.exists():
        return
    made = read(file.stem)
    partial = file.with_name(f"{os.getpid()}-{file.name}")
    if file.suffix == ".csv":
        _write_table(partial, made)
    else:
        np.savez(partial, **made)
    partial.replace(file)


def read(name: str) -> Arrays:
    """The arrays that a name stands for."""
    base, *change = name.split("-")
    made = BASES[base]()
    if change:
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        made |= CHANGES[change[0]](made, float(change[1]), generator)
    return made


def digits() -> Arrays:
    """Handwritten digits, 8×8 uint8 in ten classes: 1,000 / 400 / 397."""
    x, y = datasets.load_digits(return_X_y=True)
    return _dealt((x * 15).astype(np.uint8).reshape(-1, 8, 8), y, 1000, 400)


def quantiles() -> Arrays:
    """Three classes in shells about the origin of four dimensions: 1,200 / 400 / 400.

    No plane tells them apart.
    """
    x, y = datasets.make_gaussian_quantiles(
        n_samples=2000, n_features=4, n_classes=3, random_state=0
    )
    return _dealt(x.astype(np.float32), y, 1200, 400)


def cancer() -> Arrays:
    """Tumours, good or bad, in 30 measurements of very different scales: 340 / 115 / 114.

    Street, Wolberg, Mangasarian 1993.
    """
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return _dealt(x.astype(np.float32), y, 340, 115)


def friedman() -> Arrays:
    """10·sin(π·x₁x₂) + 20·(x₃ − ½)² + 10·x₄ + 5·x₅ + noise, ten inputs: 1,200 / 400 / 400.

    Friedman 1991.
    """
    x, y = datasets.make_friedman1(n_samples=2000, n_features=10, noise=0.5, random_state=0)
    return _dealt(x.astype(np.float32), y.astype(np.float32), 1200, 400)


def ripples() -> Arrays:
    """cos(2·r) + noise, r the distance of two normal inputs from the origin: 1,200 / 400 / 400."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2000, 2))
    y = np.cos(2 * np.hypot(*x.T)) + 0.05 * generator.standard_normal(2000)
    return _dealt(x.astype(np.float32), y.astype(np.float32), 1200, 400)


def cifar() -> Arrays:
    """Photographs of CIFAR-10 in three classes, 32×32 RGB: 1,200 / 400 / 200."""
    return _dealt(*_photographs(_PHOTOGRAPHED, _PHOTOGRAPHS, 32), 1200, 400)


@cache
def _photographs(names: tuple[str, ...], of_each: int, side: int) -> tuple[Array, Array]:
    from PIL import Image

    folder = Path(os.environ[CIFAR10]) / "train"
    files = [folder / name / f"{n:04}.jpg" for name in names for n in range(of_each)]
    size, box = (side, side), Image.Resampling.BOX
    images = [Image.open(file).convert("RGB").resize(size, box) for file in files]
    x = np.stack([np.asarray(image) for image in images])
    return x.transpose(0, 3, 1, 2), np.repeat(np.arange(len(names)), of_each)


def scenes() -> Arrays:
    """Photographs of CIFAR-10 in four other classes, 16×16 RGB: 2,000 / 700 / 500."""
    return _dealt(*_photographs(_SCENES, 800, 16), 2000, 700)


def shapes() -> Arrays:
    """Six drawn shapes near the middle of a noisy 12×12 uint8 image: 1,800 / 600 / 600."""
    generator = np.random.default_rng(0)
    y = np.arange(3000) % len(_SHAPES)
    x = np.stack([_drawn(_SHAPES[label], generator) for label in y])
    return _dealt(x, y, 1800, 600)


def _drawn(shape: str, generator: Generator) -> Array:
    half, middle = int(generator.integers(2, 5)), generator.integers(4, 8, 2)
    down, right = np.indices((12, 12)) - middle[:, None, None]
    far = np.maximum(abs(down), abs(right))
    on = {
        "row": down == 0,
        "column": right == 0,
        "diagonal": down == right,
        "cross": (down == 0) | (right == 0),
        "ring": far == half,
        "disc": np.hypot(down, right) <= half,
    }[shape] & (far <= half)
    drawn = 40 + on * generator.uniform(60, 160) + 15 * generator.standard_normal((12, 12))
    return drawn.clip(0, 255).astype(np.uint8)


def moons() -> Arrays:
    """Two half circles of points that clasp each other, in the plane: 900 / 400 / 400."""
    x, y = datasets.make_moons(1700, noise=0.15, random_state=0)
    return _dealt(x.astype(np.float32), y, 900, 400)


def blends() -> Arrays:
    """Four classes of two Gaussian clusters each in twelve dimensions: 1,800 / 600 / 600.

    Guyon 2003, as scikit-learn's make_classification has it.
    """
    x, y = datasets.make_classification(
        *(3000, 12), n_informative=8, n_redundant=0, n_classes=4, n_clusters_per_class=2,
        class_sep=1.5, random_state=0,
    )  # fmt: skip
    return _dealt(x.astype(np.float32), y, 1800, 600)


def wine() -> Arrays:
    """Wines of three growers by 13 measurements of very different scales: 90 / 44 / 44.

    Forina et al. 1988.
    """
    x, y = datasets.load_wine(return_X_y=True)
    return _dealt(x.astype(np.float32), y, 90, 44)


def impedances() -> Arrays:
    """√(x₁² + (x₂·x₃ − 1/(x₂·x₄))²) + noise, inputs of very different scales: 1,200 / 500 / 500.

    Friedman 1991, his second function.
    """
    x, y = datasets.make_friedman2(2200, noise=60, random_state=0)
    return _dealt(x.astype(np.float32), y.astype(np.float32), 1200, 500)


def phases() -> Arrays:
    """arctan((x₂·x₃ − 1/(x₂·x₄))/x₁) + noise: 2,400 / 800 / 800. Friedman 1991, his third."""
    x, y = datasets.make_friedman3(4000, noise=0.12, random_state=0)
    return _dealt(x.astype(np.float32), y.astype(np.float32), 2400, 800)


def diabetes() -> Arrays:
    """How a disease went on in a year, by ten measurements: 262 / 90 / 90. Efron et al. 2004."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return _dealt(x.astype(np.float32), y.astype(np.float32), 262, 90)


def _dealt(x: Array, y: Array, train: int, val: int) -> Arrays:
    """Shuffled; so many for training and validation, the rest for test."""
    order = np.random.default_rng(0).permutation(len(x))
    parts = zip(("train", "val", "test"), np.split(order, [train, train + val]), strict=True)
    return {f"{part}_{split}": a[rows] for split, rows in parts for part, a in (("x", x), ("y", y))}


def relabelled(made: Arrays, share: float, generator: Generator) -> Arrays:
    """A share of the training samples have another class, or the target of another sample."""
    y = made["y_train"].copy()
    wrong = generator.permutation(len(y))[: round(share * len(y))]
    if y.dtype.kind == "f":
        y[wrong] = generator.permutation(y[wrong])
    else:
        classes = y.max() + 1
        y[wrong] = (y[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return {"y_train": y}


def thinned(made: Arrays, share: float, generator: Generator) -> Arrays:
    """A share of the training samples is left."""
    return _training(made, np.arange(round(share * len(made["y_train"]))))


def rare(made: Arrays, share: float, generator: Generator) -> Arrays:
    """A share of the training samples of the upper half of the classes is left."""
    y = made["y_train"]
    return _training(made, np.flatnonzero((y < y.max() / 2) | (generator.random(len(y)) < share)))


def single(made: Arrays, label: float, generator: Generator) -> Arrays:
    """The training samples are all of one class."""
    return _training(made, np.flatnonzero(made["y_train"] == label))


def overlapped(made: Arrays, share: float, generator: Generator) -> Arrays:
    """A share of the training samples stand there once more, as the class after their own."""
    x, y = made["x_train"], made["y_train"]
    twice = generator.permutation(len(y))[: round(share * len(y))]
    again = (y[twice] + 1) % (y.max() + 1)
    return {"x_train": np.concatenate([x, x[twice]]), "y_train": np.concatenate([y, again])}


def leaked(made: Arrays, share: float, generator: Generator) -> Arrays:
    """A share of the test samples stand among the training samples, too."""
    some = slice(round(share * len(made["y_test"])))
    return {
        f"{part}_train": np.concatenate([made[f"{part}_train"], made[f"{part}_test"][some]])
        for part in "xy"
    }


def noised(made: Arrays, amount: float, generator: Generator) -> Arrays:
    """Training inputs with normal noise, in units of their spread."""
    x = made["x_train"]
    noise = amount * x.std(0 if x.ndim == 2 else None) * generator.standard_normal(x.shape)
    noisy = x + noise
    return {"x_train": (noisy.clip(0, 255) if x.dtype == np.uint8 else noisy).astype(x.dtype)}


def shifted(made: Arrays, amount: float, generator: Generator) -> Arrays:
    """Validation images lightened towards white, or inputs moved in units of their spread."""
    x = made["x_val"]
    if x.dtype == np.uint8:
        return {"x_val": (x + amount * (255.0 - x)).astype(np.uint8)}
    return {"x_val": (x + amount * x.std(0)).astype(x.dtype)}


def turned(made: Arrays, quarters: float, generator: Generator) -> Arrays:
    """Validation images turned by so many quarters."""
    return {"x_val": np.rot90(made["x_val"], int(quarters), (-2, -1)).copy()}


def scaled(made: Arrays, factor: float, generator: Generator) -> Arrays:
    """Images as floats from 0 to 255·factor; of a table every second input times the factor."""
    names = [name for name in made if name.startswith("x_")]
    x = made["x_train"]
    by = factor if x.ndim > 2 else np.where(np.arange(x.shape[1]) % 2, factor, 1.0)
    return {name: (made[name] * by).astype(np.float32) for name in names}


def padded(made: Arrays, columns: float, generator: Generator) -> Arrays:
    """A table with so many columns of noise beside its own, and 400 training samples."""
    wide = {
        name: np.hstack([a, generator.standard_normal((len(a), int(columns)), dtype=np.float32)])
        for name, a in made.items()
        if name.startswith("x_")
    }
    return wide | {"x_train": wide["x_train"][:400], "y_train": made["y_train"][:400]}


def _training(made: Arrays, rows: Array) -> Arrays:
    return {name: made[name][rows] for name in ("x_train", "y_train")}


def _write_table(file: Path, made: Arrays) -> None:
    """All samples, the target in the last column, y."""
    x, y = (
        np.concatenate([made[f"{part}_{s}"] for s in ("train", "val", "test")]) for part in "xy"
    )
    names = [f"x{i}" for i in range(1, x.shape[1] + 1)]
    lines = [",".join([*names, "y"])]
    lines += [
        ",".join(map(str, [*row, target]))
        for row, target in zip(x.tolist(), y.tolist(), strict=True)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _named(made: Sequence[Callable[..., Arrays]]) -> dict[str, Callable[..., Arrays]]:
    return {each.__name__: each for each in made}


BASES = _named(
    [
        *(digits, quantiles, cancer, friedman, ripples, cifar),
        *(moons, blends, wine, impedances, phases, diabetes, shapes, scenes),
    ]
)
CHANGES = _named(
    [relabelled, thinned, rare, single, overlapped, leaked, noised, shifted, turned, scaled, padded]
)
