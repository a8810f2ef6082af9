"""A file where a folder is to be, and a folder where a file is to be."""

import re

import pytest

from dlrun.data.arrays import arrays
from dlrun.data.huggingface import huggingface
from dlrun.data.imagefolder import imagefolder
from dlrun.data.imagetable import imagetable
from dlrun.errors import Mistake


@pytest.fixture(autouse=True)
def _here(here):
    for name in ("my photos/cat/1.png", "sets/old/a.csv", "empty/notes.doc"):
        (here / name).parent.mkdir(parents=True)
        (here / name).write_text("file,y\n1.png,1\n")


@pytest.mark.parametrize("read", [arrays, imagetable])
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("my photos", "; data=imagefolder \"data.root='my photos'\" reads the images in it"),
        ("sets", "; data.path=sets/old/a.csv is a file in it"),
        ("empty", ""),
    ],
)
def test_what_reads_a_folder_is_said(read, path, right):
    said = rf"^data\.path={path}: it is a folder, not a file{re.escape(right)}"
    with pytest.raises(Mistake, match=said if right else f"{said}$"):
        read(path)


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("sets/old/a.csv", "data=arrays data.path=sets/old/a.csv reads it"),
        ("empty/notes.doc", "name one with"),
    ],
)
@pytest.mark.parametrize("read", [imagefolder, huggingface])
def test_what_reads_a_file_is_said(read, path, right):
    with pytest.raises(Mistake, match=f"^data.root={path}: it is a file, not a folder; {right}"):
        read(path)


def test_the_folder_of_a_table_of_images_is_none():
    with pytest.raises(
        Mistake, match=r"^data.root=empty/notes.doc: it is a file, .*; name the one"
    ):
        imagetable("sets/old/a.csv", root="empty/notes.doc")
