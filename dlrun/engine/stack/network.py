"""The networks and losses of several runs as one.

What is known of a layer acts on all networks in one operation, the networks one axis more; the
others go through `vmap`. A batch of linear maps keeps the samples on the last axis of memory:
so a softmax over a few classes is computed for many samples at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlrun.engine.run import Run
from dlrun.engine.stack.varying import Varying
from dlrun.loss import Loss
from dlrun.metric import METRICS
from dlrun.regularization.dropout import Drop

Tensors = dict[str, Tensor]
Stage = Callable[[Tensors, Tensor], Tensor]
"""(tensors, (runs, n, ...)) -> (runs, n, ...); of what is the same for all, the stride is 0."""

_EACH_ELEMENT = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.Tanhshrink),
    *(nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Hardswish, nn.Threshold),
)
"""Modules without weights that treat each number alone."""
_PASSING = (*_EACH_ELEMENT, nn.Flatten)
"""What may as well go with the modules before it."""


class Network:
    """The networks and losses of some runs as one: the first run's, with the tensors of all."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._run = runs[0]
        self._varying = Varying(runs)
        self._differs = self._run.objective is not self._run.loss
        self._stages = list(self._made())

    def __call__(
        self, tensors: Tensors, x: Tensor, y: Tensor, axis: int
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """(runs,) of each: what is trained, the loss where that is something else, the metric.

        axis: of the samples: 1 where each run has its own, else 0.
        """
        run = self._run
        logits = self.outputs(tensors, x, axis)
        trained = self._loss(run.objective, logits, y, axis)
        said = logits.detach()
        plain = self._loss(run.loss, said, y, axis) if self._differs else None
        return trained, plain, self._metric(said, y, axis)

    def assessed(self, logits: Tensor, y: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """(runs,) of the losses and metrics of these (runs, n, outputs). axis: of the samples."""
        return self._loss(self._run.loss, logits, y, axis), self._metric(logits, y, axis)

    def outputs(self, tensors: Tensors, x: Tensor, axis: int) -> Tensor:
        """(runs, n, outputs); where all have the same batch, nothing is copied."""
        if not axis:
            x = x.expand(len(next(iter(tensors.values()))), *x.shape)
        for stage in self._stages:
            x = stage(tensors, x)
        return x

    def _loss(self, loss: Loss, logits: Tensor, y: Tensor, axis: int) -> Tensor:
        """(runs,) from (runs, n, ...) logits.

        torch takes cross-entropy apart under vmap, which takes longer than the rest of a small
        network.
        """
        varies = loss is self._run.objective and self._varying.has(loss)
        if loss.function is F.cross_entropy and not varies and logits.dim() == 3:
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

    def _metric(self, logits: Tensor, y: Tensor, axis: int) -> Tensor:
        """(runs,) The metric beside the loss, summed over the batch."""
        run = self._run
        if run.metric is METRICS["accuracy"] and y.dim() == axis + 1 and logits.dim() == 3:
            return (logits.max(-1).indices == y).sum(1)
        return vmap(run.metric_sum, in_dims=(0, 0 if axis else None))(logits, y)

    def _made(self) -> Iterator[Stage]:
        """What the networks do, one after another."""
        run = self._run
        mapped: list[nn.Module] = []
        if run.uncompiled is not run.model:
            yield self._mapped(_Through(run))
            return
        for part, own in self._parts(run.model):
            if own is not None and not (mapped and isinstance(part, _PASSING)):
                if mapped:
                    yield self._mapped(*mapped)
                mapped = []
                yield own
            else:
                mapped.append(part)
        if mapped:
            yield self._mapped(*mapped)

    def _parts(self, module: nn.Module) -> Iterator[tuple[nn.Module, Stage | None]]:
        """The parts of a network in their order, each with what acts on all of them at once."""
        hooks: list[Any] = [*module._forward_pre_hooks.values()]
        watched = module._forward_hooks or module._backward_hooks or module._backward_pre_hooks
        if watched or "forward" in vars(module) or not all(type(each) is Drop for each in hooks):
            yield module, None
        elif type(module) is nn.Sequential:
            yield from ((module, self._dropped(module, hook)) for hook in hooks)
            for child in module:
                yield from self._parts(child)
        elif type(module) is nn.Linear:
            yield from ((module, self._dropped(module, hook)) for hook in hooks)
            yield module, self._linear(module)
        elif type(module) in _EACH_ELEMENT and not hooks:
            yield module, lambda _, x: module(x)
        elif type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            yield module, None if hooks else lambda _, x: x.flatten(2)
        else:
            yield module, None

    def _linear(self, layer: nn.Linear) -> Stage:
        """Wx + b of each run."""
        names = self._names(layer)

        def stage(tensors: Tensors, x: Tensor) -> Tensor:
            out = torch.bmm(tensors[names["weight"]], x.mT)
            if layer.bias is not None:
                out += tensors[names["bias"]][:, :, None]
            return out.mT

        mapped = self._mapped(layer)
        return lambda tensors, x: (stage if x.dim() == 3 else mapped)(tensors, x)

    def _dropped(self, module: nn.Module, hook: Drop) -> Stage:
        """What dropout does to the input of a module."""
        rates = self._varying.of(hook)
        alike = bool((rates == rates[0]).all())

        def stage(_: Tensors, x: Tensor) -> Tensor:
            every = hook.rate if alike else rates.view(-1, *[1] * (x.dim() - 1))
            with self._varying.put([every], hook):
                found = hook(module, (x,))
            return x if found is None else found[0]

        return stage

    def _mapped(self, *modules: nn.Module) -> Stage:
        """Any modules, one after another, under `vmap`."""
        module = nn.Sequential(*modules) if len(modules) > 1 else modules[0]
        names = self._names(module)

        def alone(tensors: Tensors, values: list[Tensor], x: Tensor) -> Tensor:
            with self._varying.put(values):
                found: Tensor = functional_call(module, tensors, (x,))
                return found

        def stage(tensors: Tensors, x: Tensor) -> Tensor:
            given = {own: tensors[name] for own, name in names.items()}
            shared = not x.stride(0) and bool(given)
            each = vmap(alone, in_dims=(0, 0, None if shared else 0), randomness="different")
            found: Tensor = each(given, self._varying.values, x[0] if shared else x)
            return found

        return stage

    def _names(self, module: nn.Module) -> dict[str, str]:
        """What the tensors of a module are called in the network, by their names in the module."""
        model = self._run.model
        known = {id(each): name for name, each in _tensors(model)}
        return {name: known[id(each)] for name, each in _tensors(module)}


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
