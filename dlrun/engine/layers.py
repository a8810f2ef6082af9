"""Statistics of every layer for one mini-batch: what comes out of it, what gradient comes back."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine import signal
from dlrun.engine.count import parameters
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

    looked: the modules with weights of their own and those without parts, by name, `model` at the
    root. weights: the trained weights of each layer, no biases, no norms.
    """

    def __init__(self, model: nn.Module, passing: bool = False) -> None:
        """passing: with those that learn nothing and bend nothing."""
        self._modules, self._trained = [*model.modules()], parameters(model)
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
        return [*model.modules()] != self._modules or parameters(model) != self._trained


def layers(run: Run, seen: Seen | None = None, parts: Parts | None = None) -> list[Layer]:
    """Every layer, in the order in which they run; nothing of the run is changed.

    In training mode and single precision, on the samples that are seen. Weights of a layer that
    does not run as a module come last.
    """
    with untouched(run), torch.enable_grad():
        seen = seen or Seen(run)
        if not all(module.training for module in run.model.modules()):
            run.model.train()
        for weight in run.model.parameters():
            weight.grad = None
        met = _Pass(parts or Parts(run.model, passing=True))
        with met.hooked():
            outputs = run.model(seen.x)
            met.add_functions(outputs)
            run.objective(outputs, seen.y).backward()
        met.add_weights()
        return met.read(len(seen.x))


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
    nonzero: how many are. largest: of each rectified unit. saturated: the share. signs: of each
    unit the sum, signed: how many of its numbers have one.
    """

    size: int
    known: dict[str, Tensor] = field(default_factory=dict)

    def statistics(self, known: dict[str, list[float]]) -> dict[str, float]:
        """Those of `STATISTICS` that it has, from what is known, read out of the device."""
        found = {}
        for of in ("", "gradient_"):
            if f"{of}mean" in known:
                [found[f"{of}mean"]] = known[f"{of}mean"]
                found[f"{of}std"] = known[f"{of}deviation"][0] / math.sqrt(self.size)
        if "nonzero" in known:
            found["zeros"] = 1 - known["nonzero"][0] / self.size
        if "largest" in known:
            found["dead"] = known["largest"].count(0) / len(known["largest"])
        if "saturated" in known:
            [found["saturated"]] = known["saturated"]
        if "signs" in known:
            found["same_sign"] = signal.same_sign(known["signs"], known["signed"][0])
        return found


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
        numbers = iter(_read([value for call in calls for value in call.known.values()]))
        found = []
        for met in self._met.values():
            read = [(call, {key: next(numbers) for key in call.known}) for call in met.calls]
            values = _means([call.statistics(known) for call, known in read])
            for key in values.keys() & {"gradient_mean", "gradient_std"}:
                values[key] *= samples  # the loss is the mean over them
            distinct = met.distinct if met.rows else None
            layer = (met.name, met.kind, met.units, met.acts, met.rows, distinct)
            found.append(Layer(*layer, *map(values.get, STATISTICS)))
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
    known["nonzero"] = values.count_nonzero()
    if kind in signal.RECTIFIES:
        known["largest"] = signal.largest(values, min(axis, values.dim() - 1))
    if kind in signal.SATURATES:
        known["saturated"] = signal.saturated(values, kind)
    return _Call(values.numel(), known)


def _moments(values: Tensor, of: str = "") -> dict[str, Tensor]:
    """The mean, and the norm of what is left without it."""
    mean = values.mean()
    return {f"{of}mean": mean, f"{of}deviation": torch.linalg.vector_norm(values - mean)}


def _read(tensors: list[Tensor]) -> Iterator[list[float]]:
    """The numbers of each of some tensors; one copy brings those of a GPU."""
    flat = [each.reshape(-1) for each in tensors]
    if flat and not flat[0].is_cpu:
        flat = list(torch.cat([each.float() for each in flat]).cpu().split([*map(len, flat)]))
    return (each.tolist() for each in flat)


def _means(calls: list[dict[str, float]]) -> dict[str, float]:
    """Of each statistic the mean over the calls that have it, as a finite number."""
    found: dict[str, list[float]] = {}
    for call in calls:
        for key, value in call.items():
            if math.isfinite(value):
                found.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _tensor(out: Any) -> Tensor | None:
    """The output of a layer, or the first of several; None where it is no numbers."""
    if isinstance(out, dict):
        out = tuple(out.values())
    while isinstance(out, tuple | list) and out:
        out = out[0]
    return out if isinstance(out, Tensor) and out.is_floating_point() else None
