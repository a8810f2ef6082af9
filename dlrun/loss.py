"""The group `loss`: what training makes small.

    (logits, y, **options) -> scalar

logits: (n, outputs), what the model gives, never probabilities; y: (n,) int64 class
indices, (n, outputs) float targets or class probabilities. The mean over the batch.

A plain function is enough. What else a run asks of a loss stands in `Loss`; of a function
alone the defaults written there are taken.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.errors import Mistake

LABELS, PROBABILITIES, NUMBERS = "labels", "probabilities", "numbers"


@dataclass(eq=False)
class Loss:
    """A loss function and what is known of it.

    takes: the kinds of targets: class labels, class probabilities, numbers.
    link: what the function applies to the logits itself: "softmax", "sigmoid", or nothing.
    takes_logits: whether a softmax or sigmoid before it would be one too many.
    fisher: (logits, u) -> gradients by the logits, as targets that the model itself predicts
        would give them: with u ~ N(0, I) their covariance is the Fisher information. None
        where nobody knows it.
    one_logit: whether the model is built with one output, the logit of the second of two classes;
        `beside_zero` makes two of it.
    spread, classes: how much of each target is shared out over so many classes alike.
    weight: (classes,) of each class; None where all weigh the same.
    """

    function: Callable[..., Tensor]
    takes: frozenset[str] = frozenset((LABELS, PROBABILITIES, NUMBERS))
    link: str = ""
    takes_logits: bool = False
    fisher: Callable[[Tensor, Tensor], Tensor] | None = None
    one_logit: bool = False
    spread: float | Tensor = 0.0
    classes: int = 0
    weight: Tensor | None = None
    name: str = field(init=False)
    options: frozenset[str] = field(init=False)
    reduction: str = field(init=False)
    of_torch: bool = field(init=False)

    def __post_init__(self) -> None:
        inner: Any = self.function
        while isinstance(inner, functools.partial):
            inner = inner.func
        self.name = getattr(inner, "__name__", type(inner).__name__)
        taken = inspect.signature(self.function).parameters
        self.options = frozenset(taken)
        self.reduction = taken["reduction"].default if "reduction" in taken else ""
        self.of_torch = str(getattr(inner, "__module__", "")).startswith("torch.")
        # The signature and the docstring are the function's, for whoever checks arguments.
        functools.update_wrapper(self, self.function, updated=())

    def __call__(self, logits: Tensor, y: Tensor, **options: Any) -> Tensor:
        """The mean over the batch, a scalar."""
        if isinstance(self.spread, Tensor) or self.spread:
            if "label_smoothing" in self.options and not isinstance(self.spread, Tensor):
                options["label_smoothing"] = self.spread
            else:
                y = targets(logits, y) * (1 - self.spread) + self.spread / self.classes
        if self.weight is None:
            return self.function(logits, y, **options)
        options["weight"] = self.weight
        if "reduction" not in self.options:
            return self.function(logits, y, **options)
        return self.function(logits, y, reduction="sum", **options) / len(y)

    @property
    def alone(self) -> bool:
        """Whether the function tells the loss of each sample alone, and its mean is theirs."""
        return self.of_torch and self.reduction == "mean" and self.weight is None

    def each(self, logits: Tensor, y: Tensor) -> Tensor:
        """(n,) The loss of each sample alone."""
        return self.parts(logits, y, 1)

    def parts(self, logits: Tensor, y: Tensor, size: int) -> Tensor:
        """(⌈n/size⌉,) The loss of every `size` samples; of those that are left over the last."""
        if not self.alone:
            pairs = zip(logits.split(size), y.split(size), strict=True)
            return torch.stack([self(*pair) for pair in pairs])
        each = self(logits, y, reduction="none").reshape(len(y), -1).mean(1)
        whole = len(y) - len(y) % size
        found = each[:whole].reshape(-1, size).mean(1)
        return torch.cat([found, each[whole:].mean()[None]]) if whole < len(y) else found

    def bound(self, **options: Any) -> "Loss":
        """The same loss with these options."""
        return replace(self, function=functools.partial(self.function, **options))

    def predicted(self, logits: Tensor) -> Tensor:
        """What the logits say of targets that are numbers."""
        return logits.sigmoid() if self.link == "sigmoid" else logits

    def scores(self, logits: Tensor) -> Tensor:
        """What the logits (n, classes) say of each class: its probability, where that is known.

        Else a score. Only the differences between those of a sample count, so their mean is 0.
        """
        if self.link == "softmax":
            return logits.softmax(-1)
        if self.link == "sigmoid":
            return logits.sigmoid()
        return logits - logits.mean(-1, keepdim=True)

    def averaged(self, logits: Tensor) -> Tensor:
        """One prediction out of several of each sample: (views, n, ...) -> (n, ...).

        Where the loss has a softmax or a sigmoid, the logits of the mean probability; else the
        mean of the logits.
        """
        if len(logits) == 1:
            return logits[0]
        if self.link == "softmax":
            return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))
        if self.link == "sigmoid":
            # Both logs keep their digits where σ is nearly 0 or 1.
            return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
        return logits.mean(0)

    def weighted(self, weight: Tensor) -> "Loss":
        """The loss with a weight (classes,) for each class, as a mean over the samples.

        torch divides by the weights of a mini-batch; then several mini-batches with their
        shares of the samples would not be the same as one large one.

        Raises Mistake where the function has no option `weight`.
        """
        if "weight" not in self.options:
            raise Mistake(f"loss={self.name}: takes no weights of classes; use loss=cross_entropy")
        return replace(self, weight=weight)

    def smoothed(self, spread: float, classes: int) -> "Loss":
        """The loss where `spread` of each target is shared out over all classes alike.

        Raises Mistake where it takes no class probabilities.
        """
        if PROBABILITIES not in self.takes:
            raise Mistake(
                f"regularization.label_smoothing: loss={self.name} takes whole labels only; "
                "use loss=cross_entropy, bce or mse"
            )
        return replace(self, spread=spread, classes=classes)


def of(made: Callable[..., Tensor]) -> Loss:
    """What a recipe's loss is: dlrun's own with its options, torch's, or a function alone."""
    function, options = made, {}
    if isinstance(made, functools.partial) and not made.args:
        function, options = made.func, made.keywords
    known = cross_entropy if function is F.cross_entropy else function
    if known is bce and options.get("one_logit"):
        known = replace(
            bce,
            takes=frozenset((LABELS, PROBABILITIES)),
            link="softmax",  # of 0 and z, which is 1 − σ(z) and σ(z)
            fisher=fisher_of_softmax,
            one_logit=True,
        )
    if isinstance(known, Loss):
        return known.bound(**options) if options else known
    return Loss(made)


def targets(logits: Tensor, y: Tensor) -> Tensor:
    """Targets of the logits' shape and type.

    Class indices become one-hot rows, or a column of 0 and 1 where there is one logit.
    """
    if y.is_floating_point():
        return y.to(logits.dtype).reshape(logits.shape)
    if logits.shape[-1] == 1:
        return y.to(logits.dtype).reshape(logits.shape)
    return F.one_hot(y, logits.shape[-1]).to(logits.dtype)


def beside_zero(model: nn.Module, args: Any, z: Tensor) -> Tensor:
    """A forward hook: the logit z of the second class, (n, 1), as the logits 0 and z of both.

    Their softmax is 1 − σ(z) and σ(z), so that all who look at classes find two of them.
    Raises Mistake where the model gives something else than one number a sample.
    """
    if z.dim() != 2 or z.shape[1] != 1:
        raise Mistake(
            f"loss.one_logit=true: the model must give (n, 1), and gives {tuple(z.shape)}"
        )
    return F.pad(z, (1, 0))


def fisher_of_softmax(logits: Tensor, draw: Tensor) -> Tensor:
    """(diag(√p) − p√pᵀ)·u: its covariance is diag(p) − ppᵀ."""
    p = logits.softmax(-1)
    part = p.sqrt() * draw
    return part - p * part.sum(-1, keepdim=True)


def fisher_of_numbers(logits: Tensor, draw: Tensor) -> Tensor:
    """√(2/K)·u for K outputs, whose squared errors are averaged."""
    return draw * math.sqrt(2 / logits[0].numel())


def fisher_of_sigmoid(logits: Tensor, draw: Tensor) -> Tensor:
    """√(p(1 − p)/K)·u for K outputs, whose losses are averaged."""
    p = logits.sigmoid()
    return draw * (p * (1 - p) / logits[0].numel()).sqrt()


cross_entropy = Loss(
    F.cross_entropy,
    takes=frozenset((LABELS, PROBABILITIES)),
    link="softmax",
    takes_logits=True,
    fisher=fisher_of_softmax,
)


@functools.partial(Loss, fisher=fisher_of_numbers)
def mse(logits: Tensor, y: Tensor, half: bool = False) -> Tensor:
    """The mean of (logit − target)² over samples and outputs; half: of ½(logit − target)².

    Its Fisher information stays that of the whole square.
    """
    loss = F.mse_loss(logits, targets(logits, y))
    return loss / 2 if half else loss


# The Fisher information of mae, huber and hinge is borrowed: it is not their Hessian.
@functools.partial(Loss, fisher=fisher_of_numbers)
def mae(logits: Tensor, y: Tensor) -> Tensor:
    """The mean of |logit − target| over samples and outputs."""
    return F.l1_loss(logits, targets(logits, y))


@functools.partial(Loss, fisher=fisher_of_numbers)
def huber(logits: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    """The mean over samples and outputs of e²/2 where |e| ≤ delta, else delta·(|e| − delta/2)."""
    if delta <= 0:
        raise ValueError(f"delta must be above 0, got {delta}")
    return F.huber_loss(logits, targets(logits, y), delta=delta)


@functools.partial(Loss, link="sigmoid", takes_logits=True, fisher=fisher_of_sigmoid)
def bce(logits: Tensor, y: Tensor, one_logit: bool = False) -> Tensor:
    """The mean over samples and outputs of −t·log σ(z) − (1 − t)·log(1 − σ(z)).

    Several labels may hold for one sample: y (n, outputs) float of 0 and 1, or between.
    one_logit: of the second of two classes alone, z how far its logit is above the other one.
    """
    t = targets(logits, y)
    if one_logit:
        logits, t = logits[:, 1] - logits[:, 0], t[:, 1]
    return F.binary_cross_entropy_with_logits(logits, t)


@functools.partial(Loss, takes=frozenset((LABELS,)), takes_logits=True, fisher=fisher_of_softmax)
def hinge(logits: Tensor, y: Tensor, margin: float = 1.0, power: int = 1) -> Tensor:
    """The mean over samples of Σ over the wrong classes of max(0, margin − z_y + z_k)^power.

    y: (n,) class indices.
    """
    if margin <= 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}")
    if y.is_floating_point():
        message = "loss=hinge: needs class labels, and the targets here are numbers"
        raise Mistake(message, "wrong_loss")
    return F.multi_margin_loss(logits, y, p=power, margin=margin) * logits.shape[-1]


LOSSES = {loss.name: loss for loss in (cross_entropy, mse, bce, hinge, mae, huber)}

USUAL = {"classes": "cross_entropy", "numbers": "mse", "labels": "bce"}
"""The loss of each kind of targets: one of several classes, numbers, several labels at once."""


def auto(logits: Tensor, y: Tensor) -> Tensor:
    """Stands in a recipe until the data are read; then one of `USUAL` comes in its place."""
    raise NotImplementedError("the loss of the task takes the place of loss=auto")


def are_labels(y: Tensor, said: bool | None) -> bool:
    """Whether targets (n, targets) that are no classes are several labels at once.

    said: by the data; None takes several columns of 0 and 1 alone for labels.
    """
    if said is not None:
        return said
    return y.dim() == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all())


_ROUNDING = 1e-3  # by which targets may lie outside [0, 1]
# What autograd calls the functions that squash, and those that only rearrange.
SQUASHES = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
REARRANGES = (
    *("View", "Reshape", "Squeeze", "Unsqueeze", "Clone", "Permute", "Transpose", "ToCopy"),
    "ConstantPad",
)


def refuse_probabilities(loss: Loss, model: nn.Module, x: Tensor) -> None:
    """Raise Mistake where the model ends in a softmax or sigmoid and the loss takes logits.

    x: a few samples, (n, *shape); the model runs once on them, in its present mode.
    """
    if not loss.takes_logits:
        return
    with torch.enable_grad():
        node: Any = model(x).grad_fn
    while node is not None and any(kind in type(node).__name__ for kind in REARRANGES):
        node = node.next_functions[0][0] if node.next_functions else None
    ending = SQUASHES.get(type(node).__name__)
    if ending is not None:
        raise Mistake(
            f"loss={loss.name}: takes logits, but the model ends in a {ending}, which "
            f"this loss applies itself; leave the model's {ending} out, or use loss=mse; "
            "preflight=off trains it as it is",
            "probabilities_into_loss",
        )


def require_unit_targets(loss: Loss, y: Tensor, otherwise: str) -> None:
    """Raise Mistake where σ is to be compared with numbers beyond [0, 1]: no least value."""
    if loss.link != "sigmoid" or not y.is_floating_point():
        return
    low, high = (float(end) for end in y.aminmax())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise Mistake(
            f"loss={loss.name}: takes targets between 0 and 1, and here they go from {low:g} to "
            f"{high:g}; use {otherwise}",
            "label_range",
        )


def require_numbers(loss: Loss, where: str, otherwise: str) -> None:
    """Raise Mistake where the loss compares classes and the targets are numbers."""
    if NUMBERS not in loss.takes:
        message = f"loss={loss.name}: compares classes, but {where}; use loss={otherwise}"
        raise Mistake(message, "wrong_loss")
