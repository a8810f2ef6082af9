"""Colour steps against slow loops in float64 and against torchvision."""

import colorsys

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from dlrun.augmentation import compose
from dlrun.augmentation.color import GREY, ColorJitter, Photometric, recolor
from dlrun.errors import Mistake
from tests.conftest import seeded


def images(n: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, 7, 6), generator=seeded(9)).to(torch.uint8)


class Fixed:
    """A colour step without chance."""

    name = "fixed"

    def __init__(self, linear: torch.Tensor, shift: torch.Tensor) -> None:
        self.matrix = torch.cat([linear, shift[:, None]], 1)

    def matrices(self, mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.matrix.expand(len(mean), 3, 4)


def grey(image: np.ndarray) -> np.ndarray:
    return np.tensordot(np.array(GREY), image, 1)


def jittered(image: np.ndarray, b: float, c: float, s: float, turn: float) -> np.ndarray:
    """(3, h, w) in [0, 1], float64, step by step and unclamped."""
    image = b * image
    image = c * image + (1 - c) * grey(image).mean()
    image = s * image + (1 - s) * grey(image)
    to_yiq = np.array([GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    y, i, q = np.tensordot(to_yiq, image, 1)
    angle = 2 * np.pi * turn
    i, q = np.cos(angle) * i - np.sin(angle) * q, np.sin(angle) * i + np.cos(angle) * q
    return np.tensordot(np.linalg.inv(to_yiq), np.stack([y, i, q]), 1)


@pytest.mark.proves("augmentation=color_jitter")
@pytest.mark.parametrize("options", [(0.4, 0.4, 0.4, 0.0), (0.2, 0.9, 1.5, 0.5), (0, 0, 0, 0.3)])
def test_jitter_is_the_four_changes_in_turn(options):
    x = images()
    out, _ = ColorJitter(*options)(x, None, seeded(2))
    drawn = 2 * torch.rand(4, 8, generator=seeded(2)).double().numpy() - 1
    for k in range(8):
        b, c, s = (max(0, 1 + options[j] * drawn[j, k]) for j in range(3))
        expected = jittered(x[k].double().numpy() / 255, b, c, s, options[3] * drawn[3, k])
        np.testing.assert_allclose(out[k], expected.clip(0, 1), atol=2e-4)


@pytest.mark.proves("augmentation=color_jitter")
@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ((0.3, 0.0, 0.0), tv.adjust_brightness),
        ((0.0, 0.3, 0.0), tv.adjust_contrast),
        ((0.0, 0.0, 0.3), tv.adjust_saturation),
    ],
)
def test_each_change_is_that_of_torchvision(options, theirs):
    x = images() / 255
    out, _ = ColorJitter(*options)(x, None, seeded(3))
    drawn = 2 * torch.rand(4, 8, generator=seeded(3)) - 1
    which = next(j for j in range(3) if options[j])
    for image, seen, u in zip(x, out, drawn[which], strict=True):
        # torchvision rounds the shares of grey to three and four digits.
        torch.testing.assert_close(seen, theirs(image, 1 + 0.3 * float(u)), atol=1e-3, rtol=0)


def test_hue_turns_the_colour_and_keeps_the_grey():
    x = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1).repeat(64, 1, 2, 2)
    out, _ = ColorJitter(0.0, 0.0, 0.0, 0.5)(x, None, seeded(1))
    brightness = torch.einsum("nchw,c->n", out, torch.tensor(GREY)) / 4
    torch.testing.assert_close(brightness, torch.full((64,), 0.4598), atol=1e-3, rtol=0)
    hues = [colorsys.rgb_to_hsv(*image[:, 0, 0].tolist())[0] for image in out]
    assert max(np.histogram(hues, 6, (0, 1))[0]) < 32
    assert min(np.histogram(hues, 3, (0, 1))[0]) > 5


def test_greys_stay_grey_and_one_channel_is_grey():
    x = images(channels=1)
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.5)
    single, _ = jitter(x, None, seeded(4))
    triple, _ = jitter(x.expand(-1, 3, -1, -1), None, seeded(4))
    assert single.shape == x.shape
    for channel in range(3):
        torch.testing.assert_close(triple[:, channel : channel + 1], single, atol=1e-3, rtol=0)


def test_merged_colours_are_one_after_another():
    x = images() / 255 * 0.2 + 0.4  # far from black and white, where nothing is clamped
    steps = [ColorJitter(0.1, 0.2, 0.3, 0.1), Photometric(0.1, "imagenet"), ColorJitter(0.2, 0.1)]
    merged, _ = compose(steps)(x, None, seeded(5))
    generator, turn = seeded(5), x
    for step in steps:
        turn, _ = step(turn, None, generator)
    torch.testing.assert_close(merged, turn, atol=1e-5, rtol=0)


def test_any_colour_matrix_is_applied_to_each_pixel():
    linear = torch.randn(3, 3, generator=seeded(1)) * 0.3
    shift = torch.tensor([0.1, 0.5, 0.2])
    x = images()
    out = recolor([Fixed(linear, shift)], x, seeded())
    expected = torch.einsum("ij,njhw->nihw", linear.double(), x.double() / 255)
    expected = (expected + shift.view(3, 1, 1)).clamp(0, 1)
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=0)


def colourful(n: int = 300) -> torch.Tensor:
    """Images whose colours are correlated, as uint8."""
    base = torch.randn(n, 3, 16, 16, generator=seeded(1)) * torch.tensor([30.0, 10, 5]).view(
        3, 1, 1
    )
    mixed = torch.tensor([[0.6, 0.5, 0.6], [0.6, 0.0, -0.8], [0.6, -0.7, 0.4]])
    return torch.einsum("ij,njhw->nihw", mixed, base).add(128).clamp(0, 255).to(torch.uint8)


@pytest.mark.proves("augmentation=photometric")
def test_lighting_has_the_axes_of_the_training_split():
    x = colourful()
    step = Photometric(0.5)
    step.fit(x.split(70))
    spread = np.cov((x.double() / 255).transpose(0, 1).flatten(1).numpy(), bias=True)
    drawn = step.matrices(torch.zeros(200_000, 3), seeded())
    assert torch.equal(drawn[:, :, :3], torch.eye(3).expand(200_000, 3, 3))
    # P·diag(λ)·a with a from N(0, strength²) has the covariance strength²·C².
    found = np.cov(drawn[:, :, 3].double().numpy().T, bias=True)
    expected = 0.25 * spread @ spread
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())


def test_the_covariance_of_large_images_is_found_on_some_of_their_pixels():
    x = colourful(20).repeat_interleave(4, 2).repeat_interleave(4, 3)
    whole, part = Photometric(1.0), Photometric(1.0)
    whole.fit([colourful(20)])
    part.fit([x])
    torch.testing.assert_close(part.axes, whole.axes)


def test_published_axes_are_those_of_imagenet():
    step = Photometric(0.1, "imagenet")
    step.fit([])  # nothing to learn
    axes = step.axes.double()
    lengths = axes.norm(dim=0)
    assert lengths.tolist() == pytest.approx([0.2175, 0.0188, 0.0045], rel=1e-3)
    unit = axes / lengths
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-3)


@pytest.mark.proves("augmentation=photometric")
def test_lighting_adds_one_colour_to_all_pixels_of_an_image():
    x = images() / 255 * 0.2 + 0.4
    out, _ = Photometric(0.1, "imagenet")(x, None, seeded(7))
    apart = out - x
    torch.testing.assert_close(apart, apart[:, :, :1, :1].expand_as(apart), atol=1e-6, rtol=0)
    assert apart[:, :, 0, 0].unique(dim=0).shape[0] == 8


@pytest.mark.parametrize("step", [ColorJitter(hue=0.2), Photometric(1.0, "imagenet")])
def test_the_generator_alone_decides(step):
    x = images(1).repeat(50, 1, 1, 1)
    first, _ = step(x, None, seeded(3))
    torch.rand(5)
    assert torch.equal(first, step(x, None, seeded(3))[0])
    assert not torch.equal(first, step(x, None, seeded(4))[0])
    assert len({tuple(image.flatten().tolist()) for image in first}) == 50
    assert 0 <= first.min() <= first.max() <= 1


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"contrast must be 0 or more, got -0\.1"):
        ColorJitter(contrast=-0.1)
    with pytest.raises(ValueError, match="hue must be between 0 and 0"):
        ColorJitter(hue=0.6)
    with pytest.raises(ValueError, match="axes must be data or imagenet, got mnist"):
        Photometric(axes="mnist")
    with pytest.raises(ValueError, match="axes must be learned from the training split"):
        Photometric()(images(), None, seeded())
    with pytest.raises(Mistake, match=r"=color_jitter needs .* 1 or 3 channels, and these have 2;"):
        ColorJitter()(images(channels=2), None, seeded())
    both = compose([Photometric(axes="imagenet"), ColorJitter()])
    with pytest.raises(Mistake, match=r"=photometric needs images of 1 or 3 channels"):
        both(images(channels=2), None, seeded())
    with pytest.raises(Mistake, match=r"=photometric needs images of 1 or 3 channels"):
        Photometric().fit([images(channels=2)])
    with pytest.raises(Mistake, match="augmentation=color_jitter needs images"):
        ColorJitter()(torch.zeros(4, 13), None, seeded())
