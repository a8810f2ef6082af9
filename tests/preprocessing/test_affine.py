"""Steps that treat each element apart, against numpy in float64."""

import copy

import numpy as np
import pytest
import torch

from dlrun.preprocessing import chain, fit, to_float
from dlrun.preprocessing.affine import Affine, center, center_channel, rescale, standardize
from dlrun.preprocessing.moments import moments


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (101, 3, 6, 5), generator=generator, dtype=torch.uint8)
    x[:, 2] //= 4
    return x


def in_numpy(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)


@pytest.mark.proves("preprocessing=standardize")
@pytest.mark.parametrize(("by", "axes"), [("channel", (0, 2, 3)), ("feature", (0,))])
def test_images_as_in_numpy(images, by, axes):
    steps = chain([standardize(by)])
    fit(steps, lambda: images.split(30))
    expected = in_numpy(images.numpy() / 255, axes)
    np.testing.assert_allclose(steps(images).numpy(), expected, atol=2e-6)
    # Augmentation may have turned the same images into floats in [0, 1].
    np.testing.assert_allclose(steps(to_float(images)).numpy(), expected, atol=2e-6)
    assert steps(images).dtype == torch.float32


@pytest.mark.proves("preprocessing=standardize")
def test_tables_go_by_feature():
    x = torch.randn(200, 5) * torch.tensor([1.0, 10, 100, 0.1, 1]) + 3
    steps = chain([standardize()])
    fit(steps, lambda: [x])
    np.testing.assert_allclose(steps(x).numpy(), in_numpy(x.numpy().astype(float), (0,)), atol=1e-5)


@pytest.mark.parametrize("by", ["channel", "feature"])
@pytest.mark.parametrize("size", [1, 7, 50, 101])
def test_batches_of_any_size_give_the_same_moments(images, by, size):
    mean, variance = moments(images.split(size), by)
    axes = (0, 2, 3) if by == "channel" else (0,)
    x = images.numpy().astype(float)
    np.testing.assert_allclose(mean.squeeze(), x.mean(axes).squeeze(), rtol=1e-13)
    np.testing.assert_allclose(variance.squeeze(), x.var(axes).squeeze(), rtol=1e-12)


def test_moments_keep_their_digits_far_from_zero():
    x = torch.randn(1000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, variance = moments((x + 1e8).split(64), "feature")
    np.testing.assert_allclose(variance, (x + 1e8).numpy().var(0), rtol=1e-8)


def test_a_flag_spans_two_and_a_rare_one_is_not_far_away():
    x = torch.randn(1000, 4)
    x[:, 1] = (torch.arange(1000) < 500).float()  # as far apart as ±1
    x[:, 2] = (torch.arange(1000) == 7).float()
    x[:, 3] = 2 * x[:, 2]  # no flag
    step = standardize()
    step.fit(x.split(300))
    made = step(x)
    assert made.mean(0) == pytest.approx(torch.zeros(4), abs=1e-5)
    assert made[:, :2].std(0, correction=0) == pytest.approx(torch.ones(2), rel=1e-5)
    assert float(made[7, 2] - made[8, 2]) == pytest.approx(2)
    assert float(made[:, 3].std(correction=0)) == pytest.approx(1, rel=1e-5)


def test_a_constant_feature_becomes_zero():
    x = torch.stack([torch.full((50,), 0.1), torch.arange(50.0)], 1)
    steps = chain([standardize()])
    fit(steps, lambda: x.split(7))
    out = steps(x)
    assert out[:, 0].abs().max() < 1e-6
    assert out[:, 1].std(correction=0).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("step", [standardize("feature"), standardize(), center()])
def test_what_is_constant_in_training_is_only_centred_in_bytes_as_in_floats(step):
    dark = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    lit = torch.full_like(dark, 255)
    for x in (dark, to_float(dark)):
        steps = fitted(step, x, 2)
        assert steps(lit).unique().tolist() == [1]
        assert steps(to_float(lit)).unique().tolist() == [1]


def test_each_step_is_fitted_on_what_the_one_before_gives(images):
    steps = chain([standardize("feature"), standardize("channel")])
    fit(steps, lambda: images.split(30))
    first = in_numpy(images.numpy() / 255, (0,))
    np.testing.assert_allclose(steps(images), in_numpy(first, (0, 2, 3)), atol=5e-6)


def test_without_steps_images_become_floats(images):
    steps = chain([])
    fit(steps, lambda: [images])
    np.testing.assert_allclose(steps(images), images.numpy() / 255, atol=1e-7)
    table = torch.randn(4, 3, dtype=torch.float64)
    np.testing.assert_array_equal(steps(table), table.float())


def test_the_state_travels(images):
    steps = chain([standardize("feature")])
    fit(steps, lambda: [images])
    loaded = chain([standardize("feature")])
    loaded.load_state_dict(steps.state_dict())
    exported = torch.export.export(steps, (images,)).module()
    for other in (loaded, copy.deepcopy(steps), exported):
        assert torch.equal(other(images), steps(images))


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="by must be channel or feature, got pixel"):
        standardize("pixel")
    with pytest.raises(ValueError, match="no training sample"):
        standardize().fit([])
    with pytest.raises(ValueError, match=r"low must be below high, got 1\.0"):
        rescale(1.0, 1.0)


@pytest.mark.parametrize(
    ("shape", "by", "said"),
    [
        ((4, 1, 2, 2), "channel", "mean must be 1 number, for the grey images, got"),
        ((4, 3, 2, 2), "channel", "mean must be 3 numbers, one for each channel of the images"),
        ((4, 5), "channel", "mean must be 5 numbers, one for each feature, got"),
        ((4, 2, 2, 2), "feature", "by must be channel, which a given mean and std are for"),
    ],
)
def test_given_numbers_must_be_those_of_the_channels(shape, by, said):
    step = standardize(by, mean=[0.1, 0.2], std=[1.0, 2.0])
    with pytest.raises(ValueError, match=said):
        step.fit([torch.zeros(shape)])
    table = standardize("feature", mean=[0.0, 1.0], std=[1.0, 2.0])
    assert fitted(table, torch.ones(4, 2), 2)(torch.ones(1, 2)).tolist() == [[1, 0]]


def fitted(step: Affine, x: torch.Tensor, size: int) -> torch.nn.Sequential:
    steps = chain([step])
    fit(steps, lambda: x.split(size))
    return steps


@pytest.mark.proves("preprocessing=center")
@pytest.mark.parametrize("size", [1, 30, 101])
def test_center_takes_the_mean_image_away(images, size):
    x = images.numpy() / 255
    steps = fitted(center(), images, size)
    np.testing.assert_allclose(steps(images), x - x.mean(0), atol=2e-6)
    np.testing.assert_allclose(steps(to_float(images)), x - x.mean(0), atol=2e-6)


@pytest.mark.proves("preprocessing=center_channel")
def test_center_channel_takes_the_mean_colour_away(images):
    x = images.numpy() / 255
    steps = fitted(center_channel(), images, 30)
    np.testing.assert_allclose(steps(images), x - x.mean((0, 2, 3), keepdims=True), atol=2e-6)
    assert steps(images).mean((0, 2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("step", [center, center_channel])
def test_tables_are_centred_by_feature(step):
    x = torch.randn(200, 5, dtype=torch.float64) * 3 + torch.arange(5)
    out = fitted(step(), x, 30)(x)
    np.testing.assert_allclose(out, x - x.mean(0), atol=1e-5)


@pytest.mark.proves("preprocessing=rescale")
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
def test_bytes_are_rescaled_from_their_whole_range(images, low, high):
    dark = images // 2  # 0..127: the range of the samples does not count
    steps = fitted(rescale(low, high), dark, 30)
    expected = low + (high - low) * dark.numpy() / 255
    np.testing.assert_allclose(steps(dark), expected, atol=1e-6)
    np.testing.assert_allclose(steps(to_float(dark)), expected, atol=1e-6)
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 6, 5)
    assert steps(ends).amin((1, 2, 3)).tolist() == pytest.approx([low, high])


@pytest.mark.proves("preprocessing=rescale")
@pytest.mark.parametrize("size", [1, 7, 200])
def test_tables_are_rescaled_from_the_range_of_each_feature(size):
    x = torch.randn(200, 4, dtype=torch.float64) * torch.tensor([1, 10, 100, 0]) + 5
    out = fitted(rescale(-1.0, 1.0), x, size)(x).numpy()
    low, high = x.numpy().min(0), x.numpy().max(0)
    expected = -1 + 2 * (x.numpy() - low) / np.where(high > low, high - low, 1)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    assert out[:, 3] == pytest.approx(-1)


def test_images_of_floats_are_rescaled_from_the_range_of_all_pixels():
    x = torch.randn(50, 3, 4, 4) * torch.tensor([1.0, 5.0, 0.1]).view(1, 3, 1, 1)
    out = fitted(rescale(0.0, 1.0), x, 7)(x).numpy()
    np.testing.assert_allclose(out, (x - x.min()) / (x.max() - x.min()), atol=1e-6)


@pytest.mark.parametrize("step", [center(), center_channel(), rescale(), standardize("feature")])
def test_every_step_is_loaded_before_it_is_fitted_and_exported(images, step):
    loaded = chain([copy.deepcopy(step)])
    steps = fitted(step, images, 30)
    loaded.load_state_dict(steps.state_dict())
    assert torch.equal(loaded(images), steps(images))
    deployed = torch.nn.Sequential(steps, torch.nn.Flatten(), torch.nn.Linear(90, 2)).eval()
    batch = {0: torch.export.Dim("n")}
    program = torch.export.export(deployed, (images[:5],), dynamic_shapes=(batch,)).module()
    for n in (1, 5, 60):
        torch.testing.assert_close(program(images[:n]), deployed(images[:n]))
