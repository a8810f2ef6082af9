"""Depth, transparency, colours and sizes of image files, against numpy and torchvision."""

import json

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dlrun.__main__ import main
from dlrun.data import split
from dlrun.data.imagefolder import imagefolder
from dlrun.errors import Mistake
from tests.conftest import sparsely
from tests.data.folders import channels_first, make_folder, pixels, save, save_png


def deep(seed, largest, shape=(6, 8), kind=np.uint16):
    """Random values from 0 to `largest`, both among them."""
    values = np.random.default_rng(seed).integers(0, largest, shape, endpoint=True)
    values.flat[:2] = largest, 0
    return values.astype(kind)


def make_deep(root, largest, layout=("a", "b"), **form):
    """Two images in each folder; returns them in the order of their paths."""
    made = []
    for folder in layout:
        for i in range(2):
            made.append(deep(len(made), largest, **form))
            save(root / folder / f"{i}.tif", made[-1])
    return np.stack(made)


def settled(root, **options):
    """All samples as they are trained on."""
    data = split.make(imagefolder(str(root), **options), split=[1, 0, 0])
    return data.train.x.numpy(), data.depth


# Depth


@pytest.mark.proves("data=imagefolder")
@pytest.mark.parametrize(
    ("largest", "depth", "said"),
    [
        (200, 8, "taken for 8 bits, 255 is white; data.depth=16 says otherwise"),
        (255, 8, "taken for 8 bits"),
        (256, 10, "taken for 10 bits"),
        (1023, 10, "taken for 10 bits"),
        (1024, 12, "taken for 12 bits"),
        (4095, 12, "go from 0 to 4,095: taken for 12 bits, 4,095 is white"),
        (4096, 16, ""),
        (65535, 16, ""),
    ],
)
def test_a_set_has_the_smallest_depth_that_holds_its_values(tmp_path, caplog, largest, depth, said):
    made = make_deep(tmp_path, largest)
    x, found = settled(tmp_path)
    if depth == 8:
        np.testing.assert_array_equal(x[:, 0], made)
        assert (x.dtype, found) == (np.uint8, 8)
    else:
        np.testing.assert_array_equal(x[:, 0], made / np.float32(2**depth - 1))
        assert (x.dtype, found) == (np.float32, depth)
    assert said in caplog.text
    assert bool(caplog.messages) == bool(said)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_a_typed_depth_is_taken(tmp_path, caplog, kind):
    made = make_deep(tmp_path, 900, kind=kind)
    x, found = settled(tmp_path, depth=14)
    np.testing.assert_allclose(x[:, 0], made / (2**14 - 1), rtol=1e-6)
    assert found == 14
    assert not caplog.records
    x, _ = settled(tmp_path)
    np.testing.assert_allclose(x[:, 0], made / 1023, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_16_bits(tmp_path, channels):
    shape = (6, 8) if channels == 1 else (6, 8, 3)
    made = [deep(i, 3000, shape) for i in range(4)]
    for i, image in enumerate(made):
        save_png(tmp_path / "ab"[i // 2] / f"{i}.png", image)
    x, depth = settled(tmp_path)
    assert depth == 12
    expected = np.stack([channels_first(image) for image in made]) / np.float32(4095)
    np.testing.assert_array_equal(x, expected)
    grey, _ = settled(tmp_path, channels="grey")
    luma = (0.299, 0.587, 0.114) if channels == 3 else (1,)
    np.testing.assert_allclose(grey[:, 0], np.einsum("nchw,c->nhw", expected, luma), atol=1e-6)


def test_ppm_of_16_bits(tmp_path):
    made = [deep(i, 250, (6, 8, 3)) for i in range(2)]
    for folder, image in zip("ab", made, strict=True):
        (tmp_path / folder).mkdir()
        content = b"P6 8 6 65535\n" + image.astype(">u2").tobytes()
        (tmp_path / folder / "0.ppm").write_bytes(content)
    x, depth = settled(tmp_path)
    assert depth == 8
    np.testing.assert_array_equal(x, np.stack([channels_first(image) for image in made]))


def test_the_scale_is_that_of_the_training_split(tmp_path, caplog):
    made = make_deep(tmp_path, 800, ("train/a", "train/b"))
    make_deep(tmp_path, 800, ("test/a", "test/b"))
    beyond = deep(9, 60000)
    save(tmp_path / "test" / "b" / "beyond.tif", beyond)
    data = split.make(imagefolder(str(tmp_path)), val=0)
    assert data.depth == 10
    train = data.train.x[data.train.rows].numpy()
    np.testing.assert_array_equal(train[:, 0], made / np.float32(1023))
    row = int(data.test.rows[-1])
    expected = beyond.clip(0, 1023) / np.float32(1023)
    np.testing.assert_array_equal(data.test.x[row, 0].numpy(), expected)
    assert "of val and test 1 image has values outside of 0 to 1,023, which are cut off" in (
        caplog.text
    )
    assert "data.depth=16 holds them" in caplog.text


def test_the_scale_is_that_of_the_rows_that_are_trained_on(tmp_path):
    """A folder without splits: what is brighter than the rest may come to lie in test."""
    for i in range(40):
        save(tmp_path / "ab"[i // 20] / f"{i:02}.tif", deep(i, 50000 if i in (3, 30) else 900))
    depths = set()
    for seed in range(12):
        data = split.make(imagefolder(str(tmp_path)), split="50/0/50", split_seed=seed)
        bright = {3, 30} & set(data.train.rows.tolist())
        assert data.depth == (16 if bright else 10)
        depths.add(data.depth)
        row = next(row for row in data.train.rows.tolist() if row not in (3, 30))
        expected = deep(row, 900) / np.float32(2**data.depth - 1)
        np.testing.assert_array_equal(data.train.x[row, 0].numpy(), expected)
    assert depths == {10, 16}


def test_bytes_among_deeper_images_have_their_own_white(tmp_path, caplog):
    made = make_deep(tmp_path, 4000)
    save(tmp_path / "b" / "byte.png", pixels(5, channels=1))
    x, depth = settled(tmp_path)
    assert depth == 12
    np.testing.assert_array_equal(x[:4, 0], made / np.float32(4095))
    np.testing.assert_array_equal(x[4, 0], pixels(5, channels=1) / np.float32(255))
    assert "1 of 5 images has 8 bits a value and the others more" in caplog.text


def test_whole_numbers_that_no_depth_holds_are_taken_as_they_are(tmp_path, caplog):
    made = make_deep(tmp_path, 3000, kind=np.int32) - 1000
    for i, image in enumerate(made):
        save(tmp_path / "ab"[i // 2] / f"{i % 2}.tif", image.astype(np.int32))
    x, depth = settled(tmp_path)
    assert depth is None
    np.testing.assert_array_equal(x[:, 0], made.astype(np.float32))
    assert f"go from {made.min():,} to 2,000, more than any depth holds" in caplog.text


def test_numbers_of_test_that_no_depth_holds_are_cut_off(tmp_path, caplog):
    make_deep(tmp_path, 3000, ("train/a", "train/b"))
    odd = deep(8, 200_000, kind=np.int32) - 500
    save(tmp_path / "test" / "a" / "0.tif", odd.astype(np.int32))
    data = split.make(imagefolder(str(tmp_path)), val=0)
    expected = odd.clip(0, 4095) / np.float32(4095)
    np.testing.assert_allclose(data.test.x[data.test.rows][0, 0].numpy(), expected, rtol=1e-6)
    assert "of val and test 1 image has values outside of 0 to 4,095, which are cut off" in (
        caplog.text
    )


def test_floats_are_taken_as_they_are(tmp_path, caplog):
    made = np.random.default_rng(0).normal(50, 200, (4, 6, 8)).astype(np.float32)
    for i, image in enumerate(made):
        save(tmp_path / "ab"[i // 2] / f"{i}.tiff", image)
    x, depth = settled(tmp_path)
    assert depth is None
    np.testing.assert_array_equal(x[:, 0], made)
    assert f"floats from {made.min():g} to {made.max():g}, taken as they are" in caplog.text
    made[1, 2, 3] = np.nan
    save(tmp_path / "a" / "1.tiff", made[1])
    with pytest.raises(Mistake, match=r"a/1\.tiff \(has pixels that are not finite numbers\)"):
        imagefolder(str(tmp_path))


@pytest.mark.parametrize(
    ("usual", "other", "message"),
    [
        ("float", "bytes", "b/2.tif holds values of 8 bits and other images hold floats"),
        ("float", "whole", "b/2.tif holds whole numbers and other images hold floats"),
        ("bytes", "float", "b/2.tif holds floats and other images hold whole numbers"),
        ("whole", "float", "b/2.tif holds floats and other images hold whole numbers"),
        ("bytes", "wide", "a/1.tif holds values of 8 bits and other .* numbers below 0 or above"),
    ],
)
def test_kinds_of_values_that_have_no_scale_in_common(tmp_path, usual, other, message):
    kinds = {
        "float": np.random.default_rng(0).random((6, 8)).astype(np.float32),
        "bytes": pixels(1, channels=1),
        "whole": deep(1, 900),
        "wide": deep(1, 900_000, kind=np.int32),
    }
    for name in ("a/1.tif", "b/1.tif"):
        save(tmp_path / name, kinds[usual])
    save(tmp_path / "b" / "2.tif", kinds[other])
    with pytest.raises(Mistake, match=message):
        imagefolder(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "depth", "message"),
    [
        ("deep", 10, r"depth=10: holds values from 0 to 1,023.*to 4,000; data\.depth=12 holds"),
        ("bytes", 12, r"data\.depth=12: the images have 8 bits a value; leave it out"),
        ("floats", 12, r"data\.depth=12: is for whole numbers"),
    ],
)
def test_a_depth_that_cannot_be(tmp_path, kind, depth, message):
    if kind == "deep":
        make_deep(tmp_path, 4000)
    elif kind == "bytes":
        make_folder(tmp_path, {"a": 2, "b": 2})
    else:
        save(tmp_path / "a" / "1.tif", np.random.default_rng(0).random((6, 8)).astype(np.float32))
        save(tmp_path / "b" / "1.tif", np.random.default_rng(1).random((6, 8)).astype(np.float32))
    with pytest.raises(Mistake, match=message):
        settled(tmp_path, depth=depth)


def test_deep_images_are_resized_as_floats(tmp_path):
    made = make_deep(tmp_path, 4095, shape=(24, 30))
    x, _ = settled(tmp_path, size=[8, 10])
    for one, image in zip(x[:, 0], made, strict=True):
        whole = Image.fromarray(image.astype(np.float32))
        resized = np.asarray(whole.resize((10, 8), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(one, resized.clip(0, 4095) / 4095, atol=1e-3)
        assert 0 <= one.min() <= one.max() <= 1


# Transparency


def on(background, colours, alpha):
    """The formula: alpha·colour + (1 − alpha)·background."""
    share = alpha[..., None] / 255
    return share * colours + (1 - share) * background


@pytest.mark.proves("data=imagefolder")
@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_transparency_shows_the_background(tmp_path, caplog, background, value):
    alpha = [pixels(i, channels=1) for i in range(4)]
    colours = [pixels(10 + i) for i in range(4)]
    grey = pixels(9, channels=1)
    save(tmp_path / "a" / "0.png", np.dstack([colours[0], alpha[0]]))
    save(tmp_path / "a" / "1.webp", np.dstack([colours[1], alpha[1]]), lossless=True, exact=True)
    save(tmp_path / "b" / "0.png", Image.fromarray(np.dstack([grey, alpha[2]]), "LA"))
    palette = Image.fromarray(colours[3]).quantize(16)
    shown = np.asarray(palette.convert("RGB"))
    save(tmp_path / "b" / "1.png", palette, transparency=bytes(range(0, 256, 16)))
    clear = np.arange(0, 256, 16)[np.asarray(palette)]
    x, _ = settled(tmp_path, background=background)
    expected = [
        on(value, colours[0], alpha[0]),
        on(value, colours[1], alpha[1]),
        on(value, grey[..., None].repeat(3, 2), alpha[2]),
        on(value, shown, clear),
    ]
    assert np.abs(x.transpose(0, 2, 3, 1) - np.stack(expected)).max() <= 1
    assert f"4 images are transparent in parts, set on {background}" in caplog.text


def test_opaque_images_are_as_they_are(tmp_path, caplog):
    for i in range(4):
        opaque = np.full((6, 8), 255, np.uint8)
        save(tmp_path / "ab"[i // 2] / f"{i}.png", np.dstack([pixels(i), opaque]))
    x, _ = settled(tmp_path)
    np.testing.assert_array_equal(x, np.stack([channels_first(pixels(i)) for i in range(4)]))
    assert not caplog.records


@pytest.mark.parametrize(("ink", "right"), [(0, "white"), (255, "black")])
def test_pictures_that_stand_in_their_transparency_alone(tmp_path, caplog, ink, right):
    other = {"white": "black", "black": "white"}[right]
    shapes = [(pixels(i, channels=1) > 127).astype(np.uint8) * 255 for i in range(4)]
    for i, shape in enumerate(shapes):
        image = np.dstack([np.full((6, 8, 3), ink, np.uint8), shape])
        save(tmp_path / "ab"[i // 2] / f"{i}.png", image)
    x, _ = settled(tmp_path, background=right)
    drawn = np.stack(shapes)[:, None].repeat(3, 1)
    np.testing.assert_array_equal(x, drawn if ink else 255 - drawn)
    assert "constant" not in caplog.text
    x, _ = settled(tmp_path, background=other)
    assert (x == ink).all()
    assert "all 4 images are constant: each has one colour throughout" in caplog.text
    assert f"data.background={right}" in caplog.text


@pytest.mark.parametrize(("background", "value"), [("white", 1), ("black", 0)])
def test_transparency_of_16_bits(tmp_path, background, value):
    grey, colour = deep(0, 3000, (6, 8, 2)), deep(1, 3000, (6, 8, 4))
    grey[..., 1] *= 20
    colour[..., 3] *= 20
    key = [int(v) for v in colour[2, 3, :3]]
    save_png(tmp_path / "a" / "0.png", grey)
    save_png(tmp_path / "a" / "1.png", colour)
    save_png(tmp_path / "b" / "0.png", colour[..., :3], key=key)
    save_png(tmp_path / "b" / "1.png", grey[..., 0], key=[int(grey[1, 1, 0])])
    x, depth = settled(tmp_path, background=background)
    assert depth == 12
    g, c = grey[..., 0] / 4095, colour[..., :3] / 4095
    ga, ca = grey[..., 1] / 65535, colour[..., 3:] / 65535
    holes = (colour[..., :3] == key).all(-1, keepdims=True)
    expected = [
        (g * ga + value * (1 - ga))[..., None].repeat(3, 2),
        c * ca + value * (1 - ca),
        np.where(holes, value, c),
        np.where(grey[..., 0] == grey[1, 1, 0], value, g)[..., None].repeat(3, 2),
    ]
    np.testing.assert_allclose(x.transpose(0, 2, 3, 1), np.stack(expected), atol=1e-6)


# Colours, orientation, several pictures


def test_other_colours_become_red_green_blue(tmp_path):
    image = Image.fromarray(pixels(0, 8, 8)).resize((32, 32), Image.Resampling.BICUBIC)
    plain = np.asarray(image).astype(int)
    save(tmp_path / "a" / "rgb.png", image)
    save(tmp_path / "a" / "cmyk.tif", image.convert("CMYK"))
    save(tmp_path / "b" / "cmyk.jpg", image.convert("CMYK"), quality=100, subsampling=0)
    save(tmp_path / "b" / "ycbcr.tif", image.convert("YCbCr"))
    try:
        with Image.open(tmp_path / "b" / "ycbcr.tif") as written:
            written.load()
    except OSError:  # Pillow before 13 does not read what it writes here
        (tmp_path / "b" / "ycbcr.tif").unlink()
    x, _ = settled(tmp_path)
    for one in x:
        assert np.abs(one.transpose(1, 2, 0) - plain).mean() < 4


def test_one_bit_and_grey_are_grey(tmp_path):
    bits = pixels(0, channels=1) > 127
    save(tmp_path / "a" / "bits.png", Image.fromarray(bits))
    save(tmp_path / "b" / "grey.png", pixels(1, channels=1))
    x, _ = settled(tmp_path)
    np.testing.assert_array_equal(x[0, 0], bits * np.uint8(255))
    np.testing.assert_array_equal(x[1, 0], pixels(1, channels=1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_all_orientations(tmp_path, orientation, suffix):
    turned = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.swapaxes(0, 1),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    for name in ("a", "b"):
        save(tmp_path / name / f"0.{suffix}", pixels(1), exif=exif, **options)
    x, _ = settled(tmp_path)
    np.testing.assert_array_equal(x[0], channels_first(turned[orientation](pixels(1))))


def test_deep_images_are_turned_too(tmp_path):
    """Pillow 13 scrambles such a TIFF where it opens it by name."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        save(tmp_path / name / "0.tif", deep(0, 60000), exif=exif)
        save(tmp_path / name / "1.png", Image.fromarray(deep(0, 60000)), exif=exif)
    x, _ = settled(tmp_path)
    for one in x[:, 0]:
        np.testing.assert_array_equal(one, np.rot90(deep(0, 60000), -1) / np.float32(65535))


def test_several_pictures_in_a_file_are_said(tmp_path, caplog):
    first = Image.fromarray(pixels(0))
    for name in ("a/1.tif", "a/2.gif", "b/1.webp"):
        more = [Image.fromarray(pixels(1))]
        save(tmp_path / name, first, save_all=True, append_images=more, lossless=True)
    save(tmp_path / "b" / "2.png", first)
    x, _ = settled(tmp_path)
    np.testing.assert_array_equal(x[0], channels_first(pixels(0)))
    assert "3 files hold several pictures; the first of each is read" in caplog.text


def test_why_a_class_cannot_be_read_is_said(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 1})
    save(tmp_path / "b" / "0.png", Image.fromarray(pixels(0)))
    (tmp_path / "b" / "0.png").write_bytes(b"nothing")
    with pytest.raises(Mistake, match=r"the class b can be read: b/0\.png \(not an image\)"):
        imagefolder(str(tmp_path), skip_bad=True)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([np.full((6, 8), i, np.uint8) for i in range(4)], "all 4 images are constant"),
        ([np.full((6, 8), 3, np.uint8)] * 4, "and all are identical"),
        ([pixels(0)] * 4, "all 4 images are identical"),
        ([np.full((6, 8), i, np.uint8) for i in range(3)] + [pixels(0, channels=1)], "3 of 4"),
    ],
)
def test_images_that_tell_nothing_are_said(tmp_path, caplog, images, said):
    for i, image in enumerate(images):
        save(tmp_path / "ab"[i // 2] / f"{i}.png", image)
    for _ in range(2):
        caplog.clear()
        imagefolder(str(tmp_path))
        (message,) = caplog.messages
        assert said in message


# Sizes


def sized(tmp_path):
    """Photographs of several shapes, smooth, so that a resampling can be compared."""
    made = []
    for i, (height, width) in enumerate([(40, 60), (70, 33), (48, 48), (20, 101)]):
        rough = Image.fromarray(pixels(i, 5, 7))
        made.append(rough.resize((width, height), Image.Resampling.BICUBIC))
        save(tmp_path / "ab"[i // 2] / f"{i}.png", made[-1])
    return made


@pytest.mark.proves("data=imagefolder")
@pytest.mark.parametrize("side", [16, 21, 64])
def test_short_is_the_middle_as_torchvision_cuts_it(tmp_path, caplog, side):
    made = sized(tmp_path)
    x, _ = settled(tmp_path, size=side)
    bicubic = v2.InterpolationMode.BICUBIC
    usual = v2.Compose([v2.Resize(side, bicubic, antialias=True), v2.CenterCrop(side)])
    for one, image in zip(x, made, strict=True):
        expected = channels_first(np.asarray(usual(image)))
        np.testing.assert_array_equal(one, expected)
    (said,) = caplog.messages
    assert said.startswith("the images differ in size (heights 20 to 70, widths 33 to 101): ")
    assert f"the middle {side}x{side} of each is kept (data.resize=squash or pad keeps all)" in said


def test_squash_is_what_pillow_makes_of_the_whole(tmp_path, caplog):
    made = sized(tmp_path)
    x, _ = settled(tmp_path, size=[9, 12], resize="squash")
    for one, image in zip(x, made, strict=True):
        resized = image.resize((12, 9), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(one, channels_first(np.asarray(resized)))
    assert "squashed to 9x12" in caplog.text


def test_pad_keeps_all_and_repeats_the_edge(tmp_path, caplog):
    made = sized(tmp_path)
    x, _ = settled(tmp_path, size=20, resize="pad")
    inner = [(13, 20), (20, 9), (20, 20), (4, 20)]
    for one, image, (height, width) in zip(x, made, inner, strict=True):
        resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        top, left = (20 - height) // 2, (20 - width) // 2
        around = [(top, 20 - height - top), (left, 20 - width - left), (0, 0)]
        np.testing.assert_array_equal(one, channels_first(np.pad(resized, around, mode="edge")))
    assert "padded to 20x20" in caplog.text


@pytest.mark.parametrize("resize", ["short", "squash", "pad"])
def test_squares_of_one_size_are_resized_alike_and_without_a_word(tmp_path, caplog, resize):
    made = make_folder(tmp_path, {"a": 2, "b": 2}, height=32, width=32)
    x, _ = settled(tmp_path, size=12, resize=resize)
    for one, path in zip(x, sorted(made), strict=True):
        resized = Image.fromarray(made[path]).resize((12, 12), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(one, channels_first(np.asarray(resized)))
    assert not caplog.records


def test_one_size_of_another_shape_is_said(tmp_path, caplog):
    make_folder(tmp_path, {"a": 2, "b": 2}, height=20, width=40)
    settled(tmp_path, size=10)
    (said,) = caplog.messages
    assert said.startswith("the images are 20x40: scaled by the short side")


def test_a_very_long_image_takes_no_memory(tmp_path):
    """Scaled by the short side and whole it would have 3.9 GB."""
    for name in ("a", "b"):
        save(tmp_path / name / "0.png", pixels(0, 1, 20_000))
    for resize in ("short", "squash", "pad"):
        x, _ = settled(tmp_path, size=256, resize=resize)
        assert x.shape == (2, 3, 256, 256)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 12},
        {"depth": 16},
        {"background": "black"},
        {"size": 4},
        {"size": 5, "resize": "squash"},
        {"size": 5, "resize": "pad"},
    ],
)
def test_every_setting_is_part_of_the_key(tmp_path, own_cache, options):
    make_deep(tmp_path, 900)
    imagefolder(str(tmp_path))
    imagefolder(str(tmp_path), size=5)
    before = len(list(own_cache.glob("imagefolder-*[!k]")))
    imagefolder(str(tmp_path), **options)
    assert len(list(own_cache.glob("imagefolder-*[!k]"))) == before + 1


# By typed commands

TYPED = ["data=imagefolder", "data.root=photos", "epochs=2 steps", "threads=1", "batch_size=4"]


def latest(tmp_path):
    return max((tmp_path / "outputs" / "runs").iterdir())


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow, of itself
@pytest.mark.parametrize(("largest", "depth"), sparsely([(200, 8), (4000, 12)], 2))
def test_the_saved_model_scales_raw_images_as_training_did(here, largest, depth):
    made = make_deep(here / "photos", largest, ("train/a", "train/b"))
    tests = make_deep(here / "photos", largest + 3000, ("test/a", "test/b"))
    assert main([*TYPED, "data.val=0", "tracking.uri=sqlite:///mlflow.db"]) == 0
    folder = latest(here) / "model"
    about = mlflow.models.get_model_info(str(folder))
    (asked,) = about.signature.inputs.inputs
    assert (asked.type, asked.shape) == (np.dtype("uint16"), (-1, 1, 6, 8))
    assert about.metadata["images"]["depth"] == depth
    raw = np.concatenate([made, tests])[:, None]
    model = mlflow.pytorch.load_model(str(folder))
    with torch.no_grad():
        said = model(torch.from_numpy(raw))
    served = mlflow.pyfunc.load_model(str(folder)).predict(raw)
    np.testing.assert_allclose(said.numpy(), served, rtol=1e-5, atol=1e-6)
    # The same network by hand: standardized by the training split, then the weights.
    state = torch.load(latest(here) / "checkpoints" / "best.pt", weights_only=False)
    weights = list(find_weights(state).values())
    x = torch.from_numpy(raw.clip(0, 2**depth - 1) / (2**depth - 1))
    train = x[: len(made)]
    z = ((x - train.mean()) / train.std(correction=0)).flatten(1).float()
    for i in range(0, len(weights), 2):
        z = z @ weights[i].T + weights[i + 1]
        z = z.relu() if i + 2 < len(weights) else z
    torch.testing.assert_close(said, z, rtol=1e-3, atol=1e-4)


def find_weights(state):
    """The first mapping of names to tensors that holds weights and biases of layers."""
    if isinstance(state, dict):
        if state and all(isinstance(v, torch.Tensor) for v in state.values()):
            names = list(state)
            if any(name.endswith("weight") for name in names):
                return state
        for value in state.values():
            found = find_weights(value)
            if found:
                return found
    return {}


def test_the_record_says_how_images_were_read_and_resume_reads_them_alike(here):
    make_deep(here / "photos", 4000, ("train/a", "train/b"), shape=(12, 20))
    words = [*TYPED, "data.size=8", "data.resize=pad", "data.background=black", "tracking=none"]
    assert main(words) == 0
    recipe = (latest(here) / "recipe.yaml").read_text()
    assert "resize: pad" in recipe
    assert "background: black" in recipe
    read = json.loads((latest(here) / "run.json").read_text())["data"]["reading"]
    assert read == {
        "size": [8, 8],
        "background": "black",
        "channels": "grey",
        "resize": "pad",
        "depth": 12,
    }
    before = json.loads((latest(here) / "run.json").read_text())["data"]["digest"]
    assert main(["resume=last", "epochs=3 steps"]) == 0
    assert json.loads((latest(here) / "run.json").read_text())["data"]["digest"] == before


def test_a_resumed_run_keeps_the_scale_that_it_was_trained_with(here, capsys):
    make_deep(here / "photos", 4000, ("train/a", "train/b"))
    assert main([*TYPED, "tracking=none"]) == 0
    save(here / "photos" / "train" / "a" / "new.tif", deep(7, 60000))
    assert main(["resume=last", "epochs=3 steps"]) == 2
    shown = capsys.readouterr().err
    assert "data.depth=null: the run was trained on images of 12 bits" in shown
    assert "set data.depth=12" in shown
    assert main(["resume=last", "epochs=3 steps", "data.depth=12"]) == 2
    assert "data.depth=16 holds them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what", "right"),
    [
        ("data.depth=12", "data.depth=12", "leave it out"),
        ("data.depth=4", "data.depth=4", "from 8 to 16"),
        ("data.depth=deep", "data.depth=deep", "expected a whole number or null"),
        ("data.background=grey", "data.background=grey", "one of white, black"),
        ("data.size=4 data.resize=crop", "data.resize=crop", "one of short, squash, pad"),
        ("data.resize=pad", "data.resize=pad", "set data.size=64"),
        ("data.bit_depth=12", "data.bit_depth=12", "data.depth=12"),
    ],
)
def test_wrong_settings(here, capsys, words, what, right):
    make_folder(here / "photos", {"a": 2, "b": 2})
    assert main([*TYPED, "tracking=none", *words.split()]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert what in shown
    assert right in shown
    assert not (here / "outputs").exists()


def test_deep_images_are_augmented_and_trained_on(here):
    make_deep(here / "photos", 4000, ("train/a", "train/b", "test/a", "test/b"))
    words = ["augmentation=[rotate,color_jitter,cutout,flip]", "test_augmentation=flip"]
    assert main([*TYPED, *words, "tracking=none"]) == 0
