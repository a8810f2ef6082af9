"""The user's own code that a recipe names, identified by the content of its files."""

import hashlib
import importlib.util
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from dlrun.recipe.signature import targets
from dlrun.recipe.view import as_written

_OTHERS = ("dlrun", "torch", "torchvision", "optuna", "mlflow")
"""Packages that are never the user's own; looking for them would import them."""


def digests(recipe: DictConfig) -> dict[str, str]:
    """A short hash of each file that a `_target_` comes from, by the name of its module.

    Leaves out installed packages. Of a package, only the named module counts.
    """
    found = {}
    for target in sorted(set(targets(as_written(recipe)))):
        module, file = _file(target)
        if file is not None:
            found[module] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return found


def edited(before: Mapping[str, str] | None, recipe: DictConfig) -> list[str]:
    """The modules whose files are not what they were. before: the digests that a record has."""
    now = digests(recipe)
    return [module for module, was in (before or {}).items() if now.get(module) != was]


def _file(target: str) -> tuple[str, Path | None]:
    """The module that a target lies in, and its file where that is the user's own."""
    parts = target.split(".")
    if parts[0] in _OTHERS:
        return target, None
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # what stands before it is no package
            continue
        if spec is not None:
            file = Path(spec.origin) if spec.has_location and spec.origin else None
            return module, None if file is None or _installed(file) else file
    return target, None


def _installed(file: Path) -> bool:
    paths = sysconfig.get_paths()
    return any(file.is_relative_to(paths[kind]) for kind in ("stdlib", "purelib", "platlib"))
