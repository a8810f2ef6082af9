"""The class and the split of each image, by the folders it lies in."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from dlrun import shell
from dlrun.errors import Mistake

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "holdout"),
}
"""What folders of splits are called, in upper or lower case; `train_set` is `train` too."""

Order = tuple[str, ...]
"""What the folders on the way to an image name: class, split and class, or class and split."""


@dataclass(frozen=True)
class Layout:
    """Which files are samples, and of which class and split ('' where there are none).

    notes: what was guessed or left out, a sentence each.
    """

    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    splits: list[str]
    notes: list[str] = field(default_factory=list)


def split_named(name: str) -> str:
    """The split that a folder of this name holds; empty where it is not a split."""
    word = re.sub(r"[ _.-]", "", name.lower())
    word = re.sub(r"(set|split|data|images)$", "", word)
    return next((split for split, names in SPLITS.items() if word in names), "")


def lay_out(
    root: str,
    files: Sequence[str],
    folders: Sequence[str],
    left_out: str = "",
    partly: bool = False,
) -> Layout:
    """Sort files into classes and splits: <class>/, <split>/<class>/ or <class>/<split>/.

    files, folders: paths from root, sorted. left_out: which files were no images, for messages.
    partly: whether classes may be empty. Raises Mistake for folders that fit none of these.
    """
    tops = [folder for folder in folders if os.sep not in folder]
    inner: dict[str, list[str]] = {top: [] for top in tops}
    for folder in folders:
        if folder.count(os.sep) == 1:
            inner[os.path.dirname(folder)].append(os.path.basename(folder))
    order, notes = _find_order(files, inner)
    counts: Counter[tuple[str, str]] = Counter()
    for folder in folders:
        place = _place(order, folder)
        if place is not None and folder.count(os.sep) == len(order) - 1:
            counts[place] = 0
    classes = tuple(sorted({name for split, name in counts if split in ("", "train")}))
    index = {name: i for i, name in enumerate(classes)}
    strange = sorted({name for _, name in counts if name not in index})
    if strange:
        raise Mistake(
            f"there is no folder train{os.sep}{strange[0]}, but val or test has one of that name"
        )
    layout = Layout(classes, [], [], [], notes)
    for path in files:
        place = _place(order, os.path.dirname(path))
        if place is not None:
            counts[place] += 1
            layout.paths.append(path)
            layout.labels.append(index[place[1]])
            layout.splits.append(place[0])
    if not layout.paths:
        raise Mistake(
            f"data.root={root} has no images in class folders; expected <class>{os.sep}*.jpg "
            f"or train{os.sep}<class>{os.sep}*.jpg{_beside(left_out)}"
        )
    split = "train" if any(layout.splits) else ""
    if not partly:
        refuse_empty([name for name in classes if not counts[split, name]], left_out)
    if order[-1] == "class":
        notes += _same_subfolders(root, folders, len(order))
    if outside := len(files) - len(layout.paths):
        lie = "image lies" if outside == 1 else "images lie"
        notes.append(f"{outside} {lie} outside of the class folders; left out")
    for top in tops if order[0] == "split" else ():
        if split_named(top) and split_named(top) not in layout.splits:
            notes.append(f"{top} has no images in class folders; left out")
    return layout


def _place(order: Order, folder: str) -> tuple[str, str] | None:
    """The split and the class of a folder; None outside of the class folders."""
    names = folder.split(os.sep) if folder else []
    if len(names) < len(order):
        return None
    found = dict(zip(order, names, strict=False))
    if "split" not in found:
        return "", found["class"]
    split = split_named(found["split"])
    return (split, found["class"]) if split else None


def _find_order(files: Sequence[str], inner: dict[str, list[str]]) -> tuple[Order, list[str]]:
    """The order, and notes on what was guessed; inner: the folders within each folder on top."""
    if _splits_first(list(inner), files):
        _refuse_doubled("", list(inner))
        return ("split", "class"), []
    if not _splits_last(files, inner):
        return ("class",), []
    for top, names in inner.items():
        _refuse_doubled(top, names)
    names = sorted({name for names in inner.values() for name in names})
    guess = f"all class folders have the subfolders {', '.join(names)}: taken for the splits"
    return ("class", "split"), [guess]


def _splits_first(tops: Sequence[str], files: Sequence[str]) -> bool:
    """Whether the folders on top are splits: `train` is one if it holds folders of images.

    A folder `test` without a `train` is a class, and so is a `train` that holds images itself.
    """
    named = {split_named(top) for top in tops}
    if tops and "" not in named:
        if "train" not in named:
            raise Mistake(f"it has {' and '.join(tops)}, but no folder train beside them")
        return True
    deep = {path.partition(os.sep)[0] for path in files if path.count(os.sep) > 1}
    return any(split_named(top) == "train" for top in deep)


def _splits_last(files: Sequence[str], inner: dict[str, list[str]]) -> bool:
    """Whether each class folder holds only folders of splits, train among them."""
    if not inner or any(path.count(os.sep) == 1 for path in files):
        return False
    named = [{split_named(name) for name in names} for names in inner.values()]
    return all("train" in one and "" not in one for one in named)


def _refuse_doubled(inside: str, names: Sequence[str]) -> None:
    by_split = defaultdict(list)
    for name in names:
        by_split[split_named(name)].append(os.path.join(inside, name))
    for split, same in by_split.items():
        if split and len(same) > 1:
            raise Mistake(f"{' and '.join(same)} both mean {split}; keep one of them")


def refuse_empty(classes: Sequence[str], left_out: str) -> None:
    """Raise Mistake for classes without a training image."""
    if classes:
        names = ", ".join(classes[:5])
        raise Mistake(f"class folders without images: {names}{_beside(left_out)}")


def _beside(left_out: str) -> str:
    """Which files were no images, for the end of a message."""
    are = "is" if left_out.startswith("1 ") else "are"
    return f"; there {are} {left_out}" if left_out else ""


def _same_subfolders(root: str, folders: Sequence[str], depth: int) -> list[str]:
    """A sentence where all class folders have the same subfolders, which may be the classes.

    Of a single class folder, which may be a folder too much: where it has several.
    """
    below: dict[str, list[str]] = {f: [] for f in folders if f.count(os.sep) == depth - 1}
    for folder in folders:
        if folder.count(os.sep) == depth:
            below[os.path.dirname(folder)].append(os.path.basename(folder))
    first = next(iter(below.values()), [])
    if len(first) < 2 or any(names != first for names in below.values()):
        return []
    some, tops = shell.some(first, 5), shell.some(below, 5)
    has, right = (
        "all class folders have the same",
        "name the folders above them train, val and test",
    )
    if len(below) == 1:
        has, right = "the only class folder has the", f"write data.root={os.path.join(root, tops)}"
    return [
        f"{has} subfolders ({some}), which count as parts of {tops}; where these are the classes, "
        f"{right}"
    ]
