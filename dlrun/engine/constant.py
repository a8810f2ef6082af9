"""The best constant answer, which is what guessing gives: for any loss, also one of the user."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlrun.loss import Loss

_VALUES = 2**21  # of answers and targets that are compared at once, at most
_STEPS, _SHRINK = 300, 0.97  # the last step is 1e-4 of the first
_FLAT = 1e-4  # the gradient of an answer that is best already


def best_constant(loss: Loss, y: Tensor, outputs: int) -> Tensor:
    """(outputs,) or (*shape,) The one answer whose mean loss over targets is least.

    y: (n,) class indices, or (n, *shape) numbers. The best of some simple answers, which is exact
    for cross_entropy, bce, mse and mae; where its gradient is not 0, descent goes on from there.
    """
    simple = _simple(y, outputs)
    y = y[:: max(1, math.ceil(len(y) * simple[0].numel() / _VALUES))]
    with torch.no_grad():
        found = losses_of(loss, simple, y).nan_to_num(math.inf, math.inf, math.inf)
    best, least = simple[int(found.argmin())], float(found.min())
    spread = float(y.std(0).mean()) if y.is_floating_point() and len(y) > 1 else 1.0
    answer, length = best, spread * math.sqrt(best.numel())
    for _ in range(_STEPS):
        slope = _slope(loss, answer, y)
        if slope is None or not (steep := float(slope.norm())) > _FLAT:
            break
        answer, length = answer - slope * (length / steep), length * _SHRINK
        with torch.no_grad():
            now = float(losses_of(loss, [answer], y))
        if now < least:
            least, best = now, answer
    return best


def _simple(y: Tensor, outputs: int) -> list[Tensor]:
    """0, the mean, the median, and the logits of the mean for softmax and for sigmoid."""
    if y.is_floating_point():
        mean, middle = y.mean(0), y.median(0).values
    else:
        mean = torch.bincount(y, minlength=outputs) / len(y)
        middle = (mean > 0.5).float()
    likely = mean.clamp(1e-6, 1 - 1e-6)
    return [torch.zeros_like(mean), mean, middle, likely.log(), likely.logit()]


def losses_of(loss: Loss, answers: Sequence[Tensor], y: Tensor) -> Tensor:
    """(answers,) The mean loss of each answer for all targets.

    Of classes each is taken once where the loss is a mean over samples that each have their own.
    """
    if y.is_floating_point() or not loss.alone:
        return torch.stack([loss(each.expand(len(y), *each.shape), y) for each in answers])
    counts = y.bincount()
    classes = counts.nonzero().flatten()
    said = torch.stack([*answers]).repeat_interleave(len(classes), 0)
    each = loss.each(said, classes.repeat(len(answers))).view(len(answers), -1)
    return each @ (counts[classes] / len(y)).to(each.dtype)


def _slope(loss: Loss, answer: Tensor, y: Tensor) -> Tensor | None:
    """The gradient of the loss by the answer; None where the loss has none."""
    with torch.enable_grad():
        answer = answer.detach().requires_grad_()
        [value] = losses_of(loss, [answer], y)
        return torch.autograd.grad(value, answer)[0] if value.requires_grad else None
