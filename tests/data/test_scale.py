"""Standardized targets: by the training split alone, and back again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.data import split
from dlrun.data.arrays import arrays
from dlrun.data.scale import Unscale, standardize
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.procedure.train import deployable, measured
from dlrun.recipe import build
from tests.conftest import Watcher

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
# Two targets of very different units.
Y = np.stack([3e5 + 1e5 * X.sum(1), 0.001 * X[:, 0]], 1) * (1 + 0.01 * RNG.normal(size=(200, 2)))
WORDS = ("model=linear", "loss=mse", "epochs=30", "batch_size=16")


@pytest.fixture
def houses(tmp_path):
    """A table whose targets are large."""
    np.savez(tmp_path / "houses.npz", x=X, y=Y)
    return split.make(arrays(str(tmp_path / "houses.npz")), "60/20/20")


def test_standardized_by_some_rows_and_back():
    y = torch.tensor([[1e6, 5.0], [1e6 + 2, 5.0], [1e9, -1.0]])
    scaled, scale = standardize(y, torch.tensor([0, 1]))
    assert scale.mean.tolist() == [1e6 + 1, 5]
    assert scale.std.tolist() == [1, 1]
    assert scaled[:2].tolist() == [[-1, 0], [1, 0]]
    torch.testing.assert_close(Unscale(scale)(scaled), y)


def test_the_training_split_alone_decides(houses):
    assert houses.scale is not None
    own = Y[houses.train.rows.numpy()]
    np.testing.assert_allclose(houses.scale.mean, own.mean(0), rtol=1e-6)
    np.testing.assert_allclose(houses.scale.std, own.std(0), rtol=1e-6)
    for part in (houses.train, houses.val, houses.test):
        expected = (Y[part.rows.numpy()] - own.mean(0)) / own.std(0)
        np.testing.assert_allclose(part.y[part.rows], expected, atol=1e-5)


def test_the_record_keeps_the_scale(compose_recipe, houses, tmp_path):
    """So that the weights alone, in best.pt, can be made sense of."""
    own = Y[houses.train.rows.numpy()]
    facts = build.build(compose_recipe(*WORDS), houses).facts()["data"]
    assert facts["scale"]["mean"] == pytest.approx(own.mean(0).tolist(), rel=1e-6)
    assert facts["scale"]["std"] == pytest.approx(own.std(0).tolist(), rel=1e-6)
    plain = build.build(compose_recipe(*WORDS), replace(houses, scale=None))
    assert plain.facts()["data"]["scale"] is None


def test_errors_and_predictions_are_in_the_units_of_the_data(compose_recipe, houses, tmp_path):
    run = build.build(compose_recipe(*WORDS), houses)
    kept, show = record.create(tmp_path, "test", {}, ""), Watcher()
    train(run, begin(run, kept), kept, show)
    kept.close()
    losses = [values["val/loss"] for _, _, values in show.points]
    assert losses[-1] < 0.1 * losses[0]
    with torch.no_grad():
        for part in (houses.val, houses.test):
            error = deployable(run)(part.x[part.rows]).numpy() - Y[part.rows.numpy()]
            if part is houses.test:
                found = measured(run, "test")["test/mae"]
                assert found == pytest.approx(abs(error).mean(), rel=1e-3)
            assert (abs(error).mean(0) < 0.2 * Y.std(0)).all()
    best = min(show.points, key=lambda point: point[2]["val/loss"])[2]["val/mae"]
    rows = houses.val.rows
    with torch.no_grad():
        given = deployable(run)(houses.val.x[rows]).numpy()
    assert best == pytest.approx(abs(given - Y[rows.numpy()]).mean(), rel=1e-3)


def test_a_model_that_reconstructs_is_not_concerned(compose_recipe, houses):
    words = ("model=autoencoder", "loss=mse", "model.code=2")
    plain = build.build(compose_recipe(*words), replace(houses, scale=None))
    scaled = build.build(compose_recipe(*words), houses)
    assert measured(plain, "test") == measured(scaled, "test")
    x = houses.test.x[:4]
    assert torch.equal(deployable(plain)(x), deployable(scaled)(x))
