"""Five steps of each optimizer against its written formula, in float64."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf" / "optimizer"
DECAY = 0.03
A = np.array([[3.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 0.4]])
START = np.array([1.0, -2.0, 0.5])

Gradient = Callable[[np.ndarray], np.ndarray]


def gradient(w: np.ndarray) -> np.ndarray:
    """Of ½wᵀAw + Σ sin w."""
    return A @ w + np.cos(w)


def taken(name: str, **options: object) -> list[np.ndarray]:
    """Where five steps of the packaged option lead."""
    w = torch.tensor(START, requires_grad=True)
    config = OmegaConf.load(CONF / f"{name}.yaml")
    optimizer = instantiate(config, **options, _convert_="all")([w])
    matrix, path = torch.tensor(A), []
    for _ in range(5):
        optimizer.zero_grad()
        (0.5 * w @ matrix @ w + w.sin().sum()).backward()
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return path


def sgd(w: np.ndarray, g: Gradient, lr: float, decay: float) -> Iterator[np.ndarray]:
    while True:
        w = w - lr * (g(w) + decay * w)
        yield w


def momentum(w: np.ndarray, g: Gradient, lr: float, decay: float) -> Iterator[np.ndarray]:
    v = np.zeros_like(w)
    while True:
        v = 0.9 * v + g(w) + decay * w
        w = w - lr * v
        yield w


def nesterov(w: np.ndarray, g: Gradient, lr: float, decay: float) -> Iterator[np.ndarray]:
    v = np.zeros_like(w)
    while True:
        now = g(w) + decay * w
        v = 0.9 * v + now
        w = w - lr * (now + 0.9 * v)
        yield w


def adam(
    w: np.ndarray, g: Gradient, lr: float, decay: float, decoupled: bool = False
) -> Iterator[np.ndarray]:
    m, v, t = np.zeros_like(w), np.zeros_like(w), 0
    while True:
        t += 1
        now = g(w) + (0 if decoupled else decay * w)
        m = 0.9 * m + 0.1 * now
        v = 0.999 * v + 0.001 * now**2
        step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - (lr * decay * w if decoupled else 0) - step
        yield w


def adamw(w: np.ndarray, g: Gradient, lr: float, decay: float) -> Iterator[np.ndarray]:
    return adam(w, g, lr, decay, decoupled=True)


FORMULAS = {f.__name__: f for f in (sgd, momentum, nesterov, adam, adamw)}


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("name", FORMULAS)
def test_five_steps_follow_the_formula(name: str, decay: float) -> None:
    formula = FORMULAS[name](START, gradient, 0.07, decay)
    for step in taken(name, lr=0.07, weight_decay=decay):
        np.testing.assert_allclose(step, next(formula), rtol=0, atol=1e-10)
