"""Check the arguments of a `_target_` before it is called: their names and their types."""

import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, Union

from dlrun.duration import Steps
from dlrun.errors import Mistake, told
from dlrun.recipe import suggest
from dlrun.shell import quote, shown, spelled

LARGEST = 2**63 - 1
"""The largest whole number: torch keeps them in 64 bits."""
MOST = 1e30
"""The largest of other numbers: its product with a few others fits into float32."""


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool) and not _beyond(value)


def _is_list(value: object) -> typing.TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _beyond(value: object) -> str:
    """Why a number, or one in a list, is out of range; empty where it is not."""
    if _is_list(value):
        return next(filter(None, map(_beyond, value)), "")
    if isinstance(value, float) and not isfinite(value):
        return "must be a finite number"
    if isinstance(value, float) and abs(value) > MOST:
        return f"is too large; numbers end at {MOST:g}"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"is too large; whole numbers end at {LARGEST}"
    return ""


_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: _is_number(value, int)),
    float: ("a number", lambda value: _is_number(value, int, float)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("text", lambda value: isinstance(value, str)),
    type(None): ("null", lambda value: value is None),
    list: ("a list", _is_list),
    Sequence: ("a list", _is_list),
    tuple: ("a list", _is_list),
    dict: ("a mapping", lambda value: isinstance(value, Mapping)),
    Callable: ("a function", lambda value: isinstance(value, Mapping) or callable(value)),
    Steps: (
        "a duration such as '5 epochs'",
        lambda value: isinstance(value, str | int | float) and not isinstance(value, bool),
    ),
}
"""The types that YAML can write: each in words, and a test of a value."""


def problems(target: str, kwargs: Mapping[str, Any], key: str, partial: bool = True) -> list[str]:
    """What is wrong with the arguments of a `_target_`, one message each.

    key: where the arguments stand in the recipe, e.g. `optimizer`.
    partial: more arguments follow later, so that none can be missing yet.
    """
    try:
        function = find(target, key)
    except Mistake as mistake:
        return [str(mistake)]
    name = target.rpartition(".")[2]
    taken = parameters(function)
    if taken is None:
        return []
    named = {
        p.name: p for p in taken.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    hints = _hints(function)
    wrong, unknown = [], []
    for argument, value in kwargs.items():
        if argument in named:
            hint, usual = hints.get(argument, Any), named[argument].default
            usual_value = type(value) is type(usual) and value == usual  # inf, say, for no bound
            if not usual_value and not fits(value, hint):
                right = expected(hint)
                right = ("number" in right and _beyond(value)) or f"expected {right}"
                if hint is str and isinstance(usual, str) and usual:
                    right += f", such as {usual}"
                else:
                    right += _as_text(f"{key}.{argument}", value, hint)
                right += as_list(f"{key}.{argument}", value, hint)
                wrong.append(f"{key}.{argument}={shown(value)}: {right}")
        elif not takes_any:
            near = suggest.nearest(argument, list(named), "'{}'")
            unknown.append(f"{key}.{argument}: {name} takes no {argument!r}{near}")
    if len(unknown) > 2:  # another function than the settings are meant for
        lacking = ", ".join(argument for argument in kwargs if argument not in named)
        unknown = [f"{where(key, target)}: takes no {lacking}"]
    wrong += unknown
    for argument, parameter in named.items():
        if not partial and argument not in kwargs and parameter.default is parameter.empty:
            wrong.append(f"{key}.{argument} is required by {name}")
    return wrong


def where(key: str, target: str) -> str:
    """A target as it is typed."""
    return f"{key}._target_={target}"


def find(target: str, key: str) -> Callable[..., Any]:
    """Import what a dotted path names. Raises Mistake with the nearest name there is."""
    at, parts = where(key, target), target.split(".")
    if len(parts) < 2 or not all(parts):
        raise Mistake(f"{at}: write module.name, e.g. mynet.Net")
    found: Any = None
    depth = 0
    for depth in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:depth])
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            if not error.name or not f"{module}.".startswith(f"{error.name}."):
                raise Mistake(
                    f"{at}: {module} needs {error.name}, which is not installed"
                ) from error
        except (Exception, SystemExit) as error:
            raise Mistake(f"{at}: {module} cannot be imported: {told(error)}") from error
    if found is None:
        raise Mistake(f"{at}: there is no module {parts[0]!r} here or among the installed ones")
    for position, part in enumerate(parts[depth:], depth):
        if not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            near = suggest.nearest(part, names, "'{}'")
            raise Mistake(f"{at}: {'.'.join(parts[:position])} has no {part!r}{near}")
        found = getattr(found, part)
    if not callable(found):
        raise Mistake(f"{at}: is not a function or a class")
    return typing.cast(Callable[..., Any], found)


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of a function or class by name; None where it doesn't say."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # a C function without a signature
        return None


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` in plain values."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def returns(function: Callable[..., Any]) -> Any:
    """The class itself, or what a function is annotated to return; None where it is not."""
    return function if inspect.isclass(function) else _hints(function).get("return")


def durations(target: str) -> list[str]:
    """The parameters that are lengths of training: annotated `Steps`, or a list of them."""
    try:
        hints = _hints(find(target, ""))
    except Mistake:
        return []
    return [name for name, hint in hints.items() if Steps in (hint, *typing.get_args(hint))]


def fits(value: object, hint: Any) -> bool:
    """Whether a value read from YAML has the annotated type; unknown annotations take anything.

    A number must be finite and at most `MOST`, a whole one at most `LARGEST`.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    kind = type(None) if hint is None else origin or hint
    if isinstance(value, str) and value.startswith("${"):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in _writable(inner))
    if origin is typing.Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if inner and kind in (list, tuple, Sequence):
        items = list(value) if _is_list(value) else None
        if items is not None and kind is tuple and inner[-1] is not Ellipsis:
            return len(items) == len(inner) and all(map(fits, items, inner))
        return items is not None and all(fits(one, inner[0]) for one in items)
    return kind not in _KINDS or _KINDS[kind][1](value)


def as_list(key: str, value: object, hint: Any) -> str:
    """Say how a list is written that was meant by one value, or has no commas, or nothing."""
    words = [part for one in (value if _is_list(value) else [value]) for part in _parts(one)]
    return f"; write {key}={spelled(words)}" if words and fits(words, hint) else ""


def _as_text(key: str, value: object, hint: Any) -> str:
    """Say how numbers are typed that are meant as texts, as columns may be called."""
    items = value if _is_list(value) else [value]
    texts = [str(one) if _is_number(one, int, float) else one for one in items]
    meant: Any = texts if _is_list(value) or not fits(texts[0], hint) else texts[0]
    if texts == list(items) or not fits(meant, hint):
        return ""
    return f"; where text looks like a number, type {quote(f'{key}={spelled(meant)}')}"


def _parts(value: object) -> list[Any]:
    """The numbers and words of a text between spaces or commas; another value alone."""
    if not isinstance(value, str):
        return [value]
    return [_read(part) for part in re.split(r"[,\s]+", value) if part]


def _read(word: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word


def in_floats(target: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `_target_`, with whole numbers as floats in lists that take those.

    torch refuses betas of 0 and 0.999.
    """
    lists = [name for name, value in values.items() if _is_list(value)]
    hints = _hints(find(target, "")) if lists else {}
    found = {name: _in_floats(values[name], hints.get(name, Any)) for name in lists}
    return {**values, **found}


def _in_floats(value: Any, hint: Any) -> Any:
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        taking = [one for one in _writable(inner) if fits(value, one)]
        return _in_floats(value, taking[0]) if len(taking) == 1 else value
    if hint is float and _is_number(value, int):
        return float(value)
    if not (inner and _is_list(value)):
        return value
    alike = len(inner) != len(value) or inner[-1] is Ellipsis
    hints = inner[:1] * len(value) if alike else inner
    return [_in_floats(one, each) for one, each in zip(value, hints, strict=True)]


def expected(hint: Any) -> str:
    """A type in the user's words, e.g. `a list of whole numbers`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(expected(one) for one in _writable(inner)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is typing.Annotated:
        return expected(inner[0])
    if (origin or hint) in (list, tuple, Sequence) and inner and inner[0] is not Any:
        kinds = dict.fromkeys(inner[:1] if inner[-1] is Ellipsis else inner)
        each = " and ".join(_plural(expected(one)) for one in kinds)
        count = f"{len(inner)} " if origin is tuple and inner[-1] is not Ellipsis else ""
        return f"a list of {count}{each}"
    words, _ = _KINDS.get(origin or hint, (getattr(hint, "__name__", str(hint)), None))
    return words


def _writable(union: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types of a union that YAML can write; all of them where that is null alone.

    torch annotates a rate `float | Tensor`: that is a number, not anything at all.
    """
    known = tuple(one for one in union if (typing.get_origin(one) or one) in _KINDS)
    return known if set(known) - {type(None)} else union


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters; empty where they cannot be resolved."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    inner = function.__init__ if inspect.isclass(function) else function
    return _resolved(inner) if isinstance(inner, Hashable) else {}


@lru_cache
def _resolved(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a forward reference to a name that exists for type checkers only
        return {}


def _plural(words: str) -> str:
    return " or ".join(re.sub(r"^a ((?:whole )?\w+)", r"\1s", kind) for kind in words.split(" or "))
