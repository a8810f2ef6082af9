"""Targets that are never quite certain.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, Rethinking the Inception Architecture for
Computer Vision, section 7.
"""

from dlrun.errors import below_one
from dlrun.loss import Loss
from dlrun.regularization import Regularizer


class LabelSmoothing(Regularizer):
    """1 − amount on the true class, the rest spread over the classes.

    spread: "others", amount/(K − 1) on each other class; "all", amount/K on every class,
    the true one included, which is torch's form. Class probabilities are smoothed in the same
    way, each class in proportion to its probability. For classes only.
    """

    def __init__(self, amount: float = 0.1, spread: str = "others") -> None:
        below_one(amount=amount)
        if spread not in ("others", "all"):
            raise ValueError(f"spread must be others or all, got {spread}")
        self.amount, self.spread = amount, spread

    def change_loss(self, loss: Loss, outputs: int) -> Loss:
        """The loss with smoothed targets; one output means two classes.

        Raises Mistake where a loss takes no class probabilities.
        """
        classes = max(outputs, 2)
        # The share that is spread evenly over all classes.
        spread = self.amount * (classes / (classes - 1) if self.spread == "others" else 1.0)
        if spread > 1:
            raise ValueError(
                f"amount must be at most {(classes - 1) / classes:g} for {classes} classes, "
                f"got {self.amount}"
            )
        return loss.smoothed(spread, classes)
