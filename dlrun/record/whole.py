"""Whether the files of a record are whole; whoever is given a record asks here before it reads.

A recipe ends with a checksum of what stands before it, because YAML that was cut often reads
well; `sealed` in run.json says so, as older records have none. The status of a run that has ended
says how long its points are. A run that is killed while it is made lacks what is written last, the
points and the status: that is no damage.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from dlrun import shell
from dlrun.errors import Mistake, first_line
from dlrun.record import bounds, points
from dlrun.record.files import read_json, write

ABOUT, RECIPE, STATUS = "run.json", "recipe.yaml", "status.json"
TO_GO_ON = (ABOUT, RECIPE)
"""What a run needs to go on: checkpoints tell of the rest."""
FILES = (*TO_GO_ON, points.NAME, STATUS)
_SUM = b"# crc32: "


def write_recipe(directory: Path, text: str) -> None:
    """Write recipe.yaml, without any password. Raises Failure where the disk refuses it."""
    plain = shell.redacted(text)
    plain += "" if plain.endswith("\n") or not plain else "\n"
    write(directory / RECIPE, f"{plain}{_SUM.decode()}{crc32(plain.encode()):08x}\n")


def recipe(directory: Path) -> dict[str, Any]:
    """The plain values of the recipe of a record. Raises Mistake where it cannot be read."""
    check(directory, needed=(RECIPE,))
    path = directory / RECIPE
    try:
        found = bounds.read_plain(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Mistake(f"{shell.near(path)} cannot be read: {first_line(error)}") from None
    if not isinstance(found, dict) or "data" not in found:
        raise Mistake(f"{shell.near(path)} is not a recipe")
    return found


def check(directory: Path, asked: str = "", needed: Sequence[str] = FILES) -> None:
    """Raise Mistake where a file of a record is missing or damaged; asked: the word typed."""
    if why := lost(directory, needed):
        said = f"{shell.near(directory)}/{why}"
        raise Mistake(said if asked in said else f"{asked}: {said}")


def lost(directory: Path, needed: Sequence[str] = FILES) -> str:
    """The first file of a record that is missing or damaged, in words; "" where all are whole."""
    for name in needed:
        path = directory / name
        if not path.is_file():
            if name in TO_GO_ON or not _is_only_begun(directory):
                return f"{name} is missing"
        elif not _READS[name](path):
            return f"{name} {'has been changed or ' if name == RECIPE else ''}is damaged"
    return ""


def _is_only_begun(directory: Path) -> bool:
    """Whether a record has neither a status nor any point yet."""
    path = directory / points.NAME
    return not (directory / STATUS).exists() and not (path.is_file() and path.stat().st_size)


def _is_sealed(path: Path) -> bool:
    """Whether a recipe is what its checksum was taken of; one of an older record has none."""
    try:
        plain, found, told = path.read_bytes().rpartition(_SUM)
    except OSError:
        return False
    if not found:
        return not read_json(path.with_name(ABOUT)).get("sealed")
    return told == b"%08x\n" % crc32(plain)


def _has_points(path: Path) -> bool:
    """Whether some point is left, where there were any when the run ended."""
    return points.recorded(path.parent) == 0 or points.is_begun(path.parent)


_READS: Mapping[str, Callable[[Path], bool]] = {
    ABOUT: lambda path: bool(read_json(path)),
    RECIPE: _is_sealed,
    points.NAME: _has_points,
    STATUS: lambda path: bool(read_json(path)),
}
