"""Flips and crops against slow loops over single images."""

import numpy as np
import pytest
import torch

from dlrun.augmentation import compose
from dlrun.augmentation.indexing import crop, flip, pad
from dlrun.errors import Mistake
from tests.conftest import seeded


def distinct(n: int, height: int = 5, width: int = 6) -> torch.Tensor:
    """n equal images whose every pixel is different, so that a result says what was done."""
    return (
        torch.arange(1, 2 * height * width + 1, dtype=torch.uint8)
        .reshape(1, 2, height, width)
        .repeat(n, 1, 1, 1)
    )


@pytest.mark.proves("augmentation=flip")
@pytest.mark.parametrize(
    ("options", "axis"), [({"horizontal": 0.3}, 2), ({"horizontal": 0.0, "vertical": 0.3}, 1)]
)
def test_flip_mirrors_or_leaves_each_image(options, axis):
    x = distinct(4000)
    out, y = flip(x, torch.arange(4000), seeded(), **options)
    mirrored = np.flip(x[0].numpy(), axis)
    changed = [bool((image.numpy() == mirrored).all()) for image in out]
    kept = [torch.equal(image, x[0]) for image in out]
    assert all(a != b for a, b in zip(changed, kept, strict=True))
    assert sum(changed) / 4000 == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)
    assert torch.equal(y, torch.arange(4000))


def test_both_flips_are_drawn_apart():
    x = distinct(4000)
    out, _ = flip(x, None, seeded(), horizontal=0.5, vertical=0.5)
    image = x[0].numpy()
    forms = [image, image[:, :, ::-1], image[:, ::-1], image[:, ::-1, ::-1]]
    counts = [sum((o.numpy() == form).all() for o in out) for form in forms]
    assert sum(counts) == 4000
    assert chi_square(counts) < 16.3  # 0.1 % of the time above, with 3 degrees of freedom


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.proves("augmentation=crop")
@pytest.mark.parametrize("mode", ["zero", "reflect", "edge"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_padding_as_in_numpy(mode, dtype):
    x = distinct(3).to(dtype)
    modes = {"zero": "constant", "reflect": "reflect", "edge": "edge"}
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode=modes[mode])
    np.testing.assert_array_equal(pad(x, 3, mode), expected)


@pytest.mark.proves("augmentation=crop")
@pytest.mark.parametrize("mode", ["zero", "reflect", "edge"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_crop_cuts_a_window_of_the_padded_image(mode, channels_last):
    x = distinct(3000)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    out, _ = crop(x, None, seeded(), padding=2, mode=mode)
    padded = pad(x[:1], 2, mode)[0]
    windows = [padded[:, i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
    places = [next(k for k, w in enumerate(windows) if torch.equal(w, image)) for image in out]
    counts = np.bincount(places, minlength=25).tolist()
    assert chi_square(counts) < 51.2  # 0.1 % of the time above, with 24 degrees of freedom
    # Neighbours are drawn apart from each other.
    same = np.mean(np.array(places[1:]) == np.array(places[:-1]))
    assert same == pytest.approx(1 / 25, abs=4 * (0.04 * 0.96 / 3000) ** 0.5)


@pytest.mark.parametrize("augment", [flip, crop, compose([flip, crop])])
def test_the_generator_alone_decides(augment):
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    first = augment(x, None, seeded(3))[0]
    torch.rand(5)
    assert torch.equal(first, augment(x, None, seeded(3))[0])
    assert not torch.equal(first, augment(x, None, seeded(4))[0])
    assert first.dtype == torch.uint8


def test_the_input_stays_as_it_is():
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    before = x.clone()
    compose([flip, crop])(x, None, seeded())
    assert torch.equal(x, before)


def test_compose_keeps_the_order():
    x = distinct(50)
    both = compose([flip, crop])(x, None, seeded(7))[0]
    generator = seeded(7)
    one = flip(x, None, generator)[0]
    assert torch.equal(both, crop(one, None, generator)[0])


def test_what_cannot_be_is_refused():
    x = distinct(2)
    with pytest.raises(Mistake, match="augmentation=flip needs images"):
        flip(torch.zeros(4, 13), None, seeded())
    with pytest.raises(ValueError, match=r"horizontal must be between 0 and 1, got 1\.5"):
        flip(x, None, seeded(), horizontal=1.5)
    with pytest.raises(ValueError, match="padding must be at least 1, got 0"):
        crop(x, None, seeded(), padding=0)
    with pytest.raises(ValueError, match="padding must be below the image's side 5"):
        crop(x, None, seeded(), padding=5, mode="reflect")
    with pytest.raises(ValueError, match="mode must be zero, edge or reflect, got wrap"):
        crop(x, None, seeded(), mode="wrap")
