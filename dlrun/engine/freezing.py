"""Parameters that are not trained, for good or until a step."""

from collections.abc import Collection
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

STATISTIC = "running_mean"
"""The buffer by whose name a norm is frozen."""


class Frozen:
    """What of a model is frozen.

    Batch norm among it normalizes by its running statistics, in training mode too, and keeps
    them: they fit the weights before it.

    names: of parameters and of running means. until: the step from which on all is trained;
    None for never.
    """

    def __init__(self, model: nn.Module, names: Collection[str], until: int | None) -> None:
        self.names, self.until = frozenset(names), until
        self._model, self._on = model, False
        named = model.named_parameters()
        self._parameters = [p for name, p in named if name in self.names and p.requires_grad]
        self._norms = [
            module
            for name, module in model.named_modules()
            if isinstance(module, _NormBase) and _statistic(name) in self.names
        ]

    def at(self, step: int) -> bool:
        """Freeze or set free, as it is to be for a step; whether anything has changed."""
        frozen = self.until is None or step < self.until
        if frozen == self._on:
            return False
        self._on = frozen
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
            parameter.grad = None
        for norm in self._norms:
            attributes: dict[str, Any] = vars(norm)
            if frozen:
                attributes["train"] = partial(_stay, norm)  # whatever mode the model is put into
            else:
                attributes.pop("train", None)
            norm.train(self._model.training)
        return True

    def facts(self) -> dict[str, Any]:
        """What the record says of it."""
        every = len(list(self._model.parameters()))
        return {"tensors": len(self._parameters), "of": every, "until": self.until}

    def thawing(self) -> int:
        """How many parameters are frozen now and will be trained."""
        frozen = [p for p in self._parameters if not p.requires_grad]
        return 0 if self.until is None else sum(p.numel() for p in frozen)


def statistics(model: nn.Module) -> list[str]:
    """The names of the running means of a model's norms."""
    return [
        _statistic(name)
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.track_running_stats
    ]


def _statistic(module: str) -> str:
    return f"{module}.{STATISTIC}" if module else STATISTIC


def _stay(norm: nn.Module, mode: bool = True) -> nn.Module:
    """`train` of a frozen norm: it stays in evaluation mode."""
    norm.training = False
    return norm
