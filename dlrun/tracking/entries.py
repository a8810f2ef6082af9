"""A recipe and a record in MLflow's terms: params, tags and the data set."""

import getpass
import json
import re
from functools import lru_cache
from typing import Any

import yaml

from dlrun import shell
from dlrun.record import bounds

KEY_LIMIT = 250
VALUE_LIMIT = 6000
TAG_LIMIT = 5000

_LEFT_OUT = ("name", "outputs", "resume", "tracking", "expect", "short")
_BLOCK = re.compile(r"^(?=[^\s#])", re.MULTILINE)  # where a key of the recipe begins
_ILLEGAL = re.compile(r"[^\w\-. /]", re.ASCII)


def params(
    recipe: str, choices: dict[str, str] | None = None, limit: int = VALUE_LIMIT
) -> dict[str, str]:
    """The recipe as dotted params, the chosen options (`optimizer: adam`) first.

    Lists are written out, long values end in an ellipsis, illegal characters become `_`.
    """
    flat = dict(choices or {}) | dict(_settings(recipe))
    legal: dict[str, str] = {}
    for key, value in flat.items():
        unique = name = legal_key(key)
        count = 2
        while unique in legal:
            unique, count = f"{name[: KEY_LIMIT - 4]}_{count}", count + 1
        legal[unique] = shorten(value, limit)
    return legal


def _settings(recipe: str) -> list[tuple[str, str]]:
    """The settings of a recipe, block by block: those of many runs differ in a few of them."""
    try:
        return [each for block in _BLOCK.split(recipe) for each in _of_block(block)]
    except (ValueError, yaml.YAMLError):  # a block that means nothing without the others
        return [*_of_block(recipe)]


@lru_cache(1000)
def _of_block(block: str) -> tuple[tuple[str, str], ...]:
    """The settings of a text. Raises ValueError where it is no mapping."""
    content = bounds.values(block) or {}
    if not isinstance(content, dict):
        raise ValueError("is no mapping")
    return tuple(flatten({key: each for key, each in content.items() if key not in _LEFT_OUT}))


def flatten(content: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted keys and their values as text; leaves out empty mappings."""
    flat = []
    for key, value in content.items():
        if isinstance(value, dict):
            flat += flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", shell.typed(value)))
    return flat


@lru_cache(10_000)  # the points of a run have few keys, and those of others the same
def legal_key(key: str) -> str:
    """The key, with `_` for every character that MLflow refuses."""
    parts = [part if part.strip(".") else "_" for part in _ILLEGAL.sub("_", key).split("/")]
    return "/".join(parts)[:KEY_LIMIT]


def shorten(value: str, limit: int) -> str:
    """At most `limit` characters, the last an ellipsis where something was cut."""
    value = value.encode(errors="backslashreplace").decode()  # a path need not be UTF-8
    return value if len(value) <= limit else value[: limit - 1] + "…"


def tags(info: dict[str, Any]) -> dict[str, str]:
    """What `run.json` says about where a run comes from; its own `tags` win."""
    git = info.get("git") or {}
    found = {
        "dlrun.id": info.get("id"),
        "dlrun.uid": info.get("uid"),
        "command": info.get("command"),
        "cwd": info.get("cwd"),
        "host": info.get("host"),
        "device": info.get("device"),
        "git.commit": git.get("commit"),
        "git.dirty": git.get("dirty"),
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": info.get("command"),
        "mlflow.source.git.commit": git.get("commit"),
    }
    found["dlrun.findings"] = " ".join(each["name"] for each in info.get("findings", ()))
    found |= {f"versions.{name}": version for name, version in info.get("versions", {}).items()}
    found |= info.get("tags") or {}
    return {
        legal_key(key): shorten(shell.typed(value), TAG_LIMIT)
        for key, value in found.items()
        if value is not None and value != ""
    }


def dataset(info: dict[str, Any]) -> dict[str, str] | None:
    """The data set as MLflow's Dataset takes it, or None where the record names none."""
    data = dict(info.get("data") or {})
    name, digest = data.pop("name", None), data.pop("digest", None)
    if not name or not digest:
        return None
    if columns := (data.get("reading") or {}).get("columns"):  # run.json has the rest
        data["reading"] = {"columns": {each["name"]: each["kind"] for each in columns}}
    return {
        "name": str(name)[:500],
        "digest": str(digest)[:36],
        "source_type": "dlrun",
        "source": json.dumps({"data": str(name)}),
        "profile": shorten(json.dumps(data, default=str), VALUE_LIMIT),
    }


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user id, as in some containers
        return None
