"""Batch normalization put into a network that was built without.

Ioffe, Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing
Internal Covariate Shift.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from dlrun.errors import Mistake
from dlrun.model.order import evaluation, hooked
from dlrun.regularization import Regularizer

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink),
)
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_log = logging.getLogger("dlrun")


class BatchNorm(Regularizer):
    """(h − mean)/√(variance + eps)·γ + β before each activation, over the mini-batch.

    Evaluation uses running averages of mean and variance. Where activations are functions in
    the model's code, or one module in several places, it goes after each linear and convolution
    layer except the last instead. A model that has batch norm stays as it is.
    """

    def __init__(self, momentum: float = 0.1, eps: float = 1e-5) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
        if eps <= 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        self.momentum, self.eps = momentum, eps

    def change_model(self, model: nn.Module, x: Tensor) -> nn.Module:
        """Put the layers in. Raises Mistake where there is no place for them."""
        if any(isinstance(module, _BatchNorm) for module in model.modules()):
            _log.warning("regularization.batch_norm: the model has batch norm and stays as it is")
            return model
        before, behind = _places(model, x)
        once = len({activation for activation, _ in before}) == len(before)
        if before and once:
            for activation, features in before:
                _replace(model, activation, nn.Sequential(self._norm(features), activation))
        elif len(behind) > 1:
            for layer, features in behind[:-1]:
                _replace(model, layer, nn.Sequential(layer, self._norm(features)))
        else:
            raise Mistake(
                "regularization.batch_norm: the model has no activation to put it before; "
                "use a model with hidden layers, such as mlp or cnn"
            )
        return model

    def _norm(self, features: Tensor) -> nn.Module:
        """A layer for values of this shape, their features on axis 1."""
        kind = _NORMS[features.dim()]
        return kind(features.shape[1], self.eps, self.momentum).to(features)


def _places(
    model: nn.Module, x: Tensor
) -> tuple[list[tuple[nn.Module, Tensor]], list[tuple[nn.Module, Tensor]]]:
    """Activations with their input, and weight layers with their output, in the order they run.

    Raises Mistake where features are not on axis 1, as in transformers.
    """
    before: list[tuple[nn.Module, Tensor]] = []
    behind: dict[nn.Module, Tensor] = {}

    def enter(module: nn.Module, args: Any) -> None:
        before.append((module, args[0]))

    def leave(module: nn.Module, args: Any, out: Tensor) -> None:
        if out.dim() not in _NORMS or (isinstance(module, nn.Linear) and out.dim() > 2):
            raise Mistake(
                f"regularization.batch_norm: has no form for the output of {type(module).__name__} "
                f"layers, of shape {tuple(out.shape)}; leave it out"
            )
        behind.setdefault(module, out)

    handles = []
    for module in model.modules():
        if isinstance(module, ACTIVATIONS) or hasattr(module, "pieces"):
            handles.append(module.register_forward_pre_hook(enter))
        elif isinstance(module, nn.Linear | _ConvNd):
            handles.append(module.register_forward_hook(leave))
    with hooked(handles), evaluation(model), torch.no_grad():
        model(x)
    return before, list(behind.items())


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace a module wherever it occurs."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
