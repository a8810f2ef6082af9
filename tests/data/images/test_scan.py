"""Which files are images, and where links lead."""

import os

import pytest
from PIL import Image

from dlrun.data.imagefolder import imagefolder
from dlrun.data.images.scan import scan, suffixes
from tests.data.folders import make_folder, pixels, save


def test_what_pillow_reads_is_read(tmp_path, caplog):
    names = ["1.jpg", "2.PNG", "3.ppm", "4.tga", "5.Jp2", "6.webp", "7.pcx", "8.jfif", "9.BMP"]
    names += ["10.avif"] if ".avif" in suffixes() else []
    for number, name in enumerate(names):
        (tmp_path / "a").mkdir(exist_ok=True)
        kind = Image.registered_extensions()[os.path.splitext(name)[1].lower()]
        Image.fromarray(pixels(number)).save(tmp_path / "a" / name, kind)
    make_folder(tmp_path, {"b": 2})
    source = imagefolder(str(tmp_path))
    assert len(source.x) == len(names) + 2
    assert not caplog.records


def test_what_pillow_cannot_open_here_is_no_image():
    assert {".jpg", ".png", ".tiff", ".ppm", ".bmp", ".gif"} <= suffixes()
    assert not {".txt", ".h5", ".mpg", ".grib", ".pdf", ".heic"} & suffixes()


def test_other_files_are_counted_by_suffix(tmp_path, caplog):
    make_folder(tmp_path, {"a": 2, "b": 2})
    for i in range(3):
        (tmp_path / "a" / f"{i}.HEIC").write_bytes(b"")
    for name in ("labels.csv", "README", "b/9.heic"):
        (tmp_path / name).write_text("")
    for _ in range(2):
        caplog.clear()
        assert len(imagefolder(str(tmp_path)).x) == 4
        (said,) = caplog.messages
        assert said.startswith("left out 6 files that Pillow does not read: 4 .heic, ")
        assert "1 .csv" in said
        assert "1 without a suffix" in said


def test_what_systems_leave_behind_is_passed_over_quietly(tmp_path, caplog):
    make_folder(tmp_path, {"a": 2, "b": 2, ".trash": 1, "__MACOSX/a": 1, "b/@eaDir": 1})
    for name in (".DS_Store", "a/Thumbs.db", "b/desktop.ini", "a/._0.png"):
        (tmp_path / name).write_text("no image")
    source = imagefolder(str(tmp_path))
    assert source.classes == ("a", "b")
    assert len(source.x) == 4
    assert not caplog.records


def link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(target, place.parent))


def test_links_that_multiply_are_followed_once(tmp_path, caplog):
    """Each of 40 folders has two links to the next: 2^40 paths to the last."""
    make_folder(tmp_path, {"b": 2, "a/0": 1})
    for depth in range(1, 40):
        save(tmp_path / "a" / str(depth) / "1.png", pixels(depth))
    for depth in range(39):
        for side in ("left", "right"):
            link(tmp_path / "a" / str(depth) / side, tmp_path / "a" / str(depth + 1))
    source = imagefolder(str(tmp_path))
    assert source.y.tolist() == [0] * 40 + [1] * 2
    (said,) = caplog.messages
    assert "lies in its class already, through another link; read once" in said


def test_a_link_that_leads_back_is_not_followed_and_said(tmp_path, caplog):
    make_folder(tmp_path, {"a": 2, "b": 2})
    link(tmp_path / "a" / "again", tmp_path)
    link(tmp_path / "b" / "self", tmp_path / "b")
    link(tmp_path / "b" / "up", tmp_path.parent)
    assert len(imagefolder(str(tmp_path)).x) == 4
    (said,) = caplog.messages
    assert said == "a/again (and 2 more): links to a folder that it lies in, not followed"


@pytest.mark.parametrize("above", ["", "train/"])
def test_one_folder_may_be_two_classes(tmp_path, caplog, above):
    make_folder(tmp_path / "store", {"young": 3})
    root = tmp_path / "root"
    make_folder(root, {f"{above}c": 1})
    link(root / f"{above}a", tmp_path / "store")
    link(root / f"{above}b", tmp_path / "store" / "young")
    source = imagefolder(str(root))
    assert source.classes == ("a", "b", "c")
    assert source.y.tolist() == [0] * 3 + [1] * 3 + [2]
    assert not caplog.records


def test_paths_do_not_depend_on_the_order_in_which_a_disk_lists_them(tmp_path, monkeypatch):
    make_folder(tmp_path, {"a/z": 1, "b": 1})
    link(tmp_path / "a" / "y", tmp_path / "a" / "z")
    before = scan(str(tmp_path))
    listed = os.scandir

    class Reversed:
        def __init__(self, path):
            with listed(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return self.entries

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(os, "scandir", Reversed)
    assert scan(str(tmp_path)) == before
