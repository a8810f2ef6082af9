"""Where a run comes from: the versions of what computes it, the commit of its directory."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("dlrun", "torch", "torchvision", "timm", "mlflow", "hydra-core", "numpy")


@cache
def provenance(directory: str) -> dict[str, Any]:
    """The versions, and the commit of a directory, for all runs of a command.

    It has loaded its code when it began; `provenance.cache_clear()` begins another one.
    """
    return {"versions": versions(), "git": git(directory)}


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a run computes; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = version(package)
    return found


@cache
def version(package: str) -> str:
    """Of an installed package, which reading its metadata takes a millisecond to tell."""
    return metadata.version(package)


def git(directory: str | Path = ".") -> dict[str, Any]:
    """The commit of the working directory, and whether tracked files differ from it.

    Empty outside a repository, and where git is missing or slow.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.splitlines()
    heads = [line.removeprefix("# branch.oid ") for line in lines if "branch.oid" in line]
    if done.returncode or not heads:
        return {}
    return {"commit": heads[0], "dirty": any(not line.startswith("#") for line in lines)}
