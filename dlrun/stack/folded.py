"""Layers that treat each channel or a few of them alone, for several networks at once.

torch's own convolution, batch norm and pooling see one network with as many times the channels,
which `vmap` takes apart or copies.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.stack.stages import Back, Stage, Tensors, Traced

_POOLS: dict[type[nn.Module], int] = {
    **{nn.MaxPool1d: 4, nn.AvgPool1d: 4, nn.AdaptiveAvgPool1d: 4, nn.AdaptiveMaxPool1d: 4},
    **{nn.MaxPool2d: 5, nn.AvgPool2d: 5, nn.AdaptiveAvgPool2d: 5, nn.AdaptiveMaxPool2d: 5},
}
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 4, nn.Conv2d: 5}
_NORMS: dict[type[nn.Module], tuple[int, ...]] = {nn.BatchNorm1d: (3, 4), nn.BatchNorm2d: (5,)}
_ANY = (3, 4, 5)


class Layer(NamedTuple):
    """A layer of all networks: (n, runs·channels, ...) -> the same.

    act: of the tensors and x. dims: of (runs, n, ...) for which it holds. shares: whether
    (n, channels, ...) will do, where all networks see the same.
    """

    act: Callable[[Tensors, Tensor], Tensor]
    dims: Sequence[int]
    shares: bool = False


def layer(module: nn.Module, names: Mapping[str, str]) -> Layer | None:
    """That of a module, its tensors called by these names; None where nothing is known of it."""
    kind = type(module)
    if kind in _POOLS and not getattr(module, "return_indices", False):
        return alike(module, (_POOLS[kind],))
    if isinstance(module, nn.Conv1d | nn.Conv2d) and kind in _CONVOLUTIONS:
        return _convolution(module, names) if module.padding_mode == "zeros" else None
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and kind in _NORMS:
        return _norm(module, names, module.momentum) if module.momentum is not None else None
    return None


def alike(module: nn.Module, dims: Sequence[int] = _ANY) -> Layer:
    """That of a module without weights that treats all channels alike."""
    return Layer(lambda _, x: module(x), dims)


class Folded:
    """Some layers, one after another; where they don't hold for what comes in, `other` does it."""

    def __init__(self, layers: Sequence[Layer], other: Stage) -> None:
        self.weights = other.weights
        self._layers, self._other = list(layers), other
        self._own = Traced(self._all, self.weights)

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """What comes out."""
        return self._which(x)(tensors, x)

    def traced(self, tensors: Tensors, x: Tensor) -> tuple[Tensor, Back]:
        """What comes out, and the way back."""
        return self._which(x).traced(tensors, x)

    def _which(self, x: Tensor) -> Stage:
        return self._own if all(x.dim() in each.dims for each in self._layers) else self._other

    def _all(self, tensors: Tensors, x: Tensor) -> Tensor:
        runs, flat = len(x), x.dim() == 3
        if flat:  # of vectors a linear map leaves the samples last
            x = x.mT.reshape(1, -1, x.shape[1])
        elif self._layers[0].shares and not x.stride(0):
            x = x[0]
        else:
            x = x.transpose(0, 1).reshape(x.shape[1], -1, *x.shape[3:])
        for each in self._layers:
            x = each.act(tensors, x)
        return (
            x.view(runs, -1, x.shape[2]).mT if flat else x.unflatten(1, (runs, -1)).transpose(0, 1)
        )


def _convolution(module: nn.Conv1d | nn.Conv2d, names: Mapping[str, str]) -> Layer:
    convolve: Callable[..., Tensor] = F.conv2d if isinstance(module, nn.Conv2d) else F.conv1d
    weight, bias = names["weight"], names.get("bias")

    def act(tensors: Tensors, x: Tensor) -> Tensor:
        return convolve(
            x,
            tensors[weight].flatten(0, 1),
            None if bias is None else tensors[bias].flatten(),
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups * (x.shape[1] // module.in_channels),
        )

    return Layer(act, (_CONVOLUTIONS[type(module)],), shares=module.groups == 1)


def _norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d, names: Mapping[str, str], momentum: float
) -> Layer:
    def act(tensors: Tensors, x: Tensor) -> Tensor:
        def flat(name: str) -> Tensor | None:
            return tensors[names[name]].flatten() if name in names else None

        if module.training and "num_batches_tracked" in names:
            tensors[names["num_batches_tracked"]].add_(1)
        return F.batch_norm(
            x,
            flat("running_mean"),  # a view: it is changed in place
            flat("running_var"),
            flat("weight"),
            flat("bias"),
            module.training or "running_mean" not in names,
            momentum,
            module.eps,
        )

    return Layer(act, _NORMS[type(module)])
