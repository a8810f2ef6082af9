"""What is measured, against the same computed by hand in float64."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.data import Data, Split
from dlrun.engine.evaluate import measure
from dlrun.engine.feed import prepare
from dlrun.errors import Mistake
from dlrun.loss import bce
from dlrun.recipe import build

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
def of(compose_recipe, digits):
    return lambda loss: build.build(compose_recipe("model=linear", f"loss={loss}"), digits)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_view_is_no_views(of, loss):
    run = of(loss)
    feed = prepare(run.data.test, run.evaluation, run.device, fixed=False)
    assert measure(run, feed, lambda x: [x]) == measure(run, feed)


@pytest.mark.parametrize("loss", LOSSES)
def test_views_are_averaged_as_the_loss_takes_them(of, loss):
    run = of(loss)
    feed = prepare(run.data.test, run.evaluation, run.device, fixed=False)
    measured = measure(run, feed, lambda x: [x, x.flip(3)])
    x, y = run.data.test.x[run.data.test.rows], run.data.test.y[run.data.test.rows]
    run.model.eval()
    with torch.no_grad():
        z = torch.stack([run.model(run.preprocessing(view)) for view in (x, x.flip(3))]).double()
    assert measured["loss"] == pytest.approx(float(WRITTEN[loss](z, y)), rel=1e-5)
    mean = {"cross_entropy": z.softmax(-1), "bce": z.sigmoid()}.get(loss, z).mean(0)
    assert measured["accuracy"] == pytest.approx(float((mean.argmax(1) == y).double().mean()))


def test_no_sample_is_evaluated_alone(compose_recipe, digits):
    """A batch norm that keeps no statistics has none of a single sample."""
    run = build.build(compose_recipe("batch_size=32"), digits)
    norm = nn.BatchNorm1d(64, track_running_stats=False)
    run.model = run.forward = run.uncompiled = nn.Sequential(nn.Flatten(), norm, nn.Linear(64, 10))
    some = replace(digits.val, rows=digits.val.rows[: run.lengths.evaluation_batch + 1])
    assert measure(run, prepare(some, run.evaluation, run.device, fixed=False))["loss"] > 0


def test_averages_of_sure_predictions_keep_their_digits():
    z = torch.tensor([[[90.0, -90.0, 40.0]], [[80.0, -100.0, -40.0]]])
    chance = z.double().sigmoid().mean(0), (-z.double()).sigmoid().mean(0)
    expected = (chance[0].log() - chance[1].log()).float()
    torch.testing.assert_close(bce.averaged(z), expected)


def several_labels(values: Tensor) -> Data:
    """Three labels of each sample, any number of which may hold."""
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    splits = [Split(x, values, rows) for rows in torch.arange(60).split([40, 10, 10])]
    return Data("labels", *splits, (5,), (), 3, "")


def test_several_labels_are_measured_as_probabilities(compose_recipe):
    y = (torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    run = build.build(compose_recipe("model=linear", "loss=bce"), several_labels(y))
    run.model.eval()
    with torch.no_grad():
        z = run.model(run.preprocessing(run.data.val.x[run.data.val.rows]))
    expected = (z.double().sigmoid() - y[run.data.val.rows]).abs().mean()
    assert measure(run, run.val)["mae"] == pytest.approx(float(expected), rel=1e-5)


def test_bce_refuses_numbers_beyond_the_unit_range(compose_recipe, digits):
    y = torch.linspace(-0.5, 1, 180).view(60, 3)
    with pytest.raises(Mistake, match=r"loss=bce: takes targets between 0 and 1, .* from -0\.5 to"):
        build.build(compose_recipe("model=linear", "loss=bce"), several_labels(y))
    with pytest.raises(Mistake, match="use preprocessing=none where the data are images, or"):
        build.build(compose_recipe("model=autoencoder", "loss=bce"), digits)


def test_an_autoencoder_with_bce_is_measured_by_its_pictures(compose_recipe, digits):
    words = ("model=autoencoder", "loss=bce", "preprocessing=none")
    run = build.build(compose_recipe(*words), digits)
    x = digits.val.x[digits.val.rows] / 255
    run.model.eval()
    with torch.no_grad():
        expected = (run.model(x).double().sigmoid() - x).abs().mean()
    assert measure(run, run.val)["mae"] == pytest.approx(float(expected), rel=1e-5)
