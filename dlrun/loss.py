"""The group `loss`: what training makes small.

    (logits, y, **options) -> scalar

logits: (n, outputs), what the model gives, never probabilities; y: (n,) int64 class
indices, (n, outputs) float targets or class probabilities. The mean over the batch.
"""

import torch.nn.functional as F
from torch import Tensor


def targets(logits: Tensor, y: Tensor) -> Tensor:
    """Targets of the logits' shape and type: class indices become one-hot rows."""
    if y.is_floating_point():
        return y.to(logits.dtype)
    return F.one_hot(y, logits.shape[-1]).to(logits.dtype)


def mse(logits: Tensor, y: Tensor) -> Tensor:
    """The mean of (logit − target)² over samples and outputs."""
    return F.mse_loss(logits, targets(logits, y))
