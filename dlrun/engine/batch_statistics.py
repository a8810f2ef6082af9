"""Batch norm's running statistics, estimated anew for weights that training has not gone through.

An average of weights has other activations than the weights that it is the average of, and so
other means and variances. Izmailov et al. 2018, Averaging Weights Leads to Wider Optima, 3.2.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlrun.model.order import evaluation, hooked


def layers(model: nn.Module) -> list[_BatchNorm]:
    """The layers of batch norm whose statistics training moves; none that stay frozen in it."""
    with evaluation(model):  # puts the modes back
        model.train()
        return [
            module
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
        ]


def tensors(model: nn.Module) -> list[Tensor]:
    """The running means, variances and counts of these layers, which `estimate` writes into."""
    return [value for layer in layers(model) for value in layer.buffers(recurse=False)]


@torch.no_grad()
def estimate(
    model: nn.Module, forward: Callable[[Tensor], Tensor], samples: Iterable[Tensor]
) -> None:
    """Set the statistics to the means over these mini-batches, as `swa_utils.update_bn` does.

    Only batch norm is in training mode meanwhile: nothing is left out at random, as in
    evaluation. forward: how the model is called.
    """
    found = layers(model)
    momenta = [layer.momentum for layer in found]
    # For its own arithmetic alone: other hooks, which may drop branches, evaluate.
    handles = [layer.register_forward_pre_hook(_train) for layer in found]
    handles += [layer.register_forward_hook(_evaluate, prepend=True) for layer in found]
    with evaluation(model), hooked(handles):
        try:
            for layer in found:
                layer.reset_running_stats()
                layer.momentum = None  # every mini-batch counts the same
            for x in samples:
                forward(x)
        finally:
            for layer, momentum in zip(found, momenta, strict=True):
                layer.momentum = momentum


def _train(layer: nn.Module, _: object) -> None:
    layer.training = True


def _evaluate(layer: nn.Module, *_: object) -> None:
    layer.training = False
