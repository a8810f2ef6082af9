"""The process that follows records, and real servers that are dead, die, hang or are slow.

Whatever the server does, the trainer's side never waits, and in the end every point
is there exactly once.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from sqlalchemy.exc import OperationalError

from dlrun import record, shell, tracking
from dlrun.tracking import bulk, follow
from dlrun.tracking import cursor as cursor_of
from dlrun.tracking.follower import Follower
from dlrun.tracking.sync import sync

pytestmark = pytest.mark.slow

TRAINER = """
import sys, time
from dlrun import record, tracking
follower = tracking.start(uri=sys.argv[2] or None, outputs=sys.argv[1])
run = record.create(sys.argv[1], "killed", {}, "seed: 1")
follower.follow(run.directory)
for step in range(50):
    run.append(step, step / 10, {"train/loss": 1 / (step + 1), "val/accuracy": step / 1000})
print(run.directory, follower._process.pid, flush=True)
time.sleep(120)
"""


def test_ctrl_c_works_where_the_process_cannot_be_started(monkeypatch):
    def refused(*args, **options):
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(OSError, match="no memory"):
        Follower(None, {})
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def start(tmp_path):
    """Start a follower; all are closed afterwards."""
    made = []

    def start(uri=None, **options):
        follower = tracking.start(uri=uri, outputs=str(tmp_path), **options)
        made.append(follower)
        return follower

    yield start
    for follower in made:
        follower.close(0)
        assert follower._process.returncode is not None


@pytest.fixture
def prompt():
    """Call a function of the trainer's side, and see that it doesn't wait for the server."""

    def prompt(function, *arguments):
        began = time.monotonic()
        result = function(*arguments)
        assert time.monotonic() - began < 1
        return result

    return prompt


def wait_until(holds, seconds=90.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def cursor(run):
    return record.read_json(run.directory / "tracking.json")


def gone(pid):
    """Whether a process has ended, though perhaps nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Proxy:
    """A way to the server that may be slow, or swallow the answers."""

    def __init__(self, port):
        self.delay = 0.0
        self.hangs = False
        self._target = port
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [inner, outer]
                for way in ((inner, outer, False), (outer, inner, True)):
                    threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source, target, answers):
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                if not (self.hangs and answers):
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_run_into_a_fresh_database(begin, start, prompt, assert_each_once, tmp_path, caplog):
    follower = prompt(start)
    run = begin(20)
    prompt(follower.follow, run.directory)
    run.set_status(record.FINISHED)
    run.close()
    follower.close()
    assert follower.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert not list(tmp_path.glob("mlflow.db-*"))  # it can be copied as one file
    run_id = cursor(run)["run_id"]
    assert_each_once(follower.uri, run, run_id)
    found = MlflowClient(follower.uri).get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.info.artifact_uri.startswith(str(tmp_path / "artifacts"))
    assert not caplog.records
    assert record.find(tmp_path, run_id) == run.directory


def test_without_a_run_nothing_is_waited_for(start, prompt, caplog):
    follower = start()
    time.sleep(0.2)
    prompt(follower.close)
    assert follower._process.returncode is not None
    assert not caplog.records


def test_points_arrive_while_training_goes_on(begin, start, database, assert_each_once, add):
    follower = start(database)
    run = begin()
    follower.follow(run.directory)
    add(run, 0, 5)
    wait_until(lambda: cursor(run)["delivered"] == 5)
    add(run, 5, 10)
    wait_until(lambda: cursor(run)["delivered"] == 10)
    run_id = cursor(run)["run_id"]
    assert MlflowClient(database).get_run(run_id).info.status == "RUNNING"
    assert_each_once(database, run, run_id)
    run.set_status(record.KILLED, "stopped by SIGINT")
    run.close()
    follower.close()
    found = MlflowClient(database).get_run(run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags["dlrun.message"] == "stopped by SIGINT"


@pytest.mark.parametrize("together", [True, False], ids=["together", "in turn"])
def test_many_that_grow_leave_the_cores_to_training(together, begin, monkeypatch):
    clock, delivered = [0.0], []
    monkeypatch.setattr(follow, "monotonic", lambda: clock[0])
    follower = follow.Follower({"uri": "sqlite:///x.db"}, 0, io.StringIO())
    follower._store = (SimpleNamespace(tracking_uri="http://localhost"), "0")
    coming = [begin(1, f"run {n}").directory for n in range(3)]

    def deliver(path, followed, *rest):
        clock[0] += 1
        delivered.append(path)
        followed.at = clock[0]
        return False

    monkeypatch.setattr(follower, "_deliver", deliver)
    while clock[0] < 150:
        while coming:
            follower._records[coming.pop()] = follow._Followed()
            if not together:
                break
        follower._advance()
        clock[0] += 2
    assert 14 <= len(delivered) <= 18, "a tenth of the time, at one second each"
    assert len(set(delivered)) == 3


def test_one_follower_serves_many_runs(begin, start, database, assert_each_once):
    follower = start(database)
    runs = [begin(points, f"run {points}") for points in (1, 2, 3)]
    for run in runs:
        follower.follow(run.directory)
        run.set_status(record.FINISHED)
    for run in runs:
        run.close()
    follower.close()
    for run in runs:
        assert_each_once(database, run, cursor(run)["run_id"])
    assert len({cursor(run)["run_id"] for run in runs}) == 3


def test_a_damaged_record_holds_up_no_other_run(begin, start, database, assert_each_once):
    follower = start(database)
    lost, kept = begin(1), begin(1)
    (lost.directory / "run.json").unlink()
    for run in (lost, kept):
        follower.follow(run.directory)
        run.set_status(record.FINISHED)
        run.close()
    wait_until(lambda: cursor(kept)["done"])
    assert_each_once(database, kept, cursor(kept)["run_id"])


@pytest.mark.parametrize("refused", [0, 1], ids=["well", "with a disk that was full"])
def test_many_that_have_ended_are_delivered_together(
    begin, database, monkeypatch, assert_each_once, refused
):
    settings = {"uri": database, "experiment": "dlrun"}
    settings |= {"checkpoints": False, "model": False}
    follower = follow.Follower(settings, os.getppid(), io.StringIO())
    runs, commits, commit = [begin(4, f"run {number}") for number in range(5)], [], bulk.commit
    for run in runs:
        cursor_of.settle(run.directory, settings, since=0.0)
        run.set_status(record.FINISHED)
        run.close()
        follower._records[run.directory] = follow._Followed()

    def counted(found):
        if not bulk.is_committed(found):
            commits.append(found)
            if len(commits) <= refused:
                raise OperationalError("COMMIT", {}, Exception("database or disk is full"))
        commit(found)

    monkeypatch.setattr(bulk, "commit", counted)
    for _ in range(refused):
        with pytest.raises(OperationalError, match="disk is full"):
            follower._advance()
        assert all(cursor(run)["delivered"] == 0 for run in runs)
    follower._advance()
    assert not follower._records
    assert len(commits) < len(runs) or refused
    for run in runs:
        assert cursor(run)["done"]
        assert cursor_of.hold(run.directory), "it was not let go"
        assert_each_once(database, run, cursor(run)["run_id"])


@pytest.mark.parametrize(
    "after", [0.1, *(pytest.param(s, marks=pytest.mark.proof) for s in (0.0, 0.05, 0.2, 0.5))]
)
def test_a_process_killed_among_many_leaves_each_once(
    begin, start, database, tmp_path, assert_each_once, capsys, after
):
    follower, runs = start(database), [begin(20, f"run {number}") for number in range(40)]
    for run in runs:
        run.set_status(record.FINISHED)
        run.close()
        follower.follow(run.directory)
    wait_until(lambda: not cursor(runs[0]).get("unasked"))  # it has begun
    time.sleep(after)
    os.kill(follower._process.pid, signal.SIGKILL)
    follower._process.wait()
    for run in runs:
        known = cursor(run)
        if known["done"]:
            assert_each_once(database, run, known["run_id"])
    assert sync(tmp_path, [], database) == 0
    for run in runs:
        assert_each_once(database, run, cursor(run)["run_id"])


def test_a_run_thrown_away_is_let_go(begin, start, database, caplog):
    follower = start(database)
    run = begin(1)
    follower.follow(run.directory)
    wait_until(lambda: cursor(run).get("delivered") == 1)
    shutil.rmtree(run.directory)
    began = time.monotonic()
    follower.close()
    assert time.monotonic() - began < 5
    assert not caplog.records


@pytest.mark.proof
def test_six_at_once_on_a_fresh_database(begin, start, assert_each_once, caplog):
    runs = [begin(10, f"run {number}") for number in range(6)]
    followers = [start() for _ in runs]
    for follower, run in zip(followers, runs, strict=True):
        follower.follow(run.directory)
        run.set_status(record.FINISHED)
        run.close()
    for follower in followers:
        follower.close(120)
    assert not caplog.records
    for follower, run in zip(followers, runs, strict=True):
        assert_each_once(follower.uri, run, cursor(run)["run_id"])
    experiments = MlflowClient(followers[0].uri).search_experiments()
    assert sorted(each.name for each in experiments) == ["Default", "dlrun"]


def test_a_killed_trainer_is_marked_and_all_is_delivered(database, tmp_path, assert_each_once):
    command = [sys.executable, "-c", TRAINER, str(tmp_path), database]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    directory, pid = trainer.stdout.readline().split()
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    wait_until(lambda: gone(pid))
    run = record.open_existing(directory)
    with closing(run):
        assert cursor(run)["done"]
        assert_each_once(database, run, cursor(run)["run_id"])
        assert record.read_status(directory)["status"] == record.KILLED
    found = MlflowClient(database).get_run(cursor(run)["run_id"])
    assert found.info.status == "KILLED"


@pytest.mark.proof
def test_a_trainer_killed_while_the_server_is_dead_leaves_no_process(dead_server, tmp_path):
    command = [sys.executable, "-c", TRAINER, str(tmp_path), dead_server.uri]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    _, pid = trainer.stdout.readline().split()
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    wait_until(lambda: gone(pid), 60)


def test_a_follower_that_dies_is_reported_and_the_rest_delivered_later(
    begin, start, database, tmp_path, assert_each_once, caplog, capsys, add
):
    follower = start(database)
    run = begin(3)
    follower.follow(run.directory)
    wait_until(lambda: cursor(run)["delivered"] == 3)
    os.kill(follower._process.pid, signal.SIGKILL)
    wait_until(lambda: "has ended" in caplog.text)
    add(run, 3, 6)
    run.set_status(record.FINISHED)
    run.close()
    follower.close()
    assert f"3 points of run {run.id} did not reach" in caplog.text
    run.close()
    assert sync(tmp_path, [run.id]) == 0
    assert "6 points, 3 of them delivered now" in capsys.readouterr().out
    assert_each_once(database, run, cursor(run)["run_id"])


def test_many_runs_that_did_not_arrive_are_told_in_one_line(
    begin, start, database, caplog, tmp_path
):
    follower = start(database)
    for number in range(3):
        follower.follow(begin(number).directory)
    os.kill(follower._process.pid, signal.SIGKILL)
    wait_until(lambda: "has ended" in caplog.text)
    follower.close()
    ending, last = (each.getMessage() for each in caplog.records)
    assert "has ended" in ending
    assert last == (
        f"something of 3 runs did not reach {database} and stays on disk; "
        f"`dlrun sync outputs={tmp_path}` delivers it"
    )


class TestCurvesAlone:
    """What is done where nothing is delivered."""

    @pytest.fixture
    def drawer(self):
        made = Follower(None, os.environ)
        yield made
        made.close(0)

    def test_they_are_there_when_it_has_closed(self, begin, drawer, caplog):
        run = begin(3)
        drawer.follow(run.directory)
        drawer.draw(run.directory)
        drawer.close()
        assert (run.directory / "figures" / "loss.png").is_file()
        assert (run.directory / "report.html").is_file()
        assert not (run.directory / "tracking.json").exists()
        assert not caplog.records

    def test_what_cannot_be_drawn_is_said(self, begin, drawer, caplog):
        run = begin(3)
        (run.directory / "figures").write_text("")
        drawer.draw(run.directory)
        drawer.close()
        [said] = [each.getMessage() for each in caplog.records]
        assert said.startswith(f"the figures of run {run.id} were not drawn: cannot write")
        assert said.endswith(f"; `{shell.resume(run.directory)}` draws them")

    def test_nothing_is_imported_for_a_store(self):
        """And without its parent it ends, though somebody else keeps the pipe open."""
        command = [sys.executable, "-X", "importtime", "-m", "dlrun.tracking.follow", "null", "1"]
        done = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, text=True)
        assert done.returncode == 0
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "dlrun.tracking.cursor" in imported
        assert not imported & {"mlflow", "sqlalchemy", "torch", "requests", "rich", "hydra"}


def test_curves_are_delivered_too(begin, start, database):
    follower = start(database)
    run = begin(3)
    follower.follow(run.directory)
    follower.draw(run.directory)
    run.set_status(record.FINISHED)
    run.close()
    follower.close()
    client, found = MlflowClient(database), cursor(run)["run_id"]
    files = [*client.list_artifacts(found), *client.list_artifacts(found, "figures")]
    assert {"report.html", "figures/loss.png"} <= {file.path for file in files}
    assert "finished" in (run.directory / "report.html").read_text()


class TestServer:
    @pytest.mark.proof
    def test_dead_at_the_start_and_to_the_end(
        self, begin, start, prompt, dead_server, tmp_path, assert_each_once, caplog, capsys
    ):
        follower = prompt(start, dead_server.uri)
        run = prompt(begin, 30)
        prompt(follower.follow, run.directory)
        wait_until(lambda: "nothing reaches" in caplog.text)
        run.set_status(record.FINISHED)
        run.close()
        began = time.monotonic()
        follower.close()
        assert time.monotonic() - began < 8
        run.close()
        first, last = (each.getMessage() for each in caplog.records)
        assert "Connection refused" in first
        assert last.startswith(f"30 points of run {run.id} did not reach {dead_server.uri}")
        assert sync(tmp_path, []) == 1
        assert "Connection refused" in capsys.readouterr().out
        dead_server.start()
        assert sync(tmp_path, []) == 0
        assert "30 points, 30 of them delivered now" in capsys.readouterr().out
        assert_each_once(dead_server.uri, run, cursor(run)["run_id"])
        found = MlflowClient(dead_server.uri).get_run(cursor(run)["run_id"])
        assert found.info.status == "FINISHED"
        assert sync(tmp_path, []) == 0
        assert "complete: 30 points" in capsys.readouterr().out

    def test_killed_in_the_middle_and_back_again(
        self, begin, start, prompt, server, assert_each_once, add, caplog
    ):
        follower = start(server.uri)
        run = begin(10)
        follower.follow(run.directory)
        wait_until(lambda: cursor(run)["delivered"] == 10)
        server.kill()
        for step in range(10, 40):
            prompt(add, run, step, step + 1)
            time.sleep(0.1)
        wait_until(lambda: "nothing reaches" in caplog.text)
        server.start()
        add(run, 40, 50)
        run.set_status(record.FINISHED)
        run.close()
        follower.close(30)
        assert len(caplog.records) == 1
        assert_each_once(server.uri, run, cursor(run)["run_id"])
        found = MlflowClient(server.uri).get_run(cursor(run)["run_id"])
        assert found.info.status == "FINISHED"
        files = [file.path for file in MlflowClient(server.uri).list_artifacts(found.info.run_id)]
        assert "recipe.yaml" in files

    @pytest.mark.proof
    def test_slow(self, begin, start, prompt, server, assert_each_once, add, caplog):
        with closing(Proxy(server.port)) as proxy:
            proxy.delay = 0.3
            follower = prompt(start, proxy.uri)
            run = begin(5)
            prompt(follower.follow, run.directory)
            prompt(add, run, 5, 2000)
            run.set_status(record.FINISHED)
            run.close()
            follower.close()
        assert not caplog.records
        assert_each_once(server.uri, run, cursor(run)["run_id"])

    @pytest.mark.proof
    def test_it_hangs_and_what_it_took_is_not_sent_twice(
        self, begin, start, prompt, server, tmp_path, assert_each_once, add, history, caplog
    ):
        with closing(Proxy(server.port)) as proxy:
            follower = start(proxy.uri)
            run = begin(10)
            follower.follow(run.directory)
            wait_until(lambda: cursor(run)["delivered"] == 10)
            proxy.hangs = True
            prompt(add, run, 10, 20)
            time.sleep(3)
            run.set_status(record.FINISHED)
            run.close()
            began = time.monotonic()
            follower.close()
            assert time.monotonic() - began < 8
            assert f"10 points of run {run.id} did not reach" in caplog.text
            run.close()
            assert len(history(server.uri, cursor(run)["run_id"])) == 20  # though it never said so
        assert sync(tmp_path, ["last"], uri=server.uri) == 0
        assert_each_once(server.uri, run, cursor(run)["run_id"])


def test_sync_says_when_a_run_is_still_at_work(begin, database, tmp_path, capsys):
    run = begin(2)
    assert sync(tmp_path, [], database) == 0
    assert "no tracked runs" in capsys.readouterr().out
    assert sync(tmp_path, ["last"], database) == 0
    assert "still running: 2 points, 2 of them delivered now" in capsys.readouterr().out
    run.close()
    assert sync(tmp_path, [], database) == 0
    assert "complete: 2 points, 0 of them delivered now" in capsys.readouterr().out
    assert record.read_status(run.directory)["status"] == record.KILLED
