"""The maps of geometric steps, drawn again by hand, and what images look like under them."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dlrun.augmentation import compose, geometric
from dlrun.augmentation.distortion import elastic, lens, smooth
from tests.augmentation.reference import pixels, resampled
from tests.conftest import seeded

N = 4000


def drawn(step: geometric.Geometric, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return step.draw(N, size, seeded()).double().numpy()


def is_uniform(values: np.ndarray, low: float, high: float) -> bool:
    """Whether the largest distance to the distribution function is that of chance (0.1 %)."""
    assert low - 1e-5 <= values.min() <= values.max() <= high + 1e-5
    share = (np.sort(values) - low) / (high - low)
    return bool(np.abs(share - (np.arange(len(values)) + 0.5) / len(values)).max() < 1.95 / N**0.5)


@pytest.mark.proves("augmentation=flip")
def test_flip_mirrors_each_axis_with_its_probability():
    maps = drawn(geometric.flip(0.3, 0.6))
    assert (np.abs(maps) == [[1, 0, 0], [0, 1, 0]]).all()
    assert (maps[:, 0, 0] < 0).mean() == pytest.approx(0.3, abs=0.03)
    assert (maps[:, 1, 1] < 0).mean() == pytest.approx(0.6, abs=0.03)


def test_crop_moves_by_whole_pixels():
    maps = drawn(geometric.crop(2))
    assert (maps[:, :, :2] == np.eye(2)).all()
    places, counts = np.unique(maps[:, :, 2], axis=0, return_counts=True)
    assert len(places) == 25
    assert ((counts - N / 25) ** 2 / (N / 25)).sum() < 51.2  # 0.1 %, 24 degrees of freedom


@pytest.mark.proves("augmentation=translate")
def test_translate_is_uniform_in_shares_of_the_sides():
    maps = drawn(geometric.translate(0.1, 0.2))
    assert (maps[:, :, :2] == np.eye(2)).all()
    assert is_uniform(maps[:, 0, 2], -3, 3)
    assert is_uniform(maps[:, 1, 2], -4, 4)


@pytest.mark.proves("augmentation=rescale")
def test_rescale_is_uniform_in_the_logarithm():
    maps = drawn(geometric.rescale(0.5, 4))
    assert (maps[:, 0, 0] == maps[:, 1, 1]).all()
    assert (maps[:, [0, 1], [1, 0]] == 0).all()
    assert is_uniform(-np.log(maps[:, 0, 0]), math.log(0.5), math.log(4))


@pytest.mark.proves("augmentation=rotate")
def test_rotate_is_a_rotation_by_a_uniform_angle():
    maps = drawn(geometric.rotate(25))
    angle = np.arctan2(maps[:, 1, 0], maps[:, 0, 0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(maps[:, :, :2], rotation.transpose(2, 0, 1), atol=1e-6)
    assert is_uniform(np.degrees(angle), -25, 25)


@pytest.mark.proves("augmentation=rotate")
def test_rotated_images_as_torchvision_rotates_them():
    x = torch.rand(5, 3, 16, 16, generator=seeded(1))
    step = geometric.rotate(60)
    maps = step.draw(5, (16, 16), seeded(2))
    out, _ = step(x, None, seeded(2))
    for image, one, seen in zip(x, maps, out, strict=True):
        degrees = math.degrees(math.atan2(one[1, 0], one[0, 0]))
        theirs = tv.rotate(image, degrees, InterpolationMode.BILINEAR)
        inner = (slice(None), slice(3, -3), slice(3, -3))
        assert (seen - theirs)[inner].abs().max() < 1e-3


@pytest.mark.proves("augmentation=stretch")
def test_stretch_keeps_the_area():
    maps = drawn(geometric.stretch(2))
    np.testing.assert_allclose(maps[:, 0, 0] * maps[:, 1, 1], 1, rtol=1e-6)
    assert is_uniform(np.log(maps[:, 1, 1] / maps[:, 0, 0]), -math.log(2), math.log(2))


@pytest.mark.proves("augmentation=shear")
def test_shear_leans_by_uniform_angles():
    maps = drawn(geometric.shear(30, 10))
    assert (maps[:, [0, 1], [0, 1]] == 1).all()
    assert is_uniform(np.degrees(np.arctan(maps[:, 0, 1])), -30, 30)
    assert is_uniform(np.degrees(np.arctan(maps[:, 1, 0])), -10, 10)


@pytest.mark.proves("augmentation=lens")
def test_lens_moves_along_the_radius_by_the_formula():
    size = (12, 16)
    points = torch.from_numpy(pixels(*size)).float().expand(N, -1, -1, -1)
    out = lens(0.3).draw(N, size, seeded())(points, torch.arange(N)).double().numpy()
    inside = pixels(*size)
    squared = (inside**2).sum(-1) / (6**2 + 8**2)
    bend = out[:, 0, 0, 0] / inside[0, 0, 0] - 1
    bend /= squared[0, 0]
    assert is_uniform(bend, -0.3, 0.3)
    expected = inside * (1 + bend[:, None, None, None] * squared[..., None])
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.proves("augmentation=elastic")
def test_elastic_is_alpha_times_smoothed_noise():
    size, n = (14, 17), 3
    step = elastic(alpha=34, sigma=2.5)
    points = torch.from_numpy(pixels(*size)).float().expand(n, -1, -1, -1)
    moved = (step.draw(n, size, seeded(6))(points, torch.arange(n)) - points).double().numpy()
    noise = 2 * torch.rand(n, 2, *size, generator=seeded(6)).double().numpy() - 1
    for k in range(n):
        for axis in (0, 1):
            smoothed = gaussian_filter(noise[k, axis], 2.5, mode="constant", truncate=12)
            np.testing.assert_allclose(moved[k, ..., axis], 34 * smoothed, atol=2e-4)


def test_smoothing_weights_sum_to_one_far_from_the_ends():
    matrix = smooth(101, 4.0, torch.zeros(()))
    assert matrix[50].sum() == pytest.approx(1, abs=1e-6)
    assert matrix[0].sum() == pytest.approx(0.5 + float(matrix[50, 50]) / 2, abs=1e-6)


@pytest.mark.proves("augmentation=scale_crop")
@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40)])
def test_scale_crop_is_a_whole_window_of_the_resized_image(height, width):
    step = geometric.scale_crop(24, (30, 48))
    maps = step.draw(N, (height, width), seeded()).double().numpy()
    short = np.round(40 / maps[:, 0 if width == 40 else 1, 0 if width == 40 else 1])
    _, counts = np.unique(short, return_counts=True)
    assert len(counts) == 19
    assert ((counts - N / 19) ** 2 / (N / 19)).sum() < 42.3  # 0.1 %, 18 degrees of freedom
    for axis, side in ((0, width), (1, height)):
        resized = np.round(short * side / 40)
        np.testing.assert_allclose(maps[:, axis, axis], side / resized, rtol=1e-6)
        start = maps[:, axis, 2] / maps[:, axis, axis] + (resized - 24) / 2
        np.testing.assert_allclose(start, np.round(start), atol=1e-3)
        assert start.min() == pytest.approx(0, abs=1e-3)
        assert (start <= resized - 24 + 1e-3).all()
        assert is_uniform_place(np.round(start), resized - 23)


def is_uniform_place(start: np.ndarray, places: np.ndarray) -> bool:
    """Places from 0 on, of so many each, spread over theirs as chance has it."""
    share = (start + 0.5) / places
    return bool(abs(share.mean() - 0.5) < 4 * (1 / 12 / len(share)) ** 0.5)


def test_scale_crop_takes_the_paper_s_shares_of_the_size_by_default():
    x = torch.rand(64, 1, 224, 300)
    given, usual = geometric.scale_crop(224, (256, 480)), geometric.scale_crop()
    assert torch.equal(given(x, None, seeded(0))[0], usual(x, None, seeded(0))[0])
    assert usual(x[..., :8, :8], None, seeded(0))[0].shape == (64, 1, 8, 8)
    with pytest.raises(ValueError, match=r"short must be .* size=8, got \[6, 9\]"):
        geometric.scale_crop(None, (6, 9))(x[..., :8, :8], None, seeded(0))


@pytest.mark.proves("augmentation=scale_crop")
def test_scale_crop_enlarges_as_torchvision_resizes():
    x = torch.rand(6, 3, 12, 18, generator=seeded(1))
    step = geometric.scale_crop(16, (24, 24))
    out, _ = step(x, None, seeded(2))
    assert out.shape == (6, 3, 16, 16)
    larger = tv.resize(x, [24, 36], antialias=True)
    for image, seen in zip(larger, out, strict=True):
        windows = image.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        apart = (windows - seen).abs().amax((1, 2, 3))
        assert apart.min() < 1e-4


@pytest.mark.parametrize("side", [12, 17, 24, 31])
def test_scale_crop_without_a_cut_is_torch_s_resizing_to_the_last_pixel(side):
    x = torch.rand(3, 2, 12, 12, generator=seeded(1)).double()
    out, _ = geometric.scale_crop(side, (side, side))(x, None, seeded())
    expected = F.interpolate(x, (side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("make", [geometric.flip, partial(geometric.rotate, 0.0)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("short", [None, (32, 64), (8, 16)])
def test_scale_crop_darkens_no_border(make, last, short):
    """Alone or beside a step that shows black beyond the image, none of which is in sight."""
    crop = geometric.scale_crop(None if short is None else short[0], short)
    x = torch.ones(50, 1, 32, 40)
    steps = [make(), crop] if last else [crop, make()]
    for augmentation in (crop, compose(steps)):
        out, _ = augmentation(x, None, seeded())
        torch.testing.assert_close(out, torch.ones_like(out), atol=1e-5, rtol=0)


@pytest.mark.proves("augmentation=scale_crop")
def test_scale_crop_averages_pixels_where_it_makes_smaller():
    x = torch.rand(4, 1, 60, 60, generator=seeded(1))
    step = geometric.scale_crop(20, (20, 20))
    out, _ = step(x, None, seeded(2))
    blocks = x.reshape(4, 1, 20, 3, 20, 3).mean((3, 5))
    torch.testing.assert_close(out, blocks, atol=1e-4, rtol=0)
    maps = step.draw(4, (60, 60), seeded(2)).double().numpy()
    for k in range(4):
        by_hand = resampled(
            x[k].double().numpy(),
            [lambda points, one=maps[k]: points @ one[:, :2].T + one[:, 2]],
            size=(20, 20),
            closer=3,
        )
        np.testing.assert_allclose(out[k], by_hand, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: geometric.translate(-0.1), r"horizontal must be 0 or more, got -0\.1"),
        (lambda: geometric.rescale(2.0, 1.0), r"low must be at least 0\.01 and at most high"),
        (lambda: geometric.rotate(-1.0), "degrees must be 0 or more"),
        (lambda: geometric.stretch(0.5), "ratio must be at least 1"),
        (lambda: geometric.shear(90.0), "horizontal must be at least 0 and below 90"),
        (lambda: geometric.shear(0.0, 60.0), "vertical must be at least 0 and below 45"),
        (lambda: geometric.scale_crop(224, (200, 300)), r"short must be .* size=224, got \[200"),
        (lambda: lens(0.5), "strength must be at least 0 and below 1/3"),
        (lambda: elastic(sigma=0.0), "sigma must be above 0"),
        (lambda: elastic(interpolation="cubic"), "interpolation must be one of nearest"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
