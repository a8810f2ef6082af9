"""Any number of geometric steps as one resampling, against float64 by hand."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dlrun.augmentation import compose, geometric, indexing, warp
from dlrun.augmentation.color import ColorJitter
from dlrun.augmentation.distortion import elastic, lens
from dlrun.augmentation.warp import Geometric
from dlrun.errors import Mistake
from tests.augmentation.reference import Map, affine, pixels, resampled
from tests.conftest import seeded


def images(n: int = 6, height: int = 9, width: int = 12, channels: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, height, width), generator=seeded(9)).to(torch.uint8)


def in_turn(steps: list[Geometric], n: int, size: tuple[int, int], seed: int) -> list[list[Map]]:
    """The maps of each image: for each step its own, as the generator draws them."""
    generator, found = seeded(seed), []
    for step in steps:
        drawn = step.draw(n, size, generator)
        if isinstance(drawn, torch.Tensor):
            found.append([affine(one.double().numpy()) for one in drawn])
        else:
            found.append([distorted(drawn, k) for k in range(n)])
        size = step.size(size)
    return [list(maps) for maps in zip(*found, strict=True)]


def distorted(drawn: Any, row: int) -> Map:
    def one(points: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(points).float()[None]
        return drawn(given, torch.tensor([row]))[0].double().numpy()

    return one


STEPS = {
    "flip": geometric.flip(0.5, 0.5),
    "crop": geometric.crop(2),
    "translate": geometric.translate(0.2, 0.3),
    "rescale": geometric.rescale(0.8, 1.5),
    "rotate": geometric.rotate(40),
    "stretch": geometric.stretch(1.5),
    "shear": geometric.shear(20, 10),
    "lens": lens(0.3),
    "elastic": elastic(20, 3, "bilinear"),
}


@pytest.mark.parametrize("name", list(STEPS))
@pytest.mark.parametrize("mode", ["zero", "edge", "reflect"])
def test_one_step_shows_each_pixel_where_its_map_says(name, mode):
    step = Geometric(name, STEPS[name].draw, mode)
    x, labels = images(), torch.arange(6)
    out, y = step(x, labels, seeded(3))
    assert y is labels
    maps = in_turn([step], len(x), (9, 12), 3)
    for k in range(len(x)):
        expected = resampled(x[k].double().numpy() / 255, maps[k], mode)
        np.testing.assert_allclose(out[k], expected, atol=2e-4)
    assert not torch.equal(out, x / 255)


@pytest.mark.parametrize(
    "names",
    [
        ["flip", "crop", "rotate"],
        ["rotate", "crop", "flip", "shear", "translate", "stretch", "rescale"],
        ["rotate", "lens", "shear"],
        ["elastic", "rotate", "lens"],
        ["lens", "elastic"],
    ],
)
def test_merged_steps_are_the_composition_of_their_maps(names):
    steps = [STEPS[name] for name in names]
    x = images()
    out, _ = compose(steps)(x, None, seeded(5))
    maps = in_turn(steps, len(x), (9, 12), 5)
    for k in range(len(x)):
        expected = resampled(x[k].double().numpy() / 255, maps[k])
        np.testing.assert_allclose(out[k], expected, atol=3e-4)


def test_merged_steps_mean_what_they_do_one_after_another():
    # A smooth image, so that resampling twice blurs it but little.
    x = torch.from_numpy(
        gaussian_filter(np.random.default_rng(0).random((8, 1, 40, 40)), (0, 0, 4, 4))
    )
    x = (x - x.min()).div(x.max() - x.min()).float()
    steps = [
        geometric.rotate(30),
        geometric.flip(0.5, 0.5),
        geometric.shear(15),
        geometric.stretch(),
    ]
    merged, _ = compose(steps)(x, None, seeded(1))
    generator, turn = seeded(1), x
    for step in steps:
        turn, _ = step(turn, None, generator)
    middle = (slice(None), slice(None), slice(12, 28), slice(12, 28))
    assert (merged - turn)[middle].abs().max() < 0.02
    assert (merged - x)[middle].abs().max() > 0.2


def test_where_the_mode_changes_the_image_ends():
    crop, rotate = geometric.crop(3, "reflect"), geometric.rotate(40, "zero")
    back = geometric.translate(0.3, 0.3, "edge")
    x = images()
    out, _ = compose([crop, rotate, back])(x, None, seeded(2))
    maps = in_turn([crop, rotate, back], len(x), (9, 12), 2)
    limit = np.array([5.5, 4.0])
    for k, (first, second, third) in enumerate(maps):
        points = np.clip(third(pixels(9, 12)), -limit, limit)
        points = second(points)
        outside = (np.abs(points) > limit + 0.5).any(-1)
        expected = resampled(x[k].double().numpy() / 255, [first, lambda _, p=points: p], "reflect")
        expected[:, outside] = 0
        # A point on the very border may fall to either side.
        near = (np.abs(np.abs(points) - limit - 0.5) < 1e-4).any(-1)
        np.testing.assert_allclose(out[k].numpy()[:, ~near], expected[:, ~near], atol=2e-4)


def test_flip_and_crop_alone_move_whole_pixels_as_their_maps_do():
    x = images(200)
    exact, _ = compose([indexing.flip, partial(indexing.crop, padding=2)])(x, None, seeded())
    assert exact.dtype == torch.uint8
    forms = {
        tuple(form.int().flatten().tolist())
        for step in (indexing.flip, partial(indexing.crop, padding=2))
        for form in step(x[:1].repeat(400, 1, 1, 1), None, seeded())[0]
    }
    for step in (geometric.flip(), geometric.crop(2)):
        out, _ = step(x[:1].repeat(400, 1, 1, 1), None, seeded(1))
        for image in out:
            assert tuple((image * 255).round().int().flatten().tolist()) in forms
            assert ((image * 255).round() - image * 255).abs().max() < 5e-3


def test_flip_and_crop_join_the_map_beside_others(monkeypatch):
    calls = []
    sample = torch.nn.functional.grid_sample
    monkeypatch.setattr(warp.F, "grid_sample", lambda *a, **k: calls.append(1) or sample(*a, **k))
    steps = [indexing.flip, partial(indexing.crop, padding=2), geometric.rotate(), ColorJitter()]
    steps += [lens(), partial(indexing.flip, vertical=0.5), geometric.shear(mode="zero")]
    out, _ = compose(steps)(images(channels=3), None, seeded())
    assert len(calls) == 1
    assert out.dtype == torch.float32


def test_the_options_of_flip_and_crop_hold_in_the_map():
    x = images(3)
    always = partial(indexing.flip, horizontal=1.0, vertical=1.0)
    out, _ = compose([always, geometric.rotate(0.0)])(x, None, seeded())
    torch.testing.assert_close(out, x.flip(2, 3) / 255, atol=1e-4, rtol=0)


@pytest.mark.proves("augmentation=elastic")
@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic", "area"])
def test_each_interpolation_by_hand(kind):
    turn = geometric.rotate(30)
    x = images(3)
    out, _ = Geometric("rotate", turn.draw, "edge", kind)(x, None, seeded(4))
    maps = in_turn([turn], 3, (9, 12), 4)
    for k in range(3):
        image = x[k].double().numpy() / 255
        if kind == "bicubic":
            expected = bicubic(image, maps[k][0](pixels(9, 12)))
        else:
            expected = resampled(
                image,
                maps[k],
                "edge",
                closer=2 if kind == "area" else 1,
                order=0 if kind == "nearest" else 1,
            )
        np.testing.assert_allclose(out[k], expected, atol=5e-4)


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic", "area", "random"])
def test_what_stays_where_it_is_is_not_darkened_at_its_border(kind):
    x = torch.ones(40, 1, 9, 12)
    out, _ = elastic(0.0, interpolation=kind)(x, None, seeded())
    torch.testing.assert_close(out, x, atol=1e-6, rtol=0)
    smaller = Geometric("rescale", geometric.rescale(1, 1).draw, shrink=lambda size: 3.0)
    torch.testing.assert_close(smaller(x, None, seeded())[0], x, atol=1e-6, rtol=0)


def test_a_mean_over_points_takes_black_for_those_beyond_the_image_alone():
    turn, x = geometric.rotate(30), images(3)
    out, _ = Geometric("rotate", turn.draw, "zero", "area")(x, None, seeded(4))
    for k, (one,) in enumerate(in_turn([turn], 3, (9, 12), 4)):
        points = one(pixels(9, 12, 2))
        image = x[k].double().numpy() / 255
        seen = resampled(image, [lambda _, p=points: p], "edge", (9, 12), order=1, closer=1)
        assert seen.shape == (2, 18, 24)
        seen[:, (np.abs(points) > np.array([6.0, 4.5])).any(-1)] = 0
        expected = seen.reshape(2, 9, 2, 12, 2).mean((2, 4))
        np.testing.assert_allclose(out[k], expected, atol=5e-4)


def bicubic(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Keys 1981 with a = −0.75, the borders repeated, cut to [0, 1]."""

    def weight(t: float) -> float:
        t, a = abs(t), -0.75
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    c, h, w = image.shape
    out = np.zeros((c, *points.shape[:2]))
    for i, j in np.ndindex(*points.shape[:2]):
        x, y = points[i, j] + [(w - 1) / 2, (h - 1) / 2]
        for row in range(math.floor(y) - 1, math.floor(y) + 3):
            for column in range(math.floor(x) - 1, math.floor(x) + 3):
                value = image[:, min(max(row, 0), h - 1), min(max(column, 0), w - 1)]
                out[:, i, j] += value * weight(y - row) * weight(x - column)
    return out.clip(0, 1)


@pytest.mark.proves("augmentation=elastic")
def test_random_interpolation_takes_each_kind_equally_often_image_by_image():
    shift = torch.tensor([[1.0, 0, 0.3], [0, 1, 0.3]])

    def still(n: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
        return shift.expand(n, 2, 3)

    x = images(1).repeat(2000, 1, 1, 1)
    forms = [
        Geometric("still", still, "edge", kind)(x[:1], None, seeded())[0][0]
        for kind in ("nearest", "bilinear", "bicubic", "area")
    ]
    out, _ = Geometric("still", still, "edge", "random")(x, None, seeded(1))
    apart = torch.stack([(out - form).abs().amax((1, 2, 3)) for form in forms], 1)
    assert (apart.min(1).values < 1e-5).all()
    counts = torch.bincount(apart.argmin(1), minlength=4)
    assert ((counts - 500).abs() < 4.5 * (2000 * 3 / 16) ** 0.5).all()


@pytest.mark.parametrize("shape", [(4, 1, 1, 1), (4, 3, 1, 5), (1, 3, 7, 1)])
@pytest.mark.parametrize("mode", ["zero", "edge", "reflect"])
def test_images_of_one_pixel_do_no_harm(shape, mode):
    x = torch.randint(0, 256, shape, dtype=torch.uint8)
    steps = [geometric.rotate(90, mode), geometric.crop(1, "edge"), lens(), elastic(mode=mode)]
    out, _ = compose(steps)(x, None, seeded())
    assert out.shape == shape
    assert out.isfinite().all()


@pytest.mark.parametrize("name", list(STEPS))
def test_the_generator_alone_decides_and_each_image_has_its_own_draw(name):
    x = images(1).repeat(40, 1, 1, 1)
    before = x.clone()
    first, _ = STEPS[name](x, None, seeded(3))
    torch.rand(5)
    assert torch.equal(first, STEPS[name](x, None, seeded(3))[0])
    assert not torch.equal(first, STEPS[name](x, None, seeded(4))[0])
    assert len({tuple(image.flatten().tolist()) for image in first}) > (3 if name == "flip" else 15)
    assert torch.equal(x, before)
    assert 0 <= first.min() <= first.max() <= 1
    torch.testing.assert_close(STEPS[name](x / 255, None, seeded(3))[0], first)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="mode must be zero, reflect or edge, got wrap"):
        geometric.rotate(10, "wrap")
    with pytest.raises(Mistake, match="augmentation=rotate needs images"):
        geometric.rotate()(torch.zeros(4, 13), None, seeded())
    with pytest.raises(Mistake, match="needs images"):
        compose([indexing.flip, geometric.rotate()])(torch.zeros(4, 13), None, seeded())
