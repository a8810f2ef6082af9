"""What many recipes have in common, made once."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 1000  # of a kind, so that a long sweep does not fill the memory


def once(make: Callable[[str, Any], T]) -> Callable[[str, Any], T]:
    """A function of a recipe's key and its plain value that remembers what it has made.

    Nothing may be written into what it gives.
    """
    made: dict[str, T] = {}

    @wraps(make)
    def found(key: str, value: Any) -> T:
        said = repr((key, value))
        if said not in made:
            if len(made) >= _MOST:
                made.clear()
            made[said] = make(key, value)
        return made[said]

    return found
