"""Sharpness: the largest eigenvalue of the Hessian of the training loss.

Cohen, Kaur, Li, Kolter, Talwalkar 2021, Gradient Descent on Neural Networks Typically Occurs at
the Edge of Stability: it rises until it is about 2/lr, beyond which gradient descent would
diverge along that direction.
"""

from collections.abc import Callable, Sequence
from math import isfinite, nan

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dlrun.engine import signal
from dlrun.engine.device import without_cudnn
from dlrun.engine.look import Seen, untouched
from dlrun.engine.run import Run

TOLERANCE = 1e-3
"""How far the value may be off, as a share of the eigenvalue that is largest in size."""
MOST = 100
"""Products of the Hessian with a vector, at most."""


def sharpness(run: Run, seen: Seen) -> float:
    """Of what is trained, without penalties, on the samples that are seen.

    In training mode and single precision, with the same random numbers every time. Raises
    RuntimeError where the model cannot be differentiated twice.
    """
    with (
        untouched(run),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),  # here and there the way whose gradient has a gradient, too
        without_cudnn(run.model),
    ):
        torch.manual_seed(0)
        run.model.train()
        loss = run.objective(run.model(seen.x), seen.y)
        return largest_eigenvalue(loss, run.weights)


def largest_eigenvalue(loss: Tensor, weights: Sequence[Tensor]) -> float:
    """Of the Hessian of a loss by the weights that it depends on; nan where it is not finite.

    Raises RuntimeError where a function has no second derivative.

    Lanczos 1950, An Iteration Method for the Solution of the Eigenvalue Problem: the power
    method, but with the best combination of all its vectors, so that it needs far fewer of them,
    and a negative eigenvalue of larger size does no harm. Orthogonality is lost with rounding,
    which repeats eigenvalues and invents none (Paige 1971).
    """
    gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    curved = [
        (weight, gradient)
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None and gradient.requires_grad
    ]
    # A function that can be differentiated once only may cut weights off without an error.
    for _, gradient in curved:
        if any("Error" in node.name() for node in signal.behind(gradient.grad_fn)):
            raise RuntimeError("one of its functions has no second derivative")
    if not curved:  # the loss is linear in all weights
        return 0.0
    multiply = _hessian(*zip(*curved, strict=True))
    size = sum(weight.numel() for weight, _ in curved)
    start = torch.randn(size, generator=torch.Generator().manual_seed(0))
    vector = start.to(curved[0][0])
    vector, before, off = vector / vector.norm(), torch.zeros_like(vector), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        product = multiply(vector) - off * before
        diagonal.append(float(product @ vector))
        if not isfinite(diagonal[-1]):
            return nan
        product -= diagonal[-1] * vector
        off = float(product.norm())
        values, error = _largest(diagonal, beside, off)
        if error <= TOLERANCE * float(values.abs().max()) or len(diagonal) == MOST:
            return float(values[-1])
        beside.append(off)
        before, vector = vector, product / off


def _hessian(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """The product of the Hessian with a vector (Pearlmutter 1994)."""
    sizes = [weight.numel() for weight in weights]

    def multiply(vector: Tensor) -> Tensor:
        parts = [
            part.view_as(weight).to(weight)
            for part, weight in zip(vector.split(sizes), weights, strict=True)
        ]
        found = torch.autograd.grad(
            gradients, weights, parts, retain_graph=True, materialize_grads=True
        )
        return torch.cat([each.reshape(-1) for each in found])

    return multiply


def _largest(
    diagonal: Sequence[float], beside: Sequence[float], off: float
) -> tuple[Tensor, float]:
    """The eigenvalues of a symmetric tridiagonal matrix, rising, and the largest one's error.

    off: the next number beside the diagonal, which the matrix lacks.
    """
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    others = torch.tensor(beside, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(matrix + torch.diag(others, 1) + torch.diag(others, -1))
    return values, off * float(vectors[-1, -1].abs())
