"""Rules that end a run instead of those of its recipe. The last weights are then its result."""

from collections.abc import Mapping

import torch

from dlrun.data import Split
from dlrun.engine.evaluate import objective
from dlrun.engine.feed import prepare
from dlrun.engine.run import Run
from dlrun.regularization import Regularizer


class AtLength(Regularizer):
    """Ends a run at its length alone."""

    restore_best = False

    def should_stop(self, score: float, step: int) -> bool:
        """Never."""
        return False


class AtObjective(Regularizer):
    """Ends a run when the objective on val falls below a target.

    The target is the objective of the first weights on that part of train which is not in val.
    Both in evaluation mode (Goodfellow et al. 2016, algorithm 7.3).
    """

    restore_best = False

    def __init__(self, run: Run) -> None:
        """run: as it begins, with the weights it starts from."""
        train, val = run.data.train, run.data.val.rows
        rest = train.rows[~torch.isin(train.rows, val)]
        split = Split(train.x, train.y, rest)
        feed = prepare(split, run.evaluation, run.device, fixed=False)
        self.run, self.target = run, objective(run, feed)

    def should_stop(self, score: float, step: int) -> bool:
        """After every validation."""
        return objective(self.run, self.run.val) < self.target

    def values(self) -> Mapping[str, float]:
        """The objective now and the target, for the record."""
        found = objective(self.run, self.run.val)
        return {"val/objective": found, "target/objective": self.target}
