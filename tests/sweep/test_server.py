"""Four jobs at once against a real MLflow server: nothing is lost, nothing is there twice."""

import os
import subprocess
import sys

import pytest

from dlrun import record
from tests.sweep.typed import points
from tests.tracking.conftest import Server

WORDS = ["threads=1", "epochs=3", "log_every='5 steps'", "optimizer.lr=0.3,0.1,0.03,0.01"]
PARALLEL = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "tracking.model=false"]


@pytest.fixture
def server(tmp_path):
    """A server of this test alone."""
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@pytest.mark.proof
def test_four_jobs_at_once_lose_nothing(server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dlrun", "-m", *WORDS, "optimizer.momentum=0.9,0.5", *PARALLEL],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": server.uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "did not reach" not in done.stderr, "nothing was left behind"

    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("dlrun")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    [summary] = [run for run in found if run.data.tags.get("dlrun.summary") == "true"]
    mine = {run.data.tags["dlrun.uid"]: run for run in found if run is not summary}
    on_disk = record.all_runs(tmp_path / "outputs")
    assert len(found) == 9, "each run once, and the summary"
    assert len(mine) == len(on_disk) == 8

    sweep = summary.data.tags["dlrun.sweep"]
    for directory in on_disk:
        info = record.read_json(directory / "run.json")
        run = mine[info["uid"]]
        assert run.info.status == "FINISHED"
        assert run.info.run_name == info["name"]
        assert run.data.tags["dlrun.sweep"] == sweep == info["sweep"]["id"]
        rate = info["sweep"]["values"]["optimizer.lr"]
        assert f"optimizer.lr={rate}" in info["name"], "named by its overrides"
        assert run.data.tags["sweep.optimizer.lr"] == str(rate)
        told = record.read_points(directory)
        for key in {key for point in told for key in point["values"]}:
            expected = [
                (point["step"], point["values"][key]) for point in told if key in point["values"]
            ]
            history = client.get_metric_history(run.info.run_id, key)
            assert sorted((at.step, at.value) for at in history) == expected, key

    best = max(point.value or 0.0 for point in points(tmp_path))
    assert summary.data.metrics["best/val_accuracy"] == best
    assert summary.data.metrics["points/finished"] == 8
    assert summary.data.params["sweep.objective"] == "val/accuracy"
    assert "report.html" in [file.path for file in client.list_artifacts(summary.info.run_id)]
