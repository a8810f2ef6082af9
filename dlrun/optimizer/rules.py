"""Update rules of one run, or of several at once whose weights lie in one tensor.

    (p, grad, memory, numbers, ways, t)

p: (n,) or any shape, changed in place; (runs, n) of several. grad: its gradient, which stays.
memory: tensors of p's shape by name, changed in place. numbers: plain ones, or (runs, 1) float64
where runs differ; `lr` among them. ways: names of the parts of a rule that act. t: the steps taken,
with this one.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.optimizer.muon import orthogonal

Number = float | Tensor
Numbers = Mapping[str, Number]
Memory = Mapping[str, Tensor]


def descent(
    p: Tensor, grad: Tensor, memory: Memory, numbers: Numbers, ways: Collection[str], t: Number
) -> None:
    """θ ← θ − αg; with a velocity v ← βv + g and θ ← θ − αv, with Nesterov θ ← θ − α(g + βv)."""
    if _acts(numbers["weight_decay"]):
        grad = _plus(grad, p, numbers["weight_decay"])
    if "velocity" in ways:
        velocity = _times(memory["velocity"], numbers["momentum"]).add_(grad)
        grad = _plus(grad, velocity, numbers["momentum"]) if "nesterov" in ways else velocity
    _add(p, grad, -numbers["lr"])


def scaled(
    p: Tensor, grad: Tensor, memory: Memory, numbers: Numbers, ways: Collection[str], t: Number
) -> None:
    """θ ← θ − α·m̂/√(ŝ + ε) in all its forms: AdaGrad, RMSprop, Adam, AdamW, NAdam.

    ways: as the options of `adaptive.Scaled`; largest: of all s so far; decoupled: the decay
    acts on the weights; clamped: s less the square of the mean is never below 0.
    """
    lr, eps = numbers["lr"], numbers["eps"]
    if "decoupled" in ways:
        _times(p, 1 - lr * numbers["weight_decay"])
    elif _acts(numbers["weight_decay"]):
        grad = _plus(grad, p, numbers["weight_decay"])
    scale = _spread(grad, memory, numbers, ways, t)
    scale = _more(scale, eps).sqrt_() if "inside" in ways else _more(scale.sqrt_(), eps)
    moved = grad
    if "momentum" in ways:
        moved = _running(memory["momentum"], grad, numbers["beta"])
    if "nesterov" in ways:
        lr, moved = lr * 1.0, _ahead(grad, moved, memory["product"], numbers, t)
    elif "momentum" in ways and "corrected" in ways:
        lr = lr / (1 - numbers["beta"] ** t)
    if "lr_decay" in ways:
        lr = lr / (1 + (t - 1) * numbers["lr_decay"])
    if "velocity" in ways:
        _add(p, _times(memory["velocity"], numbers["momentum"]).addcdiv_(moved, scale), -lr)
    elif isinstance(lr, Tensor):
        _add(p, scale.reciprocal_().mul_(moved), -lr)
    else:
        p.addcdiv_(moved, scale, value=-lr)


def lion(
    p: Tensor, grad: Tensor, memory: Memory, numbers: Numbers, ways: Collection[str], t: Number
) -> None:
    """As `Lion`."""
    mean = memory["momentum"]
    update = torch.lerp(grad, mean, _like(numbers["first"], mean)).sign_()
    _times(p, 1 - numbers["lr"] * numbers["weight_decay"])
    _add(p, update, -numbers["lr"])
    _running(mean, grad, numbers["second"])


def turned(
    p: Tensor,
    grad: Tensor,
    memory: Memory,
    numbers: Numbers,
    ways: Collection[str],
    t: Number,
    shapes: Sequence[torch.Size],
    iterations: int,
) -> None:
    """As `Muon` for matrices; those of one shape are made orthogonal together, of all runs.

    p: (runs, n), its columns those of weights of these shapes, one after another.
    """
    momentum, lr = numbers["momentum"], numbers["lr"]
    mean = _running(memory["momentum"], grad, momentum)
    update = torch.lerp(grad, mean, _like(momentum, mean)) if "nesterov" in ways else mean
    if _acts(numbers["weight_decay"]):
        _times(p, 1 - lr * numbers["weight_decay"])
    sizes = [shape.numel() for shape in shapes]
    pieces = list(zip(p.split(sizes, 1), update.split(sizes, 1), strict=True))
    alike = defaultdict(list)
    for shape, piece in zip(shapes, pieces, strict=True):
        alike[shape[0], shape[1:].numel()].append(piece)
    for (rows, columns), some in alike.items():
        matrices = torch.cat([change.reshape(-1, rows, columns) for _, change in some])
        changes = orthogonal(matrices, iterations).reshape(len(some), len(p), -1)
        for (weights, _), change in zip(some, changes, strict=True):
            _add(weights, change, -lr * max(1, rows / columns) ** 0.5)


def _spread(
    grad: Tensor, memory: Memory, numbers: Numbers, ways: Collection[str], t: Number
) -> Tensor:
    """ŝ, a new tensor."""
    square, rho = memory["square"], numbers.get("rho", 0.0)
    if "sums" in ways:
        square.addcmul_(grad, grad)
    elif isinstance(rho, Tensor):
        _add(_times(square, rho), grad * grad, 1 - rho)
    else:
        square.mul_(rho).addcmul_(grad, grad, value=1 - rho)
    if "largest" in ways:
        square = torch.maximum(memory["largest"], square, out=memory["largest"])
    size: Tensor = square / _like(1 - rho**t, square) if "corrected" in ways else square.clone()
    if "mean" in ways:
        mean = _running(memory["mean"], grad, rho)
        size.addcmul_(mean, mean, value=-1)
    return size.clamp_(min=0) if "clamped" in ways and "mean" in ways else size


def _ahead(grad: Tensor, mean: Tensor, product: Tensor, numbers: Numbers, t: Number) -> Tensor:
    """The step of NAdam (Dozat 2016): by the gradient, and by the mean as it will be."""
    beta, psi = numbers["beta"], numbers["psi"]
    now, then = (beta * (1 - 0.5 * 0.96 ** (step * psi)) for step in (t, t + 1))
    _times(product, now)
    sofar = product.double()
    share = _like((1 - now) / (1 - sofar), grad)
    moved: Tensor = grad * share
    return moved.addcmul_(mean, _like(then / (1 - sofar * then), grad))


def _acts(number: Number) -> bool:
    return isinstance(number, Tensor) or number != 0


def _like(number: Number, x: Tensor) -> Any:
    """A number as operations on x take it."""
    return number.to(x) if isinstance(number, Tensor) else number


def _times(x: Tensor, number: Number) -> Tensor:
    """x ← number·x."""
    return x.mul_(_like(number, x))


def _more(x: Tensor, number: Number) -> Tensor:
    """x ← x + number."""
    return x.add_(_like(number, x))


def _add(x: Tensor, y: Tensor, number: Number) -> Tensor:
    """x ← x + number·y."""
    if isinstance(number, Tensor):
        return x.addcmul_(y, number.to(x))
    return x.add_(y, alpha=number)


def _plus(x: Tensor, y: Tensor, number: Number) -> Tensor:
    """x + number·y."""
    if isinstance(number, Tensor):
        return torch.addcmul(x, y, number.to(x))
    return x.add(y, alpha=number)


def _running(mean: Tensor, value: Tensor, rho: Number) -> Tensor:
    """mean ← ρ·mean + (1 − ρ)·value."""
    return mean.lerp_(value, _like(1 - rho, mean))
