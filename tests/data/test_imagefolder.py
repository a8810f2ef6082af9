import logging

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.data import split
from dlrun.data.imagefolder import imagefolder
from dlrun.data.images import decode
from dlrun.data.images.read import Format
from dlrun.errors import Mistake
from tests.data.folders import channels_first, make_folder, pixels, save


@pytest.mark.proves("data=imagefolder")
def test_a_folder_per_class(tmp_path):
    made = make_folder(tmp_path / "photos", {"dog": 3, "cat": 4, "emu/young": 2})
    source = imagefolder(str(tmp_path / "photos"))
    assert source.name == "photos"
    assert source.classes == ("cat", "dog", "emu")
    assert source.given == {}
    expected = np.stack([channels_first(made[path]) for path in sorted(made)])
    np.testing.assert_array_equal(source.x.numpy(), expected)
    assert source.y.tolist() == [0] * 4 + [1] * 3 + [2] * 2


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_splits_on_top(tmp_path, val):
    made = make_folder(
        tmp_path, {"train/a": 3, "train/b": 2, f"{val}/a": 1, f"{val}/b": 2, "test/b": 2}
    )
    source = imagefolder(str(tmp_path))
    assert source.classes == ("a", "b")
    paths = sorted(made)
    for name, folder in (("train", "train"), ("val", val), ("test", "test")):
        rows = source.given[name].tolist()
        assert [paths[row].split("/")[0] for row in rows] == [folder] * len(rows)
        for row in rows:
            np.testing.assert_array_equal(source.x[row], channels_first(made[paths[row]]))
            assert source.classes[source.y[row]] == paths[row].split("/")[1]
    assert sum(map(len, source.given.values())) == 10
    data = split.make(source)
    assert (len(data.train), len(data.val), len(data.test)) == (5, 3, 2)


def test_without_train_a_folder_test_is_a_class(tmp_path):
    make_folder(tmp_path, {"test": 2, "real": 2})
    assert imagefolder(str(tmp_path)).classes == ("real", "test")


def test_hidden_and_other_files_are_passed_over(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 2, ".trash": 2})
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "a" / ".hidden.png").write_text("not an image")
    assert len(imagefolder(str(tmp_path)).x) == 4


def test_the_second_start_decodes_nothing(tmp_path, monkeypatch):
    make_folder(tmp_path / "f", {"a": 4, "b": 4})
    reported = []
    first = imagefolder(str(tmp_path / "f"), report=lambda *args: reported.append(args))
    assert reported[-1] == (8, 8)

    def refuse(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr("dlrun.data.images.samples.decode", refuse)
    second = imagefolder(str(tmp_path / "f"))
    assert torch.equal(first.x, second.x)
    assert first.digest == second.digest


def test_a_changed_file_and_other_options_are_decoded_anew(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 2})
    first = imagefolder(str(tmp_path))
    save(tmp_path / "a" / "0.png", pixels(77))
    changed = imagefolder(str(tmp_path))
    np.testing.assert_array_equal(changed.x[0], channels_first(pixels(77)))
    assert changed.digest != first.digest
    assert imagefolder(str(tmp_path), size=4).x.shape == (4, 3, 4, 4)
    (tmp_path / "a" / "1.png").unlink()
    assert len(imagefolder(str(tmp_path)).x) == 3


def test_processes_decode_what_one_process_decodes(tmp_path, monkeypatch):
    made = make_folder(tmp_path, {"a": 40, "b": 30}, height=40, width=50)
    (tmp_path / "a" / "17.png").write_bytes(b"broken")
    monkeypatch.setattr(decode, "FEW", 10)
    monkeypatch.setattr(decode, "_CHUNK_BYTES", 5 * 40 * 50 * 3)
    form = Format("RGB", (40, 50))
    paths = [str(tmp_path / path) for path in sorted(made)]
    parallel = list(decode.decode(paths, form, workers=2))
    serial = list(decode.decode(paths, form, workers=1))
    assert len(parallel) == len(serial) == 14
    for one, other in zip(parallel, serial, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.hashes, other.hashes)
        assert one.faults == other.faults
    assert sum(map(bool, (fault for chunk in parallel for fault in chunk.faults))) == 1


@pytest.fixture
def started(monkeypatch):
    """The processes that decoding starts."""
    processes = []
    start_process = decode._start_process

    def start():
        processes.append(start_process())
        return processes[-1]

    monkeypatch.setattr(decode, "_start_process", start)
    return processes


def test_decoding_goes_on_here_when_the_processes_are_killed(tmp_path, monkeypatch, started):
    made = make_folder(tmp_path, {"a": 60, "b": 60})
    monkeypatch.setattr(decode, "FEW", 10)
    monkeypatch.setattr(decode, "_CHUNK_BYTES", 2 * 6 * 8 * 3)
    form = Format("RGB", (6, 8))
    paths = sorted(made)
    chunks = decode.decode([str(tmp_path / path) for path in paths], form, 2)
    x = [next(chunks).x]
    for process in started:
        process.kill()
    x += [chunk.x for chunk in chunks]
    expected = np.stack([channels_first(made[path]) for path in paths])
    np.testing.assert_array_equal(np.concatenate(x), expected)


def test_closing_ends_the_processes(tmp_path, monkeypatch, started):
    made = make_folder(tmp_path, {"a": 60, "b": 60})
    monkeypatch.setattr(decode, "FEW", 10)
    monkeypatch.setattr(decode, "_CHUNK_BYTES", 2 * 6 * 8 * 3)
    form = Format("RGB", (6, 8))
    chunks = decode.decode([str(tmp_path / path) for path in sorted(made)], form, 2)
    next(chunks)
    assert [process.poll() for process in started] == [None, None]
    chunks.close()
    assert all(process.returncode is not None for process in started)


def test_unreadable_files_are_named_and_fail_at_every_start(tmp_path, caplog):
    make_folder(tmp_path, {"a": 5, "b": 5})
    for name in ("a/1.png", "a/3.png", "b/0.png"):
        (tmp_path / name).write_bytes(b"no image at all")
    whole = (tmp_path / "b" / "2.png").read_bytes()
    (tmp_path / "b" / "2.png").write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(Mistake) as raised:
            imagefolder(str(tmp_path))
        message = str(raised.value)
        assert "4 of 10 images cannot be read" in message
        assert "a/1.png (not an image)" in message
        assert "b/0.png" in message
        assert "and 1 more" in message
        assert "data.skip_bad=true" in message
    for _ in range(2):
        caplog.clear()
        source = imagefolder(str(tmp_path), skip_bad=True)
        assert len(source.x) == 6
        assert source.y.tolist() == [0] * 3 + [1] * 3
        assert "4 of 10 images cannot be read" in caplog.text
        assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_whole_chunk_of_bad_files(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a": 6, "b": 6})
    for i in range(1, 5):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
    monkeypatch.setattr(decode, "_CHUNK_BYTES", 2 * 6 * 8 * 3)
    source = imagefolder(str(tmp_path), skip_bad=True)
    assert source.y.tolist() == [0] * 2 + [1] * 6


def test_bad_files_do_not_shift_the_splits(tmp_path):
    made = make_folder(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    bad = ("train/a/1.png", "test/b/0.png")
    for path in bad:
        (tmp_path / path).write_bytes(b"")
    source = imagefolder(str(tmp_path), skip_bad=True)
    kept = [path for path in sorted(made) if path not in bad]
    for name in ("train", "test"):
        assert [kept[row].split("/")[0] for row in source.given[name]] == [name] * len(
            source.given[name]
        )
    for row, path in enumerate(kept):
        np.testing.assert_array_equal(source.x[row], channels_first(made[path]))
        assert source.classes[source.y[row]] == path.split("/")[1]


def test_grey_files_are_grey_and_options_override(tmp_path):
    made = make_folder(tmp_path, {"a": 2, "b": 2}, channels=1)
    source = imagefolder(str(tmp_path))
    assert source.x.shape == (4, 1, 6, 8)
    np.testing.assert_array_equal(source.x[0, 0], made["a/0.png"])
    colour = imagefolder(str(tmp_path), channels="rgb")
    assert colour.x.shape == (4, 3, 6, 8)
    assert torch.equal(colour.x, source.x.expand(4, 3, 6, 8))


def test_colour_to_grey_is_the_luma(tmp_path):
    made = make_folder(tmp_path, {"a": 2, "b": 2})
    source = imagefolder(str(tmp_path), channels="grey")
    luma = made["a/0.png"].astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(source.x[0, 0].numpy() - luma).max() <= 1


def test_one_colour_image_among_grey_ones_makes_all_rgb(tmp_path):
    # More than the headers looked at first, so that the colour is found while decoding.
    made = make_folder(tmp_path, {"a": 90, "b": 90}, channels=1)
    made["a/1.png"] = pixels(5)
    save(tmp_path / "a" / "1.png", made["a/1.png"])
    source = imagefolder(str(tmp_path))
    assert source.x.shape == (180, 3, 6, 8)
    row = sorted(made).index("a/1.png")
    np.testing.assert_array_equal(source.x[row], channels_first(pixels(5)))
    assert len(source.hashes) == 180


def test_differing_sizes_are_named_and_resized(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 2})
    save(tmp_path / "a" / "big.png", pixels(9, 30, 20))
    with pytest.raises(Mistake, match=r"differ in size \(6x8, 30x20.*data\.size=32"):
        imagefolder(str(tmp_path))
    source = imagefolder(str(tmp_path), size=[5, 4], resize="squash")
    assert source.x.shape == (5, 3, 5, 4)
    resized = Image.fromarray(pixels(9, 30, 20)).resize((4, 5), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(source.x[2], channels_first(np.asarray(resized)))


def test_a_differing_size_beyond_the_first_headers_is_found(tmp_path):
    make_folder(tmp_path, {"a": 90, "b": 90})
    save(tmp_path / "a" / "1.png", pixels(9, 7, 8))
    with pytest.raises(Mistake, match=r"differ in size \(6x8, 7x8"):
        imagefolder(str(tmp_path))


@pytest.mark.proves("data=imagefolder")
def test_resizing_averages_rather_than_picks(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for name in ("a/0.png", "b/0.png"):
        save(tmp_path / name, stripes)
    x = imagefolder(str(tmp_path), size=8).x.float()
    assert (x - 127.5).abs().max() < 12


def test_a_large_jpeg_is_resized_as_from_its_full_size(tmp_path):
    rough = Image.fromarray(pixels(3, 8, 8)).resize((800, 600), Image.Resampling.BICUBIC)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rough.save(tmp_path / name / "0.jpg", quality=95)
    x = imagefolder(str(tmp_path), size=24, resize="squash").x[0]
    full = np.asarray(rough.resize((24, 24), Image.Resampling.BICUBIC))
    assert np.abs(x.numpy().astype(int) - channels_first(full)).max() <= 4


def test_images_are_turned_as_their_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = pixels(1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "0.png", exif=exif)
    source = imagefolder(str(tmp_path))
    np.testing.assert_array_equal(source.x[0], channels_first(np.rot90(image, -1)))


def test_identical_files_in_two_splits_are_found(tmp_path, caplog):
    made = make_folder(tmp_path, {"train/a": 6, "train/b": 6, "test/a": 3, "test/b": 3})
    save(tmp_path / "test/a/0.png", made["train/a/2.png"])
    save(tmp_path / "test/b/1.png", made["train/b/5.png"])
    source = imagefolder(str(tmp_path))
    split.make(source, val=0)
    assert "2 samples of test are identical to samples of train" in caplog.text
    data = split.make(source, val=0, leaks="drop")
    assert len(data.test) == 4
    assert not torch.isin(source.hashes[data.test.rows], source.hashes[data.train.rows]).any()


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "no images in class folders"),
        ({"a": 2, "b": 0}, "class folders without images: b"),
        ({"train/a": 2, "train/b": 2, "test/c": 1}, "no folder train/c"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "val and valid both mean val"),
        ({"train": 3}, "no images in class folders"),
        ({".": 3}, "no images in class folders"),
    ],
)
def test_layouts_that_cannot_be(tmp_path, layout, message):
    for folder in layout:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    make_folder(tmp_path, layout)
    with pytest.raises(Mistake, match=message) as raised:
        imagefolder(str(tmp_path))
    assert "data.root=" in str(raised.value)


def test_nothing_readable(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 2})
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(Mistake, match="none of its 4 images can be read"):
        imagefolder(str(tmp_path), skip_bad=True)


def test_a_class_of_which_nothing_is_readable(tmp_path):
    make_folder(tmp_path, {"a": 2, "b": 1, "c": 2})
    (tmp_path / "b" / "0.png").write_bytes(b"")
    with pytest.raises(Mistake, match="no image of the class b can be read"):
        imagefolder(str(tmp_path), skip_bad=True)


def test_an_unlabelled_test_folder_is_left_out_with_a_warning(tmp_path, caplog):
    make_folder(tmp_path, {"train/a": 2, "train/b": 2, "test": 3})
    source = imagefolder(str(tmp_path))
    assert list(source.given) == ["train"]
    assert "test has no images in class folders; left out" in caplog.text
    assert "3 images lie" in caplog.text


def test_a_missing_root_is_named():
    with pytest.raises(Mistake, match=r"data\.root=nowhere/photos: there is no such folder"):
        imagefolder("nowhere/photos")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "size"),
        ({"size": [3, 4, 5]}, "size"),
        ({"size": [0, 4]}, "size"),
        ({"channels": "gray"}, "channels"),
        ({"resize": "crop"}, "resize"),
        ({"background": "grey"}, "background"),
        ({"depth": 7}, "depth"),
        ({"depth": 17}, "depth"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path, arguments, named):
    with pytest.raises(ValueError, match=rf"^{named} must "):
        imagefolder(str(tmp_path), **arguments)
