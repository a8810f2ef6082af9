"""The group `loss`: what training makes small.

    (logits, y, **options) -> scalar

logits: (n, outputs), what the model gives, never probabilities; y: (n,) int64 class
indices, (n, outputs) float targets or class probabilities. The mean over the batch.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import Mistake


def targets(logits: Tensor, y: Tensor) -> Tensor:
    """Targets of the logits' shape and type.

    Class indices become one-hot rows, or a column of 0 and 1 where there is one logit.
    """
    if y.is_floating_point():
        return y.to(logits.dtype).reshape(logits.shape)
    if logits.shape[-1] == 1:
        return y.to(logits.dtype).reshape(logits.shape)
    return F.one_hot(y, logits.shape[-1]).to(logits.dtype)


def mse(logits: Tensor, y: Tensor) -> Tensor:
    """The mean of (logit − target)² over samples and outputs."""
    return F.mse_loss(logits, targets(logits, y))


def mae(logits: Tensor, y: Tensor) -> Tensor:
    """The mean of |logit − target| over samples and outputs."""
    return F.l1_loss(logits, targets(logits, y))


def huber(logits: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    """The mean over samples and outputs of e²/2 where |e| ≤ delta, else delta·(|e| − delta/2)."""
    if delta <= 0:
        raise ValueError(f"delta must be above 0, got {delta}")
    return F.huber_loss(logits, targets(logits, y), delta=delta)


def bce(logits: Tensor, y: Tensor) -> Tensor:
    """The mean over samples and outputs of −t·log σ(z) − (1 − t)·log(1 − σ(z)).

    Several labels may hold for one sample: y (n, outputs) float of 0 and 1, or between.
    """
    return F.binary_cross_entropy_with_logits(logits, targets(logits, y))


def hinge(logits: Tensor, y: Tensor, margin: float = 1.0, power: int = 1) -> Tensor:
    """The mean over samples of Σ over the wrong classes of max(0, margin − z_y + z_k)^power.

    y: (n,) class indices.
    """
    if margin <= 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}")
    if y.is_floating_point():
        raise Mistake("loss=hinge: needs class labels, and the targets here are numbers")
    return F.multi_margin_loss(logits, y, p=power, margin=margin) * logits.shape[-1]


def predicted(loss: Callable[..., Tensor] | None, logits: Tensor) -> Tensor:
    """What a model says of targets that are numbers: σ(logits) with bce, else what it gives."""
    return logits.sigmoid() if getattr(loss, "func", loss) is bce else logits


def weighted(loss: Callable[..., Tensor], weight: Tensor) -> Callable[..., Tensor]:
    """The loss with a weight (classes,) for each class, as a mean over the samples.

    torch divides by the weights of a mini-batch; then several mini-batches with their shares
    of the samples would not be the same as one large one.
    """
    if "reduction" not in inspect.signature(loss).parameters:
        return partial(loss, weight=weight)

    def mean(logits: Tensor, y: Tensor) -> Tensor:
        return loss(logits, y, weight=weight, reduction="sum") / len(y)

    return mean


def averaged(loss: Callable[..., Tensor], logits: Tensor) -> Tensor:
    """One prediction out of several of each sample, (views, n, ...) -> (n, ...), for `loss`.

    Cross entropy and bce get the logits of the mean probability, of the softmax and of σ;
    every other loss the mean of what the model gives.
    """
    function = getattr(loss, "func", loss)
    if len(logits) == 1:
        return logits[0]
    if function is F.cross_entropy:
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))
    if function is bce:
        # Both logs keep their digits where σ is nearly 0 or 1.
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
    return logits.mean(0)


_ROUNDING = 1e-3  # by which targets may lie outside [0, 1]
# These squash what they are given, so probabilities would be squashed twice.
TAKES_LOGITS: tuple[Callable[..., Tensor], ...] = (F.cross_entropy, bce, hinge)
# What autograd calls the functions that squash, and those that only rearrange.
SQUASHES = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
REARRANGES = ("View", "Reshape", "Squeeze", "Unsqueeze", "Clone", "Permute", "Transpose", "ToCopy")


def refuse_probabilities(loss: Callable[..., Tensor], model: nn.Module, x: Tensor) -> None:
    """Raise Mistake where the model ends in a softmax or sigmoid and the loss takes logits.

    x: a few samples, (n, *shape); the model runs once on them, in its present mode.
    """
    function = getattr(loss, "func", loss)
    if function not in TAKES_LOGITS:
        return
    with torch.enable_grad():
        node: Any = model(x).grad_fn
    while node is not None and any(kind in type(node).__name__ for kind in REARRANGES):
        node = node.next_functions[0][0] if node.next_functions else None
    ending = SQUASHES.get(type(node).__name__)
    if ending is not None:
        raise Mistake(
            f"loss={function.__name__}: takes logits, but the model ends in a {ending}, which "
            f"this loss applies itself; leave the model's {ending} out, or use loss=mse"
        )


def require_unit_targets(loss: Callable[..., Tensor], y: Tensor, otherwise: str) -> None:
    """Raise Mistake where bce is to compare σ with numbers beyond [0, 1]; it has no least value."""
    if getattr(loss, "func", loss) is not bce or not y.is_floating_point():
        return
    low, high = (float(end) for end in y.aminmax())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise Mistake(
            f"loss=bce: takes targets between 0 and 1, and here they go from {low:g} to {high:g}; "
            f"use {otherwise}"
        )


def require_reconstruction(loss: Callable[..., Tensor]) -> None:
    """Raise Mistake where the loss compares classes and the model gives its input back."""
    function = getattr(loss, "func", loss)
    if function in (F.cross_entropy, hinge):
        raise Mistake(
            f"loss={function.__name__}: compares classes, but the model gives its input back; "
            "use loss=mse, mae, huber or bce"
        )
