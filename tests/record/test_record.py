"""The record on disk: points survive, half of anything does not, nobody writes twice."""

import errno
import logging
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from dlrun import record, shell
from dlrun.errors import Failure, Mistake
from dlrun.finding import WARN, Finding
from dlrun.job import session
from dlrun.record import points

HOLD = """
import sys, time
from dlrun import record
held = record.create(sys.argv[1], "held", {}, "")
held.append(1, 0.1, {"train/loss": 1.0})
print(held.directory, flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path):
    made = record.create(tmp_path, "adam", {"device": "cpu"}, "epochs: 3\n")
    yield made
    made.close()


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def in_another_process(outputs: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(outputs)], stdout=subprocess.PIPE, text=True
    )
    return process


def test_a_new_run_says_who_it_is(run, tmp_path):
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", run.id)
    assert run.directory == tmp_path / "runs" / run.id
    info = record.read_json(run.directory / "run.json")
    assert info["name"] == "adam"
    assert info["device"] == "cpu"
    assert info["versions"]["python"].startswith("3.")
    assert info["versions"]["torch"]
    assert (run.directory / "recipe.yaml").read_text() == "epochs: 3\n# crc32: 7ec245db\n"
    assert record.read_status(run.directory)["status"] == record.RUNNING


def test_later_facts_are_kept(run):
    run.update(data={"name": "digits"})
    run.set_status(record.FAILED, "loss is nan")
    assert record.read_json(run.directory / "run.json") == run.info
    assert run.info["data"] == {"name": "digits"}
    status = record.read_status(run.directory)
    assert (status["status"], status["message"]) == ("FAILED", "loss is nan")


def test_points_come_back_bit_for_bit(run):
    values = {"a": 0.1 + 0.2, "b": math.inf, "c": -math.inf, "d": 1e-320}
    run.append(3, 0.5, values | {"e": math.nan})
    (point,) = run.points()
    assert math.isnan(point["values"].pop("e"))
    assert point["values"] == values
    assert list(point["values"]) == list(values)
    assert (point["step"], point["epoch"]) == (3, 0.5)


def test_truncate_goes_back_to_a_position(run):
    run.append(1, 0.1, {"a": 1.0})
    position = run.size
    run.append(2, 0.2, {"a": 2.0})
    run.truncate(position)
    run.append(3, 0.3, {"a": 3.0})
    assert [point["step"] for point in run.points()] == [1, 3]
    assert run.size == (run.directory / "metrics.jsonl").stat().st_size
    run.truncate(0)
    assert run.points() == []


@pytest.mark.parametrize("beyond", [1, 20, 10_000])
def test_truncate_never_leaves_half_a_line_nor_adds_bytes(run, beyond):
    run.append(1, 0.1, {"a": 1.0})
    first = run.size
    run.append(2, 0.2, {"a": 2.0})
    run.truncate(first + beyond)
    assert [point["step"] for point in run.points()] == ([1, 2] if beyond > 100 else [1])
    assert (run.directory / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_a_half_written_line_is_cut_when_the_run_goes_on(run):
    run.append(1, 0.1, {"a": 1.0})
    run.close()
    with (run.directory / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 2, "epo')
    assert [point["step"] for point in record.read_points(run.directory)] == [1]
    again = record.open_existing(run.directory)
    again.append(3, 0.3, {"a": 3.0})
    assert [point["step"] for point in again.points()] == [1, 3]
    again.close()


def test_half_written_files_are_removed_when_the_run_goes_on(run):
    (run.directory / "checkpoints").mkdir()
    left = [run.directory / name for name in ("checkpoints/.last.pt.7.part", ".run.json.7.part")]
    other = run.directory / ".tracking.json.7.part"  # of a process that does not hold the run
    for path in (*left, other):
        path.touch()
    with pytest.raises(Mistake, match="is still running"):
        record.open_existing(run.directory)
    assert all(path.exists() for path in left)
    run.close()
    record.open_existing(run.directory).close()
    assert [path.exists() for path in (*left, other)] == [False, False, True]


def test_a_file_of_only_half_a_line_becomes_empty(run):
    run.close()
    (run.directory / "metrics.jsonl").write_bytes(b'{"step"')
    again = record.open_existing(run.directory)
    assert again.size == 0
    again.close()


def test_a_full_disk_is_a_short_message_and_leaves_whole_lines(run, monkeypatch):
    run.append(1, 0.1, {"a": 1.0})
    write = os.write

    def half(descriptor, data):
        write(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(Failure, match=r"metrics\.jsonl: the disk is full"):
        run.append(2, 0.2, {"a": 2.0})
    monkeypatch.undo()
    run.append(3, 0.3, {"a": 3.0})
    assert [point["step"] for point in run.points()] == [1, 3]


def test_a_full_disk_keeps_the_old_status(run, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match=r"status\.json: the disk is full"):
        run.set_status(record.FINISHED)
    assert record.read_status(run.directory)["status"] == record.RUNNING
    assert not list(run.directory.glob(".*part"))


def test_how_a_run_went_wrong_is_written_over_the_old_status_on_a_full_disk(run, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    run.set_status(record.FAILED, "the disk is full")
    assert record.read_status(run.directory)["message"] == "the disk is full"
    run.set_status(record.KILLED, "x")
    assert record.read_status(run.directory)["message"] == "x"


def test_settled_points_are_on_the_disk(run, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    run.append(1, 0.1, {"a": 1.0})
    assert run.size == (run.directory / "metrics.jsonl").stat().st_size
    assert synced == []
    run.settle()
    assert synced == [run._file.fileno()]


def test_what_is_written_together_is_waited_for_together_and_once(run, monkeypatch):
    real, synced = os.fsync, []

    def noted(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with record.durable_together():
        run.set_status(record.FINISHED)
        run.update(a=1)
        run.update(b=2)
        gone = run.directory / "gone"
        record.write(gone, "x")
        gone.unlink()
        assert synced == []
        assert record.read_json(run.directory / "run.json")["b"] == 2
    files = (run.directory / name for name in ("run.json", "status.json"))
    assert sorted(synced) == sorted(file.stat().st_ino for file in files)
    run.update(c=3)
    assert len(synced) == 3


def test_a_disk_that_is_full_only_then_is_said_at_the_end_of_what_is_written_together(
    run, monkeypatch
):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match=r"status\.json: the disk is full"), record.durable_together():
        run.set_status(record.FINISHED)


def test_a_run_that_is_deleted_meanwhile_records_no_further(run, caplog):
    run.append(1, 0.1, {"a": 1.0})
    shutil.rmtree(run.directory)
    for attempt in (run.check_there, run.settle, lambda: run.append(2, 0.2, {"a": 2.0})):
        with pytest.raises(Failure, match=r"metrics\.jsonl has been deleted"):
            attempt()
    with pytest.raises(Failure, match=r"status\.json: No such file"):
        run.set_status(record.FINISHED)
    with caplog.at_level(logging.WARNING, "dlrun"):
        run.set_status(record.FAILED, "deleted")
    assert "status.json" in caplog.text
    assert not run.directory.exists()


DAMAGED = [b"garbage", b"\xff\x00", b"[1]", b"3", b"{}", b'{"step": "x", "epoch": 1, "values": {}}']


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_left_out_and_said_once(run, line, caplog):
    run.append(1, 0.1, {"a": 1.0})
    first = run.size
    run.append(2, 0.2, {"a": 2.0})
    path = run.directory / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:first] + line + b"\n" + whole[first:])
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert [point["step"] for point in record.read_points(run.directory)] == [1, 2]
        record.read_points(run.directory)
    assert caplog.messages == [f"{path}: 1 line is damaged and left out"]
    assert points.holds(run.directory, first)
    assert not points.holds(run.directory, len(whole))


def test_a_position_is_held_where_all_points_up_to_it_are_there(run):
    assert points.holds(run.directory, 0)
    run.append(1, 0.1, {"a": 1.0})
    end = run.size
    assert points.holds(run.directory, end)
    assert not points.holds(run.directory, end - 3)
    assert not points.holds(run.directory, end + 1)
    (run.directory / "metrics.jsonl").unlink()
    assert not points.holds(run.directory, end)


def test_outputs_that_cannot_be_written_are_a_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"outputs=.*file: cannot be written"):
        record.create(tmp_path / "file", "x", {}, "")


def test_a_run_is_held_by_one_process_until_it_dies(tmp_path):
    process = in_another_process(tmp_path)
    directory = Path(process.stdout.readline().strip())
    try:
        with pytest.raises(Mistake, match=rf"run .* is still running \(pid {process.pid}\)"):
            record.open_existing(directory)
        assert record.is_running(directory)
        record.mark_killed(directory)
        assert record.read_status(directory)["status"] == record.RUNNING
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert not record.is_running(directory)
    record.mark_killed(directory)
    assert record.read_status(directory)["status"] == record.KILLED
    again = record.open_existing(directory)
    assert len(again.points()) == 1
    again.close()


@pytest.mark.parametrize("refused", ["lock", "status.json"])
def test_a_killed_run_is_seen_where_nothing_can_be_written(run, monkeypatch, refused):
    def refuse(*rest, **named):
        raise OSError(errno.EROFS, "Read-only file system")

    place = (FileLock, "acquire") if refused == "lock" else (Path, "replace")
    with monkeypatch.context() as patch:
        patch.setattr(*place, refuse)
        assert record.mark_killed(run.directory)["status"] == record.RUNNING
        run.close()
        assert record.mark_killed(run.directory)["status"] == record.KILLED
    assert record.read_status(run.directory)["status"] == record.RUNNING
    assert record.mark_killed(run.directory) == record.read_status(run.directory)
    assert record.read_status(run.directory)["status"] == record.KILLED


def test_many_runs_at_once_get_directories_of_their_own(tmp_path, monkeypatch):
    bits = iter([value for value in range(16) for _ in range(4)])
    monkeypatch.setattr(record.secrets, "token_hex", lambda n: f"{next(bits):0{2 * n}x}")
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda i: record.create(tmp_path, str(i), {}, ""), range(8)))
    assert len({run.directory for run in runs}) == 8
    for run in runs:
        run.close()


class TestFind:
    @pytest.fixture(autouse=True)
    def _hand_made(self, monkeypatch):
        """Of these records there is nothing but a run.json."""
        monkeypatch.setattr(record, "find", partial(record.find, needed=()))

    @pytest.fixture
    def runs(self, tmp_path):
        made = []
        for number, id in enumerate(["20260101-120000-aaaa", "20260101-110000-bbbb"]):
            directory = tmp_path / "runs" / id
            directory.mkdir(parents=True)
            record.write_json(directory / "run.json", {"started": f"2026-01-0{number + 1}"})
            made.append(directory)
        return made

    def test_last_is_the_one_that_started_last(self, runs, tmp_path):
        assert record.find(tmp_path, "last") == runs[1]

    def test_last_is_no_run_that_does_not_train(self, runs, tmp_path):
        info = record.read_json(runs[1] / "run.json")
        record.write_json(runs[1] / "run.json", info | {"trains": False})
        assert record.find(tmp_path, "last") == runs[0]

    def test_a_start_that_is_no_text_stands_in_no_ones_way(self, runs, tmp_path):
        record.write_json(runs[0] / "run.json", {"started": 4})
        assert record.find(tmp_path, "last") == runs[0]

    def test_an_id_its_beginning_or_a_directory(self, runs, tmp_path):
        assert record.find(tmp_path, "20260101-120000-aaaa") == runs[0]
        assert record.find(tmp_path, "20260101-12") == runs[0]
        assert record.find(tmp_path, str(runs[0])) == runs[0]

    def test_mlflows_id(self, runs, tmp_path):
        record.write_json(runs[0] / "tracking.json", {"run_id": "f00d"})
        assert record.find(tmp_path, "f00d") == runs[0]

    def test_an_ambiguous_beginning_names_the_runs(self, runs, tmp_path):
        with pytest.raises(Mistake, match=r"bbbb.*write more of the id"):
            record.find(tmp_path, "20260101")

    def test_an_unknown_one_names_the_nearest(self, runs, tmp_path):
        with pytest.raises(Mistake, match="20260101-110000-bbbb"):
            record.find(tmp_path, "20260101-110000-bbbc")

    def test_no_runs_at_all(self, tmp_path):
        with pytest.raises(Mistake, match="no runs in"):
            record.find(tmp_path, "last")


def test_git_names_the_commit_and_whether_files_differ(tmp_path):
    def git(*words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    assert record.git(tmp_path) == {}
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    clean = record.git(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean["commit"])
    assert clean["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert record.git(tmp_path) == clean | {"dirty": True}


def test_git_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert record.git() == {}


def test_it_is_light():
    heavy = "('torch', 'mlflow', 'hydra', 'numpy')"
    code = f"import sys, dlrun.record; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_changed_byte_of_a_point_goes_unnoticed(tmp_path):
    with closing(record.create(tmp_path, "run", {}, "")) as run:
        run.append(1, 0.5, {"train/loss": 0.25, "lr": 1e-3})
    path = run.directory / "metrics.jsonl"
    line = path.read_bytes()
    assert [point["values"]["lr"] for point in record.read_points(run.directory)] == [1e-3]
    assert "crc32" not in record.read_points(run.directory)[0]
    for place in range(len(line) - 1):
        for bit in range(8):
            changed = bytearray(line)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            assert record.read_points(run.directory) == []


def test_findings_stand_in_a_file_while_there_are_some(tmp_path):
    kept = record.create(tmp_path, "x", {}, "")
    kept.keep_findings([Finding("leak", WARN, "Two.", {"samples": 2}, "dlrun seed=1")])
    assert (kept.directory / "findings.txt").read_text() == (
        "warn  leak\n    Two.\n    dlrun seed=1\n"
    )
    assert record.findings_of(kept.directory)[0].numbers == {"samples": 2}
    kept.keep_findings([])
    assert not (kept.directory / "findings.txt").exists()
    assert record.findings_of(kept.directory) == []
    kept.close()


@pytest.mark.parametrize(
    ("now", "where"),
    [("old", ["outputs=old"]), ("outputs", []), ("a b", ["outputs='a b'"])],
)
def test_what_a_finding_proposes_is_for_where_the_run_lies_now(tmp_path, monkeypatch, now, where):
    monkeypatch.chdir(tmp_path)
    kept = record.create("old", "one", {}, "")
    kept.keep_findings([Finding("leak", WARN, "One.", {}, "dlrun seed=1 outputs=old")])
    kept.close()
    Path("old").rename(now)
    [run] = record.all_runs(now)
    [found] = record.findings_of(run)
    assert shlex.split(found.command) == ["dlrun", "seed=1", *where]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    [found] = record.findings_of(run)
    assert shlex.split(found.command)[2:] == [shell.setting("outputs", str(tmp_path / now))]


def test_all_runs_of_a_command_tell_one_origin(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("dlrun.record.origin.git", lambda directory: asked.append(directory) or {})
    session.Session()
    for _ in range(3):
        record.create(tmp_path, "a run", {}, "").close()
    assert asked == [os.getcwd()]
    session.Session()  # of the next command, before which somebody may have committed
    with closing(record.create(tmp_path, "a run", {}, "")) as made:
        assert made.info["versions"]["torch"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("status", "message", "word"),
    [
        (record.KILLED, "by stop_after; the state is saved", "stopped"),
        (record.KILLED, "the state is saved", "stopped"),
        (record.KILLED, "by SIGINT", "stopped"),
        (record.KILLED, "the process ended unexpectedly", "killed"),
        (record.FAILED, "the loss", "failed"),
        (record.RUNNING, "", "running"),
    ],
)
def test_an_end_that_was_asked_for_has_one_name(status, message, word):
    assert record.said({"status": status, "message": message}) == word


def test_a_run_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Mistake, match=r": the disk is full$"):
        record.create(tmp_path, "a run", {}, "epochs: 1\n")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.figures
def test_what_the_end_was_to_bring_is_missing_until_it_is_there(run):
    run.brings("figures")
    run.brings("model")
    run.brings("model")
    assert record.unclosed(run.directory) == []  # it has not ended
    run.set_status(record.FINISHED)
    (run.directory / "figures").mkdir()
    assert record.unclosed(run.directory) == ["figures", "model"]
    (run.directory / "figures" / "loss.png").touch()
    run.brings("model", False)
    assert record.unclosed(run.directory) == []
