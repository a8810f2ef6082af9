"""What is wrong with the form of an override: brackets, quotes, ranges of other libraries."""

import re

from hydra.errors import OverrideParseException

_RANGES = {
    "interval({},{})": "uniform suggest_float suggest_uniform linspace interval normal",
    "tag(log,interval({},{}))": (
        "loguniform log_uniform suggest_loguniform log reciprocal logspace lognormal"
    ),
    "int(interval({},{}))": "randint random_int suggest_int qrandint int_uniform integer",
    "tag(log,int(interval({},{})))": "lograndint log_int qlograndint",
    "range({},{},{})": "quniform q_uniform suggest_discrete_uniform arange",
    "tag(log,range({},{},{}))": "qloguniform q_log_uniform",
}
_FORMS = {name: form for form, names in _RANGES.items() for name in names.split()}
_LISTS = ("choice", "choices", "grid_search", "categorical", "suggest_categorical", "values")
_CALL = re.compile(r"(?:[a-z]+\.)*([a-z_]+)\((.*)\)", re.I)
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
_DOTS = re.compile(rf"({_NUMBER})\s*(?:\.\.\.?|…)\s*({_NUMBER})", re.I)
_OTHERWISE = ("logspace", "normal", "lognormal")  # their numbers are no bounds


def unreadable(word: str, error: OverrideParseException) -> str:
    """Why Hydra cannot read an override, and what would be right."""
    key, _, value = word.partition("=")
    if " " in key:
        return "the key before = has a space in it"
    if not re.fullmatch(r"(~|\+{0,2})\w+([./@:]+\w+|-\w+)*", key, re.ASCII) or ".." in key:
        return f"{key!r} cannot be a key"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            missing = closing if value.count(opening) > value.count(closing) else opening
            return f"a {missing} is missing"
    if value.count("'") % 2 or value.count('"') % 2:
        return "a quotation mark is missing"
    return distribution(word) or f"cannot be read; put the value in quotes: \"{key}='{value}'\""


def distribution(word: str) -> str:
    """How a range that is written as in another library is written here, or nothing."""
    key, _, value = word.partition("=")
    call = _CALL.fullmatch(value)
    if not call:
        return ""
    name = call[1].lower()
    inner = call[2].strip()
    if name in _LISTS and re.search(r"\w\(", inner):
        return "a range stands alone, not in a list; write its values one by one"
    if name in _LISTS:
        listed = inner.strip("[]()") or "a,b,c"
        return f"write -m '{key}=choice({listed})', or -m {key}={listed}"
    if name not in _FORMS:
        return ""
    numbers = [part.rpartition("=")[2].strip() for part in inner.split(",")]
    numbers = [number for number in numbers if re.fullmatch(_NUMBER, number, re.I)]
    wanted = _FORMS[name].count("{}")
    usual = ["low", "high", "step"]
    known = len(numbers) >= wanted and name not in _OTHERWISE
    shown = numbers if known else usual
    return f"write -m sweep=random '{key}={_FORMS[name].format(*shown)}'"


def dots(word: str) -> str:
    """What to write for `0.1..1`, or nothing."""
    key, _, value = word.partition("=")
    ends = _DOTS.fullmatch(value)
    if not ends:
        return ""
    low, high = sorted(ends.groups(), key=float)
    return f"a range is -m sweep=random '{key}=interval({low},{high})'"
