"""Statistics of every layer for one mini-batch: what comes out of it, what gradient comes back."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine import signal
from dlrun.engine.look import Seen, untouched
from dlrun.engine.run import Run
from dlrun.model import roles
from dlrun.model.order import hooked

STATISTICS = (
    *("mean", "std", "zeros", "dead", "saturated"),
    *("gradient_mean", "gradient_std", "same_sign"),
)
"""What is measured of a layer, in the order of `Layer`."""
RECORDED = (*STATISTICS, "distinct", "update")
"""What a look records of layers, each of what they have; `update` is of `engine/watch.py`."""
_PASSING = ("flatten", "dropout", "pooling", "padding", "upsampling")
"""Modules of torch.nn whose layers learn nothing and bend nothing."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network; of one that runs several times the mean over its calls.

    name, kind: its place in the model and its class; of a nonlinearity that is no module the
    place of the module before it and what it does, as in `fc1.relu`. units: its outputs, the
    channels of a convolution. acts: whether it learns or bends, rather than reshapes, pools or
    drops. rows: of its weights, one a unit in most layers; distinct: how many of them differ.

    The rest is None where there is none. mean, std, zeros: of its output; zeros: the share of
    exact zeros. dead: the share of its units that are zero for every sample, of a rectifier.
    saturated: the share of values near a flat end, of tanh and sigmoid. gradient_mean,
    gradient_std: of the gradient of a sample's loss by its output. same_sign: how far the
    gradients of a unit's weights have one sign, see `signal.same_sign`.
    """

    name: str
    kind: str
    units: int
    acts: bool = True
    rows: int = 0
    distinct: int | None = None
    mean: float | None = None
    std: float | None = None
    zeros: float | None = None
    dead: float | None = None
    saturated: float | None = None
    gradient_mean: float | None = None
    gradient_std: float | None = None
    same_sign: float | None = None

    @property
    def gradient(self) -> float | None:
        """The root mean square of a sample's gradient by the output; None where there is none."""
        if self.gradient_std is None:
            return None
        return math.hypot(self.gradient_mean or 0.0, self.gradient_std)

    def statistics(self) -> dict[str, float]:
        """What is recorded of it, by its name; of the rows that differ their share."""
        found = {name: getattr(self, name) for name in STATISTICS}
        found["distinct"] = None if self.distinct is None else self.distinct / self.rows
        return {name: value for name, value in found.items() if value is not None}


class Parts:
    """What of a model is looked at; it holds as long as the model has the same modules.

    modules: all. looked: those with weights of their own and those without parts, by name, `model`
    at the root. weights: the trained weights of each layer, no biases, no norms.
    """

    def __init__(self, model: nn.Module, passing: bool = False) -> None:
        """passing: with those that learn nothing and bend nothing."""
        self.modules = [*model.modules()]
        self._trained = _trained(self.modules)
        self.weights = weights(model)
        named = {
            module: name or "model"
            for name, module in model.named_modules()
            if "parametrizations" not in name.split(".")
        }
        self.looked = {
            module: name
            for module, name in named.items()
            if (name in self.weights or not any(part in named for part in module.children()))
            and (passing or acts(module))
        }

    def changed(self, model: nn.Module) -> bool:
        """Whether the model has other modules, or trains other parameters."""
        return [*model.modules()] != self.modules or _trained(self.modules) != self._trained


def layers(run: Run, seen: Seen | None = None, parts: Parts | None = None) -> list[Layer]:
    """Every layer, in the order in which they run; nothing of the run is changed.

    In training mode and single precision, on the samples that are seen. Weights of a layer that
    does not run as a module come last.
    """
    with untouched(run), torch.enable_grad():
        seen = seen or Seen(run)
        parts = parts or Parts(run.model, passing=True)
        if not all(module.training for module in parts.modules):
            run.model.train()
        for weight in _parameters(parts.modules):
            weight.grad = None
        met = _Pass(parts)
        with met.hooked():
            outputs = run.model(seen.x)
            met.add_functions(outputs)
            run.objective(outputs, seen.y).backward()
        met.add_weights()
        return met.read(len(seen.x))


def _parameters(modules: list[nn.Module]) -> list[nn.Parameter]:
    """Those that modules hold themselves; those of their parts are left out."""
    found = [each for module in modules for each in module._parameters.values()]
    return [each for each in found if each is not None]


def _trained(modules: list[nn.Module]) -> int:
    """How many numbers are trained."""
    return sum([each.numel() for each in _parameters(modules) if each.requires_grad])


def acts(module: nn.Module) -> bool:
    """Whether a module learns or bends, rather than reshapes, pools or drops."""
    passes = type(module).__module__.rpartition(".")[2] in _PASSING
    return not (passes or isinstance(module, nn.Identity))


def weights(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trained weights of each layer, by its name, `model` at the root; no biases, no norms."""
    names = {parameter: f".{name}" for name, parameter in model.named_parameters()}
    found: dict[str, list[nn.Parameter]] = {}
    for parameter, role in roles.roles(model).items():
        if role in (roles.WEIGHT, roles.TABLE, roles.DIRECTION):
            layer = names[parameter].rpartition(".")[0].partition(".parametrizations")[0]
            found.setdefault(layer[1:] or "model", []).append(parameter)
    return found


@dataclass
class _Call:
    """What is known of `size` numbers, on the device: sums and counts, each in few operations.

    mean, gradient_mean. deviation, gradient_deviation: the norms of what is left without it.
    nonzero: how many are; active: of each rectified unit. saturated: the share. signs: of each
    unit the sum, signed: how many of its numbers have one.
    """

    size: int
    known: dict[str, Tensor] = field(default_factory=dict)

    def statistics(self, known: dict[str, Any]) -> Iterator[tuple[str, float]]:
        """Those of `STATISTICS` that it has, from what is known, read out of the device."""
        for of in ("", "gradient_"):
            if f"{of}mean" in known:
                yield f"{of}mean", known[f"{of}mean"]
                yield f"{of}std", known[f"{of}deviation"] / math.sqrt(self.size)
        if "nonzero" in known:
            yield "zeros", 1 - known["nonzero"] / self.size
        if "active" in known:
            yield "zeros", 1 - sum(known["active"]) / self.size
            yield "dead", known["active"].count(0) / len(known["active"])
        if "saturated" in known:
            yield "saturated", known["saturated"]
        if "signs" in known:
            yield "same_sign", signal.same_sign(known["signs"], known["signed"])


@dataclass
class _Met:
    """A layer that has been met.

    axis: of its units. calls: of each call, and of each of its weights. rows, distinct: of its
    weights together.
    """

    name: str
    kind: str
    units: int
    axis: int
    acts: bool = True
    calls: list["_Call"] = field(default_factory=list)
    rows: int = 0
    distinct: int = 0


class _Pass:
    """The layers that a mini-batch meets on its way forward and back, in their order."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._met: dict[str, _Met] = {}
        self._made: dict[Any, _Met] = {}  # by the function of the graph that gave its output

    def hooked(self) -> AbstractContextManager[None]:
        """Inside, layers are met."""
        return hooked(module.register_forward_hook(self._meet) for module in self._parts.looked)

    def add_functions(self, outputs: Tensor) -> None:
        """The nonlinearities that are no modules, each after the layer before it."""
        found = [each for each in signal.nonlinearities(outputs) if each[0] not in self._made]
        for node, values in reversed(found):
            before = next((self._made[n] for n in signal.behind(node) if n in self._made), None)
            if before is None:
                continue
            kind = node.name().removesuffix("Backward0").lower()
            name, axis = f"{before.name}.{kind}", min(before.axis, values.dim() - 1)
            if name not in self._met:
                order = [*self._met]
                place = order.index(before.name) + 1
                self._met[name] = _Met(name, kind, values.shape[axis], axis)
                order.insert(place, name)
                self._met = {each: self._met[each] for each in order}
            self._met[name].calls.append(_called(values, axis, node.name()))

    def add_weights(self) -> None:
        """What the weights of each layer and their gradients are like."""
        modules = {name: module for module, name in self._parts.looked.items()}
        for name, own in self._parts.weights.items():
            if name not in self._met:
                self._met[name] = _Met(name, type(modules[name]).__name__, len(own[0]), 0)
            met = self._met[name]
            met.rows = sum(map(len, own))
            met.distinct = sum(map(signal.distinct, own))
            for weight in own:
                if weight.grad is not None:
                    sums, signed = signal.signs(weight.grad)
                    met.calls.append(_Call(weight.numel(), {"signs": sums, "signed": signed}))

    def read(self, samples: int) -> list[Layer]:
        """What has been met, read out of the device at once."""
        calls = [call for met in self._met.values() for call in met.calls]
        numbers = read([value for call in calls for value in call.known.values()])
        found = []
        for met in self._met.values():
            of_calls: dict[str, list[float]] = {}
            for call in met.calls:
                known = {key: next(numbers) for key in call.known}
                for key, value in call.statistics(known):
                    if math.isfinite(value):
                        of_calls.setdefault(key, []).append(value)
            means = {key: sum(values) / len(values) for key, values in of_calls.items()}
            for key in means.keys() & {"gradient_mean", "gradient_std"}:
                means[key] *= samples  # the loss is the mean over them
            distinct = met.distinct if met.rows else None
            layer = (met.name, met.kind, met.units, met.acts, met.rows, distinct)
            found.append(Layer(*layer, *map(means.get, STATISTICS)))
        return found

    def _meet(self, module: nn.Module, args: Any, out: Any) -> None:
        """A hook of a layer: its statistics now, before it may be changed in place."""
        values = _tensor(out)
        if values is None or not values.numel() or not values.dim():
            return
        name = self._parts.looked[module]
        if name not in self._met:
            axis = self._axis(name, values.dim())
            kind, units = type(module).__name__, values.shape[axis]
            self._met[name] = _Met(name, kind, units, axis, acts(module))
        met, made = self._met[name], values.grad_fn
        call = _called(values.detach(), met.axis, made.name() if made else "")
        met.calls.append(call)
        if made is not None:
            self._made.setdefault(made, met)
        if values.requires_grad:
            values.register_hook(lambda grad: call.known.update(_moments(grad, "gradient_")))

    def _axis(self, name: str, axes: int) -> int:
        """The axis of a layer's units; where it has no weights, as in the layer before it."""
        own = self._parts.weights.get(name)
        before = next(reversed(self._met.values()), None)
        last = own[0].dim() == 2 if own else before is not None and before.axis != 1
        return axes - 1 if last else min(1, axes - 1)


def _called(values: Tensor, axis: int, kind: str) -> _Call:
    """What is known of a call of a layer; kind: what autograd calls its function."""
    known = _moments(values)
    if kind in signal.RECTIFIES:
        known["active"] = signal.nonzero(values, min(axis, values.dim() - 1))
    else:
        known["nonzero"] = values.bool().count_nonzero()  # of numbers it takes ten times as long
    if kind in signal.SATURATES:
        known["saturated"] = signal.saturated(values, kind)
    return _Call(values.numel(), known)


def _moments(values: Tensor, of: str = "") -> dict[str, Tensor]:
    """The mean, and the norm of what is left without it."""
    mean = values.mean()
    return {f"{of}mean": mean, f"{of}deviation": torch.dist(values, mean)}


def read(tensors: Sequence[Tensor]) -> Iterator[Any]:
    """The number or the list of numbers of each of some tensors; one copy brings those of a GPU."""
    if tensors and not tensors[0].is_cpu:
        flat = torch.cat([each.reshape(-1).float() for each in tensors]).cpu()
        parts = flat.split([each.numel() for each in tensors])
        tensors = [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]
    return (each.tolist() for each in tensors)


def _tensor(out: Any) -> Tensor | None:
    """The output of a layer, or the first of several; None where it is no numbers."""
    if isinstance(out, dict):
        out = tuple(out.values())
    while isinstance(out, tuple | list) and out:
        out = out[0]
    return out if isinstance(out, Tensor) and out.is_floating_point() else None
