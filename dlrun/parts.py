"""From one option of a group to the object it describes, with errors that name the key."""

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlrun import arguments, duration
from dlrun.errors import DlrunError, Mistake
from dlrun.groups import SEVERAL
from dlrun.run import Lengths


def part(
    config: DictConfig, group: str, lengths: Lengths | None = None, apart: tuple[str, ...] = ()
) -> Any:
    """The object that a group's option describes, or a partial of it where it says so.

    apart: keys of the group that are not for its target.

    Raises Mistake for a value that the object refuses.
    """
    values = plain(config[group], group, lengths)
    values = {name: value for name, value in values.items() if name not in apart}
    with explained(group, values):
        return _bare(instantiate(values, _convert_="all"))


def several(config: DictConfig, group: str, lengths: Lengths | None = None) -> dict[str, Any]:
    """The objects of a group that takes any number of options, by key, in their order."""
    made = {}
    nodes: dict[str, DictConfig] = dict(config[group] or {})
    for name, node in nodes.items():
        key = f"{group}.{name}"
        values = plain(node, key, lengths)
        with explained(key, values):
            made[key] = _bare(instantiate(values, _convert_="all"))
    return made


def targets(config: DictConfig, group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each option of a group as (key, its plain content); interpolations are left as they are."""
    if config[group] is None:
        return
    node = OmegaConf.to_container(config[group], resolve=False)
    assert isinstance(node, dict)
    options = node.items() if group in SEVERAL else [("", node)]
    for name, option in options:
        if isinstance(option, dict) and "_target_" in option:
            key = f"{group}.{name!s}" if name else group
            yield key, {str(inner): value for inner, value in option.items()}


def plain(node: DictConfig, key: str, lengths: Lengths | None) -> dict[str, Any]:
    """The node as plain values; durations become steps, or stay to be refused where unknown."""
    content = OmegaConf.to_container(node, resolve=True)
    assert isinstance(content, dict)
    values = {str(name): value for name, value in content.items()}
    if lengths is not None:
        for name in _given(values):
            lasts = read_durations(f"{key}.{name}", values[name])
            steps = [one.steps(lengths.steps_per_epoch, lengths.total_steps) for one in lasts]
            values[name] = steps if isinstance(values[name], list) else steps[0]
    return values


def read_durations(key: str, value: object) -> list[duration.Duration]:
    """A duration of the recipe, or a list of them. Raises Mistake that names its key."""
    try:
        return [duration.parse(one) for one in (value if isinstance(value, list) else [value])]
    except Mistake:
        right = "write '5 epochs', '200 steps' or 10%"
        raise Mistake(f"{key}={value}: is no duration; {right}") from None


def check(config: DictConfig, group: str, apart: tuple[str, ...] = ()) -> None:
    """Raise one Mistake for all arguments of a group that its targets don't take.

    apart: keys of the group that are not for its target.
    """
    wrong = []
    for key, values in targets(config, group):
        given = {
            name: value
            for name, value in values.items()
            if name not in apart and not re.fullmatch(r"_\w+_", name)
        }
        partial = bool(values.get("_partial_"))
        wrong += arguments.problems(values["_target_"], given, key, partial)
        for name in _given(values):
            try:
                if "${" not in str(values[name]):
                    read_durations(f"{key}.{name}", values[name])
            except Mistake as mistake:
                wrong.append(str(mistake))
    if wrong:
        raise Mistake("\n".join(wrong))


@contextmanager
def explained(key: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Inside, an error that the recipe's values provoke becomes a Mistake that names the key."""
    try:
        yield
    except (InstantiationException, ValueError, TypeError, RuntimeError, AssertionError) as error:
        cause = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
        if isinstance(cause, DlrunError):
            raise cause from None
        if isinstance(cause, KeyError | AttributeError | NameError | NotImplementedError):
            raise cause from None
        message = str(cause).strip().split("\n")[0]
        raise Mistake(f"{_blamed(key, values, message)}: {message}") from cause


def _bare(made: Any) -> Any:
    """Hydra's partial as Python's own, or the function itself: it is called in every step."""
    if not isinstance(made, functools.partial):
        return made
    if made.args or made.keywords:
        return functools.partial(made.func, *made.args, **made.keywords)
    return made.func


def _given(values: Mapping[str, Any]) -> list[str]:
    """Which of the values are durations."""
    return [
        name for name in arguments.durations(values["_target_"]) if values.get(name) is not None
    ]


def _blamed(key: str, values: Mapping[str, Any], message: str) -> str:
    """The key and value that a message is about: the argument it names, or whose value it shows."""
    given = {name: value for name, value in values.items() if not name.startswith("_")}
    for name, value in given.items():
        if re.search(rf"\b{re.escape(name)}\b", message):
            return f"{key}.{name}={value}"
    for name, value in given.items():
        if re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w.])", message):
            return f"{key}.{name}={value}"
    return key
