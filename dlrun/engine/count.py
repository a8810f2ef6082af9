"""How large a model is, and how much it computes."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import flop_counter

from dlrun.engine.eager import unhide
from dlrun.model.order import evaluation


def size(model: nn.Module) -> int:
    """The number of parameters, trainable or not; those that several layers share count once."""
    return sum(weight.numel() for weight in model.parameters())


def parameters(model: nn.Module) -> int:
    """The number of trainable parameters; those that several layers share count once."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def flops(model: nn.Module, x: Tensor) -> int:
    """Floating-point operations of the forward pass of one sample, n being given, (n, *shape).

    A multiplication and an addition count as two. It counts matrix products, convolutions,
    attention and recurrent layers, but not what costs little beside them: biases, activations,
    norms and pooling.
    """
    unhide(flop_counter._FlopCounterMode.__torch_dispatch__)
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=_RECURRENT)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # torch's counter does not see into fused kernels of attention and of transformer layers.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluation(model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return int(counter.get_total_flops()) // len(x)


def _recurrence(x: torch.Size, weights: list[torch.Size], *rest: Any, **named: Any) -> int:
    """Of fused recurrent layers: at each step, every matrix times one vector a sequence."""
    matrices = sum(prod(weight) for weight in weights if len(weight) == 2)
    return 2 * prod(x[:-1]) * matrices


def _recurrence_of_one_layer(
    x: torch.Size, to_hidden: torch.Size, recurrent: torch.Size, *rest: Any, **named: Any
) -> int:
    return _recurrence(x, [to_hidden, recurrent])


_RECURRENT = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrence_of_one_layer,
    torch.ops.aten._cudnn_rnn: _recurrence,
    torch.ops.aten.miopen_rnn: _recurrence,
}
