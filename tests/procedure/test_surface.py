"""Paths of optimizers over a surface, against what their formulas say."""

import math

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dlrun import record
from dlrun.__main__ import main
from dlrun.optimizer.asgd import ASGD
from dlrun.procedure.descent import Place, descend
from dlrun.procedure.landscapes import LANDSCAPES
from dlrun.recipe.catalogue import packaged
from dlrun.record import read_json
from dlrun.schedule import BoldDriver, Fixed, Schedule, constant
from tests.conftest import sparsely

HIGHEST, LOWEST = 20.0, 5.0  # curvatures of 10x² + 2.5y²


def walked(
    name: str,
    surface: str = "quadratic",
    steps: int = 200,
    schedule: Schedule | None = None,
    start: tuple[float, float] | None = None,
    noise: float = 0.0,
    **options: object,
):
    landscape = LANDSCAPES[surface]
    place = Place(start or landscape.start)
    config = OmegaConf.load(packaged() / "optimizer" / f"{name}.yaml")
    made = instantiate(config, **options, _convert_="all")
    optimizer = made(place if name in ("lbfgs", "line_search", "vsgd") else place.parameters())
    return descend(landscape, place, optimizer, schedule or Fixed(constant), steps, noise)


def spectral(matrix) -> float:
    return float(np.abs(np.linalg.eigvals(np.array(matrix))).max())


def of_descent(rate: float, curvature: float) -> float:
    return abs(1 - rate * curvature)


def of_momentum(rate: float, curvature: float, beta: float = 0.9) -> float:
    """θ and v after a step, from those before it."""
    return spectral([[1 - rate * curvature, -rate * beta], [curvature, beta]])


def of_nesterov(rate: float, curvature: float, beta: float = 0.9) -> float:
    a = rate * curvature
    return spectral([[1 - a * (1 + beta), -rate * beta**2], [curvature, beta]])


FACTORS = {"sgd": of_descent, "momentum": of_momentum, "nesterov": of_nesterov}
LIMITS = {"sgd": 0.1, "momentum": 0.19, "nesterov": 3.8 / 2.8 / 20}


@pytest.mark.proves("procedure=surface")
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8, 0.98, 1.02])
def test_the_factor_a_step_is_that_of_the_formula(name, share):
    rate = share * LIMITS[name]
    expected = max(FACTORS[name](rate, HIGHEST), FACTORS[name](rate, LOWEST))
    path = walked(name, lr=rate, steps=400)
    # A swing of two numbers that turn in the plane shows in the line through the logarithms.
    assert path.contraction == pytest.approx(expected, abs=4e-3)
    assert path.diverged == (share > 1) == (expected > 1)


def test_the_limits_and_the_best_rate():
    """Below 0.1, 0.19 and 0.068; best at 0.08, with 0.6."""
    for name, limit in {"sgd": 0.1, "momentum": 0.19, "nesterov": 0.0678}.items():
        assert not walked(name, lr=limit - 0.0005, steps=400).diverged
        assert walked(name, lr=limit + 0.0005, steps=400).diverged
    factors = {rate: walked("sgd", lr=rate, steps=60).contraction for rate in (0.07, 0.08, 0.09)}
    assert factors == pytest.approx({0.07: 0.65, 0.08: 0.6, 0.09: 0.8})
    path = walked("sgd", lr=0.08, steps=3)
    np.testing.assert_allclose(path.points, [(-((-0.6) ** n), 2 * 0.6**n) for n in range(4)])
    assert path.distances[3] == pytest.approx(math.sqrt(5) * 0.6**3)


def test_steps_until_it_stays_near():
    path = walked("sgd", lr=0.08, steps=50)
    expected = next(n for n in range(50) if math.sqrt(5) * 0.6**n <= 0.01)
    assert path.steps(0.01) == expected
    assert walked("sgd", lr=0.08, steps=3).steps(0.01) is None
    swinging = walked("momentum", lr=0.05, steps=200)
    near = [n for n, distance in enumerate(swinging.distances) if distance <= 0.5]
    assert swinging.steps(0.5) > near[0], "it passes the minimum before it stays"


@pytest.mark.parametrize("surface", LANDSCAPES)
def test_minima_are_where_the_slope_is_zero(surface):
    landscape = LANDSCAPES[surface]
    for minimum in landscape.minima:
        at = torch.tensor(minimum, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(landscape.value(at), at)
        assert slope.abs().max() == 0
        curved = torch.autograd.functional.hessian(landscape.value, at.detach())
        assert torch.linalg.eigvalsh(curved).min() > 0
    for ends, number in zip(landscape.window, landscape.start, strict=True):
        assert ends[0] < number < ends[1]


def test_values_against_the_formulas():
    at = torch.tensor([[0.3, -0.7], [1.1, 0.2]], dtype=torch.float64)
    x, y = at.numpy().T
    formulas = {
        "quadratic": 10 * x**2 + 2.5 * y**2,
        "valley": 0.1 * x**2 + 2 * y**2,
        "saddle": x**2 / 2 + y**4 / 4 - y**2 / 2,
        "beale": (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2,
        "rosenbrock": (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    }
    for name, expected in formulas.items():
        np.testing.assert_allclose(LANDSCAPES[name].value(at).numpy(), expected, rtol=1e-12)


def test_noise_leaves_a_cloud_of_the_size_that_its_rate_allows():
    """θ ← (1 − αλ)θ − αξ has the variance α²σ²/(1 − (1 − αλ)²) in the end."""
    rate, noise = 0.02, 1.0
    path = walked("sgd", lr=rate, steps=6000, noise=noise)
    late = np.array(path.points[200:])
    for place, curvature in enumerate((HIGHEST, LOWEST)):
        variance = rate**2 * noise**2 / (1 - (1 - rate * curvature) ** 2)
        assert late[:, place].var() == pytest.approx(variance, rel=0.12)


def test_noise_does_not_hide_that_a_path_diverges():
    """Above 2/20 the distance grows by 20·α − 1 a step; in the cloud of a lower rate it stays."""
    for rate in (0.102, 0.105, 0.12):
        assert walked("sgd", lr=rate, steps=200, noise=0.1).diverged
    for rate, noise in ((0.098, 0.1), (0.05, 4.0), (0.001, 30.0)):
        for start in ((1e-6, 0.0), (-1.0, 2.0)):
            paths = (walked("sgd", lr=rate, steps=n, noise=noise, start=start) for n in (20, 200))
            assert not any(path.diverged for path in paths)


def test_leaving_a_saddle_takes_as_long_as_the_slope_grows():
    """Near it y ← (1 + α)y; from exactly on the ridge no step leads away."""
    path = walked("sgd", "saddle", lr=0.1, steps=60)
    small = [y for _, y in path.points if y < 0.01]
    np.testing.assert_allclose(np.diff(np.log(small)), math.log(1.1), rtol=1e-3)
    stuck = walked("sgd", "saddle", lr=0.1, start=(1.0, 0.0), steps=300)
    assert stuck.points[-1] == pytest.approx((0.0, 0.0), abs=1e-9)
    assert stuck.distances[-1] == pytest.approx(1)
    left = walked("sgd", "saddle", lr=0.1, start=(1.0, 0.0), steps=300, noise=0.01)
    assert left.distances[-1] < 0.1
    assert walked("momentum", "saddle", lr=0.1).steps(0.1) < walked("sgd", "saddle").steps(0.1)


def test_adagrads_rate_dies_where_rmsprops_lives():
    """Under noise alone √s grows as σ√t, and the running root stays σ."""
    rate, noise, steps = 0.01, 100.0, 2000
    last = {
        name: float(np.median(walked(name, lr=rate, steps=steps, noise=noise).rates[-200:]))
        for name in ("adagrad", "rmsprop")
    }
    assert last["adagrad"] == pytest.approx(rate / (noise * math.sqrt(0.95 * steps)), rel=0.05)
    assert last["rmsprop"] == pytest.approx(rate / noise, rel=0.05)


def test_adams_first_step_with_and_without_bias_correction():
    """α in each number; without it α(1 − β₁)/√(1 − β₂), more than three times as far."""
    paths = [walked("adam", lr=0.01, bias_correction=corrected) for corrected in (True, False)]
    assert paths[0].first == pytest.approx(0.01 * math.sqrt(2), rel=1e-6)
    assert paths[1].first / paths[0].first == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-6)


def test_the_rate_is_that_of_the_schedule():
    path = walked("sgd", lr=0.08, steps=4, schedule=Fixed(lambda step, total, each: 0.5**step))
    np.testing.assert_allclose(path.rates, [0.08, 0.04, 0.02, 0.01])


def test_a_bold_driver_returns_from_steps_that_were_too_long():
    path = walked("sgd", lr=0.2, steps=40, schedule=BoldDriver(down=0.5))
    assert not path.diverged
    assert path.distances[-1] < 1e-3
    assert walked("sgd", lr=0.2, steps=40).lost


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_a_return_is_to_the_best_place_that_was_evaluated(name):
    landscape, returns = LANDSCAPES["quadratic"], 0
    config = OmegaConf.load(packaged() / "optimizer" / f"{name}.yaml")
    for steps in range(2, 30):
        place = Place(landscape.start)
        optimizer = instantiate(config, lr=0.11, _convert_="all")(place.parameters())
        path = descend(landscape, place, optimizer, BoldDriver(down=0.5), steps, 0.0)
        if path.values[-1] > path.values[-2]:
            returns += 1
            assert float(landscape.value(place.at.detach())) == min(path.values)
    assert returns


def test_a_path_is_where_the_optimizer_is_evaluated():
    landscape = LANDSCAPES["quadratic"]
    place = Place(landscape.start)
    optimizer = ASGD(place.parameters(), lr=0.02, start=0)
    path = descend(landscape, place, optimizer, Fixed(constant), 30, 1.0)
    live = walked("sgd", lr=0.02, steps=30, noise=1.0)
    np.testing.assert_allclose(path.points[-1], np.mean(live.points[1:], axis=0))


@pytest.mark.parametrize(("name", "surface"), [("lbfgs", "rosenbrock"), ("line_search", "valley")])
def test_one_that_evaluates_the_loss_itself_gets_there(name, surface):
    assert walked(name, surface, steps=60).distances[-1] < 0.01


def told(tmp_path, *words):
    outputs = tmp_path / str(len(list(tmp_path.iterdir())))
    code = main(["procedure=surface", "tracking=none", f"outputs={outputs}", *words])
    [run] = record.all_runs(outputs) or [None]
    points = record.read_points(run) if run else []
    return code, points[0]["values"] if points else {}, read_json(run / "run.json") if run else {}


def test_the_recipe_alone(tmp_path):
    words = ("optimizer=sgd", "optimizer.lr=0.08", "procedure.steps=30")
    code, values, info = told(tmp_path, *words)
    assert code == 0
    assert values["contraction"] == pytest.approx(0.6)
    assert values["distance"] == pytest.approx(math.sqrt(5) * 0.6**30)
    assert values["rate"] == pytest.approx(0.08)
    assert info["table"][0]["path"] == "sgd"
    ground, beside = info["chart"]
    assert len(ground["paths"]["sgd"][0]) == 31
    shown = beside["paths"]["sgd"][1]
    assert shown == pytest.approx([max(math.sqrt(5) * 0.6**n, 1e-4) for n in range(31)])
    assert beside["y"] == "distance to the nearest minimum, at least 0.0001"


def test_several_each_with_settings_of_its_own(tmp_path, capsys):
    words = (
        "procedure.variants={low:'optimizer=sgd optimizer.lr=0.02',"
        "high:'optimizer=sgd optimizer.lr=0.101',falling:'optimizer=sgd schedule=exponential "
        "schedule.gamma=0.5',noisy:'optimizer=sgd optimizer.lr=0.08 procedure.noise=1',"
        "there:'optimizer=sgd procedure.start=[0,0]'}",
        "procedure.steps=40",
        "optimizer.lr=0.3",  # of momentum, which is not drawn
    )
    code, values, _ = told(tmp_path, *words)
    assert code == 0
    assert values["low contraction"] == pytest.approx(0.9)
    assert values["high contraction"] == pytest.approx(1.02)
    assert (values["low diverged"], values["high diverged"]) == (0, 1)
    assert values["falling rate"] < 1e-9
    assert values["noisy distance"] > 1e-3
    assert values["there distance"] == values["there steps"] == 0
    assert "high diverged" in capsys.readouterr().out


def test_optimizers_by_name_beside_the_recipes_own(tmp_path):
    words = ("optimizer.lr=0.03", "procedure.against=[sgd,adam]", "procedure.steps=2")
    code, values, info = told(tmp_path, *words)
    assert code == 0
    assert [row["path"] for row in info["table"]] == ["momentum", "sgd", "adam"]
    expected = [walked("momentum", lr=0.03, steps=2), walked("sgd", steps=2)]
    assert values["momentum distance"] == pytest.approx(expected[0].distances[-1])
    assert values["sgd distance"] == pytest.approx(expected[1].distances[-1])


MISTAKES = {
    "procedure.surface=hill": "procedure.surface=hill: must be one of quadratic, valley, saddle",
    "procedure.tolerance=-1": "procedure.tolerance=-1: must not be negative",
    "procedure.steps=0": "procedure.steps=0: must be at least 1",
    "procedure.noise=-1": "procedure.noise=-1: must not be negative",
    "procedure.start=[1]": "procedure.start=[1]: must be two numbers, such as [-1,2]",
    "procedure.show=loss": "procedure.show=loss: must be one of distance, value, rate",
    "procedure.against=[sdg]": "error: procedure.against: optimizer=sdg: no optimizer is called",
    "procedure.variants={low:'optimizer.lrr=1'}": "procedure.variants.low: optimizer.lrr=1",
    "procedure.variants={low:'optimizer.lr=-1'}": "error: procedure.variants.low: optimizer.lr=-1",
    "procedure.variants={low:'procedure.noise=-1'}": "noise=-1: must not be negative",
    "procedure.variants={low:'optimizer=sgd procedure.start=[a,b]'}": "expected a list of numbers",
}


def test_what_is_drawn_beside_variants_is_one_of_them(capsys):
    words = ("procedure=surface", "tracking=none", "procedure.steps=3")
    variants = "procedure.variants={low: 'optimizer.lr=0.01'}"
    assert main([*words, variants, "procedure.against=[adam]"]) == 2
    advised = "+procedure.variants.adam='optimizer=adam'"
    assert f'add "{advised}"' in capsys.readouterr().err
    assert main([*words, variants, advised]) == 0


@pytest.mark.parametrize("word", sparsely(MISTAKES, 3))
def test_mistakes(word, tmp_path, capsys):
    assert told(tmp_path, word)[0] == 2
    assert MISTAKES[word] in capsys.readouterr().err


def test_a_setting_that_every_variant_has_itself_is_said_to_be_idle(here, capsys):
    words = ["procedure=surface", "procedure.steps=2", "optimizer=sgd", "optimizer.lr=0.05"]
    words += ["tracking=none", "threads=1"]
    both = "procedure.variants={a: 'optimizer.lr=0.1', b: 'optimizer.lr=0.2'}"
    assert main([*words, both]) == 0
    said = "warning: optimizer.lr=0.05: has no effect, because every variant sets it itself\n"
    assert capsys.readouterr().err == said
    assert main([*words, "procedure.variants={a: 'optimizer.lr=0.1', b: 'seed=2'}"]) == 0
    assert capsys.readouterr().err == ""
