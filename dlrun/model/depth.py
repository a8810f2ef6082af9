"""The layers of a network from its input to its output, as rates by depth count them.

A block that repeats, such as a residual block or a block of a transformer, is one layer, as in
Clark et al. 2020 and Bao et al. 2021; outside of blocks each layer with weights is one. What has
no matrix or kernel of its own, such as a norm, belongs to the layer before it.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from dlrun.model.order import weight_layers

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layers(model: nn.Module, x: Tensor) -> list[list[str]]:
    """The names of the parameters of each layer; the last one is the head.

    In the order in which x, (n, *shape), meets them in a forward pass; parts that a pass does
    not meet as modules stay where they are defined. A parameter that belongs to no layer, such
    as the place of a token, is one of the first.
    """
    met = {layer: place for place, layer in enumerate(weight_layers(model, x))}
    found: list[tuple[int, list[str]]] = []
    loose: list[str] = []
    for name, unit in _units(model):
        own = [f"{name}.{key}" if name else key for key, _ in unit.named_parameters()]
        places = [met[module] for module in unit.modules() if module in met]
        if any(parameter.dim() > 1 for parameter in unit.parameters()):
            before = found[-1][0] if found else -1
            found.append((min(places, default=before), own))
        elif found:
            found[-1][1].extend(own)
        else:
            loose += own
    ordered = [own for _, own in sorted(found, key=lambda each: each[0])] or [[]]
    known = {name for own in ordered for name in own}
    ordered[0].extend(name for name, _ in model.named_parameters() if name not in known)
    return ordered


def _units(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers and blocks of a module, with their names, in the order of definition."""
    if not any(True for _ in _parts(module)):
        yield name, module
    for key, part in _parts(module):
        full = f"{name}.{key}" if name else key
        if isinstance(part, _LISTS) or _holds_blocks(part):
            yield from _units(part, full)
        else:
            yield full, part


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children that have parameters; what makes a weight of others is no part."""
    for name, part in module.named_children():
        if name != "parametrizations" and any(True for _ in part.parameters()):
            yield name, part


def _holds_blocks(module: nn.Module) -> bool:
    """Whether somewhere in a module there is a list of two blocks or more."""
    return any(
        sum(_is_block(part) for _, part in _parts(each)) > 1
        for each in module.modules()
        if isinstance(each, _LISTS)
    )


def _is_block(module: nn.Module) -> bool:
    """Whether a module has parts and is no mere list of them."""
    return not isinstance(module, _LISTS) and any(True for _ in _parts(module))
