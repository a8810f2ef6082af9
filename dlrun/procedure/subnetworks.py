"""All subnetworks that dropout draws from: their mean against the whole network, scaled.

Srivastava et al. 2014; Goodfellow, Bengio, Courville 2016, 7.12; Baldi, Sadowski 2013.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.engine.evaluate import evaluating, samples
from dlrun.errors import Mistake
from dlrun.model.order import evaluation, hooked
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.regularization import dropout
from dlrun.report.chart import Chart

MOST = 16
"""Units that may be dropped: 65,536 subnetworks."""
_SHOWN = 200  # samples in the figure
_AT_ONCE = 2**16  # samples that pass at once, each through a subnetwork of its own
SCALED, GEOMETRIC, ARITHMETIC = "weight scaling", "geometric mean", "arithmetic mean"


@procedure(judged=False)
def subnetworks(lab: Lab) -> Outcome:
    """The procedure `subnetworks`: what they say of val, one by one and together.

    Raises Mistake without dropout, with more than 16 units to drop, and where the recipe does not
    choose one class out of several.
    """
    if not len(lab.data().val):
        raise Mistake("procedure=subnetworks: there is no validation split to ask about")
    untrained = lab.untrained()
    if untrained.loss.link != "softmax":
        raise Mistake(
            f"procedure=subnetworks: loss={untrained.loss.name} has no softmax, and with it no "
            "probabilities to average"
        )
    x, y = (torch.cat(parts) for parts in zip(*samples(untrained, untrained.val), strict=True))
    _check(places(untrained.model, x[:2]))
    [trained] = lab.train([Training(name="trained")])
    run = lab.trained(trained)
    with evaluating(run):
        found = places(run.model, x[:2])
        z = each(run.model, x, found)
        scaled = run.model(x).cpu().double().log_softmax(-1)
        answers = {SCALED: scaled} | means(z, torch.log(odds(found)))
    y = y.cpu()
    table = [_row(name, answer, answers[SCALED], y) for name, answer in answers.items()]
    single = F.nll_loss(z.log_softmax(-1).flatten(0, 1), y.repeat(len(z)), reduction="none")
    without = int((~connected(found)).sum())
    values = {
        "subnetworks": float(len(z)),
        "without a path": float(without),
        "mean subnetwork loss": float(odds(found) @ single.view(len(z), -1).mean(1)),
    }
    for row in table:
        values |= {f"{row['']} {key}": row[key] for key in ("loss", "accuracy", "apart")}
    return Outcome(
        runs=[trained],
        values=values,
        text=f"{len(z):,} subnetworks, {without:,} of them without a path from input to output. "
        "The probabilities of weight scaling differ from the subnetworks' geometric mean by "
        f"{values[f'{GEOMETRIC} apart']:.2g}, from their arithmetic mean by "
        f"{values[f'{ARITHMETIC} apart']:.2g}.",
        table=table,
        chart=_chart(answers, y),
    )


@dataclass(frozen=True)
class Place:
    """Where units are dropped. shape: of what they are dropped from, of one sample."""

    hook: dropout.Drop
    shape: torch.Size


def places(model: nn.Module, x: Tensor) -> list[Place]:
    """Where a model drops, in the order of its modules; x: (n, *shape) as it takes it."""
    shapes: dict[nn.Module, torch.Size] = {}

    def seen(module: nn.Module, args: tuple[Any, ...]) -> None:
        shapes[module] = args[0].shape[1:]

    known = list(dropout.places(model))
    handles = [module.register_forward_pre_hook(seen) for module, _ in known]
    with hooked(handles), evaluation(model), torch.no_grad():  # one sample trains no batch norm
        model(x)
    return [Place(hook, shapes[module]) for module, hook in known]


def _check(found: Sequence[Place]) -> None:
    many = sum(place.shape.numel() for place in found)
    if not many:
        raise Mistake("procedure=subnetworks: nothing is dropped; type regularization=[dropout]")
    if many > MOST:
        raise Mistake(
            f"procedure=subnetworks: {many} units can be dropped, as 2^{many} subnetworks; "
            f"{MOST} are the most: a smaller model.hidden, or regularization.dropout.visible=0"
        )


def masks(found: Sequence[Place]) -> Tensor:
    """(2^units, units) bool: which units each subnetwork has, those of the places in order."""
    units = sum(place.shape.numel() for place in found)
    return (torch.arange(2**units)[:, None] >> torch.arange(units)) & 1 == 1


def odds(found: Sequence[Place]) -> Tensor:
    """(2^units,) float64 The probability that dropout draws each subnetwork."""
    rates = torch.cat([torch.full((place.shape.numel(),), place.hook.rate) for place in found])
    rates = rates.double()
    return torch.where(masks(found), 1 - rates, rates).prod(1)


def connected(found: Sequence[Place]) -> Tensor:
    """(2^units,) bool: whether something is left of every layer that is dropped from."""
    sizes = [place.shape.numel() for place in found]
    return torch.stack([part.any(1) for part in masks(found).split(sizes, 1)]).all(0)


@torch.no_grad()
def each(model: nn.Module, x: Tensor, found: Sequence[Place]) -> Tensor:
    """(2^units, n, outputs) float64 on the CPU. What each subnetwork says of x, (n, *shape)."""
    answers = []
    sizes = [place.shape.numel() for place in found]
    for some in masks(found).split(max(1, _AT_ONCE // len(x))):
        repeated = x.repeat(len(some), *[1] * (x.dim() - 1))
        parts = some.to(x).repeat_interleave(len(x), 0).split(sizes, 1)
        with _having(found, parts):
            answers.append(model(repeated).cpu().double().view(len(some), len(x), -1))
    return torch.cat(answers)


@contextmanager
def _having(found: Sequence[Place], parts: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the model has these units alone, (n, units) of each place for each sample."""
    for place, part in zip(found, parts, strict=True):
        place.hook.mask = part.reshape(-1, *place.shape)
    try:
        yield
    finally:
        for place in found:
            place.hook.mask = None


def means(z: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Log probabilities (n, classes) of what many networks say, by the name of the mean.

    z: (networks, n, classes) logits. weights: (networks,) logarithms that sum to 1 as exponents.
    The geometric mean is normalized again.
    """
    logs = z.log_softmax(-1)
    return {
        GEOMETRIC: torch.einsum("m,mnc->nc", weights.exp(), logs).log_softmax(-1),
        ARITHMETIC: torch.logsumexp(logs + weights[:, None, None], 0),
    }


def _row(name: str, answer: Tensor, scaled: Tensor, y: Tensor) -> dict[str, Any]:
    """Of the closing table. apart: the mean distance in probability, over samples and classes."""
    return {
        "": name,
        "loss": float(F.nll_loss(answer, y)),
        "accuracy": float((answer.argmax(-1) == y).double().mean()),
        "apart": float((answer.exp() - scaled.exp()).abs().mean()),
    }


def _chart(answers: Mapping[str, Tensor], y: Tensor) -> Chart:
    """The probability of the true class by each mean, over that by weight scaling."""
    true = {
        name: answer.exp()[torch.arange(len(y)), y].tolist() for name, answer in answers.items()
    }
    return Chart(
        "subnetworks",
        "probability of the true class by weight scaling",
        "by all subnetworks together",
        paths={"the same": ((0.0, 1.0), (0.0, 1.0))},
        dots={name: (true[SCALED], true[name]) for name in (GEOMETRIC, ARITHMETIC)},
        linear=True,
    )
