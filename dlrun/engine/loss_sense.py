"""Whether a loss teaches right answers, tried on made-up ones to the real targets.

A loss of the user's own may have any form; what is asked of it holds for all that suit the task:
right answers cost less than wrong ones, and a step down its gradient leads towards them. dlrun's
own losses need no trial.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dlrun.engine.look import BATCH, Seen
from dlrun.errors import told
from dlrun.finding import FAIL, NOTE, WARN, Finding
from dlrun.loss import LOSSES, USUAL, Loss

SCALES = (0.3, 1.0, 3.0, 10.0)
"""How far the logit of a class is above the others in a made-up answer."""
FAR = (1e2, 1e3, 1e4)
"""Such logits of which a loss without a least value falls in proportion."""
CONFIDENT, FLAT, LEFT = 30.0, 1e-3, 0.15
"""A logit that leaves no doubt; the share of a slope, and of the loss of guessing, that remain
there where probabilities have been squashed twice."""
ASTRAY = 0.05
"""The share of samples that a step down the gradient may take away from the right answer."""
AWAY = (0.5, 2.0)
"""By how many standard deviations of the targets made-up numbers are off: more than most margins
that cost nothing, less than most errors from which a robust loss no longer rises."""


def loss_sense(seen: Seen) -> Iterator[Finding]:
    """The first thing that is wrong with a loss of the user's own."""
    loss, y = seen.run.loss, seen.y[:BATCH]
    if _is_ours(loss) or len(y) < 2:
        return
    try:
        found = _wrong(seen, loss, y)
    except Exception as error:  # the user's function may ask more of answers than is known here
        said = f"loss={loss.name} does not take made-up answers, so that it teaches right ones is "
        yield Finding("inconclusive", NOTE, f"{said}not checked: {told(error).rstrip('.')}.")
        return
    if found:
        name, said, numbers = found
        level = WARN if "slope" in numbers else FAIL  # by which it may still learn
        said = f"loss={loss.name}: {said}."
        yield Finding(name, level, said, numbers, changes={"loss": _usual(seen)})


Wrong = tuple[str, str, dict[str, float]]
"""The name of a finding, what is wrong, the numbers that say so."""


def _is_ours(loss: Loss) -> bool:
    """Whether a loss is one of dlrun's, with whatever options."""
    function: Any = loss.function
    while isinstance(function, functools.partial):
        function = function.func
    return any(function is each.function for each in LOSSES.values())


def _usual(seen: Seen) -> str:
    """A loss of dlrun's own that takes what the model gives."""
    if seen.run.labels:
        return USUAL["labels"]
    numbers = seen.run.regression or _form(seen.outputs) is _SOFTMAX
    return USUAL["numbers" if numbers else "classes"]


def _wrong(seen: Seen, loss: Loss, y: Tensor) -> Wrong | None:
    """What is wrong with a loss for the task at hand; None also where answers have another form."""
    if seen.run.labels:
        return _of_labels(seen, loss, y) if seen.outputs.shape == seen.y.shape else None
    if seen.run.regression:
        return _of_numbers(loss, y) if seen.outputs.shape == seen.y.shape else None
    classes = seen.run.data.outputs
    if y.is_floating_point() or seen.outputs.shape[1:] != (classes,):
        return None
    form = _form(seen.outputs)
    tries = (_astray, _dearer, _endless, _flat, _alone)
    return next((found for each in tries if (found := each(loss, y, classes, form))), None)


Form = Callable[[Tensor], Tensor]
_SOFTMAX = functools.partial(torch.softmax, dim=1)


def _form(outputs: Tensor) -> Form:
    """What makes logits (n, classes) into such answers as the model gives."""
    ones = torch.ones(len(outputs), device=outputs.device)
    if bool((outputs >= 0).all()) and torch.allclose(outputs.sum(1), ones, atol=1e-3):
        return _SOFTMAX
    if torch.allclose(outputs.exp().sum(1), ones, atol=1e-3):
        return functools.partial(torch.log_softmax, dim=1)
    return torch.clone


def _slope(loss: Callable[[Tensor], Tensor], answers: Tensor) -> tuple[float, Tensor | None]:
    """A loss and its gradient by each answer; None where it has none."""
    with torch.enable_grad():
        answers = answers.detach().clone().requires_grad_()
        value = loss(answers)
        if not value.requires_grad:
            return float(value), None
        [gradient] = torch.autograd.grad(value, answers, allow_unused=True)
    return float(value.detach()), gradient


def _named(y: Tensor, classes: int, scale: float) -> Tensor:
    """(n, classes) Logits that name the classes y."""
    return scale * torch.nn.functional.one_hot(y, classes).float()


def _others(y: Tensor, classes: int) -> Tensor:
    """(n,) For each sample a class that is not its own, each of the others in turn."""
    return (y + 1 + torch.arange(len(y), device=y.device) % (classes - 1)) % classes


def _astray(loss: Loss, y: Tensor, classes: int, form: Form) -> Wrong | None:
    """A step from equal answers that raises another class than the right one."""
    equal = torch.zeros(len(y), classes, device=y.device)
    _, gradient = _slope(lambda z: loss(form(z), y), equal)
    if gradient is None or not gradient.isfinite().all():
        return None
    own = y[:, None]
    raised = -gradient
    right = raised.gather(1, own).squeeze(1)
    best_other = raised.scatter(1, own, -math.inf).amax(1)
    share = float((right < best_other).float().mean())
    if share <= ASTRAY:
        return None
    least = raised.scatter(1, own, math.inf).amin(1)
    if float((right < least).float().mean()) > 0.5:
        said = "a step down its gradient lowers the right class most of all: it has the wrong sign"
    else:
        said = f"a step down its gradient raises a wrong class in {share:.0%} of the samples, as "
        said += "when its labels are shifted: it teaches wrong answers"
    return "wrong_loss", said, {"astray": share}


def _dearer(loss: Loss, y: Tensor, classes: int, form: Form) -> Wrong | None:
    """Right answers that cost as much as wrong ones."""
    other = _others(y, classes)
    right = [float(loss(form(_named(y, classes, scale)), y)) for scale in SCALES]
    wrong = [float(loss(form(_named(other, classes, scale)), y)) for scale in SCALES]
    dearer = all(r >= w for r, w in zip(right, wrong, strict=True))
    if not dearer or not all(map(math.isfinite, (*right, *wrong))):
        return None
    said = f"right answers cost {min(right):.3g}, and wrong ones {min(wrong):.3g}"
    return "wrong_loss", said, {"right": min(right), "wrong": min(wrong)}


def _endless(loss: Loss, y: Tensor, classes: int, form: Form) -> Wrong | None:
    """A loss that falls in proportion to the size of right answers, and so has no least value."""
    first, second, third = (float(loss(form(_named(y, classes, far)), y)) for far in FAR)
    if not (third - second < 5 * (second - first) < 0 and third < 0):
        return None
    said = f"right answers of {FAR[0]:g} cost {first:.3g}, and of {FAR[2]:g} {third:.3g}: it falls "
    said += "without end as answers grow, like nll_loss without log_softmax"
    return "wrong_loss", said, {"first": first, "last": third}


def _flat(loss: Loss, y: Tensor, classes: int, form: Form) -> Wrong | None:
    """No slope where answers are surely wrong, and much loss where they are surely right."""
    # On both sides of 0, for a sigmoid.
    right, wrong = (2 * _named(k, classes, CONFIDENT) - CONFIDENT for k in (y, _others(y, classes)))
    equal, start = _slope(lambda z: loss(form(z), y), torch.zeros_like(wrong))
    _, there = _slope(lambda z: loss(form(z), y), wrong)
    least = float(loss(form(right), y))
    if start is None or there is None or not float(there.norm()) < FLAT * float(start.norm()):
        return None
    numbers = {"right": least, "equal": equal, "slope": float(there.norm() / start.norm())}
    if least < equal < 0:
        said = f"guessing costs {equal:.3g}, and sure wrong answers have no slope: it takes "
        return "wrong_loss", f"{said}probabilities without their logarithm", numbers
    if not least > LEFT * equal > 0:
        return None
    said = f"sure right answers still cost {least / equal:.0%} of guessing, and sure wrong ones "
    said += "have no slope: a softmax or sigmoid acts twice; leave one out"
    return "probabilities_into_loss", said, numbers


def _alone(loss: Loss, y: Tensor, classes: int, form: Form) -> Wrong | None:
    """A single sample whose loss is the same whatever the answer."""
    other = _others(y, classes)
    costs = [
        float(loss(form(_named(each[:1], classes, scale)), y[:1]))
        for each in (y, other)
        for scale in SCALES
    ]
    if not all(map(math.isfinite, costs)) or max(costs) - min(costs) > 1e-6 * max(map(abs, costs)):
        return None
    said = "a single sample costs the same whatever its answer: it compares samples with each "
    said += "other, as a softmax over axis 0 does"
    return "wrong_loss", said, {"cost": costs[0]}


def _of_numbers(loss: Loss, y: Tensor) -> Wrong | None:
    """Numbers on either side of their targets, from where a step is to lead back to them."""
    spread = y.std(0, correction=0).clamp(min=1e-12)
    lost = {}
    for side, where in ((1.0, "above"), (-1.0, "below")):
        zeros = []
        for away in AWAY:
            _, gradient = _slope(lambda z: loss(z, y), y + side * away * spread)
            if gradient is None or not gradient.isfinite().all():
                return None
            moved = (side * gradient).sign()
            astray, zero = (float((moved == sign).float().mean()) for sign in (-1, 0))
            zeros.append(zero)
            if astray > ASTRAY:
                said = f"from answers {away:g} standard deviations {where} the targets a step down "
                said += f"its gradient leads further away in {astray:.0%} of the samples"
                return "wrong_loss", said, {"astray": astray}
        lost[where] = min(zeros)
    where, share = max(lost.items(), key=lambda each: each[1])
    if share > 0.5:
        said = f"answers {where} the targets have no slope in {share:.0%} of the samples: nothing "
        return "wrong_loss", f"{said}brings them back", {"flat": share}
    return None


def _of_labels(seen: Seen, loss: Loss, y: Tensor) -> Wrong | None:
    """Several labels at once: a step from undecided answers is to raise those that hold."""
    within = bool(((seen.outputs >= 0) & (seen.outputs <= 1)).all())
    _, gradient = _slope(lambda z: loss(z, y), torch.full_like(y, 0.5 if within else 0.0))
    if gradient is None or not gradient.isfinite().all():
        return None
    share = float((gradient.sign() == 2 * y - 1).float().mean())
    if share <= ASTRAY:
        return None
    said = f"a step down its gradient moves {share:.0%} of the labels away from what holds"
    return "wrong_loss", said, {"astray": share}
