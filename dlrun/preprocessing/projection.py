"""Steps that mix the elements of a sample: principal components and whitening.

With C = U diag(λ) Uᵀ the covariance of the training split, λ falling:

    pca      y = Uₖᵀ (x − mean)                          covariance diag(λ₁ … λₖ)
    whiten   y = diag(λ + eps)^(−1/2) Uₖᵀ (x − mean)     covariance diag(λ / (λ + eps))
    zca      y = U diag(λ + eps)^(−1/2) Uᵀ (x − mean)    the whitening nearest to the input

Pearson 1901, On Lines and Planes of Closest Fit; Hotelling 1933; Bell, Sejnowski 1997,
The Independent Components of Natural Scenes Are Edge Filters (zca).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.errors import Mistake, not_negative
from dlrun.preprocessing.moments import covariance
from dlrun.preprocessing.shapes import take_shapes

WIDEST = 2**14
"""The most elements of a sample for which the covariance, d² numbers, is computed."""


class Projection(nn.Module):
    """y = W (x − mean), fitted by one pass over the training split.

    components: how many principal axes to keep: a whole number, the share of the variance in
    (0, 1] that they must reach, or None for all. eps: added to every variance before dividing
    by it; None keeps the variances. A direction whose divisor is then 0 but for rounding is only
    centred. turn_back: whether to rotate the result back to the axes
    and the shape of the input.
    """

    mean: Tensor
    weight: Tensor

    def __init__(
        self, components: int | float | None, eps: float | None, turn_back: bool = False
    ) -> None:
        super().__init__()
        self.components, self.eps, self.turn_back = components, eps, turn_back
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from (n, *shape) batches."""
        mean, spread = covariance(_narrow(batches))
        variances, axes = principal_axes(spread)
        kept = axes[: how_many(variances, self.components)]
        weight = kept
        if self.eps is not None:
            scale = variances[: len(kept), None] + self.eps
            # Rounding gives a direction without variance one of about 1e-16: it is only centred.
            varies = scale > 1e-12 * variances[0]
            weight = kept / torch.where(varies, scale, torch.ones_like(scale)).sqrt()
        if self.turn_back:
            weight = kept.T @ weight
        self.mean = mean.float().to(self.mean.device)
        self.weight = weight.float().contiguous().to(self.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) float -> (n, components), or (n, *shape) if turned back."""
        out = (x.flatten(1) - self.mean) @ self.weight.T
        return out.reshape(x.shape) if self.turn_back else out

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        take_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def pca(components: int | float | None = None) -> Projection:
    """Principal components: decorrelated, the largest variance first; (n, components)."""
    _check(components, 0)
    return Projection(components, eps=None)


def whiten(components: int | float | None = None, eps: float = 1e-3) -> Projection:
    """Principal components, each with variance 1; (n, components)."""
    _check(components, eps)
    return Projection(components, eps)


def zca(eps: float = 1e-3) -> Projection:
    """Whitened and turned back, so that images stay images."""
    _check(None, eps)
    return Projection(None, eps, turn_back=True)


def principal_axes(spread: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (d,), falling, and axes (d, d), one a row, of a covariance (d, d), float64.

    The largest entry of each axis is positive, so that its sign does not depend on rounding.
    """
    variances, axes = torch.linalg.eigh(spread)
    variances, axes = variances.flip(0).clamp(min=0), axes.T.flip(0)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return variances, axes * torch.where(largest < 0, -1.0, 1.0)


def how_many(variances: Tensor, components: int | float | None) -> int:
    """The number of axes to keep; variances (d,), falling. Raises ValueError for too many."""
    if components is None:
        return len(variances)
    if isinstance(components, int):
        if components > len(variances):
            raise ValueError(f"components must be at most {len(variances)}, got {components}")
        return components
    reached = variances.cumsum(0) / variances.sum()
    # Slightly less, or rounding would add an axis where the share is reached exactly.
    return min(int((reached < components - 1e-12).sum()) + 1, len(variances))


def _check(components: int | float | None, eps: float) -> None:
    if isinstance(components, int) and components < 1:
        raise ValueError(f"components must be at least 1, got {components}")
    if isinstance(components, float) and not 0 < components <= 1:
        raise ValueError(
            f"components must be a whole number or a share in (0, 1], got {components}"
        )
    not_negative(eps=eps)


def _narrow(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    for x in batches:
        if len(x) and x[0].numel() > WIDEST:
            raise Mistake(
                f"preprocessing: the covariance of samples of {x[0].numel():,} numbers is too "
                f"large, {WIDEST:,} is the most; use smaller images (data.size=64) or another step"
            )
        yield x
