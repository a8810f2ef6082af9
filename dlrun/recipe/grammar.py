"""Why Hydra cannot read the value of an override, and what would be right."""

from collections.abc import Iterator

from dlrun import shell
from dlrun.recipe import compose

_PAIRS = {"{": "}", "[": "]", "(": ")"}
_NESTED = ("{", "[")
TEXTS = ("name", "tracking.experiment", *compose.PATHS)
"""Settings that are names and paths, which may have commas in them and at their end."""
_SIGNS = "_ - + . / * ? @ % $ |"
_KEY = f"a name in {{ }} has no quotes, and only letters A to Z and a to z, digits, and {_SIGNS}"


def unreadable(key: str, value: str) -> str:
    """What is wrong with a value that Hydra cannot read."""
    bare = value.rstrip(",")
    if bare not in (value, "") and key not in TEXTS and compose.reads(f"{key}={bare}"):
        return f"cannot be read with a comma at its end; write {shell.quote(f'{key}={bare}')}"
    nested = value[:1] in _NESTED and value.endswith(_PAIRS[value[0]])
    if nested and (found := _wrong_name(value)):
        return found
    right = f"{key}={_quoted(value) if nested else shell.quoted(value)}"
    if not nested and set(value) & set("'\""):
        return "cannot be read; a text with signs stands in one pair of quotes, from end to end"
    if compose.reads(right):
        return f"cannot be read; put {'texts' if nested else 'the value'} in quotes: " + (
            shell.quote(right)
        )
    return "cannot be read; a list is written [a, b], a mapping {name: value, other: 'a text'}"


def _wrong_name(value: str) -> str:
    """What is wrong with the first name in a mapping that cannot be one."""
    for name, item in _items(value):
        if name is None and value[0] == "{":
            return f"{item!r} in {{ }} has no value; write {{name: value}}"
        if name is not None and not compose.reads(f"key={{{name}: 1}}"):
            return f"{name.strip()} cannot be a name; {_KEY}"
        if item[:1] in _NESTED and (found := _wrong_name(item)):
            return found
    return ""


def _quoted(value: str) -> str:
    """The value with quotes around what cannot be read without them."""
    if value[:1] not in _NESTED:
        return value if compose.reads(f"key={value}") else shell.quoted(value)
    items = [("" if name is None else f"{name}: ", _quoted(item)) for name, item in _items(value)]
    inside = ", ".join(before + item for before, item in items)
    return f"{value[0]}{inside}{_PAIRS[value[0]]}"


def _items(value: str) -> Iterator[tuple[str | None, str]]:
    """What a list or a mapping in brackets holds, each with its name; None where it has none."""
    for part in filter(None, map(str.strip, _split(value[1:-1], ","))):
        name, *rest = _split(part, ":") if value[0] == "{" else [part]
        yield (name, ":".join(rest).strip()) if rest else (None, part)


def _split(text: str, sign: str) -> list[str]:
    """The parts of a text between signs that are in no brackets and no quotes."""
    parts, depth, quote, before = [""], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote and before != "\\" else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in _PAIRS) - (character in _PAIRS.values())
        before = character
        if character == sign and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
