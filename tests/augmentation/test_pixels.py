"""Noise and pieces cut out, by counting."""

import numpy as np
import pytest
import torch

from dlrun.augmentation.pixels import cutout, noise
from dlrun.errors import Mistake
from tests.conftest import seeded


@pytest.mark.proves("augmentation=noise")
def test_noise_is_normal_for_each_pixel_and_clamped():
    x = torch.full((50, 3, 20, 20), 128, dtype=torch.uint8)
    out, _ = noise(x, None, seeded(), std=0.1)
    added = (out - 128 / 255).flatten().double().numpy()
    assert added.mean() == pytest.approx(0, abs=4 * 0.1 / len(added) ** 0.5)
    assert added.std() == pytest.approx(0.1, rel=0.02)
    assert np.mean(np.abs(added) < 0.1) == pytest.approx(0.6827, abs=0.01)
    assert abs(np.corrcoef(added[:-1], added[1:])[0, 1]) < 0.02
    dark, _ = noise(torch.zeros(5, 1, 9, 9), None, seeded(), std=2.0)
    assert dark.min() == 0
    assert dark.max() == 1


@pytest.mark.proves("augmentation=cutout")
@pytest.mark.parametrize("size", [1, 4, 5, 30])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutout_covers_one_square_about_a_pixel_of_the_image(size, dtype):
    height, width, n = 6, 8, 5000
    x = torch.ones(n, 2, height, width, dtype=dtype)
    out, _ = cutout(x, None, seeded(), size=size, fill=0.0)
    assert out.dtype == dtype
    assert torch.equal(out[:, 0], out[:, 1])
    expected = {}
    for i in range(height):
        for j in range(width):
            form = np.ones((height, width), int)
            top, left = i - size // 2, j - size // 2
            form[max(top, 0) : top + size, max(left, 0) : left + size] = 0
            expected.setdefault(form.tobytes(), []).append((i, j))
    counts = dict.fromkeys(expected, 0)
    for image in out[:, 0]:
        counts[image.long().numpy().tobytes()] += 1
    for form, places in expected.items():
        share = len(places) / (height * width)
        assert abs(counts[form] - n * share) <= 5 * (n * share * (1 - share)) ** 0.5


def test_cutout_fills_with_the_mean_colour_or_the_given_one():
    x = torch.randint(0, 256, (40, 3, 9, 9), generator=seeded(1), dtype=torch.uint8)
    before = x.clone()
    means = x.double().mean((2, 3)).round()
    out, _ = cutout(x, None, seeded(), size=3)
    grey, _ = cutout(x, None, seeded(), size=3, fill=0.5)
    covered = (grey == 128).all(1) & ~(x == 128).all(1)
    assert torch.equal(x, before)
    for k in range(40):
        assert covered[k].sum() in (4, 6, 9)
        assert (out[k][:, covered[k]] == means[k][:, None]).all()
        assert torch.equal(out[k][:, ~covered[k]], x[k][:, ~covered[k]])


def test_cutout_leaves_images_by_its_probability():
    x = torch.ones(4000, 1, 5, 5)
    out, _ = cutout(x, None, seeded(), size=3, probability=0.3, fill=0.0)
    share = (out.amin((1, 2, 3)) == 0).double().mean()
    assert float(share) == pytest.approx(0.3, abs=0.03)


def test_what_cannot_be_is_refused():
    x = torch.zeros(2, 1, 5, 5)
    for step in (noise, cutout):
        with pytest.raises(Mistake, match=f"augmentation={step.__name__} needs images"):
            step(torch.zeros(4, 13), None, seeded())
    with pytest.raises(ValueError, match="std must be 0 or more"):
        noise(x, None, seeded(), std=-1.0)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        cutout(x, None, seeded(), size=0)
    with pytest.raises(ValueError, match=r"probability must be between 0 and 1, got 1\.5"):
        cutout(x, None, seeded(), probability=1.5)
    with pytest.raises(ValueError, match="fill must be null or between 0 and 1, got 128"):
        cutout(x, None, seeded(), fill=128)
