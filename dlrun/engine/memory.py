"""What the user's own parts of a run remember beside what torch and dlrun save of them.

Buffers that are in no state_dict, and attributes: tensors, numbers, texts, sources of random
numbers, and lists, sets and mappings of these. Settings, which never change, stay those of the
recipe: only what differs from what a part began with is kept.
"""

import functools
import inspect
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor, nn

from dlrun.regularization import Regularizer
from dlrun.schedule import Schedule

if TYPE_CHECKING:
    from dlrun.engine.run import Run

Memory = dict[str, dict[str, Any]]
OF_MODULES = frozenset(vars(nn.Module()))
HOLDERS = (list, dict, set, deque)
_KNOWN = ("torch", "dlrun", "builtins", "abc", "typing", "functools", "collections")
_PLAIN = (type(None), bool, int, float, str)
_SAVED = ("state", "param_groups", "defaults")  # of an optimizer
_ABSENT = object()


def of(run: "Run") -> Memory:
    """By the name of a part and that of an attribute, what it remembers, as plain values."""
    names = {id(weight): name for name, weight in run.model.named_parameters()}
    found: Memory = {}
    for key, part in _parts(run):
        for name, value in _attributes(part).items():
            plain = _kept(value, names)
            if plain is not _ABSENT:
                found.setdefault(key, {})[name] = plain
    return found


def changed(run: "Run") -> Memory:
    """What differs from what the parts began with."""
    found: Memory = {}
    for key, values in of(run).items():
        before = run.first.get(key, {})
        now = {n: v for n, v in values.items() if not _same(v, before.get(n, _ABSENT))}
        found |= {key: now} if now else {}
    return found


def put_back(run: "Run", saved: Memory) -> None:
    """Let the parts of a run remember what they did when `changed` gave this."""
    weights = dict(run.model.named_parameters())
    names = {id(weight): name for name, weight in weights.items()}
    for key, part in _parts(run):
        here, buffers = vars(part), getattr(part, "_buffers", {})
        for name, value in (run.first.get(key, {}) | saved.get(key, {})).items():
            place = buffers if name in buffers else here
            if not _same(value, _kept(place.get(name, _ABSENT), names)):
                place[name] = _again(value, place.get(name), weights)


def _parts(run: "Run") -> Iterator[tuple[str, Any]]:
    """The objects of a run that are of the user's own classes, by their places."""
    parts: dict[str, Any] = {"model": run.model, "loss": run.loss.function}
    parts |= {"augmentation": run.augmentation, "optimizer": run.optimizer}
    parts |= {"schedule": run.schedule, **run.regularizers}
    for key, part in parts.items():
        for name, each in _within(key, part):
            kinds = [kind.__module__.partition(".")[0] for kind in type(each).__mro__]
            if hasattr(each, "__dict__") and not set(kinds) <= set(_KNOWN):
                yield name, each


def _within(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    """A part, or those that it is made of."""
    if isinstance(part, functools.partial):
        part = [part.func, *part.args, *part.keywords.values()]
    if isinstance(part, list):
        for place, each in enumerate(part):
            yield from _within(f"{name}.{place}", each)
    elif isinstance(part, nn.Module):
        yield from ((f"{name}.{inner}", each) for inner, each in part.named_modules())
    elif isinstance(part, Schedule) and type(part).__module__ == Schedule.__module__:
        for inner in ("schedule", "_curve"):  # after a warm-up; of a function
            yield from _within(f"{name}.{inner}", vars(part).get(inner))
    elif not (inspect.isroutine(part) or inspect.isclass(part) or _saves_itself(part)):
        yield name, part


def _saves_itself(part: Any) -> bool:
    bases = [base for base in (Schedule, Regularizer) if isinstance(part, base)]
    return any(type(part).state_dict is not base.state_dict for base in bases)


def _attributes(part: Any) -> dict[str, Any]:
    values = dict(vars(part))
    if isinstance(part, nn.Module):
        unsaved = {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        return {name: values[name] for name in values.keys() - OF_MODULES} | unsaved
    saved = _SAVED if isinstance(part, torch.optim.Optimizer) else ()
    return {name: value for name, value in values.items() if name not in saved}


def overlaps(tensor: Tensor) -> bool:
    """Whether several places are one number, as `expand` gives: torch writes to none such."""
    strided = tensor.layout is torch.strided
    return strided and any(
        many > 1 and step == 0 for many, step in zip(tensor.shape, tensor.stride(), strict=True)
    )


def _kept(value: Any, names: Mapping[int, str]) -> Any:
    """A value as a checkpoint may hold it, `_ABSENT` where it cannot.

    What holds itself has no end, and what draws from the system has no state.
    """
    try:
        return _plain(value, names)
    except (TypeError, RecursionError, NotImplementedError):
        return _ABSENT


def _plain(value: Any, names: Mapping[int, str]) -> Any:
    """A value as a checkpoint may hold it. Raises TypeError where it is of another kind."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        if id(value) in names:
            return {"weight": names[id(value)]}
        if value.layout is torch.strided and not value.is_meta:  # others cannot be compared
            return {"tensor": [value.detach().clone(), str(value.device)]}
    if isinstance(value, torch.Generator):
        return {"generator": value.get_state()}
    if isinstance(value, random.Random):
        return {"random": value.getstate()}
    numpys = getattr(value, "bit_generator", None)
    if isinstance(value, numpy.random.Generator) and isinstance(numpys, numpy.random.PCG64):
        return {"numpy": value.bit_generator.state}
    if type(value) is dict:
        pairs = [[_plain(key, names), _plain(each, names)] for key, each in value.items()]
        return {"dict": pairs}
    if type(value) in (*HOLDERS, tuple):
        return {type(value).__name__: [_plain(each, names) for each in value]}
    raise TypeError(type(value).__name__)


def _again(value: Any, now: Any, weights: Mapping[str, Tensor]) -> Any:
    """What was made plain; `now` itself where it can hold that, because others may know it too."""
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "weight":
        return weights[content]
    if kind == "tensor":
        fits = isinstance(now, Tensor) and now.shape == content[0].shape
        if fits and now.dtype == content[0].dtype and not overlaps(now):
            with torch.no_grad():
                return now.copy_(content[0])
        return content[0].to(content[1], copy=True)
    if kind in ("generator", "random", "numpy"):
        return _drawing(kind, content, now)
    if kind == "dict":
        old = now if isinstance(now, dict) else {}
        pairs = [(_again(k, None, weights), each) for k, each in content]
        made: Any = {key: _again(each, old.get(key), weights) for key, each in pairs}
    else:
        held = list(now) if type(now) is list else []
        held += [None] * (len(content) - len(held))
        made = [_again(each, was, weights) for each, was in zip(content, held, strict=False)]
    if kind == "tuple":
        return tuple(made)
    if type(now).__name__ != kind:
        return {"dict": dict, "list": list, "set": set, "deque": deque}[kind](made)
    now.clear()
    (now.update if isinstance(now, dict | set) else now.extend)(made)
    return now


def _drawing(kind: str, state: Any, now: Any) -> Any:
    """A source of random numbers where it was."""
    make: Any = {
        "generator": torch.Generator,
        "random": random.Random,
        "numpy": numpy.random.default_rng,
    }[kind]
    kinds = torch.Generator, random.Random, numpy.random.Generator
    found: Any = now if isinstance(now, kinds) else make()
    if kind == "numpy":
        found.bit_generator.state = state
    else:
        (found.set_state if kind == "generator" else found.setstate)(state)
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
        return alike and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)
