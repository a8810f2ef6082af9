"""The summary run of a sweep in a real store, and no store at all."""

import json
import logging
import time
from pathlib import Path

import pytest

from dlrun.tracking import summary


@pytest.fixture
def client(database):
    from mlflow import MlflowClient

    return MlflowClient(database)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "outputs" / "sweeps" / "b2c3d4"
    made.mkdir(parents=True)
    asked = {
        "id": tmp_path.name[-20:],
        "command": "dlrun -m optimizer.lr=0.1,0.01",
        "started": "2026-11-03T12:34:56+00:00",
        "cwd": "/",
        "overrides": ["model=mlp"],
        "dimensions": [
            {"key": "optimizer.lr", "kind": "categorical", "choices": [0.1, 0.01], "zip": None},
            {"key": "l2", "kind": "float", "scale": "log", "low": 1e-4, "high": 1.0, "zip": None},
        ],
        "objective": "val/accuracy",
        "direction": "maximize",
        "sampler": "random",
        "trials": 2,
        "repeats": 1,
        "settings": {"trials": 2, "retries": 1, "pruner": None},
    }
    (made / "sweep.json").write_text(json.dumps(asked))
    (made / "report.html").write_text("<p>first</p>")
    return made


def add(directory, trial, value, status="FINISHED"):
    entry = {
        "trial": trial,
        "hash": str(trial),
        "values": {"optimizer.lr": 0.1, "l2": 0.5 + trial},
        "overrides": ["optimizer.lr=0.1", f"l2={0.5 + trial}"],
        "runs": [{"seed": 0, "status": status, "value": value, "directory": None, "message": ""}],
        "status": status,
    }
    with (directory / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(entry) + "\n")


def test_one_run_holds_the_report_the_best_value_and_the_settings(
    directory, database, client, tmp_path
):
    add(directory, 0, 0.7)
    add(directory, 1, 0.9)
    run_id = summary.send(directory, database)
    run = client.get_run(run_id)
    id = json.loads((directory / "sweep.json").read_text())["id"]
    assert run.info.run_name == f"sweep {id}"
    assert run.data.tags["dlrun.sweep"] == id
    assert run.data.tags["best.l2"] == "1.5"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best/val_accuracy"] == 0.9
    assert run.data.metrics["points/finished"] == 2
    expected = {
        "sweep.sampler": "random",
        "sweep.objective": "val/accuracy",
        "sweep.direction": "maximize",
        "sweep.trials": "2",
        "sweep.retries": "1",
        "search.optimizer.lr": "0.1, 0.01",
        "search.l2": "0.0001 to 1, log",
        "fixed": "model=mlp",
    }
    assert expected.items() <= run.data.params.items()
    copy = client.download_artifacts(run_id, "report.html", str(tmp_path))
    assert Path(copy).read_text() == "<p>first</p>"


def test_the_same_sweep_typed_again_updates_its_run(directory, database, client, tmp_path, history):
    add(directory, 0, 0.7)
    run_id = summary.send(directory, database)
    assert summary.send(directory, database) == run_id
    assert history(database, run_id, "best/val_accuracy") == [(1, 0.7)]
    add(directory, 1, 0.8)
    asked = json.loads((directory / "sweep.json").read_text())
    (directory / "sweep.json").write_text(json.dumps(asked | {"trials": 5}))
    (directory / "report.html").write_text("<p>second</p>")
    (directory / "tracking.json").unlink()  # the cursor is a hint
    assert summary.send(directory, database) == run_id
    assert history(database, run_id, "best/val_accuracy") == [(1, 0.7), (2, 0.8)]
    tags = client.get_run(run_id).data.tags
    assert tags["resumed.sweep.trials"] == "5"
    copy = client.download_artifacts(run_id, "report.html", str(tmp_path))
    assert Path(copy).read_text() == "<p>second</p>"
    found = client.search_runs(
        [client.get_run(run_id).info.experiment_id], f"tags.`dlrun.sweep` = '{asked['id']}'"
    )
    assert [each.info.run_id for each in found] == [run_id]


def test_a_sweep_with_failures_says_so(directory, database, client):
    add(directory, 0, 0.7)
    add(directory, 1, None, "FAILED")
    run = client.get_run(summary.send(directory, database))
    assert run.info.status == "FAILED"
    assert run.data.tags["dlrun.message"] == "1 of 2 points failed"
    assert run.data.metrics["best/val_accuracy"] == 0.7


def test_without_any_value_there_is_no_metric(directory, database, client):
    add(directory, 0, None, "FAILED")
    assert client.get_run(summary.send(directory, database)).data.metrics == {}


def test_a_dead_server_costs_one_warning_and_no_time(directory, dead_server, caplog):
    add(directory, 0, 0.7)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert summary.send(directory, dead_server.uri) is None
    assert time.monotonic() - begun < 15
    assert len(caplog.records) == 1
    assert "Connection refused" in caplog.text
    assert "typed again" in caplog.text


def test_what_a_dead_server_missed_arrives_later(directory, dead_server, history):
    add(directory, 0, 0.7)
    assert summary.send(directory, dead_server.uri) is None
    dead_server.start()
    run_id = summary.send(directory, dead_server.uri)
    assert history(dead_server.uri, run_id, "best/val_accuracy") == [(1, 0.7)]


def test_importing_it_does_not_import_mlflow():
    import subprocess
    import sys

    code = "import sys; import dlrun.tracking.summary; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
