"""Views of test samples: exact places of the crops, resizing against torchvision."""

import pytest
import torch
import torchvision.transforms.v2.functional as tv

from dlrun import test_augmentation
from dlrun.errors import Mistake
from dlrun.test_augmentation import center_crop, five_crop, flip, multi_scale, ten_crop


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 11, 14), generator=generator, dtype=torch.uint8)


@pytest.mark.proves("test_augmentation=flip")
def test_flip_is_the_image_and_its_mirror(x):
    views = flip(x)
    assert len(views) == 2
    assert torch.equal(views[0], x)
    assert torch.equal(views[1], x[..., torch.arange(13, -1, -1)])


@pytest.mark.proves("test_augmentation=five_crop")
@pytest.mark.parametrize("size", [7, [7, 7], [3, 7, 7]])
def test_five_crops_stand_in_the_corners_and_the_middle(x, size):
    views = five_crop(x, size)
    places = [(0, 0), (0, 7), (4, 0), (4, 7), (2, 3)]
    assert len(views) == 5
    for view, (top, left) in zip(views, places, strict=True):
        assert torch.equal(view, x[:, :, top : top + 7, left : left + 7])
        assert view.dtype == torch.uint8


@pytest.mark.proves("test_augmentation=five_crop")
@pytest.mark.parametrize(("height", "width"), [(7, 9), (6, 6)])
def test_crops_as_torchvision_cuts_them(x, height, width):
    ours, theirs = five_crop(x, [height, width]), tv.five_crop(x, [height, width])
    # With an odd rest torchvision rounds the middle to even, here it is rounded down.
    for one, other in zip(ours[:4], theirs[:4], strict=True):
        assert torch.equal(one, other)
    top, left = (11 - height) // 2, (14 - width) // 2
    assert torch.equal(ours[4], x[:, :, top : top + height, left : left + width])
    assert torch.equal(center_crop(x, [height, width])[0], ours[4])


@pytest.mark.proves("test_augmentation=ten_crop")
def test_ten_crops_are_five_and_their_mirrors(x):
    views, five = ten_crop(x, 8), five_crop(x, 8)
    assert len(views) == 10
    for view, mirrored, expected in zip(views[:5], views[5:], five, strict=True):
        assert torch.equal(view, expected)
        assert torch.equal(mirrored, expected.flip(3))


def test_resizing_as_torchvision(x):
    views = five_crop(x, 20, resize=22)
    larger = tv.resize(x.double() / 255, [22, 28], antialias=True)
    assert views[0].dtype == torch.float32
    torch.testing.assert_close(views[0].double(), larger[:, :, :20, :20], atol=1e-6, rtol=0)
    torch.testing.assert_close(views[3].double(), larger[:, :, 2:, 8:], atol=1e-6, rtol=0)


def test_images_no_larger_than_the_crop_are_enlarged_before(x):
    square = x[:, :, :, :11]
    larger = tv.resize(square.double() / 255, [13, 13], antialias=True)  # 11 · 8/7 = 12.57
    for size in (None, 11, [11]):
        views = five_crop(square, size)
        assert all(view.shape == square.shape for view in views)
        torch.testing.assert_close(views[0].double(), larger[:, :, :11, :11], atol=1e-6, rtol=0)
        torch.testing.assert_close(views[4].double(), larger[:, :, 1:12, 1:12], atol=1e-6, rtol=0)
    assert not torch.equal(views[0], views[1])


@pytest.mark.proves("test_augmentation=multi_scale")
def test_multi_scale_is_ten_crops_at_each_scale(x):
    views = multi_scale(x, 8, scales=(1.0, 1.5, 2.0))
    assert len(views) == 30
    for k, side in enumerate((8, 12, 16)):
        expected = ten_crop(x, 8, resize=side)
        assert all(torch.equal(a, b) for a, b in zip(views[10 * k :], expected, strict=False))
    assert all(view.shape == (3, 3, 8, 8) for view in views)
    in_pixels = multi_scale(x, 8, sides=(8, 12, 16))
    assert all(torch.equal(a, b) for a, b in zip(in_pixels, views, strict=True))


@pytest.mark.proves("test_augmentation=multi_scale")
def test_images_that_are_not_square_grow_by_the_scale(monkeypatch):
    """Both sides of the image times 8/7 over a crop of its own size: 45.7 and 91.4."""
    x, seen = torch.rand(1, 1, 40, 80), []
    resized = test_augmentation._resized
    monkeypatch.setattr(
        test_augmentation, "_resized", lambda *given: seen.append(resized(*given)) or seen[-1]
    )
    for size in (None, [40, 80], [1, 40, 80]):
        views = multi_scale(x, size, scales=(8 / 7, 2.0))
        assert {tuple(view.shape[2:]) for view in views} == {(40, 80)}
        assert [tuple(each.shape[2:]) for each in seen] == [(46, 91), (80, 160)]
        seen.clear()


@pytest.mark.parametrize(("least", "size"), [(8, None), (8, [8, 16]), (8, 8), (4, [4, 8]), (6, 6)])
def test_the_short_side_may_be_any_that_holds_the_crop(least, size):
    x = torch.rand(1, 1, 8, 16)
    larger = tv.resize(x, [10, 20], antialias=True)
    view = five_crop(x, size, resize=10)[0]
    torch.testing.assert_close(view, larger[:, :, : view.shape[2], : view.shape[3]])
    assert len(five_crop(x, size, resize=least)) == 5
    with pytest.raises(ValueError, match=f"at least {least}, .* got {least - 1}"):
        five_crop(x, size, resize=least - 1)


def test_a_list_of_one_side_is_that_side(x):
    assert torch.equal(center_crop(x, [4])[0], center_crop(x, 4)[0])


def test_floats_stay_as_they_are(x):
    floats = x / 255
    for one, other in zip(ten_crop(x, 8), ten_crop(floats, 8), strict=True):
        assert torch.equal(one / 255, other)
    torch.testing.assert_close(five_crop(x, 20, 22)[2], five_crop(floats, 20, 22)[2])


@pytest.mark.proves("test_augmentation=center_crop")
def test_the_middle_of_a_smaller_image_is_enlarged(x):
    [view] = center_crop(x, 22)
    larger = tv.resize(x.double() / 255, [22, 28], antialias=True)
    torch.testing.assert_close(view.double(), larger[:, :, :, 3:25], atol=1e-6, rtol=0)
    assert torch.equal(center_crop(x)[0], x)


def test_what_cannot_be_is_refused(x):
    for make in (flip, center_crop, five_crop, ten_crop, multi_scale):
        with pytest.raises(Mistake, match="needs images"):
            make(torch.zeros(4, 13))
    with pytest.raises(ValueError, match=r"resize must be at least 8, .* 11×14 hold .* 8×8, got 7"):
        ten_crop(x, 8, 7)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        five_crop(x, 0)
    with pytest.raises(ValueError, match=r"sides must be at least 8, .* got 7"):
        multi_scale(x, 8, sides=(9, 7))
    for size in ([], [1, 3, 8, 8]):
        with pytest.raises(ValueError, match=r"size must be a side, \[height, width\] or .* got"):
            center_crop(x, size)
    with pytest.raises(ValueError, match=r"scales must be at least 1, got \[0\.5\]"):
        multi_scale(x, 8, (0.5,))
