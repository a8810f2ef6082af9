"""Loss and quality of a model on a split, without gradients and in evaluation mode."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def quality(logits: Tensor, y: Tensor) -> Tensor:
    """What is counted beside the loss, summed over a batch; a scalar.

    Class indices (n,): the number of right answers. Class probabilities, for mixed
    targets, (n, classes) where `logits` has as many: likewise. Regression targets
    (n, targets): the absolute error, averaged over the targets of a sample.
    """
    if y.dtype == torch.int64:
        return (logits.argmax(1) == y).sum()
    return (logits.detach() - y).abs().mean(1).sum()


def quality_name(regression: bool) -> str:
    """The name under which the mean of `quality` is recorded."""
    return "mae" if regression else "accuracy"


@torch.no_grad()
def evaluate(
    model: nn.Module, forward: Callable[[Tensor], Tensor], loss: Loss, batches: Batches
) -> tuple[float, float]:
    """Mean loss and mean quality over all samples of `batches`, each (x, y) ready for the model.

    `forward` is what is called, `model` what is switched to evaluation and back; the
    sums stay on the device until the end.
    """
    was_training = model.training
    model.eval()
    losses, hits, count = [], [], 0
    for x, y in batches:
        logits = forward(x)
        losses.append(loss(logits, y).detach() * len(y))
        hits.append(quality(logits, y))
        count += len(y)
    model.train(was_training)
    if not count:
        return float("nan"), float("nan")
    return _total(losses) / count, _total(hits) / count


def _total(parts: list[Tensor]) -> float:
    """The exact sum of scalars on the device, read out at once."""
    return math.fsum(torch.stack(parts).tolist())
