"""Values that an option of a recipe refuses: found by making the options, without any training."""

from collections.abc import Callable

import torch
from omegaconf import DictConfig
from torch import nn

from dlrun.engine.run import LoopConfig, Run
from dlrun.errors import Mistake
from dlrun.recipe import build, task
from dlrun.recipe.instantiate import explained, part, said, several

_SEEN = ("data", "preprocessing", "augmentation")
"""What decides of which shape a sample is that the model sees."""


class Trial:
    """Makes the options of recipes on the data of one that has been built.

    Each combination once: recipes of a sweep have most of their options in common.
    """

    def __init__(self, run: Run, recipe: DictConfig) -> None:
        """recipe: that of the run, with its `facts` filled in."""
        self._run, self._facts = run, recipe.facts
        self._data, self._seen = said(recipe, "data"), said(recipe, *_SEEN)
        self._known: dict[str, str] = {}

    def refusal(self, config: DictConfig) -> str:
        """What an option says against its values; empty where nothing, or on other data.

        The user's own options are left out: to make one may do anything.
        """
        if not self._data or said(config, "data") != self._data:
            return ""
        config.facts = self._facts
        try:
            task.settle_loss(config, self._run.data)
            lengths = build.lengths_of(
                config, len(self._run.data.train), self._run.train.x[0].numel()
            )
        except Mistake as mistake:
            return str(mistake)
        wrong = (self._tried(config, group, lengths) for group in _MAKES)
        return next(filter(None, wrong), "")

    def _tried(self, config: DictConfig, group: str, lengths: LoopConfig) -> str:
        about = (*_SEEN, group) if group == "model" else (group,)
        written = said(config, *about)
        if not written or (group == "model" and said(config, *_SEEN) != self._seen):
            return ""
        key = f"{group} {lengths} {written}"
        if key not in self._known:
            try:
                _MAKES[group](config, self._run, lengths)
                self._known[key] = ""
            except Mistake as mistake:
                self._known[key] = str(mistake)
        return self._known[key]


def _loss(config: DictConfig, run: Run, lengths: LoopConfig) -> None:
    made, y = part(config, "loss"), run.data.train.y[run.data.train.rows[:2]]
    if not run.reconstructs:
        with explained("loss", config.loss):
            made(y.new_zeros((len(y), run.data.outputs), dtype=run.weights[0].dtype), y)


def _initializer(config: DictConfig, run: Run, lengths: LoopConfig) -> None:
    layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad(), explained("initializer", config.initializer):
        part(config, "initializer")(layers, torch.randn(64, 4))


_MAKES: dict[str, Callable[[DictConfig, Run, LoopConfig], object]] = {
    "preprocessing": lambda config, run, lengths: several(config, "preprocessing"),
    "augmentation": lambda config, run, lengths: build.augmentation_of(
        config, run.data, run.device
    ),
    "model": lambda config, run, lengths: part(config, "model", apart=("max_parameters",)),
    "loss": _loss,
    "initializer": _initializer,
    "regularization": lambda config, run, lengths: several(config, "regularization", lengths),
    "optimizer": lambda config, run, lengths: build.optimizer_of(
        config, run.model, run.loss, lengths, {}
    ),
    "schedule": lambda config, run, lengths: build.schedule_of(config, lengths),
}
