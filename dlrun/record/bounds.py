"""How large a file may be that somebody hands in, so that reading it comes to an end.

A few lines of YAML whose aliases stand for aliases are more values than a memory holds.
"""

from pathlib import Path
from typing import Any

import yaml

_LOADERS: list[Any] = [getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader]
"""The second takes ten times as long, but takes names that are no text, and says what is wrong."""
YAML_BYTES = 4_000_000
JSON_BYTES = 64_000_000
VALUES = 100_000
"""Values of a YAML file, each as often as it is referred to; 100 characters of text are one."""
DEPTH = 100


def read_yaml(path: Path) -> str:
    """The text of a YAML file. Raises ValueError, of one line, where it is too much to read."""
    if path.stat().st_size > YAML_BYTES:
        raise ValueError(f"is larger than {YAML_BYTES // 1_000_000} MB")
    text = path.read_text(encoding="utf-8")
    try:
        _refuse_endless(text, _LOADERS[0])
    except yaml.YAMLError:
        _refuse_endless(text, _LOADERS[1])
    return text


def read_plain(path: Path) -> Any:
    """The plain values of a YAML file that dlrun has written: 1e-3 by hand would be a text."""
    return values(read_yaml(path))


def values(text: str) -> Any:
    """The plain values of a text that `read_yaml` gives."""
    try:
        return yaml.load(text, Loader=_LOADERS[0])
    except yaml.YAMLError:
        return yaml.load(text, Loader=_LOADERS[1])


def _refuse_endless(text: str, loader: Any) -> None:
    """Raise ValueError where a text stands for too many values, or nests them too deeply.

    Looks at the marks alone, one after another, without making any value.
    """
    sizes: dict[str | None, int] = {}  # by their names; the unnamed are not asked for
    above: list[tuple[str | None, int]] = []  # of each list or mapping: its name, the values before
    size = 0
    for event in yaml.parse(text, Loader=loader):
        name = getattr(event, "anchor", None)
        match event:
            case yaml.CollectionStartEvent():
                above.append((name, size))
                size = 1
            case yaml.CollectionEndEvent():
                name, before = above.pop()
                sizes[name] = size
                size += before
            case yaml.ScalarEvent():
                sizes[name] = 1 + len(event.value) // 100
                size += sizes[name]
            case yaml.AliasEvent():
                if name not in sizes:
                    raise ValueError(f"*{name} is within itself, or nowhere")
                size += sizes[name]
        if size > VALUES:
            raise ValueError(f"stands for more than {VALUES:,} values")
        if len(above) > DEPTH:
            raise ValueError(f"is nested too deeply, in more than {DEPTH} levels")
