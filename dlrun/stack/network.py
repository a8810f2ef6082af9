"""The networks and losses of several runs as one, with the gradients of their weights.

What is known of a layer acts on all networks in one operation, the networks one axis more, and
so does its derivative; the others go through `vmap` and autograd. A batch of linear maps keeps
the samples on the last axis of memory: so a softmax over a few classes is computed for many
samples at a time.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlrun.engine.run import Run
from dlrun.loss import Loss
from dlrun.metric import METRICS
from dlrun.regularization.dropout import Drop
from dlrun.stack.folded import Folded, Layer, alike, layer
from dlrun.stack.stages import Keep, Known, Linear, Stage, Tensors, Traced
from dlrun.stack.varying import Varying

_EACH_ELEMENT = (
    *(nn.Identity, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.Tanhshrink),
    *(nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Hardswish, nn.Threshold),
)
"""Modules without weights that treat each number alone."""
_ALIKE = (*_EACH_ELEMENT, nn.ReLU)
_PASSING = (*_ALIKE, nn.Flatten)
"""What may as well go with the modules before it."""


class Found(NamedTuple):
    """(runs,) of each: what is trained, the loss where that is something else, the metric."""

    trained: Tensor
    plain: Tensor | None
    metric: Tensor


class Network:
    """The networks and losses of some runs as one: the first run's, with the tensors of all."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._run = runs[0]
        self._varying = Varying(runs)
        self._differs = self._run.objective is not self._run.loss
        made = list(self._made())
        later = (_in_place(*pair) for pair in pairwise(made))
        self._stages = [*made[:1], *later]
        weights = [place for place, stage in enumerate(self._stages) if stage.weights]
        self._first = min(weights, default=len(self._stages))

    @torch.no_grad()
    def __call__(
        self, tensors: Tensors, x: Tensor, y: Tensor, axis: int, keep: Keep, share: float = 1.0
    ) -> Found:
        """What a mini-batch gives, and to `keep` the gradient of each weight, by its name.

        A weight that is used in several places has several, to be added up.
        axis: of the samples: 1 where each run has its own, else 0. share: of the gradient.
        """
        run = self._run
        logits, backs = self._every(x, tensors, axis), []
        for stage in self._stages:
            logits, back = stage.traced(tensors, logits)
            backs.append(back)
        trained, grad = self._objective(logits, y, axis, share)
        for place in reversed(range(self._first, len(backs))):
            grad = backs[place](grad, keep, place > self._first)
        plain = self._loss(run.loss, logits, y, axis) if self._differs else None
        return Found(trained, plain, self._metric(logits, y, axis))

    def varies(self, name: str) -> bool:
        """Whether a number of this name may differ between the networks."""
        return self._varying.named(name)

    def outputs(self, tensors: Tensors, x: Tensor, axis: int) -> Tensor:
        """(runs, n, outputs); where all have the same batch, nothing is copied."""
        x = self._every(x, tensors, axis)
        for stage in self._stages:
            x = stage(tensors, x)
        return x

    def assessed(self, logits: Tensor, y: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """(runs,) of the losses and metrics of these (runs, n, outputs). axis: of the samples."""
        return self._loss(self._run.loss, logits, y, axis), self._metric(logits, y, axis)

    def _every(self, x: Tensor, tensors: Tensors, axis: int) -> Tensor:
        return x if axis else x.expand(len(next(iter(tensors.values()))), *x.shape)

    def _objective(
        self, logits: Tensor, y: Tensor, axis: int, share: float
    ) -> tuple[Tensor, Tensor]:
        """(runs,) What is trained, and its gradient by the logits, times a share."""
        loss = self._run.objective
        plain = loss.weight is None and not self._varying.has(loss) and not loss.spread
        if self._is_entropy(loss, logits) and plain and y.dim() == axis + 1:
            every = y if axis else y.expand(len(logits), -1)
            logs = logits.mT.log_softmax(1)
            trained = F.nll_loss(logs, every, reduction="none").mean(1)
            grad = logs.exp_()
            grad.scatter_add_(1, every[:, None], grad.new_full((), -1).expand(every[:, None].shape))
            return trained, grad.mul_(share / y.shape[axis]).mT
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            trained = self._loss(loss, logits, y, axis)
            [grad] = torch.autograd.grad(trained.sum() * share, logits)
        return trained.detach(), grad

    def _loss(self, loss: Loss, logits: Tensor, y: Tensor, axis: int) -> Tensor:
        """(runs,) from (runs, n, ...) logits.

        torch takes cross-entropy apart under vmap, which takes longer than the rest of a small
        network.
        """
        varies = loss is self._run.objective and self._varying.has(loss)
        if self._is_entropy(loss, logits) and not varies:
            every = y if axis else y.expand(len(logits), *y.shape)
            parts = F.cross_entropy(
                logits.mT,
                every.mT if every.dim() == 3 else every,
                weight=loss.weight,
                reduction="none",
                label_smoothing=float(loss.spread),
            )
            return parts.mean(1)

        def alone(values: list[Tensor], logits: Tensor, y: Tensor) -> Tensor:
            with self._varying.put(values):
                return loss(logits, y)

        each = vmap(alone, in_dims=(0, 0, 0 if axis else None))
        found: Tensor = each(self._varying.values, logits, y)
        return found

    def _is_entropy(self, loss: Loss, logits: Tensor) -> bool:
        return loss.function is F.cross_entropy and logits.dim() == 3

    def _metric(self, logits: Tensor, y: Tensor, axis: int) -> Tensor:
        """(runs,) The metric beside the loss, summed over the batch."""
        run = self._run
        if run.metric is METRICS["accuracy"] and y.dim() == axis + 1 and logits.dim() == 3:
            return (logits.max(-1).indices == y).sum(1)
        return vmap(run.metric_sum, in_dims=(0, 0 if axis else None))(logits, y)

    def _made(self) -> Iterator[Stage]:
        """What the networks do, one after another."""
        run = self._run
        if run.uncompiled is not run.model:
            yield self._mapped(_Through(run))
            return
        for kind, some in groupby(self._kinds(), lambda part: part[0]):
            modules, owns = zip(*((module, own) for _, module, own in some), strict=True)
            if kind is Layer:
                yield Folded(owns, self._mapped(*modules))
            elif kind is nn.Module:
                yield self._mapped(*modules)
            else:
                yield from owns

    def _kinds(self) -> Iterator[tuple[type, nn.Module, Any]]:
        """The parts of the network, each with what treats it: a stage, a layer, or `vmap`."""
        kind: type = Stage
        for module, own in self._parts(self._run.model):
            if own is None:
                kind = nn.Module
            elif isinstance(own, Layer):
                kind = Layer
            elif kind is Layer and isinstance(module, _ALIKE):
                own = alike(module)
            elif not (kind is nn.Module and isinstance(module, _PASSING)):
                kind = Stage
            yield kind, module, own

    def _parts(self, module: nn.Module) -> Iterator[tuple[nn.Module, Stage | Layer | None]]:
        """The parts of a network in their order, each with what acts on all of them at once."""
        hooks: list[Any] = [*module._forward_pre_hooks.values()]
        watched = module._forward_hooks or module._backward_hooks or module._backward_pre_hooks
        if watched or "forward" in vars(module) or not all(type(each) is Drop for each in hooks):
            yield module, None
            return
        if type(module) is nn.Sequential:
            yield from ((module, self._dropped(module, hook)) for hook in hooks)
            for child in module:
                yield from self._parts(child)
            return
        if type(module) is nn.Linear:
            yield from ((module, self._dropped(module, hook)) for hook in hooks)
        yield module, None if hooks and type(module) is not nn.Linear else self._known(module)

    def _known(self, module: nn.Module) -> Stage | Layer | None:
        """What acts on a layer of all networks at once; None where nothing is known of it."""
        if type(module) is nn.Linear:
            return Linear(self._names(module), self._mapped(module))
        if type(module) is nn.ReLU:
            return _RECTIFIED
        if type(module) in _EACH_ELEMENT:
            return Traced(lambda _, x: module(x))
        if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            return Known(lambda x: x.flatten(2), lambda grad, x, _: grad.reshape(x.shape))
        return layer(module, self._names(module))

    def _dropped(self, module: nn.Module, hook: Drop) -> Stage:
        """What dropout does to the input of a module."""
        rates = self._varying.of(hook)
        alike = bool((rates == rates[0]).all())

        def dropped(_: Tensors, x: Tensor) -> Tensor:
            every = hook.rate if alike else rates.view(-1, *[1] * (x.dim() - 1))
            with self._varying.put([every], hook):
                found = hook(module, (x,))
            return x if found is None else found[0]

        return Traced(dropped)

    def _mapped(self, *modules: nn.Module) -> Stage:
        """Any modules, one after another, under `vmap`."""
        module = nn.Sequential(*modules) if len(modules) > 1 else modules[0]
        names = self._names(module)

        def alone(tensors: Tensors, values: list[Tensor], x: Tensor) -> Tensor:
            with self._varying.put(values):
                found: Tensor = functional_call(module, tensors, (x,), tie_weights=False)
                return found

        def every(tensors: Tensors, x: Tensor) -> Tensor:
            given = {own: tensors[name] for own, name in names.items()}
            shared = not x.stride(0) and bool(given)
            each = vmap(alone, in_dims=(0, 0, None if shared else 0), randomness="different")
            found: Tensor = each(given, self._varying.values, x[0] if shared else x)
            return found

        weights = [name for name, each in self._run.model.named_parameters() if each.requires_grad]
        return Traced(every, [name for name in weights if name in set(names.values())])

    def _names(self, module: nn.Module) -> dict[str, str]:
        """What the tensors of a module are called in the network, by their names in the module.

        A layer that is used twice is there once; torch would not put its tensors back else.
        """
        known = {id(each): name for name, each in _tensors(self._run.model)}
        return {
            f"{prefix}.{name}".lstrip("."): known[id(each)]
            for prefix, part in module.named_modules()
            for name, each in {**part._parameters, **part._buffers}.items()
            if each is not None
        }


class _Through(nn.Module):
    """Calls a run's network as the run does, in lower precision where it asks for that."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model = run.model
        self._forward = (run.uncompiled,)  # in a tuple: the model is no module of this twice

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (n, outputs)."""
        return self._forward[0](x)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _unlike_zero(grad: Tensor, _: Tensor, out: Tensor) -> Tensor:
    """The gradient where a rectifier lets it through."""
    found: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, out, 0, grad_input=grad)
    return found


_RECTIFIED = Known(torch.relu, _unlike_zero)
_RECTIFIED_THERE = Known(torch.relu_, _unlike_zero)


def _in_place(before: Stage, stage: Stage) -> Stage:
    """A stage as it is, or one that writes into what came out before it and is needed no more."""
    return _RECTIFIED_THERE if stage is _RECTIFIED and isinstance(before, Linear) else stage
