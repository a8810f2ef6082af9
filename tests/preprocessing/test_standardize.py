"""Standardizing against numpy in float64."""

import copy

import numpy as np
import pytest
import torch

from dlrun.preprocessing import chain, fit, to_float
from dlrun.preprocessing.moments import moments
from dlrun.preprocessing.standardize import Standardize


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (101, 3, 6, 5), generator=generator, dtype=torch.uint8)
    x[:, 2] //= 4
    return x


def in_numpy(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)


@pytest.mark.parametrize(("by", "axes"), [("channel", (0, 2, 3)), ("feature", (0,))])
def test_images_as_in_numpy(images: torch.Tensor, by: str, axes: tuple[int, ...]) -> None:
    steps = chain([Standardize(by)])
    fit(steps, lambda: images.split(30))
    expected = in_numpy(images.numpy() / 255, axes)
    np.testing.assert_allclose(steps(images).numpy(), expected, atol=2e-6)
    # Augmentation may have turned the same images into floats in [0, 1].
    np.testing.assert_allclose(steps(to_float(images)).numpy(), expected, atol=2e-6)
    assert steps(images).dtype == torch.float32


def test_tables_go_by_feature() -> None:
    x = torch.randn(200, 5) * torch.tensor([1.0, 10, 100, 0.1, 1]) + 3
    steps = chain([Standardize()])
    fit(steps, lambda: [x])
    np.testing.assert_allclose(steps(x).numpy(), in_numpy(x.numpy().astype(float), (0,)), atol=1e-5)


@pytest.mark.parametrize("by", ["channel", "feature"])
@pytest.mark.parametrize("size", [1, 7, 50, 101])
def test_batches_of_any_size_give_the_same_moments(
    images: torch.Tensor, by: str, size: int
) -> None:
    mean, variance = moments(images.split(size), by)
    axes = (0, 2, 3) if by == "channel" else (0,)
    x = images.numpy().astype(float)
    np.testing.assert_allclose(mean.squeeze(), x.mean(axes).squeeze(), rtol=1e-13)
    np.testing.assert_allclose(variance.squeeze(), x.var(axes).squeeze(), rtol=1e-12)


def test_moments_keep_their_digits_far_from_zero() -> None:
    x = torch.randn(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, variance = moments((x + 1e8).split(64), "feature")
    np.testing.assert_allclose(variance, (x + 1e8).numpy().var(0), rtol=1e-8)


def test_a_constant_feature_becomes_zero() -> None:
    x = torch.stack([torch.full((50,), 0.1), torch.arange(50.0)], 1)
    steps = chain([Standardize()])
    fit(steps, lambda: x.split(7))
    out = steps(x)
    assert out[:, 0].abs().max() < 1e-6
    assert out[:, 1].std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_each_step_is_fitted_on_what_the_one_before_gives(images: torch.Tensor) -> None:
    steps = chain([Standardize("feature"), Standardize("channel")])
    fit(steps, lambda: images.split(30))
    first = in_numpy(images.numpy() / 255, (0,))
    np.testing.assert_allclose(steps(images), in_numpy(first, (0, 2, 3)), atol=5e-6)


def test_without_steps_images_become_floats(images: torch.Tensor) -> None:
    steps = chain([])
    fit(steps, lambda: [images])
    np.testing.assert_allclose(steps(images), images.numpy() / 255, atol=1e-7)
    table = torch.randn(4, 3, dtype=torch.float64)
    np.testing.assert_array_equal(steps(table), table.float())


def test_the_state_travels(images: torch.Tensor) -> None:
    steps = chain([Standardize("feature")])
    fit(steps, lambda: [images])
    loaded = chain([Standardize("feature")])
    loaded.load_state_dict(steps.state_dict())
    exported = torch.export.export(steps, (images,)).module()
    for other in (loaded, copy.deepcopy(steps), exported):
        assert torch.equal(other(images), steps(images))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="by must be channel or feature, got pixel"):
        Standardize("pixel")
    with pytest.raises(ValueError, match="no training sample"):
        Standardize().fit([])
