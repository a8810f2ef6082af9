"""Whether a record is whole."""

import errno
import logging
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dlrun import record
from dlrun.errors import Failure, Mistake
from dlrun.record.sweep import LEDGER, lines

CHANGED = {"recipe.yaml": "has been changed or "}
RECIPE = "data:\n  name: digits\nepochs: 3\nfacts:\n  outputs: 10\n"


@pytest.fixture
def run(here):
    """A run of two points that has ended."""
    with closing(record.create("outputs", "run", {"overrides": []}, RECIPE)) as kept:
        kept.append(1, 1.0, {"val/loss": 0.5})
        kept.append(2, 2.0, {"val/loss": 0.25})
        kept.set_status(record.FINISHED)
    return kept.directory


def test_a_whole_one_has_lost_nothing(run):
    assert record.lost(run) == ""
    assert record.recipe(run)["facts"] == {"outputs": 10}
    assert record.damaged("outputs") == {}


@pytest.mark.parametrize("file", ["recipe.yaml", "run.json", "status.json"])
def test_no_cut_goes_unnoticed(run, file):
    whole = (run / file).read_bytes()
    for end in range(len(whole) - 1):
        (run / file).write_bytes(whole[:end])
        assert record.lost(run) == f"{file} {CHANGED.get(file, '')}is damaged", end
    (run / file).unlink()
    assert record.lost(run) == f"{file} is missing"


def test_no_changed_byte_of_a_recipe_goes_unnoticed(run):
    whole = (run / "recipe.yaml").read_bytes()
    for place in range(len(whole)):
        changed = bytes([whole[place] ^ 1])
        (run / "recipe.yaml").write_bytes(whole[:place] + changed + whole[place + 1 :])
        assert record.lost(run) == "recipe.yaml has been changed or is damaged", place
    with pytest.raises(
        Mistake, match=rf"^outputs/runs/{run.name}/recipe\.yaml has been changed or "
    ):
        record.recipe(run)


@pytest.mark.parametrize("left", [0, 1, 40])
def test_no_cut_of_the_points_of_a_run_that_has_ended_goes_unnoticed(run, caplog, left):
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    assert record.is_whole(run)
    path.write_bytes(whole[: first + left])
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert [point["step"] for point in record.read_points(run)] == [1]
    assert caplog.messages == [f"{path}: its end is lost, and points with it"]
    assert not record.is_whole(run)


def test_a_half_line_after_the_end_is_damaged_where_the_run_has_ended(run, caplog):
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 3')
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert len(record.read_points(run)) == 2
    assert caplog.messages == [f"{path}: 1 line is damaged and left out"]


def test_and_is_none_in_a_killed_run(run, caplog):
    path = run / "metrics.jsonl"
    record.write_json(run / "status.json", {"status": record.KILLED, "message": ""})
    path.write_bytes(path.read_bytes()[:-20])
    assert [point["step"] for point in record.read_points(run)] == [1]
    assert record.is_whole(run)
    assert caplog.messages == []


def test_points_that_are_all_gone_are_damaged(run):
    for content in (b"", b"garbage", b"garbage\n" * 200):
        (run / "metrics.jsonl").write_bytes(content)
        assert record.lost(run) == "metrics.jsonl is damaged"
    (run / "metrics.jsonl").unlink()
    assert record.lost(run) == "metrics.jsonl is missing"


def test_points_and_a_ledger_in_whose_place_is_a_folder_are_missing(run):
    (run / "metrics.jsonl").unlink()
    for name in ("metrics.jsonl", LEDGER):
        (run / name).mkdir()
    assert record.read_points(run) == []
    assert record.lost(run) == "metrics.jsonl is missing"
    assert lines(run) == []


def test_points_that_cannot_be_read_are_not_taken_for_none(run, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(Failure, match=r"^cannot read .*metrics\.jsonl: Permission denied$"):
        record.read_points(run)


@pytest.mark.parametrize("file", ["lock", "metrics.jsonl", "status.json"])
def test_a_run_that_is_killed_while_it_is_made_is_killed(tmp_path, file):
    """The files are written in this order: from one on, none is there."""
    order = ["recipe.yaml", "run.json", "lock", "metrics.jsonl", "status.json"]
    with closing(record.create(tmp_path, "run", {}, RECIPE)) as kept:
        run = kept.directory
    for name in order[order.index(file) :]:
        (run / name).unlink()
    assert record.damaged(tmp_path) == {}
    assert record.find(tmp_path, "last") == run
    assert record.mark_killed(run)["status"] == record.KILLED
    assert not (run / "status.json").exists()
    with closing(record.open_existing(run)):
        assert record.mark_killed(run) == {}


def test_one_that_is_killed_while_its_points_are_cut_off_is_killed(run):
    with closing(record.open_existing(run)) as kept:
        kept.truncate(0)
    assert record.damaged(run.parents[1]) == {}
    assert record.is_whole(run)
    assert record.mark_killed(run)["status"] == record.KILLED


def test_an_older_recipe_has_no_checksum(run):
    about = record.read_json(run / "run.json")
    record.write_json(run / "run.json", {k: v for k, v in about.items() if k != "sealed"})
    (run / "recipe.yaml").write_text(RECIPE)
    assert record.lost(run) == ""
    assert record.recipe(run)["epochs"] == 3
    for content, why in (("data: [", "cannot be read"), ("hello", "is not a recipe")):
        (run / "recipe.yaml").write_text(content)
        with pytest.raises(Mistake, match=why):
            record.recipe(run)


def test_a_record_copied_from_elsewhere_is_whole(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    assert record.lost(record.find("outputs", "copy")) == ""


def test_a_damaged_run_is_not_written_to(run):
    (run / "run.json").write_text('{"id": "x", ')
    with pytest.raises(Mistake, match=r"run\.json is damaged$"):
        record.open_existing(run)
    assert (run / "run.json").read_text() == '{"id": "x", '


def test_the_last_says_which_newer_ones_it_passes_over(run, caplog):
    lost = run.with_name("99990101-000000-abcd")
    run.with_name(lost.name).mkdir()
    (lost / "run.json").write_text("{")
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert record.find("outputs", "last") == run
    assert caplog.messages == [f"passed over, as run.json is damaged: {lost.name}"]
    with pytest.raises(Mistake, match=r"^outputs/runs/9999.*/run\.json is damaged$"):
        record.find("outputs", "9999")


def test_arrays_that_are_needed_are_named_where_they_are_damaged(here):
    path = here / "predictions.npz"
    record.write_arrays(path, row=np.arange(50))
    whole = path.read_bytes()
    assert record.the_arrays(path)["row"].tolist() == list(range(50))
    for damaged in (b"", whole[:100], whole[:60] + b"\xff" * 20 + whole[80:]):
        path.write_bytes(damaged)
        with pytest.raises(Mistake, match=r"^predictions\.npz is damaged; begin anew, without r"):
            record.the_arrays(path)
    path.unlink()
    with pytest.raises(Mistake, match=r"^predictions\.npz is missing; "):
        record.the_arrays(path)
