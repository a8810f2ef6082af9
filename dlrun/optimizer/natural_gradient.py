"""Natural gradient by Kronecker factors of the Fisher information (K-FAC).

Martens, Grosse 2015, Optimizing Neural Networks with Kronecker-factored Approximate
Curvature; convolutions from Grosse, Martens 2016, A Kronecker-factored Approximate Fisher
Matrix for Convolution Layers. Momentum is plain, and the damping is fixed.
"""

import logging
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.errors import Mistake, below_one, not_negative
from dlrun.loss import LOSSES, Loss
from dlrun.optimizer.fisher import Factors, Fisher, Layer, watched
from dlrun.optimizer.replay import Objective, moving, trainable

_log = logging.getLogger("dlrun")


class NaturalGradient(torch.optim.Optimizer):
    """v ← μv + G⁻¹·∇W·A⁻¹, θ ← θ − α·v in linear and 2-D convolution layers; SGD elsewhere.

    A layer's weight and bias are one matrix W. A and G are the second moments of its
    inputs and of the gradients by its outputs, running means over about 1/(1 − decay)
    steps, and damped by λ, split between them. The gradients by outputs are those of
    targets drawn from what the model predicts, `draws` of them a sample; with draws=0 the
    moments are exact, for as many backward passes as there are outputs.

    loss: how outputs predict, by the name of a loss: cross_entropy, mse, ...; None: as the
        loss that is trained says of itself.
    other_lr: the rate of SGD with the same momentum, for norms and other layers.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | None = None,
        lr: float = 0.05,
        momentum: float = 0.9,
        damping: float = 0.01,
        decay: float = 0.95,
        moments_every: int = 1,
        inverse_every: int = 10,
        draws: int = 1,
        max_kl: float | None = 0.001,
        other_lr: float = 0.05,
        trained: Loss | None = None,
    ) -> None:
        not_negative(lr=lr, other_lr=other_lr, draws=draws)
        if draws > 1000:
            raise ValueError(f"draws must be at most 1000, got {draws}")
        below_one(momentum=momentum, decay=decay)
        for name, value in (("moments_every", moments_every), ("inverse_every", inverse_every)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, limit in (("damping", damping), ("max_kl", max_kl)):
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} must be above 0, got {limit}")
        self._fisher = _fisher(loss, trained)
        self._model, self._layers = model, factorable(model)
        if not self._layers:
            _log.warning("natural_gradient: no layer's Fisher information factors; it is plain SGD")
        natural = [p for layer in self._layers for p in layer.parameters() if p.requires_grad]
        known = {id(p) for p in natural}
        others = [p for p in trainable(model) if id(p) not in known]
        groups: list[dict[str, Any]] = [{"params": natural}] if natural else []
        groups += [{"params": others, "lr": other_lr, "own_rate": True}] if others else []
        super().__init__(groups, {"lr": lr})
        self._momentum, self._damping, self._decay = momentum, damping, decay
        self._moments_every, self._inverse_every = moments_every, inverse_every
        self._draws, self._max_kl = draws, max_kl

    @torch.no_grad()
    def step(self, closure: Objective) -> Tensor:  # type: ignore[override]
        """One gradient, and the moments of its forward pass where they are due."""
        memory = self.state[self.param_groups[0]["params"][0]]
        step = memory.get("step", 0)
        memory["step"] = step + 1
        if step % self._moments_every == 0:
            with watched(self._model, self._layers, self._fisher, self._draws) as factors:
                value = torch.enable_grad()(closure)()
            self._remember(factors)
        else:
            value = torch.enable_grad()(closure)()
        if step % self._inverse_every == 0:
            for layer in self._layers:
                self._invert(self.state[layer.weight])
        self._precondition()
        for group, moved, grads in moving(self):
            for p in moved:
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = torch.zeros_like(p)
            velocities = [self.state[p]["velocity"] for p in moved]
            torch._foreach_mul_(velocities, self._momentum)
            torch._foreach_add_(velocities, grads)
            torch._foreach_add_(moved, velocities, alpha=-group["lr"])
        return value

    def _remember(self, factors: dict[Layer, Factors]) -> None:
        """Take the step's moments into the running means."""
        if self._layers and not factors:
            raise Mistake(
                "optimizer=natural_gradient: none of the model's linear and convolution layers "
                "runs through its own forward; use another optimizer"
            )
        for layer, new in factors.items():
            memory = self.state[layer.weight]
            a, g = new.moments()
            if "A" not in memory:
                memory |= {"A": a, "G": g, "moments": 1}
                continue
            memory["moments"] += 1
            share = 1 - min(1 - 1 / memory["moments"], self._decay)
            memory["A"].lerp_(a, share)
            memory["G"].lerp_(g, share)

    def _invert(self, memory: dict[str, Any]) -> None:
        """(A + π√λ·I)⁻¹ and (G + √λ/π·I)⁻¹, π² the ratio of the mean eigenvalues of A and G."""
        if "A" not in memory:
            return
        means = [memory[name].diagonal().mean().clamp(min=1e-30) for name in ("A", "G")]
        split = (means[0] / means[1]).sqrt()
        root = self._damping**0.5
        memory["A inverse"] = _inverse(memory["A"], root * split)
        memory["G inverse"] = _inverse(memory["G"], root / split)

    def _precondition(self) -> None:
        """Replace the layers' gradients by natural ones; a layer that never ran keeps its own.

        All are scaled down where the step would change what the model predicts by more
        than `max_kl`: to second order that is α²·∇ᵀF⁻¹∇ (Ba, Grosse, Martens 2017).
        """
        changes, sizes = [], []
        for layer in self._layers:
            memory, weight, bias = self.state[layer.weight], layer.weight, layer.bias
            if "A inverse" not in memory or weight.grad is None:
                continue
            gradient = weight.grad.flatten(1)
            if bias is not None and bias.grad is not None:
                gradient = torch.cat([gradient, bias.grad[:, None]], 1)
            natural = memory["G inverse"] @ gradient @ memory["A inverse"]
            sizes.append((natural * gradient).sum())
            if bias is not None and bias.grad is not None:
                changes.append((bias.grad, natural[:, -1]))
                natural = natural[:, :-1]
            changes.append((weight.grad, natural.view(weight.shape)))
        if not changes:
            return
        gradients, naturals = map(list, zip(*changes, strict=True))
        torch._foreach_copy_(gradients, naturals)
        if self._max_kl is not None:
            kl = torch.stack(sizes).sum() * self.param_groups[0]["lr"] ** 2
            torch._foreach_mul_(gradients, (self._max_kl / kl.clamp(min=0)).sqrt().clamp(max=1.0))


def _fisher(name: str | None, trained: Loss | None) -> Fisher:
    """How outputs predict, by the name of a loss or else as the trained one says."""
    known = name and name.rpartition(".")[2]
    if known and known not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name}")
    loss = LOSSES[known] if known else trained
    if loss is None or loss.fisher is None:
        what = "" if loss is None else f", and loss={loss.name} does not say it"
        raise Mistake(
            f"optimizer=natural_gradient: must know how outputs predict{what}; "
            f"set optimizer.loss to one of {', '.join(LOSSES)}"
        )
    return loss.fisher


def factorable(model: nn.Module) -> list[Layer]:
    """The layers whose Fisher information factors: linear ones and 2-D convolutions.

    Without those that share a weight, compute it from others, or are partly frozen.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        or (
            type(module) is nn.Conv2d
            and module.groups == 1
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )
    ]
    uses = Counter(id(p) for layer in layers for p in layer.parameters())
    return [
        layer
        for layer in layers
        if all(p.requires_grad and uses[id(p)] == 1 for p in layer.parameters())
    ]


def _inverse(matrix: Tensor, damping: Tensor) -> Tensor:
    """Of a symmetric positive matrix with the damping on its diagonal."""
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    # Without a check, which would wait for the device; the loop notices what is not finite.
    factor, _ = torch.linalg.cholesky_ex(damped)
    return torch.cholesky_inverse(factor)
