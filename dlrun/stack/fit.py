"""Which runs can train together, and what keeps others out."""

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine import checkpoint
from dlrun.engine.run import Run
from dlrun.errors import first_line
from dlrun.optimizer import takes_closure
from dlrun.regularization.noise import GradientNoise
from dlrun.stack.network import Network
from dlrun.stack.update import forms_of
from dlrun.stack.varying import ATTRIBUTES

_vmaps: Any = torch._C._functorch  # type: ignore[attr-defined,unused-ignore]
_LENGTHS = (
    *("batch_size", "accumulate", "drop_last", "steps_per_epoch", "validate_every"),
    *("log_every", "checkpoint_every", "watch_every", "evaluation_batch"),
)
_VALUES = (bool, int, float, str)  # most of what there is
_HOLDING = (dict, OrderedDict, list, tuple, set)  # most of these are empty
Seen = dict[tuple[int, int], tuple[Any, Any]]
"""Pairs that have been compared, by their ids."""


def unfit(run: Run) -> str:
    """Why a run trains alone, in a short clause; "" where it can train with its like.

    Its network is tried on two samples; nothing of the run changes.
    """
    return next(_obstacles(run), "")


def apart(a: Run, b: Run) -> str:
    """Why two runs that could both train with others can't train together; "" where they can."""
    return next(_differences(a, b), "")


def _obstacles(run: Run) -> Iterator[str]:
    optimizer = run.optimizer
    kind = type(optimizer).__name__
    if takes_closure(optimizer):
        yield f"{kind} evaluates the loss itself"
    if any(isinstance(value, nn.Module) for value in vars(optimizer).values()):
        yield f"{kind} looks into the network"
    if run.scaler is not None:
        yield "precision=fp16 scales the gradient of each run in its own way"
    if any(hasattr(part, "_orig_mod") for part in (run.forward, *_inside(run.forward))):
        yield "compile=true compiles one network"
    if run.backoff:
        yield "on_divergence=backoff returns to a step that the others are past"
    if run.frozen is not None:
        yield "some of its weights are frozen"
    if run.layout is not torch.contiguous_format:
        yield "channels_last=true lays out one network"
    if run.train.prefetch:
        yield "its data are read while it trains"
    if any(isinstance(rule, GradientNoise) for rule in run.change_gradient):
        yield "gradient_noise draws from one source for all"
    yield from _tried(run)


def _tried(run: Run) -> Iterator[str]:
    """What two copies of the network at once stumble over."""
    tensors = {**dict(run.model.named_parameters()), **dict(run.model.named_buffers())}
    twice = {
        name: torch.stack([value.detach(), value.detach()]).requires_grad_(value.requires_grad)
        for name, value in tensors.items()
    }
    rows = run.train.rows[: min(2, len(run.train.rows))]
    x, y = run.train.x[rows].to(run.device), run.train.y[rows].to(run.device)
    put_back = checkpoint.random_kept(run.generator)
    was_training = run.model.training
    run.model.train()
    _vmaps._set_vmap_fallback_enabled(False)  # one network after another, with a warning
    try:
        x = x if run.train.prepared else run.evaluation(x)
        network = Network([run, run])
        moved: set[str] = set()
        network(twice, x, x if run.reconstructs else y, 0, lambda name, _: moved.add(name))
    except Exception as error:  # whatever a network of the user may do
        said = first_line(error).partition(". ")[0]
        yield f"its network or its loss can't run as several at once: {said}"
        return
    finally:
        _vmaps._set_vmap_fallback_enabled(True)
        run.model.train(was_training)
        put_back()
    if any(value.requires_grad and name not in moved for name, value in twice.items()):
        yield "some of its weights take no part"


def _differences(a: Run, b: Run) -> Iterator[str]:
    if a.data.digest != b.data.digest or a.data.shape != b.data.shape:
        yield "other data"
    if str(a.device) != str(b.device):
        yield f"device={a.device} and {b.device}"
    for name in _LENGTHS:
        values = getattr(a.lengths, name), getattr(b.lengths, name)
        if values[0] != values[1]:
            yield f"{name} is {values[0]} and {values[1]}"
    if len(a.train) != len(b.train):
        yield f"{len(a.train)} and {len(b.train)} training samples"
    for said, ours, theirs in (
        ("precision", _inside(a.uncompiled), _inside(b.uncompiled)),
        ("model", a.model, b.model),
        ("loss", a.loss.name, b.loss.name),
        ("loss", a.loss, b.loss),
        ("objective", a.objective, b.objective),
        ("scale of the targets", a.scale, b.scale),
        ("optimizer", type(a.optimizer).__name__, type(b.optimizer).__name__),
        ("optimizer", _rules(a), _rules(b)),
        ("regularization", _kinds(a), _kinds(b)),
        ("metric", list(a.metrics), list(b.metrics)),
        ("watch", a.watch, b.watch),
        ("train_eval", a.train_eval is None, b.train_eval is None),
        ("augmentation", a.augmentation is None, b.augmentation is None),
    ):
        difference = _unlike(ours, theirs, {})
        if difference:
            yield f"{said}: {difference}"


def _rules(run: Run) -> Any:
    """What the optimizers of runs have in common that train together."""
    sizes = [[p.shape for p in group["params"]] for group in run.optimizer.param_groups]
    forms = [(form.rule, form.ways, dict(form.names)) for form in forms_of(run)]
    return {"weights": sizes, "form": forms}


def _kinds(run: Run) -> Any:
    return {key: type(rule).__name__ for key, rule in run.regularizers.items()}


def _inside(function: Any) -> list[Any]:
    """What a function keeps of where it was made, apart from modules."""
    cells = getattr(function, "__closure__", None) or ()
    found = [cell.cell_contents for cell in cells]
    return [each for each in found if not isinstance(each, nn.Module) or hasattr(each, "_orig_mod")]


def _unlike(a: Any, b: Any, seen: Seen, where: str = "") -> str:
    """The first difference between two things beside their weights; "" where there is none."""
    if a is b or _plainly_alike(a, b):
        return ""
    if (id(a), id(b)) in seen:
        return ""
    seen[id(a), id(b)] = a, b  # kept: another thing made meanwhile may not get its id
    if type(a) is not type(b) and _kind(a) != _kind(b):
        names = " and ".join(type(each).__name__ for each in (a, b))
        return f"{where or 'kind'} is {names}"
    if isinstance(a, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype and a.requires_grad == b.requires_grad
        if same and (isinstance(a, nn.Parameter) or torch.equal(a, b)):
            return ""
        return f"{where} of shape {tuple(a.shape)} and {tuple(b.shape)}" if not same else where
    if isinstance(a, dict):
        if "hooks" in where:  # by numbers of their own
            return _unlike(list(a.values()), list(b.values()), seen, "hooks")
        if list(a) != list(b):
            alone = sorted(str(name) for name in a.keys() ^ b.keys())
            return f"{where} has {', '.join(alone)} in one alone".strip()
        pairs = [(_within(where, str(name)), a[name], b[name]) for name in a]
        return _first(pairs, seen)
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where or 'number'} has {len(a)} and {len(b)} parts"
        return _first([(where, *pair) for pair in zip(a, b, strict=True)], seen)
    ours, theirs = _parts(a), _parts(b)
    if ours is not None:
        return _unlike(ours, theirs, seen, where)
    try:
        same = bool(a == b)
    except Exception:
        same = False
    values = f"{_said(a)} and {_said(b)}"
    return "" if same else f"{where} is {values}" if where else values


def _plainly_alike(a: Any, b: Any) -> bool:
    """Whether two simple values are equal; found out in a moment, as most pairs are such."""
    kind = type(a)
    if kind is not type(b):
        return False
    return bool(a == b) if kind in _VALUES else kind in _HOLDING and not a and not b


def _kind(value: Any) -> str:
    """The class of a value by its name: one of the user's may have been made twice."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _within(where: str, name: str) -> str:
    """The way to a part; a module is in what its parent calls it, not in a dictionary of these."""
    return where if name in ("_modules", "_parameters") else f"{where}.{name}".lstrip(".")


def _first(pairs: Any, seen: Seen) -> str:
    return next(filter(None, (_unlike(x, y, seen, where) for where, x, y in pairs)), "")


def _parts(value: Any) -> dict[str, Any] | None:
    """What a thing consists of; None for one that is compared as a whole."""
    if isinstance(value, nn.Module):
        buffers = {name: _shape(each) for name, each in value._buffers.items()}
        rest = {k: v for k, v in vars(value).items() if k not in ("training", "_buffers")}
        return rest | {"_buffers": buffers}
    if isinstance(value, partial):
        return {"function": value.func, "given": value.args, "options": value.keywords}
    if isinstance(value, MethodType):
        return {"function": value.__func__, "of": value.__self__}
    if isinstance(value, FunctionType):
        made = [cell.cell_contents for cell in value.__closure__ or ()]
        return {"code": value.__code__, "inside": made, "defaults": value.__defaults__}
    own: dict[str, Any] | None = getattr(value, "__dict__", None)
    if own is None or isinstance(value, type):
        return None
    varies = ATTRIBUTES.get(type(value))
    return {name: each for name, each in own.items() if name not in (varies, "__wrapped__")}


def _shape(buffer: Tensor | None) -> Any:
    return None if buffer is None else (buffer.shape, buffer.dtype)


def _said(value: Any) -> str:
    if isinstance(value, frozenset):
        return " ".join(sorted(value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
