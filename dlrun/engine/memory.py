"""What the user's own parts of a run remember beside what torch and dlrun save of them.

Buffers that are in no state_dict, and attributes: dense tensors, numbers, texts, sources of random
numbers, arrays of numpy, and lists, sets and mappings of these. Settings, which never change, stay
those of the recipe: only what differs from what a part began with is kept.
"""

import functools
import inspect
import random
from collections import Counter, OrderedDict, defaultdict, deque
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
_MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
HOLDERS = (*_MAPPINGS, list, set, deque)  # which can be emptied and filled again
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*HOLDERS, tuple, frozenset)}
_FACTORIES = {kind.__name__: kind for kind in (*HOLDERS, bool, int, float, str, tuple)}
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
    scattered = tensor.layout is torch.strided and not tensor.is_contiguous()
    return scattered and any(
        many > 1 and step == 0 for many, step in zip(tensor.shape, tensor.stride(), strict=True)
    )


def refill(holder: Any, content: Any) -> None:
    """Give one of `HOLDERS` this content in place of its own."""
    holder.clear()
    (holder.update if isinstance(holder, dict | set) else holder.extend)(content)


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
    kind = type(value)
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if (kind is numpy.ndarray or isinstance(value, numpy.generic)) and value.dtype.kind in "biufcU":
        raw = numpy.array(value, order="C").reshape(-1).view(numpy.uint8)
        how = "array" if kind is numpy.ndarray else "number"
        return {how: [torch.from_numpy(raw), value.dtype.str, list(value.shape)]}
    if kind in _MAPPINGS:
        pairs = [[_plain(key, names), _plain(each, names)] for key, each in value.items()]
        return {kind.__name__: [_rule(value), pairs]}
    if kind in _KINDS.values():
        return {kind.__name__: [_rule(value), [_plain(each, names) for each in value]]}
    return _state(value, names)


def _rule(holder: Any) -> Any:
    """What else makes a holder what it is: the most that a deque holds, how a default is made.

    Raises TypeError for a default that only code of the user's makes.
    """
    if type(holder) is not defaultdict or holder.default_factory is None:
        return getattr(holder, "maxlen", None)
    name = getattr(holder.default_factory, "__name__", "")
    if _FACTORIES.get(name) is not holder.default_factory:
        raise TypeError(name)
    return name


def _state(value: Any, names: Mapping[int, str]) -> Any:
    """The state of a source of random numbers. Raises TypeError for what is none."""
    if isinstance(value, torch.Generator):
        return {"generator": value.get_state()}
    if isinstance(value, random.Random):
        return {"random": value.getstate()}
    if isinstance(value, numpy.random.RandomState):
        return {"legacy": _plain(value.get_state(legacy=False), names)}
    if isinstance(value, numpy.random.Generator):
        state = value.bit_generator.state
        if hasattr(numpy.random, state["bit_generator"]):
            return {"numpy": _plain(state, names)}
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
    if kind == "complex":
        return complex(*content)
    if kind in ("array", "number"):
        raw, form, shape = content
        numbers = raw.numpy().copy().view(form).reshape(shape)
        return numbers[()] if kind == "number" else _filled(numbers, now)
    if kind in ("numpy", "legacy"):
        return _numpys(kind, _again(content, None, weights), now)
    if kind in ("generator", "random"):
        return _drawing(kind, content, now)
    return _held(kind, content, now, weights)


def _filled(numbers: Any, now: Any) -> Any:
    """An array with these numbers."""
    alike = type(now) is numpy.ndarray and (now.dtype, now.shape) == (numbers.dtype, numbers.shape)
    if not (alike and now.flags.writeable):
        return numbers
    now[...] = numbers
    return now


def _held(kind: str, content: Any, now: Any, weights: Mapping[str, Tensor]) -> Any:
    """A holder with this content."""
    rule, content = content
    if _KINDS[kind] in _MAPPINGS:
        old = now if isinstance(now, dict) else {}
        pairs = [(_again(k, None, weights), each) for k, each in content]
        made: Any = {key: _again(each, old.get(key), weights) for key, each in pairs}
    else:
        held = list(now) if type(now) is list else []
        held += [None] * (len(content) - len(held))
        made = [_again(each, was, weights) for each, was in zip(content, held, strict=False)]
    if kind in ("tuple", "frozenset"):
        return _KINDS[kind](made)
    known = type(now) is _KINDS[kind]
    if kind == "deque" and not (known and now.maxlen == rule):
        now = deque(maxlen=rule)
    elif kind == "defaultdict" and not known:
        now = defaultdict(_FACTORIES.get(rule))
    elif not known:
        now = _KINDS[kind]()
    refill(now, made)
    return now


def _numpys(kind: str, state: Any, now: Any) -> Any:
    """A source of random numbers of numpy where it was."""
    of: Any = numpy.random.Generator if kind == "numpy" else numpy.random.RandomState
    name = state["bit_generator"]
    known = isinstance(now, of) and type(now._bit_generator).__name__ == name
    found: Any = now if known else of(getattr(numpy.random, name)())
    if kind == "numpy":
        found.bit_generator.state = state
    else:
        found.set_state(state)
    return found


def _drawing(kind: str, state: Any, now: Any) -> Any:
    """A source of random numbers of torch or Python where it was."""
    of = torch.Generator if kind == "generator" else random.Random
    found: Any = now if isinstance(now, of) else of()
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
