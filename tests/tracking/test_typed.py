"""Typed commands and what they leave in a store: `dlrun sync`, whatever has happened to it."""

import gc
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from dlrun import record
from dlrun.__main__ import main
from tests.conftest import in_suite, sparsely

TRAIN = ["epochs=2", "log_every='5 steps'", "threads=1"]


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """A directory where one run was trained without MLflow."""
    place = tmp_path_factory.mktemp("trained")
    here = os.getcwd()
    os.chdir(place)
    try:
        assert main([*TRAIN, "tracking=none"]) == 0
    finally:
        os.chdir(here)
    return place


@pytest.fixture
def run(untracked, tmp_path, monkeypatch):
    """The directory of a run of this test alone, typed where its outputs/ is."""
    shutil.copytree(untracked / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    [run] = (tmp_path / "outputs" / "runs").iterdir()
    return run


@pytest.fixture
def typed(capsys):
    """Type `dlrun sync ...`; its exit code and what it printed."""

    def typed(*words):
        capsys.readouterr()
        code = main(["sync", *words])
        return code, capsys.readouterr().out

    return typed


def recorded(run):
    """Every value of the record, as a database keeps it."""
    points = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return sorted(
        (key, point["step"], value) for point in points for key, value in point["values"].items()
    )


def stored(database, status="FINISHED"):
    """Every value of the runs that a database has and nobody has deleted; all have that status."""
    with closing(sqlite3.connect(database)) as opened:
        active = "FROM runs WHERE lifecycle_stage = 'active'"
        states = opened.execute(f"SELECT status {active}").fetchall()
        assert states == [(status,)], "one run"
        return sorted(
            opened.execute(
                f"SELECT key, step, value FROM metrics WHERE run_uuid IN (SELECT run_uuid {active})"
            )
        )


def put_empty(database, path):
    """A copy of a database without what is in it; to make one anew takes seconds."""
    with (
        closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
        tables = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in ("alembic_version", "experiments", "workspaces"):
                copy.execute(f'DELETE FROM "{table}"')
        copy.execute("DELETE FROM experiments WHERE name = 'dlrun'")  # made anew, here
        copy.commit()


def the_run(client, view=ViewType.ACTIVE_ONLY):
    experiment = client.get_experiment_by_name("dlrun")
    [found] = client.search_runs([experiment.experiment_id], "", view)
    return found


class TestStore:
    """What the store has is asked of the store."""

    @pytest.fixture
    def client(self, run, typed, database):
        """Of the store that the run was delivered to."""
        put_empty(database, "outputs/mlflow.db")
        code, said = typed("last")
        assert code == 0
        assert "complete" in said
        assert stored("outputs/mlflow.db") == recorded(run)
        code, said = typed()
        assert (code, "delivered now" in said) == (0, False)
        return MlflowClient(f"sqlite:///{run.parents[1] / 'mlflow.db'}")

    def test_its_file_is_gone(self, client, run, typed):
        for file in run.parents[1].glob("mlflow.db*"):
            file.unlink()
        assert typed()[0] == 0
        assert stored("outputs/mlflow.db") == recorded(run)
        found = the_run(MlflowClient(f"sqlite:///{run.parents[1] / 'mlflow.db'}"))
        assert "recipe.yaml" in {file.path for file in client.list_artifacts(found.info.run_id)}

    def test_the_run_is_gone_altogether(self, client, run, typed):
        with closing(sqlite3.connect("outputs/mlflow.db")) as database:  # as mlflow gc leaves it
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                database.execute(f"DELETE FROM {table}")
            database.commit()
        assert typed()[0] == 0
        assert stored("outputs/mlflow.db") == recorded(run)

    def test_some_of_its_points_are_gone(self, client, run, typed):
        """A database that was put back from an older copy."""
        with closing(sqlite3.connect("outputs/mlflow.db")) as database:
            database.execute("DELETE FROM metrics WHERE step > 20")
            database.execute("DELETE FROM latest_metrics WHERE step > 20")
            database.commit()
        assert typed()[0] == 0
        assert stored("outputs/mlflow.db") == recorded(run)

    def test_its_files_are_gone(self, client, run, typed):
        shutil.rmtree("outputs/artifacts")
        assert typed()[0] == 0
        found = client.list_artifacts(the_run(client).info.run_id)
        assert {"recipe.yaml", "metrics.jsonl", "checkpoints"} <= {file.path for file in found}

    def test_a_deleted_run_comes_back_when_it_is_named(self, client, run, typed):
        run_id = the_run(client).info.run_id
        client.delete_run(run_id)
        before = (run / "tracking.json").read_text()
        code, said = typed()
        assert (code, "deleted in MLflow" in said) == (0, True)
        assert client.get_run(run_id).info.lifecycle_stage == "deleted"
        assert (run / "tracking.json").read_text() == before
        assert f"`dlrun sync {run.name}`" in said
        assert typed(run.name)[0] == 0
        assert stored("outputs/mlflow.db") == recorded(run)
        assert typed()[1] == f"{run.name}  complete: {len(points(run)):,} points\n"

    def test_a_deleted_run_is_not_made_anew_where_the_cursor_is_lost(self, client, run, typed):
        client.delete_run(the_run(client).info.run_id)
        (run / "tracking.json").write_text("{}")
        assert "deleted in MLflow" in typed()[1]
        everywhere = [each.experiment_id for each in client.search_experiments(ViewType.ALL)]
        assert len(client.search_runs(everywhere, "", ViewType.ALL)) == 1

    def test_a_deleted_experiment(self, client, run, typed):
        experiment = client.get_experiment_by_name("dlrun").experiment_id
        client.delete_experiment(experiment)
        code, said = typed()
        assert (code, "deleted in MLflow" in said) == (0, True)
        assert client.get_experiment(experiment).lifecycle_stage == "deleted"
        assert typed("last")[0] == 0
        assert client.get_experiment(experiment).lifecycle_stage == "active"
        assert stored("outputs/mlflow.db") == recorded(run)

    def test_a_run_that_was_made_twice_is_one(self, client, run, typed):
        """A server that has carried out late what it was asked before."""
        first = the_run(client)
        uid = {"dlrun.uid": first.data.tags["dlrun.uid"]}
        twin = client.create_run(first.info.experiment_id, tags=uid).info.run_id
        code, said = typed()
        assert (code, "complete" in said) == (0, True)
        assert the_run(client).info.run_id == first.info.run_id
        assert client.get_run(twin).info.status == "KILLED"
        assert stored("outputs/mlflow.db") == recorded(run)


def points(run):
    return (run / "metrics.jsonl").read_text().splitlines()


@pytest.fixture
def training(here):
    """A command that trains for long, and the run that it is delivering to outputs/mlflow.db."""
    words = ["epochs=100000", "log_every='5 steps'", "threads=1", "tracking.checkpoints=false"]
    trainer = subprocess.Popen([sys.executable, "-m", "dlrun", *words])
    try:
        for _ in range(1200):
            cursors = list(here.glob("outputs/runs/*/tracking.json"))
            if cursors and json.loads(cursors[0].read_text()).get("delivered"):
                break
            time.sleep(0.1)
        yield trainer, cursors[0].parent
    finally:
        trainer.kill()
        trainer.wait()


@pytest.mark.proof
def test_sync_elsewhere_while_a_run_trains_and_once_more_after_its_end(training, tmp_path, typed):
    trainer, run = training
    there = f"tracking.uri=sqlite:///{tmp_path}/b.db"
    code, said = typed(there)
    assert (code, "another process" in said) == (1, True)
    assert "mlflow.db" in (run / "tracking.json").read_text()
    trainer.send_signal(signal.SIGINT)
    trainer.wait()
    assert stored("outputs/mlflow.db", "KILLED") == recorded(run)
    code, said = typed(there)
    assert (code, f"{len(points(run)):,} of them delivered now" in said) == (0, True)
    assert stored("b.db", "KILLED") == recorded(run)
    assert typed(there) == (0, f"{run.name}  complete: {len(points(run)):,} points\n")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stopped_delivery_does_not_hold_up_the_end(training):
    trainer, run = training
    children = f"/proc/{trainer.pid}/task/{trainer.pid}/children"
    with open(children) as file:
        delivering = [int(pid) for pid in file.read().split()]
    for pid in delivering:
        os.kill(pid, signal.SIGSTOP)
    trainer.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert trainer.wait(120) == 130
    assert time.monotonic() - began < 45, "on a busy machine; it was 63 s"
    assert stored("outputs/mlflow.db", "KILLED") == recorded(run)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in delivering)


class TestDamagedLine:
    """A digit that a disk has changed."""

    def damage(self, run):
        """Change a digit of a value in the third line; the step of that line."""
        lines = points(run)
        value = json.loads(lines[2])["values"]["train/loss"]
        wrong = lines[2].replace(
            f"{value}", f"{value}"[:-1] + ("1" if f"{value}"[-1] != "1" else "2")
        )
        assert json.loads(wrong)["values"]["train/loss"] != value
        (run / "metrics.jsonl").write_text("\n".join([*lines[:2], wrong, *lines[3:]]) + "\n")
        return json.loads(lines[2])["step"]

    def test_it_is_said_and_not_delivered(self, run, capsys):
        whole = recorded(run)
        step = self.damage(run)
        assert main(["sync", "last", "tracking.uri=sqlite:///b.db"]) == 0
        assert "metrics.jsonl: 1 line is damaged and left out" in capsys.readouterr().err
        assert stored("b.db") == [each for each in whole if each[1] != step]

    def test_what_the_store_has_stays(self, run, typed):
        assert typed("last")[0] == 0
        whole = recorded(run)
        self.damage(run)
        for words in ((), ("last",), ()):
            assert typed(*words)[0] == 0
            assert stored("outputs/mlflow.db") == whole
        [sent] = run.parents[1].glob("artifacts/**/metrics.jsonl")
        assert recorded(sent.parent) == whole

    def test_a_resumed_run_comes_by_it_again(self, run, capsys):
        whole = recorded(run)
        self.damage(run)
        assert main(["resume=last", "epochs=3", "threads=1"]) == 0
        assert "points of metrics.jsonl are lost; going on from" in capsys.readouterr().err
        steps = [s for key, s, _ in recorded(run) if key == "train/loss" and s % 5 == 0]
        assert len(steps) == len(set(steps)), "each once"
        assert {s for key, s, _ in whole if key == "train/loss" and s % 5 == 0} < set(steps)


@pytest.fixture
def slow_to_create(server):
    """A way to the server that carries out what makes something 4 seconds late."""

    class Late(BaseHTTPRequestHandler):
        def _forward(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) or None
            if (
                self.path.endswith(("runs/create", "mlflow/logged-models"))
                and self.command == "POST"
            ):
                time.sleep(4)
            headers = {"Content-Type": self.headers.get("Content-Type", "")}
            asked = urllib.request.Request(server.uri + self.path, body, headers)
            asked.method = self.command
            try:
                answer = urllib.request.urlopen(asked, timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self._forward
            raise AttributeError(name)

        def log_message(self, *_):
            pass

    way = ThreadingHTTPServer(("127.0.0.1", 0), Late)
    threading.Thread(target=way.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{way.server_address[1]}"
    way.shutdown()
    way.server_close()


@pytest.mark.proof
def test_a_server_that_creates_late_makes_one_run(run, typed, slow_to_create, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    (run / "model").mkdir()
    (run / "model" / "MLmodel").write_text("flavors: {}\n")
    for _ in range(2):  # the run, and then its model
        code, said = typed("last", f"tracking.uri={slow_to_create}")
        assert (code, "timed out" in said) == (1, True)
    time.sleep(4)  # until what was asked for is there
    assert typed("last", f"tracking.uri={slow_to_create}")[0] == 0
    uid = json.loads((run / "run.json").read_text())["uid"]
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("dlrun").experiment_id
    asked = f"tags.`dlrun.uid` = '{uid}'"
    [found] = client.search_runs([experiment], asked, ViewType.ALL)
    assert found.info.status == "FINISHED"
    [model] = client.search_logged_models([experiment], f"source_run_id = '{found.info.run_id}'")
    assert model.status == "READY"
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(p.step, p.value) for p in history] == [
        (step, value) for key, step, value in recorded(run) if key == "train/loss"
    ]


@pytest.mark.parametrize("name", ["a%2Fb", "a?b", "a#b", "a b", "ü", "100%"])
def test_a_directory_of_any_name_delivers(untracked, tmp_path, monkeypatch, typed, name, database):
    place = tmp_path / name
    shutil.copytree(untracked / "outputs", place / "outputs")
    monkeypatch.chdir(place)
    [run] = (place / "outputs" / "runs").iterdir()
    put_empty(database, "outputs/mlflow.db")
    assert typed("last")[0] == 0
    assert stored("outputs/mlflow.db") == recorded(run)
    assert typed() == (0, f"{run.name}  complete: {len(points(run)):,} points\n")
    assert list(place.glob("outputs/artifacts/**/recipe.yaml"))
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_fresh_database_in_a_directory_of_any_name(untracked, tmp_path, monkeypatch, typed):
    place = tmp_path / "a%20b?c#d"
    shutil.copytree(untracked / "outputs", place / "outputs")
    monkeypatch.chdir(place)
    assert typed("last", "tracking.uri=sqlite:///x%2Fy/new?.db")[0] == 0
    [run] = (place / "outputs" / "runs").iterdir()
    assert stored("x%2Fy/new?.db") == recorded(run)
    assert {path.name for path in tmp_path.iterdir()} == {place.name}
    assert {path.name for path in place.iterdir()} == {"outputs", "x%2Fy"}


def test_the_scheme_of_an_installed_store_is_known(run, typed, tmp_path, monkeypatch):
    """A package that brings a store of its own, as plugins of MLflow do."""
    plugin = tmp_path / "site" / "plugin-1.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[mlflow.tracking_store]\nfoo = nowhere:Store\n")
    code = "from dlrun.__main__ import console; console()"
    words = ["sync", "last", "tracking.uri=foo://bar"]
    without, with_it = (
        subprocess.run(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        for path in ("", str(tmp_path / "site"))
    )
    assert without.returncode == 2
    assert "MLflow knows no foo://" in without.stderr
    assert with_it.returncode == 1
    assert "not delivered to foo://bar" in with_it.stdout


class TestResume:
    """A run stays with its store, unless another one is typed."""

    MORE = ("resume=last", "epochs=3", "tracking=mlflow", "tracking.model=false")

    @pytest.fixture
    def first(self, run, typed, tmp_path):
        """The store that the run was delivered to first."""
        assert typed("last", f"tracking.uri=sqlite:///{tmp_path}/first.db")[0] == 0
        return tmp_path / "first.db"

    def resume(self, run, *words):
        assert main([*self.MORE, *words]) == 0
        assert len(points(run)) > 0
        return recorded(run)

    @pytest.mark.proof
    def test_the_variable_of_now_moves_no_run(self, first, run, tmp_path, monkeypatch, capsys):
        before = recorded(run)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/second.db")
        after = self.resume(run)
        assert len(after) > len(before)
        assert not (tmp_path / "second.db").exists()
        with closing(sqlite3.connect(first)) as database:
            active = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
            assert len(database.execute(active).fetchall()) == 1
            steps = database.execute("SELECT max(step) FROM metrics").fetchone()
        assert steps == (max(step for _, step, _ in after),)
        said = capsys.readouterr().err
        assert f"the run stays with sqlite:///{first}" in said
        assert 'tracking.uri="$MLFLOW_TRACKING_URI"' in said
        assert f"dlrun sync {run.name}" in said

    def test_a_typed_store_gets_all_points(self, first, run, tmp_path, capsys):
        before = stored(first)
        after = self.resume(run, f"tracking.uri=sqlite:///{tmp_path}/second.db")
        assert stored(tmp_path / "second.db") == after
        assert stored(first) == before
        assert f"moves from sqlite:///{first} to" in capsys.readouterr().err


def test_a_database_that_moved_with_its_outputs_is_the_same(run, typed, tmp_path):
    assert typed("last")[0] == 0
    shutil.move("outputs", "results")
    code, said = typed("outputs=results")
    assert (code, "0 of them delivered now" in said) == (0, True)
    assert stored("results/mlflow.db") == recorded(tmp_path / "results" / "runs" / run.name)
    assert not (tmp_path / "outputs" / "mlflow.db").exists()


WAYS = ("drips", "drips its head", "says nothing", "redirects", "never ends")


class TestHostileServer:
    """Whatever a server does, a request has an end."""

    @pytest.fixture(params=in_suite(["drips"], WAYS))
    def server(self, request):
        listener = socket.create_server(("127.0.0.1", 0))
        way = f"http://127.0.0.1:{listener.getsockname()[1]}"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

        def answer(connection):
            with suppress(OSError), connection:
                connection.recv(65536)
                if request.param == "redirects":
                    time.sleep(0.5)
                    to = f"Location: {way}/{time.monotonic()}\r\nContent-Length: 0\r\n"
                    connection.sendall(
                        f"HTTP/1.1 302 Found\r\n{to}Connection: close\r\n\r\n".encode()
                    )
                elif request.param == "never ends":
                    connection.sendall(head + b"\r\n")
                    while True:
                        connection.sendall(b" " * 1000)
                        time.sleep(0.001)
                elif request.param == "says nothing":
                    time.sleep(60)
                else:
                    dripping = head[:-2] if request.param == "drips its head" else b""
                    connection.sendall(head + b"Content-Length: 500\r\n\r\n" * (not dripping))
                    while True:
                        time.sleep(0.3)
                        connection.sendall(b"x")

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=[connection], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield way
        listener.close()

    def test_sync_comes_to_its_end(self, run, typed, server, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        shutil.copytree(run, run.with_name("another"))
        began = time.monotonic()
        code, said = typed(run.name, "another", f"tracking.uri={server}")
        assert time.monotonic() - began < 12
        assert code == 1
        assert said.count("not delivered to http://127.0.0.1") == 2
        assert typed("last")[0] == 0, "to another store"
        assert stored("outputs/mlflow.db") == recorded(run)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    sparsely(
        [
            (BOMB, "stands for more than 100,000 values"),
            ("a: &a [*a]\n", "*a is within itself"),
            (
                "a: " + "[" * 5000 + "]" * 5000 + "\n",
                "is nested too deeply, in more than 100 levels",
            ),
            ("a: " + "x" * 5_000_000 + "\n", "is larger than 4 MB"),
        ],
        4,
    ),
    ids=["aliases", "a circle", "deep", "huge"],
)
def test_a_recipe_that_cannot_be_read_is_named(run, typed, capsys, tmp_path, text, message):
    path = run / "recipe.yaml"
    recipe = path.read_text()
    record.write_recipe(run, recipe + text)
    assert main(["resume=last"]) == 2
    assert message in capsys.readouterr().err
    code, said = typed("last", "tracking.uri=sqlite:///b.db")
    assert (code, message in said) == (1, True)
    path.write_text(recipe)
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "odd.yaml").write_text(text)
    assert main(["--config-dir", "mine", "optimizer=odd", "tracking=none"]) == 2
    assert f"mine/optimizer/odd.yaml: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", sparsely(["run.json", "status.json", "tracking.json", "metrics.jsonl"], 4)
)
def test_a_record_nested_without_end_is_no_crash(run, typed, capsys, name):
    (run / name).write_text("[" * 200_000 + "\n")
    gc.disable()  # what it finalizes that deep down has no room left either
    try:
        assert main(["resume=last", "tracking=none", "epochs='2 steps'"]) in (0, 2)
        assert typed("last", "tracking.uri=sqlite:///b.db")[0] in (0, 1, 2)
    finally:
        gc.enable()
    assert "Traceback" not in capsys.readouterr().err
