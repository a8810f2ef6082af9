"""From one option of a group to the object it describes, with errors that name the key."""

import functools
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from dlrun import duration, shell
from dlrun.engine.run import LoopConfig
from dlrun.errors import (
    DlrunError,
    Failure,
    Mistake,
    brief,
    first_line,
    kind_of,
    place,
    refuse,
    told,
)
from dlrun.recipe import signature, view
from dlrun.recipe.schema import GROUPS, NEEDED, SEVERAL
from dlrun.recipe.view import Recipe

T = TypeVar("T")

_TELLING = (
    *(InstantiationException, ValueError, TypeError, RuntimeError, AssertionError),
    ArithmeticError,
)
"""What a value that cannot be provokes; anything else in our own code is a bug."""
_KINDS: dict[str, tuple[Any, str]] = {
    "preprocessing": (nn.Module, "torch.nn.Module"),
    "augmentation": (Callable, "function"),
}
_CALLED = {
    "activation": "",
    "augmentation": "x, y, generator",
    "initializer": "model, x",
    "loss": "logits, y",
    "metric": "predicted, y",
    "optimizer": "parameters",
    "schedule": "step, total_steps, steps_per_epoch",
    "test_augmentation": "x",
}
"""With what the function of a group is called, once the options that a recipe gives are bound."""
_ARGUMENTS = re.compile(r"\(\) (takes|missing) .*positional argument")
_INVALID = re.compile(r"Invalid (.+?)(?: values?)?(?: at index \d)?: ")
"""What torch's optimizers say of an argument that they refuse."""
_OPTIMIZERS = ("torch.optim.", "dlrun.optimizer.")
_NOT_NEGATIVE = (
    *("weight_decay", "momentum", "momentum_decay", "lr_decay", "initial_accumulator_value"),
    "alpha",
)
_REFUSED = {name: (name, "must be at least 0") for name in _NOT_NEGATIVE} | {
    "learning rate": ("lr", "must be at least 0"),
    "epsilon": ("eps", "must be at least 0"),
    "beta parameter": ("betas", "each must be at least 0 and below 1"),
    "rho": ("rho", "must be at least 0 and at most 1"),
    "eta": ("etas", "write one between 0 and 1 and one above 1, such as [0.5,1.2]"),
}
"""By the name that torch gives an argument: its own, and what would be right."""
_LASTING = ("dlrun.", "torch.")
_TARGET = r"'_target_': ['\"]([^'\"]*)"
_sound: set[str] = set()  # groups of options in which nothing was wrong
_SOUND = 1000  # at most, so that a long sweep does not fill the memory


def part(
    config: Recipe, group: str, lengths: LoopConfig | None = None, apart: tuple[str, ...] = ()
) -> Any:
    """The object that a group's option describes, or a partial of it where it says so.

    apart: keys of the group that are not for its target.

    Raises Mistake for a value that the object refuses.
    """
    values = plain(config[group], group, lengths)
    return made_of(group, {name: value for name, value in values.items() if name not in apart})


def several(config: Recipe, group: str, lengths: LoopConfig | None = None) -> dict[str, Any]:
    """The objects of a group that takes any number of options, by key, in their order."""
    made = {}
    nodes: dict[str, Any] = dict(config[group] or {})
    for name, node in nodes.items():
        key = f"{group}.{name}"
        values = plain(node, key, lengths)
        made[key] = made_of(key, values)
        right, what = _KINDS.get(group, (object, ""))
        if not isinstance(made[key], right):
            given = signature.where(key, values["_target_"])
            raise Mistake(f"{given}: gives {kind_of(made[key])}, no {what}")
    return made


def problems(
    config: DictConfig, written: Mapping[str, Any], group: str, apart: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with the options of a group and with their arguments, one message each.

    written: the recipe as plain values. apart: keys of the group that are not for its target.
    The points of a sweep have most groups in common: what was sound once, and calls nothing that
    may have changed, is so again.
    """
    about = said(written, group)
    key = f"{apart} {about}"
    if about and key in _sound:
        return []
    found = list(_problems(config, group, apart))
    if about and not found:
        if len(_sound) >= _SOUND:
            _sound.clear()
        _sound.add(key)
    return found


def said(recipe: Mapping[str, Any] | Recipe, *groups: str) -> str:
    """Groups and all that they refer to, as text.

    recipe: also as plain values, which are read in a fourth of the time. "" where that is not
    plain to see, or where they call what is not dlrun's or torch's.
    """
    names, said = list(groups), ""
    for name in names:
        text = repr(view.as_written(recipe.get(name)))
        if any(not target.startswith(_LASTING) for target in re.findall(_TARGET, text)):
            return ""
        for found in re.findall(r"\$\{([^}]*)", text):
            root = re.match(r"(\w+)(\.\w+)*\Z", found)
            if root is None:
                return ""
            names += [root[1]] if root[1] not in names else []
        said += f"{name}={text} "
    return said


def _problems(config: DictConfig, group: str, apart: tuple[str, ...]) -> Iterator[str]:
    node = config[group]
    if not node and group not in NEEDED:
        return
    several = group in SEVERAL and isinstance(node, DictConfig)
    options = {f"{group}.{name}": node[name] for name in node} if several else {group: node}
    for key, option in options.items():
        if isinstance(option, DictConfig):
            values = _resolved(option, apart)
            yield from _wrong_arguments(key, values)
        else:
            yield f"{key}={shell.shown(option)}: stands where settings do; write {key}.name=value"


def _wrong_arguments(key: str, values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the content of an option."""
    target = values.get("_target_")
    if not isinstance(target, str):
        yield f"{key}._target_ is required: the function or class, e.g. mynet.Net"
        return
    given = {name: value for name, value in values.items() if not re.fullmatch(r"_\w+_", name)}
    wrong = signature.problems(target, given, key, bool(values.get("_partial_")))
    if wrong and wrong != signature.problems(target, given, key) and _is_late(key, target):
        right = f"write _partial_: true beside it{_called_as(key, target)}"
        wrong = [f"{signature.where(key, target)}: {right}"]
    yield from wrong
    for name in _given(values):
        told = any(one.startswith(f"{key}.{name}=") for one in wrong)
        try:
            if not told and "${" not in str(values[name]):
                read_durations(f"{key}.{name}", values[name])
        except Mistake as mistake:
            yield str(mistake)


def _is_late(key: str, target: str) -> bool:
    """Whether what an option names is called later, with more than the recipe gives."""
    group = key.partition(".")[0]
    function = group in _CALLED and inspect.isroutine(inspect.unwrap(signature.find(target, key)))
    return function or group in ("activation", "optimizer")


def _called_as(key: str, target: str) -> str:
    """How the function of an option is called; "" for a group that calls none."""
    asked = _CALLED.get(key.partition(".")[0])
    name = target.rpartition(".")[2]
    return "" if asked is None else f"; it is called as {name}({asked})"


def _resolved(node: DictConfig, apart: tuple[str, ...]) -> dict[str, Any]:
    """The node as plain values; as written where one refers to what is not known yet."""
    written = view.as_written(node)
    values = {str(name): value for name, value in written.items() if name not in apart}
    for name, value in values.items():
        if "${" in str(value):
            with suppress(OmegaConfBaseException):
                values[name] = view.plain(node[name])
    return values


def plain(node: Recipe, key: str, lengths: LoopConfig | None) -> dict[str, Any]:
    """The node as plain values; durations become steps, or stay to be refused where unknown."""
    written = view.as_written(node)
    values = {str(name): value for name, value in view.plain(node).items()}
    late = {name: values[name] for name in values if "${facts." in str(written.get(name))}
    if late:
        refuse(signature.problems(values["_target_"], late, key))
    if lengths is not None:
        for name in _given(values):
            lasts = read_durations(f"{key}.{name}", values[name])
            steps = [one.steps(lengths.steps_per_epoch, lengths.total_steps) for one in lasts]
            values[name] = steps if isinstance(values[name], list) else steps[0]
    return values


def read_durations(key: str, value: object) -> list[duration.Duration]:
    """A duration of the recipe, or a list of them. Raises Mistake that names its key."""
    try:
        found = [duration.parse(one) for one in (value if isinstance(value, list) else [value])]
    except Mistake:
        found = []
    if any(one.unit == "seconds" for one in found) or (not found and value != []):
        right = "write '5 epochs', '200 steps' or 10%"
        raise Mistake(f"{key}={shell.shown(value)}: is not a duration; {right}")
    if wrong := next(filter(None, map(duration.uncounted, found)), ""):
        raise Mistake(f"{key}={shell.shown(value)}: {wrong}")
    return found


@contextmanager
def explained(key: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Inside, an error that the recipe's values provoke becomes a Mistake that names the key."""
    try:
        yield
    except (Exception, SystemExit) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, DlrunError):
            raise cause from None
        target = str(values.get("_target_", "dlrun."))
        whole = signature.where(key, target) if "_target_" in values else key
        if isinstance(cause, _TELLING) and not isinstance(cause, NotImplementedError):
            message = first_line(cause)
            memory = re.search(r"tried to allocate (\d+) bytes", message)
            if memory:
                message = f"needs {int(memory[1]) / 1e9:,.0f} GB of memory, which are not there"
            refused = _INVALID.match(message)
            if refused and refused[1] in _REFUSED and target.startswith(_OPTIMIZERS):
                name, right = _REFUSED[refused[1]]
                raise Mistake(f"{_blamed(key, values, name) or key}: {right}") from cause
            own = whole if place(cause, not ours(target)) else key
            said = message if memory else brief(cause, not ours(target))
            if _ARGUMENTS.search(message) and own == key and not ours(target):
                said += _called_as(key, target)
            raise Mistake(f"{_blamed(key, values, message) or own}: {said}") from cause
        if ours(target) and not place(cause):
            raise cause from None
        raise Mistake(f"{whole}: {told(cause, not ours(target))}") from cause


@contextmanager
def users(config: Recipe, kind: type[DlrunError] = Failure) -> Iterator[None]:
    """Inside, an error that comes out of the user's own code names the key that has called it.

    kind: what it becomes; other errors stay as they are.
    """
    try:
        yield
    except DlrunError:
        raise
    except (Exception, SystemExit) as error:
        if not place(error):
            raise
        key = _caller(config, error)
        raise kind(f"{key}: {told(error)}" if key else told(error)) from error


def _caller(config: Recipe, error: BaseException) -> str:
    """The key and the target whose function or object has raised an error; "" where none has.

    Else those that stand in the same file, where they are the only ones.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found: dict[str, Any] = {}
    for group in GROUPS:
        node = view.as_written(config[group]) if config[group] else {}
        for name, option in node.items() if group in SEVERAL else [("", node)]:
            if isinstance(option, Mapping) and not ours(str(option.get("_target_", "dlrun."))):
                key = signature.where(f"{group}.{name}" if name else group, option["_target_"])
                found[key] = inspect.unwrap(signature.find(option["_target_"], group))
    files = {frame.f_code.co_filename for frame in frames}
    for key, function in found.items():
        code = getattr(function, "__code__", None)
        if any(
            frame.f_code is code
            or (inspect.isclass(function) and isinstance(frame.f_locals.get("self"), function))
            for frame in frames
        ):
            return key
    near = [
        key
        for key, function in found.items()
        if getattr(sys.modules.get(function.__module__), "__file__", None) in files
    ]
    return near[0] if len(near) == 1 else ""


def as_a(interface: type[T], made: Any) -> T:
    """`made` with the methods of an interface that it has not itself, which do nothing.

    So that a user's own ingredient may leave the class out.
    """
    if not isinstance(made, interface):
        kind = type(made)
        made.__class__ = type(kind.__name__, (kind, interface), {})
    found: T = made
    return found


def ours(target: str) -> bool:
    """Whether what fails in a target is no mistake of the user's own code.

    What demonstrations bring along is made like the user's own.
    """
    return target.startswith("dlrun.") and not target.startswith("dlrun.experiment.")


def made_of(key: str, values: Mapping[str, Any]) -> Any:
    """The object, or a partial of it, that the plain content of an option describes.

    Hydra's partial becomes Python's own, or the function itself: it is called in every step.
    """
    with explained(key, values):
        given = signature.in_floats(values["_target_"], values)
        own = _own(key, values) and not any(mark in str(values) for mark in ("${", "???"))
        made = _called(key, given) if own else instantiate(given, _convert_="all")
    if not isinstance(made, functools.partial):
        return made
    if made.args or made.keywords:
        return functools.partial(made.func, *made.args, **made.keywords)
    return made.func


def _own(key: str, values: Any) -> bool:
    """Whether all that plain values call is dlrun's or a part of torch, and nothing unusual.

    Where a function comes from counts, and not the name by which it is reached.
    """
    if isinstance(values, list):
        return all(_own(key, each) for each in values)
    if not isinstance(values, Mapping):
        return True
    if "_target_" in values:
        called = getattr(signature.find(values["_target_"], key), "__module__", None)
        if not str(called).startswith(("dlrun.", "torch.nn.", "torch.optim.")):
            return False
    known = ("_target_", "_partial_")
    return all(
        name in known or (not re.fullmatch(r"_\w+_", str(name)) and _own(f"{key}.{name}", value))
        for name, value in values.items()
    )


def _called(key: str, values: Any) -> Any:
    """What Hydra's `instantiate` makes of such values, without a config of them on the way.

    To make one costs more than all that a small model is made of.
    """
    if isinstance(values, list):
        return [_called(key, each) for each in values]
    if not isinstance(values, Mapping):
        return values
    apart = ("_target_", "_partial_") if "_target_" in values else ()
    given = {
        name: _called(f"{key}.{name}", value) for name, value in values.items() if name not in apart
    }
    if not apart:
        return given
    function = signature.find(values["_target_"], key)
    return functools.partial(function, **given) if values.get("_partial_") else function(**given)


def _given(values: Mapping[str, Any]) -> list[str]:
    """Which of the values are durations."""
    return [
        name for name in signature.durations(values["_target_"]) if values.get(name) is not None
    ]


def _blamed(key: str, values: Mapping[str, Any], message: str) -> str:
    """The key and value that a message is about: the argument it names, or whose value it shows.

    "" where it is about none.
    """
    given = list(_leaves(key, values))
    named = [
        (found.start(), f"{name}={value}")
        for name, value in given
        if (found := re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b(?!\()", message))
    ]
    if named:
        return min(named)[1]
    for name, value in given:  # of the several that torch names one
        last = name.rpartition(".")[2]
        if last.endswith("as") and re.search(rf"\b{re.escape(last[:-1])}\b", message):
            return f"{name}={value}"
    for name, value in given:
        if re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w.])", message):
            return f"{name}={value}"
    return ""


def _leaves(key: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a user may have set, by its key; inside a model's activation it is `activation.x`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(name if name in GROUPS else f"{key}.{name}", value)
        elif not name.startswith("_"):
            yield f"{key}.{name}", value
