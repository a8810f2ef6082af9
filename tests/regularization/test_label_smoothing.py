"""Smoothed targets against the written cross entropy."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun import loss as losses
from dlrun.errors import Mistake
from dlrun.regularization.label_smoothing import LabelSmoothing

N, K = 7, 5


def problem() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(N, K, dtype=torch.float64), torch.randint(0, K, (N,))


def smoothed(y: Tensor, amount: float, spread: str) -> Tensor:
    """The targets, element by element, as the two formulas say."""
    q = torch.empty(N, K, dtype=torch.float64)
    for i in range(N):
        for k in range(K):
            if spread == "others":
                q[i, k] = 1 - amount if k == y[i] else amount / (K - 1)
            else:
                q[i, k] = (1 - amount if k == y[i] else 0) + amount / K
    return q


def written_cross_entropy(logits: Tensor, q: Tensor) -> Tensor:
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    return -(q * log_p).sum(1).mean()


WRITTEN: dict[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]] = {
    losses.cross_entropy: written_cross_entropy,
    losses.mse: lambda z, q: ((z - q) ** 2).mean(),
    losses.mae: lambda z, q: (z - q).abs().mean(),
    losses.bce: lambda z, q: -(q * z.sigmoid().log() + (1 - q) * (-z).sigmoid().log()).mean(),
}


@pytest.mark.proves("regularization=label_smoothing")
@pytest.mark.parametrize("loss", WRITTEN)
@pytest.mark.parametrize("spread", ["others", "all"])
@pytest.mark.parametrize("amount", [0.0, 0.1, 0.7])
def test_loss_and_gradient(loss, spread, amount):
    logits, y = problem()
    logits.requires_grad_()
    ours = LabelSmoothing(amount, spread).change_loss(loss, K)(logits, y)
    theirs = WRITTEN[loss](logits, smoothed(y, amount, spread))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits),
                    strict=True):  # fmt: skip
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.proves("regularization=label_smoothing")
def test_the_second_form_is_torch_s():
    logits, y = problem()
    ours = LabelSmoothing(0.2, "all").change_loss(losses.cross_entropy, K)(logits, y)
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.2)(logits, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.mse])
@pytest.mark.parametrize("spread", ["others", "all"])
def test_class_probabilities(loss, spread):
    """A sample that is 30% one class and 70% another costs so much of each."""
    logits, y = problem()
    other = (y + 1) % K
    mixed = 0.3 * F.one_hot(y, K).double() + 0.7 * F.one_hot(other, K).double()
    rule = LabelSmoothing(0.1, spread)
    q = 0.3 * smoothed(y, 0.1, spread) + 0.7 * smoothed(other, 0.1, spread)
    ours = rule.change_loss(loss, K)(logits, mixed)
    torch.testing.assert_close(ours, WRITTEN[loss](logits, q), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("spread", "right", "wrong"), [("others", 0.9, 0.1), ("all", 0.95, 0.05)])
def test_one_output_tells_two_classes_apart(spread, right, wrong):
    logits, y = torch.tensor([[0.3], [-1.2]], dtype=torch.float64), torch.tensor([1, 0])
    ours = LabelSmoothing(0.1, spread).change_loss(losses.bce, 1)(logits, y)
    q = torch.tensor([[right], [wrong]], dtype=torch.float64)
    torch.testing.assert_close(ours, WRITTEN[losses.bce](logits, q), rtol=1e-12, atol=0)


def test_options_of_the_loss_stay():
    logits, y = problem()
    weight = torch.rand(K, dtype=torch.float64)
    rule = LabelSmoothing(0.2, "all")
    ours = rule.change_loss(losses.cross_entropy.bound(weight=weight), K)(logits, y)
    theirs = F.cross_entropy(logits, y, weight=weight, label_smoothing=0.2)
    torch.testing.assert_close(ours, theirs)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"amount must be at least 0 and below 1, got 1\.0"):
        LabelSmoothing(1.0)
    with pytest.raises(ValueError, match="spread must be others or all, got some"):
        LabelSmoothing(0.1, "some")
    with pytest.raises(ValueError, match=r"amount must be at most 0\.5 for 2 classes, got 0\.6"):
        LabelSmoothing(0.6).change_loss(losses.cross_entropy, 2)
    with pytest.raises(Mistake, match="loss=hinge takes whole labels only"):
        LabelSmoothing().change_loss(losses.hinge.bound(margin=1.0), 3)
