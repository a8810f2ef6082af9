"""Five steps of each optimizer against its written formula, in float64."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf" / "optimizer"
LR, DECAY = 0.07, 0.03
A = np.array([[3.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 0.4]])
START = np.array([1.0, -2.0, 0.5])

Formula = Callable[[np.ndarray, float], Iterator[np.ndarray]]


@pytest.fixture(autouse=True)
def _float64():
    """torch keeps some counters in its default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradient(w: np.ndarray) -> np.ndarray:
    """Of ½wᵀAw + Σ sin w."""
    return A @ w + np.cos(w)


def taken(name: str, steps: int = 5, **options: object) -> list[np.ndarray]:
    """Where the first steps of the packaged option lead."""
    w = torch.tensor(START, requires_grad=True)
    config = OmegaConf.load(CONF / f"{name}.yaml")
    optimizer = instantiate(config, lr=LR, **options, _convert_="all")([w])
    matrix, path = torch.tensor(A), []
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * w @ matrix @ w + w.sin().sum()).backward()
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return path


def sgd(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    while True:
        w = w - LR * (gradient(w) + decay * w)
        yield w


def momentum(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    v = np.zeros_like(w)
    while True:
        v = 0.9 * v + gradient(w) + decay * w
        w = w - LR * v
        yield w


def nesterov(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    v = np.zeros_like(w)
    while True:
        g = gradient(w) + decay * w
        v = 0.9 * v + g
        w = w - LR * (g + 0.9 * v)
        yield w


def adagrad(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    s = np.zeros_like(w)
    while True:
        g = gradient(w) + decay * w
        s = s + g**2
        w = w - LR * g / (np.sqrt(s) + 1e-10)
        yield w


def adadelta(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    s, u = np.zeros_like(w), np.zeros_like(w)
    while True:
        g = gradient(w) + decay * w
        s = 0.9 * s + 0.1 * g**2
        change = np.sqrt(u + 1e-6) / np.sqrt(s + 1e-6) * g
        u = 0.9 * u + 0.1 * change**2
        w = w - LR * change
        yield w


def rmsprop(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    s = np.zeros_like(w)
    while True:
        g = gradient(w) + decay * w
        s = 0.99 * s + 0.01 * g**2
        w = w - LR * g / (np.sqrt(s) + 1e-8)
        yield w


def adam(w: np.ndarray, decay: float, decoupled: bool = False) -> Iterator[np.ndarray]:
    m, v, t = np.zeros_like(w), np.zeros_like(w), 0
    while True:
        t += 1
        g = gradient(w) + (0 if decoupled else decay * w)
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        step = LR * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - (LR * decay * w if decoupled else 0) - step
        yield w


def adamw(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    return adam(w, decay, decoupled=True)


def nadam(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    def mu(t: int) -> float:
        return 0.9 * (1 - 0.5 * 0.96 ** (t * 0.004))

    m, v, t = np.zeros_like(w), np.zeros_like(w), 0
    while True:
        t += 1
        g = gradient(w) + decay * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        now, next_ = np.prod([mu(i) for i in range(1, t + 1)]), mu(t + 1)
        looked = next_ * m / (1 - now * next_) + (1 - mu(t)) * g / (1 - now)
        w = w - LR * looked / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield w


def radam(w: np.ndarray, decay: float) -> Iterator[np.ndarray]:
    m, v, t = np.zeros_like(w), np.zeros_like(w), 0
    limit = 2 / (1 - 0.999) - 1
    while True:
        t += 1
        g = gradient(w) + decay * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        mean = m / (1 - 0.9**t)
        length = limit - 2 * t * 0.999**t / (1 - 0.999**t)
        if length > 5:
            top, bottom = (length - 4) * (length - 2) * limit, (limit - 4) * (limit - 2) * length
            mean = mean * np.sqrt(top / bottom) * np.sqrt(1 - 0.999**t) / (np.sqrt(v) + 1e-8)
        w = w - LR * mean
        yield w


def adagrad_inside(w: np.ndarray) -> Iterator[np.ndarray]:
    s = np.full_like(w, 0.1)
    for t in count():
        g = gradient(w)
        s = s + g**2
        w = w - LR / (1 + 0.2 * t) * g / np.sqrt(s + 0.01)
        yield w


def rmsprop_inside(w: np.ndarray) -> Iterator[np.ndarray]:
    s, v, m = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    while True:
        g = gradient(w)
        s, m = 0.99 * s + 0.01 * g**2, 0.99 * m + 0.01 * g
        v = 0.5 * v + g / np.sqrt(s - m**2 + 0.01)
        w = w - LR * v
        yield w


def adam_form(w: np.ndarray, inside: bool, corrected: bool) -> Iterator[np.ndarray]:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in count(1):
        g = gradient(w) + DECAY * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        a, b = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
        w = w - LR * a / (np.sqrt(b + 0.01) if inside else np.sqrt(b) + 0.01)
        yield w


def adadelta_form(w: np.ndarray, window: int | None, numerator: bool) -> Iterator[np.ndarray]:
    squares: list[np.ndarray] = []
    moves: list[np.ndarray] = []

    def mean(values: list[np.ndarray]) -> np.ndarray:
        if window:
            return np.sum(values[-window:], 0) / max(1, min(len(values), window)) + 0 * w
        running = np.zeros_like(w)
        for value in values:
            running = 0.9 * running + 0.1 * value
        return running

    while True:
        g = gradient(w)
        squares.append(g**2)
        top = np.sqrt(mean(moves) + 1e-6) if numerator else 1.0
        move = top * g / np.sqrt(mean(squares) + 1e-6)
        moves.append(move**2)
        w = w - LR * move
        yield w


INSIDE = {"eps_form": "inside", "eps": 0.01}
FORMS: list[tuple[str, dict[str, Any], Iterator[np.ndarray]]] = [
    (
        "adagrad",
        {**INSIDE, "lr_decay": 0.2, "initial_accumulator_value": 0.1},
        adagrad_inside(START),
    ),
    ("rmsprop", {**INSIDE, "momentum": 0.5, "centered": True}, rmsprop_inside(START)),
    ("adam", {**INSIDE, "weight_decay": DECAY}, adam_form(START, True, True)),
    (
        "adam",
        {**INSIDE, "bias_correction": False, "weight_decay": DECAY},
        adam_form(START, True, False),
    ),
    (
        "adam",
        {"eps": 0.01, "bias_correction": False, "weight_decay": DECAY},
        adam_form(START, False, False),
    ),
    ("adadelta", {"window": 3}, adadelta_form(START, 3, True)),
    ("adadelta", {"window": 2, "numerator": False}, adadelta_form(START, 2, False)),
    ("adadelta", {"numerator": False}, adadelta_form(START, None, False)),
]


@pytest.mark.parametrize(("name", "options", "formula"), FORMS)
def test_the_boards_forms(name, options, formula):
    for step, expected in zip(taken(name, steps=9, **options), formula, strict=False):
        np.testing.assert_allclose(step, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("adam", {"eps_form": "below"}, "eps_form must be outside or inside, got below"),
        ("adadelta", {"window": 0}, "window must be at least 1 step"),
        ("momentum", {"form": "modern"}, "form must be torch or classical, got modern"),
        ("nesterov", {"momentum_rise": "jump"}, "momentum_rise must be line or switch"),
        ("momentum", {"momentum_rise": "switch"}, "momentum_rise=switch needs a momentum_start"),
        ("momentum", {"momentum_patience": 3}, "momentum_patience is for momentum_rise=switch"),
    ],
)
def test_a_form_that_is_none(name, options, said):
    with pytest.raises(ValueError, match=said):
        taken(name, **options)


RATES = [0.1, 0.1, 0.01, 0.01, 0.01]


def falling(name: str, **options: object) -> float:
    """θ after five steps on θ²/2 from 1, with a rate that falls."""
    w = torch.ones(1, requires_grad=True)
    optimizer = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **options)([w])
    for rate in RATES:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (0.5 * w * w).sum().backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return float(w.detach())


def test_forms_of_momentum_differ_where_the_rate_falls():
    w, v = 1.0, 0.0
    for rate in RATES:
        v = 0.9 * v - rate * w
        w += v
    assert falling("momentum", form="classical") == pytest.approx(w)
    w, v = 1.0, 0.0
    for rate in RATES:
        v = 0.9 * v + w
        w -= rate * v
    assert falling("momentum") == pytest.approx(w)
    assert sorted(round(falling("momentum", form=form), 3) for form in ("torch", "classical")) == [
        0.247,
        0.637,
    ]


def test_classical_nesterov_keeps_the_point_before_the_look_ahead():
    w, v = 1.0, 0.0
    for rate in RATES:
        v = 0.9 * v - rate * (w + 0.9 * v)
        w += v
    assert falling("nesterov", form="classical") == pytest.approx(w)


@pytest.mark.parametrize("name", ["nesterov", "asgd"])
def test_a_limit_on_weights_acts_before_a_look_ahead_and_before_an_average(name):
    options = {"form": "classical"} if name == "nesterov" else {"start": 1}
    p = torch.ones(1, requires_grad=True)
    optimizer = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), **options)([p])
    beta, w, v, every = 0.9 if name == "nesterov" else 0.0, 1.0, 0.0, []
    for rate in RATES:
        v = beta * v - rate * (w + beta * v)
        w = max(w + v, 0.85)
        every.append(w)
        optimizer.param_groups[0]["lr"] = rate
        p.grad = p.detach().clone()
        optimizer.step()
        with optimizer.landed():
            p.data.clamp_(min=0.85)
    assert float(p.detach()) == pytest.approx(w + beta * v)
    if name == "asgd":
        [(_, average)] = optimizer.averages()
        assert float(average) == pytest.approx(sum(every[1:]) / 4)
    else:
        optimizer.eval()
        assert float(p.detach()) == pytest.approx(w)


def test_its_look_ahead_comes_back_to_the_last_bit():
    w = torch.tensor(START, requires_grad=True)
    optimizer = instantiate(OmegaConf.load(CONF / "nesterov.yaml"), form="classical")([w])
    for _ in range(3):
        optimizer.zero_grad()
        w.sin().sum().backward()
        optimizer.step()
    there = w.detach().clone()
    for _ in range(2):
        optimizer.eval()
        optimizer.eval()
        assert not torch.equal(w, there)
        optimizer.train()
        optimizer.train()
        assert torch.equal(w, there)


@pytest.mark.parametrize("form", ["torch", "classical"])
@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_both_forms_take_the_same_path_while_the_rate_stays(name, form):
    for rise in ({}, {"momentum_start": 0.5, "momentum_steps": 3}):
        if name == "nesterov" and rise:
            continue  # the look-ahead of the one has the momentum of the next step
        mine = taken(name, form=form, **rise)
        np.testing.assert_allclose(mine, taken(name, **rise), rtol=1e-9)


@pytest.mark.parametrize("form", ["torch", "classical"])
def test_a_switch_of_momentum_after_some_steps(form):
    w, v = START, np.zeros(3)
    options = {"momentum_start": 0.5, "momentum_steps": 2, "momentum_rise": "switch"}
    for t, step in enumerate(taken("momentum", form=form, **options)):
        v = (0.5 if t < 2 else 0.9) * v - LR * gradient(w)
        w = w + v
        np.testing.assert_allclose(step, w, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["torch", "classical"])
def test_a_switch_of_momentum_at_a_plateau(form):
    w = torch.ones(1, requires_grad=True)
    optimizer = instantiate(
        OmegaConf.load(CONF / "momentum.yaml"),
        form=form,
        momentum_start=0.5,
        momentum_rise="switch",
        momentum_patience=2,
    )([w])
    theta, v, scores, momenta = 1.0, 0.0, [1, 2, 2, 2, 2], [0.5, 0.5, 0.5, 0.5, 0.9]
    for score, beta in zip(scores, momenta, strict=True):
        optimizer.zero_grad()
        (0.5 * w * w).sum().backward()
        optimizer.step()
        v = beta * v - 0.05 * theta
        theta += v
        assert float(w.detach()) == pytest.approx(theta)
        optimizer.observe(score)


FORMULAS: dict[str, Formula] = {
    f.__name__: f
    for f in (sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam, adamw, nadam, radam)
}


@pytest.mark.proves(
    "optimizer=sgd",
    "optimizer=momentum",
    "optimizer=nesterov",
    "optimizer=adagrad",
    "optimizer=adadelta",
    "optimizer=rmsprop",
    "optimizer=adam",
    "optimizer=adamw",
    "optimizer=nadam",
    "optimizer=radam",
    "optimizer=asgd",
)
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", FORMULAS)
def test_five_steps_follow_the_formula(name, decay):
    formula = FORMULAS[name](START, decay)
    for step in taken(name, weight_decay=decay):
        np.testing.assert_allclose(step, next(formula), rtol=0, atol=1e-10)


def test_radam_trusts_the_variance_from_its_sixth_step_on():
    formula = radam(START, 0.0)
    for step in taken("radam", steps=9):
        np.testing.assert_allclose(step, next(formula), rtol=0, atol=1e-10)


def test_adagrad_with_a_falling_rate():
    w, s = START, np.full(3, 0.3)
    options = {"lr_decay": 0.5, "initial_accumulator_value": 0.3}
    for t, step in enumerate(taken("adagrad", **options)):
        s = s + gradient(w) ** 2
        w = w - LR / (1 + 0.5 * t) * gradient(w) / (np.sqrt(s) + 1e-10)
        np.testing.assert_allclose(step, w, rtol=0, atol=1e-10)


def test_rmsprop_centered_with_momentum():
    w, s, m, v = START, np.zeros(3), np.zeros(3), np.zeros(3)
    for step in taken("rmsprop", centered=True, momentum=0.8):
        g = gradient(w)
        s, m = 0.99 * s + 0.01 * g**2, 0.99 * m + 0.01 * g
        v = 0.8 * v + g / (np.sqrt(s - m**2) + 1e-8)
        w = w - LR * v
        np.testing.assert_allclose(step, w, rtol=0, atol=1e-10)


@pytest.mark.proves("optimizer=rprop")
def test_rprop_follows_its_formula_where_signs_hold_and_turn():
    """Each weight on its own: it grows while the sign holds, shrinks and waits when it turns."""
    w, sizes, before = START.copy(), [LR] * 3, [0.0] * 3
    turned = 0
    for step in taken("rprop", steps=12, etas=[0.4, 1.9], step_sizes=[0.01, 1.0]):
        g = gradient(w)
        for i in range(3):
            if g[i] * before[i] > 0:
                sizes[i] = min(1.9 * sizes[i], 1.0)
            elif g[i] * before[i] < 0:
                sizes[i] = max(0.4 * sizes[i], 0.01)
                g[i] = 0.0
                turned += 1
            w[i] -= np.sign(g[i]) * sizes[i]
            before[i] = g[i]
        np.testing.assert_allclose(step, w, rtol=0, atol=1e-10)
    assert turned > 2


@pytest.mark.proves("optimizer=momentum")
def test_momentum_rises_from_its_start_to_its_end():
    w, v = START, np.zeros(3)
    for t, step in enumerate(taken("momentum", momentum_start=0.5, momentum_steps=3)):
        v = [0.5, 0.5 + 0.4 / 3, 0.5 + 0.8 / 3, 0.9, 0.9][t] * v + gradient(w)
        w = w - LR * v
        np.testing.assert_allclose(step, w, rtol=0, atol=1e-10)


def test_momentum_that_is_not_warmed_is_torch_itself():
    w = torch.zeros(2, requires_grad=True)
    optimizer = instantiate(OmegaConf.load(CONF / "momentum.yaml"))([w])
    assert type(optimizer) is torch.optim.SGD
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.proves("optimizer=asgd")
@pytest.mark.parametrize("start", [0, 2])
def test_asgd_averages_the_weights_after_its_start(start):
    w = torch.tensor(START, requires_grad=True)
    config = OmegaConf.load(CONF / "asgd.yaml")
    optimizer = instantiate(config, lr=LR, start=start, weight_decay=DECAY)([w])
    formula, path = sgd(START, DECAY), []
    for t in range(1, 6):
        optimizer.zero_grad()
        (0.5 * w @ torch.tensor(A) @ w + w.sin().sum()).backward()
        optimizer.step()
        path.append(next(formula))
        np.testing.assert_allclose(w.detach().numpy(), path[-1], rtol=0, atol=1e-10)
        if t <= start:
            assert optimizer.averages() == []
        else:
            ((live, average),) = optimizer.averages()
            assert live is w
            mean = np.mean(path[start:], axis=0)
            np.testing.assert_allclose(average.numpy(), mean, rtol=0, atol=1e-10)
