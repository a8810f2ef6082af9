"""The summary run of a sweep in a real store, and no store at all."""

import json
from pathlib import Path

import pytest

from dlrun import record
from dlrun.errors import Mistake
from dlrun.sweep import summary
from dlrun.tracking.sync import sync


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


def send(directory, uri):
    """MLflow's id of the summary, which is delivered as any record is; None where it is not."""
    summary.prepare(directory)
    cursor = record.read_json(directory / "tracking.json")
    record.write_json(directory / "tracking.json", cursor | {"done": False})  # as `ship` does
    failed = sync(directory.parent.parent, [directory.name], uri)
    return None if failed else record.read_json(directory / "tracking.json")["run_id"]


def add(directory, trial, value, status="FINISHED"):
    entry = {
        "trial": trial,
        "hash": str(trial),
        "values": {"optimizer.lr": 0.1, "l2": 0.5 + trial},
        "overrides": ["optimizer.lr=0.1", f"l2={0.5 + trial}"],
        "runs": [{"seed": 0, "hash": str(trial), "status": status, "value": value}],
        "status": status,
    }
    with (directory / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(entry) + "\n")


def test_one_run_holds_the_report_the_best_value_and_the_settings(
    directory, database, client, tmp_path
):
    add(directory, 0, 0.7)
    add(directory, 1, 0.9)
    run_id = send(directory, database)
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
    run_id = send(directory, database)
    assert send(directory, database) == run_id
    assert history(database, run_id, "best/val_accuracy") == [(1, 0.7)]
    add(directory, 1, 0.8)
    asked = json.loads((directory / "sweep.json").read_text())
    (directory / "sweep.json").write_text(json.dumps(asked | {"trials": 5}))
    (directory / "report.html").write_text("<p>second</p>")
    (directory / "tracking.json").unlink()  # the cursor is a hint
    assert send(directory, database) == run_id
    assert history(database, run_id, "best/val_accuracy") == [(1, 0.7), (2, 0.8)]
    tags = client.get_run(run_id).data.tags
    assert tags["resumed.sweep.trials"] == "5"
    copy = client.download_artifacts(run_id, "report.html", str(tmp_path))
    assert Path(copy).read_text() == "<p>second</p>"
    found = client.search_runs(
        [client.get_run(run_id).info.experiment_id], f"tags.`dlrun.sweep` = '{asked['id']}'"
    )
    assert [each.info.run_id for each in found] == [run_id]


def test_where_points_were_trained_anew_the_summary_is_a_fresh_run(
    directory, database, client, history
):
    add(directory, 0, 0.9)
    first = send(directory, database)
    (directory / "ledger.jsonl").unlink()
    add(directory, 0, 0.7)  # on other data
    second = send(directory, database)
    assert second != first
    assert history(database, second, "best/val_accuracy") == [(1, 0.7)]
    assert "dlrun.replaced" in client.get_run(first).data.tags


def test_a_sweep_with_failures_says_so(directory, database, client):
    add(directory, 0, 0.7)
    add(directory, 1, None, "FAILED")
    run = client.get_run(send(directory, database))
    assert run.info.status == "FAILED"
    assert run.data.tags["dlrun.message"] == "1 of 2 points failed"
    assert run.data.metrics["best/val_accuracy"] == 0.7


def test_without_any_value_there_is_no_metric(directory, database, client):
    add(directory, 0, None, "FAILED")
    assert client.get_run(send(directory, database)).data.metrics == {}


@pytest.mark.proof
def test_what_a_dead_server_missed_arrives_later(directory, dead_server, history, capsys):
    add(directory, 0, 0.7)
    assert send(directory, dead_server.uri) is None
    assert f"{directory.name}  not delivered to " in capsys.readouterr().out
    dead_server.start()
    assert sync(directory.parent.parent, [directory.name], dead_server.uri) == 0
    assert f"{directory.name}  complete: 1 point, 1 of them" in capsys.readouterr().out
    run_id = record.read_json(directory / "tracking.json")["run_id"]
    assert history(dead_server.uri, run_id, "best/val_accuracy") == [(1, 0.7)]


def test_sync_takes_the_start_of_a_sweeps_id(directory, client, database, tmp_path):
    outputs = tmp_path / "outputs"
    with pytest.raises(Mistake, match=r"^b2: the sweep b2c3d4 has no summary yet; it gets one"):
        sync(outputs, ["b2"], database)
    summary.prepare(directory)
    assert sync(outputs, ["b2"], database) == 0
    assert client.get_run(record.read_json(directory / "tracking.json")["run_id"])
    run = outputs / "runs" / "b2-another"
    run.mkdir(parents=True)
    record.write_json(run / "run.json", {"started": "2026-11-03T12:34:56+00:00"})
    with pytest.raises(Mistake, match=r"^'b2' could be run b2-another or sweep b2c3d4; write more"):
        sync(outputs, ["b2"], database)


def test_without_names_sync_delivers_the_summaries_that_were_tracked(
    directory, database, client, capsys
):
    add(directory, 0, 0.7)
    run_id = send(directory, database)
    cursor = record.read_json(directory / "tracking.json")
    record.write_json(directory / "tracking.json", cursor | {"done": False})
    (directory / "report.html").write_text("<p>newer</p>")
    capsys.readouterr()
    assert sync(directory.parent.parent, []) == 0
    assert capsys.readouterr().out.startswith(f"{directory.name}  complete: 1 point, 0 of them")
    copy = client.download_artifacts(run_id, "report.html")
    assert Path(copy).read_text() == "<p>newer</p>"


def test_importing_it_does_not_import_mlflow():
    import subprocess
    import sys

    code = "import sys; import dlrun.sweep.summary; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
