"""What each parameter of a network is: a weight, or a bias, a gain, a length, an offset.

A weight is an entry of the matrix, kernel or table by which a layer multiplies what it takes in.
Shapes do not tell: the lengths of weight normalization are a column, the gains of a layer norm
over images have three axes, and so has the place of a token.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from dlrun.model.order import evaluation

WEIGHT, TABLE, LENGTH, DIRECTION, OTHER = "weight", "table", "length", "direction", "other"
"""A weight; one of an embedding, which picks rows; g and v of a weight g·v/‖v‖; all else."""
TABLES = (nn.Embedding, nn.EmbeddingBag)
LAYERS = (
    *(nn.Linear, nn.Bilinear, _ConvNd, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase),
    *TABLES,
)
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

_Part = nn.Parameter | ParametrizationList
"""A tensor that a layer computes with, or what computes it from other parameters."""


class Used(NamedTuple):
    """Tensors that layers compute with: parameters themselves, and those computed from others."""

    plain: list[Tensor]
    made: list[ParametrizationList]


def roles(model: nn.Module, frozen: bool = False) -> dict[nn.Parameter, str]:
    """What each trainable parameter is, in the model's order.

    frozen: what those are that are not trained, too.
    One that several layers share is a weight where it is one in any of them. What another
    reparametrization than weight normalization makes a weight of is a weight, too.
    """
    found: dict[nn.Parameter, str] = {}
    for layer, name, part in _parts(model):
        for parameter, role in _roles(layer, name, part):
            if found.get(parameter, OTHER) == OTHER:
                found[parameter] = role
    return {p: found.get(p, OTHER) for p in model.parameters() if p.requires_grad or frozen}


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trainable matrices and kernels, in the model's order; of g·v/‖v‖ it is v."""
    return [p for p, role in roles(model).items() if role in (WEIGHT, DIRECTION)]


def decaying(model: nn.Module, others: bool = False, frozen: bool = False) -> list[nn.Parameter]:
    """The trainable parameters which shrink as the weights shrink; of g·v/‖v‖ it is g.

    others: biases, gains and the rest, too; all but v then. frozen: those not trained, too.
    """
    kinds = {WEIGHT, TABLE, LENGTH} | ({OTHER} if others else set())
    return [p for p, role in roles(model, frozen).items() if role in kinds]


def weights(model: nn.Module) -> Used:
    """All trainable weights as layers use them."""
    return _used(part for layer, name, part in _parts(model) if is_weight(layer, name, part))


def everything(model: nn.Module) -> Used:
    """All that is trained as layers use it: weights, biases, gains, ..."""
    return _used(part for _, _, part in _parts(model))


def is_weight(layer: nn.Module, name: str, part: _Part) -> bool:
    """Whether what a layer has under this name is its weight.

    In a layer of the user's own it is what has more than one row and more than one column.
    """
    if isinstance(layer, NORMS) or "bias" in name:
        return False
    if isinstance(layer, LAYERS):
        return not name.endswith("_g")  # the length of torch's older weight_norm
    shape = part.shape if isinstance(part, Tensor) else value(part).shape
    return len(shape) > 1 and shape.numel() > shape[0] > 1


def value(made: ParametrizationList) -> Tensor:
    """What is computed; as in evaluation, so that nothing is drawn and no buffer moves on."""
    with evaluation(made):
        computed: Tensor = made()
    return computed


def length(made: Any) -> Tensor | None:
    """The parameter g where a weight is g·v/‖v‖ and nothing else."""
    return made.original0 if len(made) == 1 and _is_normalized(made) else None


def _is_normalized(made: Any) -> bool:
    """Whether a reparametrization begins as g·v/‖v‖, g and v being `original0` and `original1`."""
    return type(made[0]).__name__ == "_WeightNorm"


def _parts(model: nn.Module) -> Iterator[tuple[nn.Module, str, _Part]]:
    """All that layers compute with: layer, name in it, tensor."""
    for layer in model.modules():
        if isinstance(layer, ParametrizationList):
            continue  # what it holds belongs to the layer whose tensor it makes
        for name, parameter in layer.named_parameters(recurse=False):
            yield layer, name, parameter
        if parametrize.is_parametrized(layer):
            made: Any = layer.parametrizations
            yield from ((layer, name, part) for name, part in made.items())


def _roles(layer: nn.Module, name: str, part: _Part) -> Iterator[tuple[nn.Parameter, str]]:
    """The parameters that a tensor of a layer consists of."""
    with torch.no_grad():
        weight = is_weight(layer, name, part)
    role = OTHER if not weight else TABLE if isinstance(layer, TABLES) else WEIGHT
    if isinstance(part, nn.Parameter):
        if isinstance(layer, LAYERS) and "bias" not in name:
            role = {"_g": LENGTH, "_v": DIRECTION}.get(name[-2:], role)
        yield part, role
        return
    normalized = {"original0": LENGTH, "original1": DIRECTION} if _is_normalized(part) else {}
    for given, parameter in part.named_parameters(recurse=False):
        yield parameter, normalized.get(given, role) if weight else OTHER


def _used(parts: Iterable[_Part]) -> Used:
    used = Used([], [])
    for part in dict.fromkeys(parts):
        if isinstance(part, ParametrizationList):
            if any(parameter.requires_grad for parameter in part.parameters()):
                used.made.append(part)
        elif part.requires_grad:
            used.plain.append(part)
    return used
