"""What several models say of the same samples, as one answer; and why their answers are wrong.

z: (models, n, outputs) float64, what each says: logits, or numbers in the units of the data.
there: (models, n) whose answers count, of each sample at least one's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.data.scale import Unscale
from dlrun.engine.evaluate import Tally
from dlrun.engine.run import Run
from dlrun.loss import Loss
from dlrun.metric import Metric
from dlrun.metric.probabilities import brier, calibration_error

MEAN = "mean"
_TIE = 1e-9  # of a vote, which the mean then decides


@dataclass(frozen=True)
class Answer:
    """What is said of n samples: logits as the loss of a run takes them.

    votes: instead of logits, where there is no loss: as the metrics take them.
    """

    logits: Tensor | None
    votes: Tensor | None = None


class Committee(nn.Module):
    """Several models as one: raw samples in, the logits of the mean probability out.

    Of models that give numbers, their mean.
    """

    def __init__(
        self, members: Sequence[nn.Module], loss: Loss, together: nn.Module | None = None
    ) -> None:
        """together: what all members say in one, (n, *shape) -> (models, n, outputs)."""
        super().__init__()
        self.loss, self.together = loss, together
        self.members = nn.ModuleList(() if together else members)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *shape) -> (n, outputs)."""
        if self.together is not None:
            return self.loss.averaged(self.together(x))
        return self.loss.averaged(torch.stack([member(x) for member in self.members]))


def are_numbers(run: Run) -> bool:
    """Whether the answers are numbers rather than classes or labels."""
    return run.regression and not run.labels


def combined(run: Run, z: Tensor, there: Tensor) -> dict[str, Answer]:
    """One answer out of those of several models, by the name of the combination.

    The first is the mean: of probabilities, numbers, or scores. The geometric mean of
    probabilities is normalized again. A vote counts the models for each class, or label; at
    equal votes the mean decides.
    """
    mean, share = averaged(run, z, there), _shares(there)
    if are_numbers(run):
        known = z.masked_fill(~there[..., None], torch.nan).numpy()
        median = torch.from_numpy(np.nanmedian(known, axis=0))
        return {MEAN: mean, "median": of_numbers(run, median)}
    assert mean.logits is not None
    votes = (said(run, z) * share).sum(0)
    if not run.loss.link:
        return {MEAN: mean, "vote": Answer(None, votes + _TIE * mean.logits.softmax(-1))}
    logs, share = _logs(run, z, share)
    return {
        MEAN: mean,
        "geometric mean": Answer(_logits(run, (logs * share).sum(0))),
        "vote": Answer(None, votes + _TIE * (run.loss.scores(mean.logits) - 0.5)),
    }


def averaged(run: Run, z: Tensor, there: Tensor) -> Answer:
    """The mean of several models: of their probabilities, numbers, or scores."""
    share = _shares(there)
    if are_numbers(run):
        return of_numbers(run, (z * share).sum(0))
    if not run.loss.link:  # scores, of which only the differences count
        return Answer((z * share).sum(0))
    logs, share = _logs(run, z, share)
    return Answer(_logits(run, (logs + share.log()).logsumexp(0)))


def _shares(there: Tensor) -> Tensor:
    """(models, n, 1) What each model's answer counts."""
    return (there.double() / there.sum(0))[..., None]


def _logs(run: Run, z: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities, and what each counts, in the same shape."""
    if run.loss.link == "sigmoid":  # each output is a choice between no and yes
        return torch.stack([F.logsigmoid(-z), F.logsigmoid(z)], -1), share[..., None]
    return z.log_softmax(-1), share


def _logits(run: Run, logs: Tensor) -> Tensor:
    """Of log probabilities, known up to a constant."""
    return logs[..., 1] - logs[..., 0] if run.loss.link == "sigmoid" else logs.log_softmax(-1)


def said(run: Run, z: Tensor) -> Tensor:
    """1 for the class that each model names, or the labels that it says hold, else 0."""
    if run.labels:
        return (z > 0).double()
    return F.one_hot(z.argmax(-1), z.shape[-1]).double()


def right(run: Run, z: Tensor, y: Tensor) -> Tensor:
    """(models, n) 1 where a model names the right class, else 0; of labels, how many it has."""
    if run.labels:
        return ((z > 0) == y.bool()).double().mean(-1)
    return (z.argmax(-1) == y).double()


def of_numbers(run: Run, numbers: Tensor) -> Answer:
    """The answer that gives these numbers, (n, outputs) in the units of the data."""
    if run.scale is not None:
        numbers = (numbers - run.scale.mean) / run.scale.std
    return Answer(numbers.logit() if run.loss.link == "sigmoid" else numbers)


def says(run: Run, logits: Tensor) -> Tensor:
    """(n, outputs) of z: what a run predicts, from its logits."""
    z = logits.cpu().double()
    if are_numbers(run):
        z = run.loss.predicted(z)
    return z if run.scale is None else Unscale(run.scale)(z)


def alone(run: Run, z: Tensor) -> Answer:
    """The answer of one model, from its row of z."""
    return of_numbers(run, z) if are_numbers(run) else Answer(z)


def output(run: Run, answer: Answer, y: Tensor) -> tuple[Tensor, Tensor]:
    """The predictions and the true targets, as the metrics take both."""
    if answer.logits is None:
        assert answer.votes is not None
        return answer.votes, y.long()
    predicted, so = run.answers(answer.logits, y)
    return predicted.cpu(), so.cpu()


def measured(run: Run, answer: Answer, y: Tensor) -> dict[str, float]:
    """The metrics of an answer, what the run monitors first, and calibration where it can be.

    y: (n,) or (n, outputs) as the data of the run give it.
    """
    found = output(run, answer, y)
    tally = Tally(_metrics(run))
    tally.add(*found)
    values = tally.values(len(y))
    if answer.logits is not None:
        values["loss"] = float(run.loss(answer.logits, y))
    first = run.monitor.rpartition("/")[2]
    return dict(sorted(values.items(), key=lambda item: item[0] != first))


def _metrics(run: Run) -> dict[str, Metric]:
    probable = run.loss.link and not are_numbers(run)
    more = {one.name: one for one in (calibration_error, brier)} if probable else {}
    return {name: one for name, one in (run.measured | more).items() if name != "loss"}


def decomposed(run: Run, z: Tensor, y: Tensor) -> dict[str, float]:
    """The mean error of the models: bias, with the noise of the targets, and variance.

    Of numbers the squared error (Geman et al. 1992): error = bias_and_noise + variance, the
    expectation over the models. Else the 0-1 loss (Domingos 2000): the main prediction is what
    most models say; variance is how often a model differs from it, where it is right, less how
    often a model is right, where it is wrong. Several labels count each for itself.
    """
    if are_numbers(run):
        _, target = output(run, alone(run, z[0]), y)
        main = z.mean(0)
        bias, variance = (main - target).square().mean(), (z - main).square().mean()
        return _parts((z - target).square().mean(), bias, variance)
    votes = combined(run, z, torch.ones(z.shape[:2], dtype=torch.bool))["vote"].votes
    assert votes is not None
    main, each = (votes > 0.5, z > 0) if run.labels else (votes.argmax(-1), z.argmax(-1))
    target = y.bool() if run.labels else y
    wrong = main != target
    differ, right = (each != main).double().mean(0), (each == target).double().mean(0)
    variance = torch.where(wrong, -right, differ).mean()
    return _parts((each != target).double().mean(), wrong.double().mean(), variance)


def _parts(error: Tensor, bias: Tensor, variance: Tensor) -> dict[str, float]:
    found = {"error": error, "bias_and_noise": bias, "variance": variance}
    return {name: float(value) for name, value in found.items()}
