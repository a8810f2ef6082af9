"""The gradient noise scale against distributions whose mean and covariance are known."""

from math import inf

import numpy as np
import pytest
import torch

from dlrun.engine import checkpoint
from dlrun.engine.noise_scale import FEWEST_SAMPLES, Noise, estimated, noise_scale
from dlrun.job.session import Session
from dlrun.recipe import build
from tests.states import differences


def test_it_is_the_trace_of_the_covariance_over_the_squared_mean():
    """Gradients θ − x of ½|θ − x|², x ~ N(0, diag(s²)): B = Σs²/|θ|²."""
    draw = torch.Generator().manual_seed(0)
    theta = torch.linspace(0.2, 1, 20, dtype=torch.float64)
    s = torch.linspace(0.5, 4, 20, dtype=torch.float64)
    exact = float(s.square().sum() / theta.square().sum())
    found = []
    for _ in range(200):
        x = s * torch.randn(32, 50, 20, dtype=torch.float64, generator=draw)
        found.append(estimated(list(theta - x.mean(1)), 50))
    scales = torch.tensor([each.scale for each in found])
    assert scales.median().item() == pytest.approx(exact, rel=0.03)
    errors = torch.tensor([each.error for each in found])
    assert errors.median().item() == pytest.approx(scales.std().item(), rel=0.25)


def test_the_best_rate_is_linear_below_it_and_constant_beyond():
    noise = Noise(1000.0, 0.0)
    assert noise.best(2, 1) == pytest.approx(2, rel=2e-3)
    assert noise.best(2e6, 1e6) == pytest.approx(1, rel=1e-3)
    assert noise.best(1000, 100) == pytest.approx(11 / 2)
    assert Noise(inf, inf).best(1000, 100) == 10
    assert estimated([torch.tensor([1.0]), torch.tensor([-1.0])] * 5, 4) == (inf, inf)
    assert estimated([torch.tensor([1.0])] * 3, 4) == (inf, inf)


@pytest.mark.parametrize("samples", [FEWEST_SAMPLES - 1, FEWEST_SAMPLES])
def test_from_the_fewest_samples_on_it_sees_a_gradient(compose_recipe, tmp_path, samples):
    """Of two classes apart from each other, whose samples all pull the same way."""
    side = np.arange(samples) % 2
    x = np.tile(2.0 * side[:, None] - 1, (1, 2)).astype("float32")
    np.savez(tmp_path / "apart.npz", x=x, y=side)
    words = ["data=arrays", f"data.path={tmp_path}/apart.npz", f"data.split={samples}/0/0"]
    recipe = compose_recipe(*words, "model=linear", "preprocessing=none")
    run = build.build(recipe, Session().data(recipe))
    assert (noise_scale(run).scale < inf) == (samples == FEWEST_SAMPLES)


def test_it_leaves_a_run_as_it_is(compose_recipe, digits):
    words = ["model.norm=batch", "augmentation=[noise]", "regularization=[dropout]"]
    run = build.build(compose_recipe(*words), digits)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    random = checkpoint.random_state(run.generator)
    noise = noise_scale(run)
    assert 1 < noise.scale < 1000
    assert noise.error < noise.scale
    assert not differences(before, dict(run.model.state_dict()))
    assert not differences(random, checkpoint.random_state(run.generator))
    assert noise_scale(run) == noise
