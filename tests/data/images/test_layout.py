"""Which folders are splits and which are classes."""

import json

import pytest

from dlrun.__main__ import main
from dlrun.data.imagefolder import imagefolder
from dlrun.data.images.layout import split_named
from dlrun.errors import Mistake
from tests.data.folders import make_folder

NAMES = {
    "train": ["train", "Train", "TRAINING", "training_set", "train-images", "TrainSet"],
    "val": ["val", "valid", "Validation", "DEV", "val_data", "dev.split"],
    "test": ["test", "TEST", "testing", "holdout", "Hold-Out", "test_set"],
    "": ["cat", "trains", "tests", "data", "set", "evaluate", "training2"],
}


@pytest.mark.parametrize("split", NAMES)
def test_names_of_splits(split):
    assert [split_named(name) for name in NAMES[split]] == [split] * len(NAMES[split])


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("TRAIN", "DEV", "HOLDOUT"),
        ("training_set", "valid", "test_set"),
    ],
)
def test_splits_by_other_names(tmp_path, train, val, test):
    layout = {f"{train}/a": 3, f"{train}/b": 2, f"{val}/a": 1, f"{val}/b": 1, f"{test}/b": 2}
    make_folder(tmp_path, layout)
    source = imagefolder(str(tmp_path))
    assert source.classes == ("a", "b")
    assert {name: len(rows) for name, rows in source.given.items()} == {
        "train": 5,
        "val": 2,
        "test": 2,
    }


def test_a_typed_command_trains_on_the_training_folder(here):
    layout = {"training/a": 6, "training/b": 6, "testing/a": 2, "testing/b": 2}
    make_folder(here / "photos", layout)
    words = ["data=imagefolder", "data.root=photos", "epochs=1 steps", "tracking=none", "threads=1"]
    assert main(words) == 0
    (run,) = (here / "outputs" / "runs").iterdir()
    data = json.loads((run / "run.json").read_text())["data"]
    assert data["classes"] == ["a", "b"]
    assert data["samples"]["test"] == 4
    assert data["samples"]["train"] + data["samples"]["val"] == 12


def test_two_folders_of_one_split_are_refused(tmp_path):
    make_folder(tmp_path, {"training/a": 1, "train/a": 1, "training/b": 1, "train/b": 1})
    with pytest.raises(Mistake, match="train and training both mean train"):
        imagefolder(str(tmp_path))


def test_splits_without_train_are_refused(tmp_path):
    make_folder(tmp_path, {"val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2})
    with pytest.raises(Mistake, match="has test and val, but no folder train beside them"):
        imagefolder(str(tmp_path))


@pytest.mark.parametrize(("count", "said"), [(1, "is 1 file that"), (2, "are 2 files that")])
def test_what_is_there_instead_of_images_is_counted(tmp_path, count, said):
    for place in range(count):
        (tmp_path / f"{place}.doc").touch()
    with pytest.raises(Mistake, match=f"no images in class folders; .*; there {said} Pillow"):
        imagefolder(str(tmp_path))


def test_a_class_may_be_called_train(tmp_path):
    make_folder(tmp_path, {"car": 2, "plane": 2, "train": 2})
    source = imagefolder(str(tmp_path))
    assert source.classes == ("car", "plane", "train")
    make_folder(tmp_path / "split", {"train/car": 2, "train/train": 2, "test/train": 1})
    source = imagefolder(str(tmp_path / "split"))
    assert source.classes == ("car", "train")
    assert len(source.given["test"]) == 1


def test_splits_within_each_class(tmp_path, caplog):
    layout = {"cat/train": 3, "cat/Test": 1, "dog/train": 2, "dog/Test": 2}
    make_folder(tmp_path, layout)
    for _ in range(2):
        caplog.clear()
        source = imagefolder(str(tmp_path))
        assert source.classes == ("cat", "dog")
        assert source.y[source.given["train"]].tolist() == [0, 0, 0, 1, 1]
        assert source.y[source.given["test"]].tolist() == [0, 1, 1]
        (said,) = caplog.messages
        assert "all class folders have the subfolders Test, train: taken for the splits" in said


def test_two_folders_of_one_split_within_a_class_are_refused(tmp_path):
    make_folder(tmp_path, {"cat/train": 1, "cat/training": 1, "dog/train": 1})
    with pytest.raises(Mistake, match="cat/train and cat/training both mean train"):
        imagefolder(str(tmp_path))


@pytest.mark.parametrize("above", ["", "train/"])
def test_the_same_subfolders_in_all_classes_are_said(tmp_path, caplog, above):
    layout = {f"{above}fold{i}/{name}": 2 for i in (1, 2) for name in ("cat", "dog")}
    make_folder(tmp_path, layout)
    assert imagefolder(str(tmp_path)).classes == ("fold1", "fold2")
    (said,) = caplog.messages
    assert "the same subfolders (cat, dog)" in said
    assert f"parts of {above}fold1, {above}fold2;" in said


def test_subfolders_of_their_own_are_nothing_to_say(tmp_path, caplog):
    make_folder(tmp_path, {"cat/young": 2, "cat/old": 2, "dog/young": 2, "dog": 1})
    assert imagefolder(str(tmp_path)).classes == ("cat", "dog")
    assert not caplog.records


def test_a_root_that_lies_one_folder_deeper_is_proposed(tmp_path, caplog):
    make_folder(tmp_path, {"photos/cat": 2, "photos/dog": 2})
    assert imagefolder(str(tmp_path)).classes == ("photos",)
    (said,) = caplog.messages
    assert "the only class folder has the subfolders (cat, dog)" in said
    assert said.endswith(f"; where these are the classes, write data.root={tmp_path}/photos")
