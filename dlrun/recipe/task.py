"""`loss=auto`: the loss of the task, which the data and the model say."""

from functools import cache
from typing import Any

from omegaconf import DictConfig

from dlrun import loss as losses
from dlrun.data import Data
from dlrun.recipe import compose, signature
from dlrun.recipe.catalogue import load, packaged
from dlrun.recipe.schema import LOSS_OF_TASK


def settle_loss(config: DictConfig, data: Data) -> str:
    """Put the loss of the task in the place of `loss=auto`, as if it had been named.

    Gives the kind of targets that it is for, one of `dlrun.loss.USUAL`; "" where the recipe
    names a loss.
    """
    if config.loss.get("_target_") != LOSS_OF_TASK:
        return ""
    kind = "numbers" if _gives_back(config) else _kind(data)
    compose.put(config, "loss", _option(losses.USUAL[kind]))
    return kind


@cache
def _option(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(packaged() / "loss" / f"{name}.yaml")
    return found


def _kind(data: Data) -> str:
    if data.classes:
        return "classes"
    return "labels" if losses.are_labels(data.train.y, data.labels) else "numbers"


def _gives_back(config: DictConfig) -> bool:
    """Whether the class of the model, or what its function returns, gives its input back."""
    found = signature.find(str(config.model.get("_target_")), "model")
    return getattr(signature.returns(found), "reconstructs", False) is True
