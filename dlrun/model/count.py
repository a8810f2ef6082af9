"""How large a model is, and how much it computes."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dlrun.model.order import evaluation


def parameters(model: nn.Module) -> int:
    """The number of trainable parameters; those that several layers share count once."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def flops(model: nn.Module, x: Tensor) -> int:
    """Floating-point operations of the forward pass of one sample, (n, *shape) being given.

    A multiplication and an addition are two. Counted are matrix products, convolutions and
    attention, as torch does; what costs little beside them, such as biases, activations,
    norms and pooling, is not.
    """
    counter = FlopCounterMode(display=False)
    # With gradients, because without them attention takes a shortcut that nothing counts.
    with evaluation(model), torch.enable_grad(), counter:
        model(x[:1])
    return int(counter.get_total_flops())
