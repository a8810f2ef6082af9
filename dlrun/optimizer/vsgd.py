"""vSGD: a rate for every weight, from the variance of its gradients and the curvature.

Schaul, Zhang, LeCun 2013, No More Pesky Learning Rates; the curvature by finite
differences, as in Schaul, LeCun 2013, Adaptive Learning Rates and Parallelization for
Stochastic, Sparse, Non-smooth Gradients.
"""

import torch
from torch import Tensor, nn

from dlrun.errors import not_negative
from dlrun.optimizer.replay import Objective, flat, replayed, trainable


class VSGD(torch.optim.Optimizer):
    """Element-wise vSGD.

    Each weight keeps running means of its gradient ḡ and of its square v, of its curvature
    h and of its square q, over a memory of τ steps that it adapts itself. Every step
    takes two gradients of its batch, the second at θ + ḡ with the same random masks. The
    first `collect` steps gather plain means and move nothing; then v and h are overestimated
    `slow_start` times, q by the square of it, which wears off.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1.0,
        collect: int = 10,
        slow_start: float = 10.0,
        eps: float = 1e-6,
    ) -> None:
        not_negative(lr=lr)
        if collect < 1:
            raise ValueError(f"collect must be at least 1, got {collect}")
        if slow_start < 1:
            raise ValueError(f"slow_start must be at least 1, got {slow_start}")
        if eps <= 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        super().__init__(trainable(model), {"lr": lr})
        self._model = model
        self._collect, self._slow_start, self._eps = collect, slow_start, eps

    @torch.no_grad()
    def step(self, closure: Objective) -> Tensor:  # type: ignore[override]
        """Two gradients, one step; the objective before it."""
        objective = replayed(closure, self._model)
        weights = self.param_groups[0]["params"]
        value = objective()
        g = _gradient(weights)

        memory = self.state[weights[0]]
        if not memory:
            zero = torch.zeros_like(g)
            memory |= {"step": 0, "g": g.clone(), "tau": torch.ones_like(g)}
            memory |= {"v": zero, "h": zero.clone(), "q": zero.clone()}
        memory["step"] += 1
        mean, v, h, q, tau = (memory[name] for name in ("g", "v", "h", "q", "tau"))

        # The curvature, from a second gradient one typical step away.
        start = [weight.clone() for weight in weights]
        _move(weights, mean)
        objective()
        curvature = (_gradient(weights) - g).abs() / (mean.abs() + self._eps)
        torch._foreach_copy_(weights, start)

        collecting = memory["step"] <= self._collect
        if collecting:
            tau.fill_(memory["step"])
        else:
            # The memory is short where gradients agree, and longer after an outlier.
            tau.mul_(1 - mean**2 / (v + self._eps**2)).add_(1)
            tau.add_(_is_outlier(g, mean, v) | _is_outlier(curvature, h, q))
        for new, average in ((g, mean), (g**2, v), (curvature, h), (curvature**2, q)):
            average.add_((new - average) / tau)
        if memory["step"] == self._collect:
            v.mul_(self._slow_start)
            h.mul_(self._slow_start)
            q.mul_(self._slow_start**2)
        if not collecting:
            rates = h / (q + self._eps**2) * mean**2 / (v + self._eps**2)
            _move(weights, rates * g, -self.param_groups[0]["lr"])
        return value


def _is_outlier(value: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """Which values lie beyond two standard deviations."""
    return (value - mean).abs() > 2 * (square - mean**2).clamp_(min=0).sqrt_()


def _gradient(weights: list[nn.Parameter]) -> Tensor:
    """All gradients, flattened and concatenated; zero where there is none."""
    return flat([torch.zeros_like(w) if w.grad is None else w.grad for w in weights])


def _move(weights: list[nn.Parameter], change: Tensor, times: float = 1.0) -> None:
    sizes = [weight.numel() for weight in weights]
    for weight, part in zip(weights, change.split(sizes), strict=True):
        weight.add_(part.view(weight.shape), alpha=times)
