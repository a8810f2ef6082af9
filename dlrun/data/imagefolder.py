"""A folder of images with one folder per class."""

from functools import partial
from pathlib import Path

import numpy as np

from dlrun import shell
from dlrun.data import Report, Source, blame
from dlrun.data.images.layout import lay_out, refuse_empty
from dlrun.data.images.samples import Listed, Place, read_images, read_wanted
from dlrun.data.images.scan import Found, scan
from dlrun.data.place import require_folder
from dlrun.errors import Mistake


def imagefolder(
    root: str,
    size: int | list[int] | None = None,
    resize: str = "short",
    channels: str = "auto",
    depth: int | None = None,
    background: str = "white",
    skip_bad: bool = False,
    cache: str | None = None,
    report: Report | None = None,
    partly: bool = False,
) -> Source:
    """Read root/<class>/*.jpg, or root/<split>/<class>/*.jpg where root has a folder train.

    Where all class folders hold folders of splits, root/<class>/<split>/*.jpg is meant;
    `layout.SPLITS` has the names of splits. Classes are sorted by name; folders within a class
    belong to it. A file is an image where Pillow reads its suffix.

    size: of the samples, the side of a square or [height, width]; null: all images must have
        the same size.
    resize: to that size, antialiased and bicubic: short scales the short side to fit and keeps
        the middle, squash scales each side by itself, pad scales the long side to fit and
        repeats the edge.
    channels: rgb, grey, or auto: grey where every file is stored without colour.
    depth: bits of a value, 8 to 16, where files have more than 8: 2^depth − 1 is white. null:
        the smallest of 8, 10, 12 and 16 that holds all values of the training split. Above 8,
        samples are floats from 0 to 1. Floats, and whole numbers that no depth holds, are
        taken as they are.
    background: white or black, what shows through transparent pixels.
    skip_bad: leave out files that cannot be read, with a warning, instead of failing.
    cache: where decoded images are kept; see `cache.home`.
    partly: whether classes may be empty, as nothing is to be trained on them.
    Returns x (n, channels, height, width) uint8 or float32, y (n,) int64.
    Raises ValueError for an argument out of range, Mistake for what the folder lacks.
    """
    wanted = read_wanted(size, resize, channels, depth, background)
    path = shell.path(root, "data.root").absolute()
    with blame(f"data.root={root}"):
        require_folder(path, root, "name one with a folder per class")
        try:
            found = scan(str(path))
        except OSError as error:
            raise Mistake(f"{error.filename}: {error.strerror}") from error
        place = Place(
            "imagefolder",
            path.name,
            f"data.root={root}",
            [*found.files, *((folder, 0, -1) for folder in found.folders)],
            (str(path),),
            partial(_listed, root, path, found, partly),
            cache,
            report,
            found.notes,
        )
        source = read_images(place, wanted, skip_bad)
        if not partly:  # what the cache has may have been
            shown = source.y[source.given["train"]] if "train" in source.given else source.y
            there = set(shown.tolist())
            empty = [name for i, name in enumerate(source.classes) if i not in there]
            refuse_empty(empty, found.left_out)
        return source


def _listed(root: str, path: Path, found: Found, partly: bool) -> Listed:
    files = [file for file, _, _ in found.files]
    layout = lay_out(root, files, found.folders, found.left_out, partly)
    labels = np.array(layout.labels, np.int64)
    return Listed(
        str(path), layout.paths, labels, layout.classes, layout.splits, notes=layout.notes
    )
