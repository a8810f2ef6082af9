"""RandAugment: each operation against torchvision, and which image gets which."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from dlrun.augmentation import randaugment as ra
from dlrun.errors import Mistake
from tests.augmentation.reference import affine, resampled
from tests.conftest import seeded


@pytest.fixture
def x():
    """Bytes of few and of many values, as a photograph has them."""
    values = torch.randn(12, 3, 11, 10, generator=seeded(1)) * 40 + 110
    return values.clamp(0, 255).to(torch.uint8)


THEIRS = {
    "identity": lambda x, sign, strength: x,
    "brightness": lambda x, sign, strength: tv.adjust_brightness(x, 1 + 0.9 * strength * sign),
    "color": lambda x, sign, strength: tv.adjust_saturation(x, 1 + 0.9 * strength * sign),
    "contrast": lambda x, sign, strength: tv.adjust_contrast(x, 1 + 0.9 * strength * sign),
    "sharpness": lambda x, sign, strength: tv.adjust_sharpness(x, 1 + 0.9 * strength * sign),
    "posterize": lambda x, sign, strength: tv.posterize(x, 8 - round(4 * strength)),
    "solarize": lambda x, sign, strength: tv.solarize(x, math.ceil(255 * (1 - strength))),
    "autocontrast": lambda x, sign, strength: tv.autocontrast(x),
    "equalize": lambda x, sign, strength: tv.equalize(x),
}


@pytest.mark.proves("augmentation=randaugment")
@pytest.mark.parametrize("name", list(ra.OTHERS))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_each_operation_is_that_of_torchvision(x, name, sign, strength):
    signs = torch.full((len(x), 1, 1, 1), sign)
    out = ra.OTHERS[name](x / 255, signs, strength).clamp(0, 1) * 255
    theirs = THEIRS[name](x, sign, strength)
    # On bytes torchvision cuts the digits off, so up to 1, and 2 where it does so twice.
    assert (out - theirs).abs().max() < 2.01
    exact = name in ("identity", "posterize", "solarize", "equalize")
    assert not exact or (out - theirs).abs().max() < 0.01


def test_operations_on_one_channel(x):
    one = x[:, :1] / 255
    signs = torch.ones(len(x), 1, 1, 1)
    for operation in ra.OTHERS.values():
        assert operation(one, signs, 0.5).shape == one.shape
    assert torch.equal(ra.color(one, signs, 0.5), one)


def test_constant_images_stay_as_they_are():
    x = torch.full((2, 3, 6, 6), 77 / 255)
    signs = torch.ones(2, 1, 1, 1)
    for name in ("autocontrast", "equalize", "sharpness", "contrast", "color"):
        torch.testing.assert_close(ra.OTHERS[name](x, signs, 0.5), x)


@pytest.mark.parametrize("name", ra.GEOMETRIC)
def test_geometric_operations_are_their_maps(name):
    sign = torch.tensor([1.0, -1.0])
    chosen = torch.full((2,), ra.GEOMETRIC.index(name))
    found = ra.maps(chosen, sign, 0.5, (20, 40)).double().numpy()
    for s, one in zip((1, -1), found, strict=True):
        turn = s * math.radians(15)
        expected = {
            "rotate": [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0]],
            "shear_x": [[1, 0.15 * s, 0], [0, 1, 0]],
            "shear_y": [[1, 0, 0], [0.15 * s, 1, 0]],
            "translate_x": [[1, 0, -s * 40 * 75 / 331], [0, 1, 0]],
            "translate_y": [[1, 0, 0], [0, 1, -s * 20 * 75 / 331]],
        }[name]
        np.testing.assert_allclose(one, expected, atol=1e-5)
    others = torch.arange(len(ra.GEOMETRIC), 14)
    still = ra.maps(others, torch.ones(9), 0.5, (20, 40))
    assert torch.equal(still, torch.eye(2, 3).expand(9, 2, 3))


def test_each_image_gets_its_operations_in_turn(x):
    step = ra.randaugment(operations=3, magnitude=15)
    generator = seeded(4)
    chosen = torch.randint(14, (3, len(x)), generator=generator)
    signs = 1.0 - 2 * torch.randint(2, (3, len(x)), generator=generator)
    out, y = step(x, "labels", seeded(4))
    assert y == "labels"
    names = (*ra.GEOMETRIC, *ra.OTHERS)
    for k in range(len(x)):
        maps = [ra.maps(chosen[j, k : k + 1], signs[j, k : k + 1], 0.5, (11, 10)) for j in range(3)]
        image = resampled(
            x[k].double().numpy() / 255, [affine(m[0].double().numpy()) for m in maps]
        )
        expected = torch.from_numpy(image).float()[None]
        for j in range(3):
            name = names[chosen[j, k]]
            if name in ra.OTHERS:
                expected = ra.OTHERS[name](expected, signs[j, k].view(1, 1, 1, 1), 0.5).clamp(0, 1)
        apart = (out[k] - expected[0]).abs()
        # Steps in a value (posterize, solarize, equalize) may fall to either side of rounding.
        assert apart.median() < 1e-4
        assert (apart > 1e-3).double().mean() < 0.02


@pytest.mark.proves("augmentation=randaugment")
def test_operations_and_signs_are_drawn_equally_often():
    n = 7000
    x = torch.rand(1, 3, 8, 8, generator=seeded(5)).expand(n, 3, 8, 8)
    out, _ = ra.randaugment(1, 15)(x, None, seeded(3))
    kinds, counts = out.round(decimals=4).flatten(1).unique(dim=0, return_counts=True)
    # 9 operations with a sign give two images each, 5 without give one.
    assert len(kinds) == 23
    sides = torch.sort(counts).values
    assert ((sides[:18] - n / 28).abs() < 5 * (n / 28) ** 0.5).all()
    assert ((sides[18:] - n / 14).abs() < 5 * (n / 14) ** 0.5).all()


def test_the_generator_alone_decides_and_the_input_stays(x):
    before = x.clone()
    step = ra.randaugment(2, 20)
    first, _ = step(x, None, seeded(3))
    torch.rand(5)
    assert torch.equal(first, step(x, None, seeded(3))[0])
    assert not torch.equal(first, step(x, None, seeded(4))[0])
    assert torch.equal(x, before)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="operations must be between 1 and 100, got 0"):
        ra.randaugment(0)
    with pytest.raises(ValueError, match="magnitude must be between 0 and 30, got 31"):
        ra.randaugment(2, 31)
    with pytest.raises(Mistake, match=r"=randaugment needs images of 1 or 3 channels.* have 4;"):
        ra.randaugment(operations=1)(torch.zeros(1, 4, 6, 6), None, seeded(0))
    with pytest.raises(ValueError, match="mode must be zero, reflect or edge, got wrap"):
        ra.randaugment(mode="wrap")
