"""Settings that name parameters: `freeze=` and `lr_of=`; rates by depth and by fan-in."""

from fnmatch import fnmatchcase

from torch import Tensor, nn

from dlrun import duration, shell
from dlrun.engine import freezing
from dlrun.engine.freezing import Frozen
from dlrun.engine.run import LoopConfig
from dlrun.errors import Mistake
from dlrun.initializer import Layer, fans
from dlrun.model import roles
from dlrun.model.depth import layers
from dlrun.recipe import schema
from dlrun.recipe.suggest import close
from dlrun.recipe.view import Recipe

HEAD, BACKBONE = "head", "backbone"
"""The last layer and all others, where a model has no parameters of such names."""


APART = ("unfreeze_at", "lr_of", "layer_decay", "layer_lr")
"""What an optimizer that takes the whole model, and no groups of it, cannot do."""


def asked(config: Recipe) -> bool:
    """Whether a recipe says anything of parameters by their names or depth."""
    return any(config[key] is not None for key in ("freeze", *APART))


class Names:
    """The parameters of a model by their names, and its layers. x: what it takes, (n, *shape)."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self._model, self._x = model, x
        self.parameters = [name for name, _ in model.named_parameters()]
        self.layers = layers(model, x)

    def match(self, said: str, pattern: str, statistics: bool = False) -> list[str]:
        """The parameters that a pattern names, or those below a module that it names.

        statistics: whether running means, too. said: the setting, for the Mistake where there
        are none.
        """
        head, means = self.layers[-1], freezing.statistics(self._model)
        names = [*self.parameters, *(means if statistics else ())]
        found = [name for name in names if _fits(name, pattern)]
        if found or pattern not in (HEAD, BACKBONE):
            return found or self._refuse(said, pattern)
        return [name for name in names if (name in head) == (pattern == HEAD)]

    def fan_in(self) -> dict[str, int]:
        """How many inputs a unit of its layer has, of each parameter of a layer with weights."""
        kinds = roles.roles(self._model, frozen=True)
        found: dict[nn.Parameter, int] = {}
        for module in self._model.modules():
            weights = [p for p in module.parameters(recurse=False) if kinds[p] == roles.WEIGHT]
            if isinstance(module, Layer):
                found |= dict.fromkeys(module.parameters(), fans(module)[0])
            elif weights:
                inputs = weights[0].numel() // len(weights[0])
                found |= dict.fromkeys(module.parameters(recurse=False), inputs)
        named = self._model.named_parameters()
        return {name: found[weight] for name, weight in named if weight in found}

    def _refuse(self, said: str, pattern: str) -> list[str]:
        modules = [name.split(".") for name in self.parameters]
        known = [".".join(parts[:count]) for parts in modules for count in range(1, len(parts) + 1)]
        near = close(pattern, [HEAD, BACKBONE, *dict.fromkeys(known)])
        some = shell.some(dict.fromkeys(parts[0] for parts in modules), 8)
        right = f"did you mean {near}?" if near else f"there are head, backbone, {some}"
        raise Mistake(f"{said}: no parameter has the name {pattern!r}; {right}")


def frozen(config: Recipe, model: nn.Module, names: Names, lengths: LoopConfig) -> Frozen | None:
    """What the recipe freezes; None where it is nothing. Raises Mistake."""
    patterns = schema.as_words(config.freeze)
    if not patterns:
        return None
    said = f"freeze=[{','.join(patterns)}]"
    found = {name for each in patterns for name in names.match(said, each, statistics=True)}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if found.issuperset(trained):
        when = "" if config.unfreeze_at is None else f" until {config.unfreeze_at}"
        raise Mistake(f"{said}: leaves nothing to train{when}; freeze=[backbone] leaves the head")
    until = None
    if config.unfreeze_at is not None:
        steps = lengths.steps_per_epoch, lengths.total_steps
        until = duration.parse(config.unfreeze_at).steps(*steps)
    return Frozen(model, found, until)


def factors(config: Recipe, names: Names) -> dict[str, float]:
    """By which the rate of a parameter is multiplied, where it is not 1. Raises Mistake.

    Of `lr_of` the last pattern counts that fits. `layer_decay` to the power of the layers between
    a parameter's own and the output (Clark et al. 2020, Bao et al. 2021). With `layer_lr`, fan_in
    to the power of `layer_lr_power`, for the weights and biases of each layer.
    """
    found = dict.fromkeys(names.parameters, 1.0)
    for pattern, factor in (config.lr_of or {}).items():
        for name in names.match(f"lr_of.{pattern}={factor}", str(pattern)):
            found[name] = float(factor)
    if config.layer_decay is not None:
        for depth, own in enumerate(reversed(names.layers)):
            for name in own:
                found[name] *= config.layer_decay**depth
    if config.layer_lr is not None:
        for name, fan_in in names.fan_in().items():
            found[name] *= fan_in**config.layer_lr_power
    return {name: factor for name, factor in found.items() if factor != 1}


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
