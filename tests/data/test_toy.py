"""Made-up sets are what they say they are."""

import numpy as np
import pytest
import torch

from dlrun.data import toy
from dlrun.errors import Mistake

KINDS = ("moons", "circles", "blobs", "spiral", "mixture", "line", "sine")


@pytest.mark.proves("data=toy")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_samples(kind):
    one, same, other = (toy.toy(kind, n_samples=60, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert one.digest == same.digest != other.digest
    assert not torch.equal(one.x, other.x)
    regression = kind in toy.CURVES
    assert one.x.shape == (60, 1 if regression else 2)
    assert one.x.dtype == torch.float32
    assert one.classes == (() if regression else tuple("012"[: 3 if kind in THREE else 2]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", [{"noise": 0.7}, {"n_classes": 5}, {"turns": 2.0}])
def test_a_setting_changes_the_samples_or_is_said_to_change_nothing(kind, setting, caplog):
    usual, other = toy.toy(kind, n_samples=60), toy.toy(kind, n_samples=60, **setting)
    (name,) = setting
    said = f"data.{name}={setting[name]}: changes nothing of data.kind={kind}" in caplog.text
    assert said == (usual.digest == other.digest)


THREE = ("blobs", "spiral")


@pytest.mark.parametrize(("kind", "of"), [("line", lambda x: x / 2), ("sine", np.sin)])
def test_curves_lie_around_what_they_are_of(kind, of):
    made = toy.toy(kind, n_samples=4000, noise=0.1)
    x, y = made.x.numpy().astype(float), made.y.numpy()
    left = y - of(2 * np.pi * x if kind == "sine" else x)
    assert abs(left.mean()) < 4 * 0.1 / np.sqrt(4000)
    assert left.std() == pytest.approx(0.1, rel=0.05)
    assert 0 <= x.min() < 0.01 < 0.99 < x.max() <= 1


def test_the_bayes_rule_of_a_mixture_is_the_best_there_is():
    made = toy.toy("mixture", n_samples=4000, seed=3)
    x, y = made.x.numpy(), made.y.numpy()
    odds = toy.mixture_odds(x, 3)
    best = float(np.mean((odds > 1) == (y == 1)))
    # Of all that the odds say: p(correct) = E[max(p, 1 - p)].
    share = odds / (1 + odds)
    assert best == pytest.approx(float(np.maximum(share, 1 - share).mean()), abs=0.02)
    means = toy.mixture_means(3)
    nearest = np.linalg.norm(x[:, None, None] - means, axis=-1).min(-1).argmin(1)
    assert best >= float(np.mean(nearest == y)) > 0.7


def test_a_mixture_has_its_means_and_its_spread():
    made = toy.toy("mixture", n_samples=40_000, seed=5)
    x, y = made.x.numpy(), made.y.numpy()
    for label, means in enumerate(toy.mixture_means(5)):
        mine = x[y == label]
        np.testing.assert_allclose(mine.mean(0), means.mean(0), atol=0.05)
        np.testing.assert_allclose(mine.var(0), means.var(0) + 0.2, rtol=0.05)


def test_arms_of_a_spiral():
    made = toy.toy("spiral", n_samples=900, n_classes=3, noise=0.0, turns=1.5)
    x = made.x.numpy().astype(float)
    radius = np.linalg.norm(x, axis=1)
    angle = 2 * np.pi * (made.y.numpy() / 3 + 1.5 * radius)
    np.testing.assert_allclose(x, radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1),
                               atol=1e-5)  # fmt: skip


@pytest.mark.proves("data=gaussian")
def test_gaussian():
    made = toy.gaussian(2000, 100, 10)
    assert made.x.shape == (2000, 100)
    assert made.x.mean().item() == pytest.approx(0, abs=0.01)
    assert made.x.std().item() == pytest.approx(1, abs=0.01)
    assert made.y.bincount().tolist() == [200] * 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "moon"}, "data.kind=moon: write one of moons"),
        ({"n_samples": 0}, "data.n_samples=0"),
        ({"noise": -1.0}, "data.noise=-1.0: must not be negative"),
        ({"kind": "blobs", "n_classes": 1}, "data.n_classes=1: must be at least 2"),
        ({"n_samples": 1}, "data.n_samples=1: must be at least 2"),
    ],
)
def test_what_cannot_be_made(options, said):
    with pytest.raises(Mistake, match=said):
        toy.toy(**options)
    if not {"kind", "noise"} & options.keys():
        with pytest.raises(Mistake, match=said):
            toy.gaussian(**options)


@pytest.mark.parametrize("made", [toy.toy, toy.gaussian])
def test_a_seed_below_0_is_named(made):
    with pytest.raises(ValueError, match=r"^seed must be at least 0, got -1$"):
        made(seed=-1)
