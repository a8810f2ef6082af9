"""What is measured, against the same computed by hand in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun import build
from dlrun.data import Data
from dlrun.evaluate import measure
from dlrun.feed import prepare
from dlrun.loss import averaged, bce
from dlrun.run import Run
from tests.conftest import Recipe

LOSSES = ("cross_entropy", "bce", "hinge", "mse", "mae", "huber")


def one_hot(z: Tensor, y: Tensor) -> Tensor:
    return F.one_hot(y, z.shape[1]).double()


def huber(z: Tensor, y: Tensor) -> Tensor:
    error = (z - one_hot(z, y)).abs()
    return torch.where(error <= 1, error**2 / 2, error - 0.5).mean()


def hinge(z: Tensor, y: Tensor) -> Tensor:
    behind = (1 - z.gather(1, y[:, None]) + z).clamp(min=0)
    return (behind.sum(1) - 1).mean()  # without the right class, which is 1 behind itself


def entropy(z: Tensor, y: Tensor) -> Tensor:
    return -z.softmax(-1).mean(0).gather(1, y[:, None]).log().mean()


def binary(z: Tensor, y: Tensor) -> Tensor:
    mean, t = z.sigmoid().mean(0), one_hot(z[0], y)
    return -(t * mean.log() + (1 - t) * (1 - mean).log()).mean()


# (views, n, classes), (n,) -> the loss of the average.
WRITTEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": entropy,
    "bce": binary,
    "hinge": lambda z, y: hinge(z.mean(0), y),
    "mse": lambda z, y: (z.mean(0) - one_hot(z[0], y)).square().mean(),
    "mae": lambda z, y: (z.mean(0) - one_hot(z[0], y)).abs().mean(),
    "huber": lambda z, y: huber(z.mean(0), y),
}


@pytest.fixture
def of(compose_recipe: Recipe, digits: Data) -> Callable[[str], Run]:
    return lambda loss: build.build(compose_recipe("model=linear", f"loss={loss}"), digits)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_view_is_no_views(of: Callable[[str], Run], loss: str) -> None:
    run = of(loss)
    feed = prepare(run.data.test, run.evaluation, run.device, fixed=False)
    assert measure(run, feed, lambda x: [x]) == measure(run, feed)


@pytest.mark.parametrize("loss", LOSSES)
def test_views_are_averaged_as_the_loss_takes_them(of: Callable[[str], Run], loss: str) -> None:
    run = of(loss)
    feed = prepare(run.data.test, run.evaluation, run.device, fixed=False)
    measured = measure(run, feed, lambda x: [x, x.flip(3)])
    x, y = run.data.test.x[run.data.test.rows], run.data.test.y[run.data.test.rows]
    run.model.eval()
    with torch.no_grad():
        z = torch.stack([run.model(run.preprocessing(view)) for view in (x, x.flip(3))]).double()
    assert measured[0] == pytest.approx(float(WRITTEN[loss](z, y)), rel=1e-5)
    mean = {"cross_entropy": z.softmax(-1), "bce": z.sigmoid()}.get(loss, z).mean(0)
    assert measured[1] == pytest.approx(float((mean.argmax(1) == y).double().mean()))


def test_averages_of_sure_predictions_keep_their_digits() -> None:
    z = torch.tensor([[[90.0, -90.0, 40.0]], [[80.0, -100.0, -40.0]]])
    chance = z.double().sigmoid().mean(0), (-z.double()).sigmoid().mean(0)
    expected = (chance[0].log() - chance[1].log()).float()
    torch.testing.assert_close(averaged(bce, z), expected)
