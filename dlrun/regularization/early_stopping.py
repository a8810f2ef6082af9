"""Stop when validation no longer improves.

Morgan, Bourlard 1990; Prechelt 1998, Early Stopping — But When?
"""

from math import inf

from dlrun.duration import Steps
from dlrun.errors import not_negative
from dlrun.regularization import Regularizer


class EarlyStopping(Regularizer):
    """Stops after `patience` steps without a better score.

    Better: above the best so far by more than min_improvement. A score that is not a
    number is never better.
    """

    patience: Steps

    def __init__(
        self, patience: Steps, min_improvement: float = 0.0, restore_best: bool = True
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least one step, got {patience}")
        not_negative(min_improvement=min_improvement)
        self.patience, self.min_improvement = patience, min_improvement
        self.restore_best = restore_best
        self.best, self.best_step = -inf, 0

    def should_stop(self, score: float, step: int) -> bool:
        """Take in the score after `step` steps of training."""
        if score > self.best + self.min_improvement:
            self.best, self.best_step = score, step
        return step - self.best_step >= self.patience

    def state_dict(self) -> dict[str, float]:
        """The best score and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state_dict."""
        self.best, self.best_step = state["best"], int(state["best_step"])
