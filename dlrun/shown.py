"""What may be shown and recorded: no password, and nothing that a terminal would obey."""

import re
from typing import Any

HIDDEN = "***"
_USER = re.compile(r"\b(?!sqlite:|file:)([a-z][a-z0-9+.-]*://)\S*@", re.IGNORECASE)
_QUERY = re.compile(
    r"([?&](?:password|passwd|pwd|token|secret|api_?key)=)[^&\s'\"]+", re.IGNORECASE
)
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def redacted(text: str) -> str:
    """The text without what a URI says of its user: http://***@host:5000."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text)) if "://" in text else text


def clean(text: str) -> str:
    """A message as it may be shown: control characters are written out, \\x1b for an escape."""
    return _ORDERS.sub(lambda found: _written(found[0]), redacted(text))


def name(text: object) -> str:
    """The name of a file, or a word, inside a message: of one line, whatever it holds."""
    return "".join(_written(each) if each in "\n\t" else each for each in clean(str(text)))


def plain(content: Any) -> Any:
    """Plain values with every text in them redacted."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return redacted(content) if isinstance(content, str) else content


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()
