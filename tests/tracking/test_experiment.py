"""In which experiment a run is found: that of its recipe, of the environment, or `dlrun`."""

import pytest
from mlflow import MlflowClient

from dlrun import record
from dlrun.__main__ import main

QUICK = ("epochs=2 steps", "threads=1", "tracking.checkpoints=false", "tracking.model=false")


def experiments(uri):
    """The runs of each experiment, by its name."""
    client = MlflowClient(uri)
    found = {}
    for each in client.search_experiments():
        runs = client.search_runs([each.experiment_id])
        if runs:
            found[each.name] = sorted(run.data.tags["dlrun.id"] for run in runs)
    return found


@pytest.mark.proof
def test_a_name_that_is_typed_comes_first_then_the_variable(here, monkeypatch):
    uri = f"sqlite:///{here}/outputs/mlflow.db"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the shell")
    assert main([*QUICK]) == 0
    assert main([*QUICK, "tracking.experiment=typed"]) == 0
    (here / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\n# Mine\ntracking:\n  experiment: in a file\n"
    (here / "mine" / "experiment" / "own.yaml").write_text(text)
    assert main([*QUICK, "--config-dir", "mine", "experiment=own"]) == 0
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert main([*QUICK]) == 0
    shell, typed, file, plain = (run.name for run in record.all_runs("outputs"))
    names = {"from the shell": [shell], "typed": [typed], "in a file": [file], "dlrun": [plain]}
    assert experiments(uri) == names
    # A resumed run stays where it is, whatever the shell says by then.
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert main([f"resume={shell}", "epochs=4 steps"]) == 0
    assert main([f"resume={plain}", "epochs=4 steps"]) == 0
    assert main(["sync"]) == 0
    assert experiments(uri) == names
    assert main([f"resume={plain}", "epochs=6 steps", "tracking.experiment=moved"]) == 0
    assert experiments(uri)["moved"] == [plain]


def test_a_sweep_goes_where_the_variable_says(here, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "rates")
    assert main(["-m", "epochs=2 steps", "threads=1", "tracking.model=false", "seed=0,1"]) == 0
    [(name, runs)] = experiments(f"sqlite:///{here}/outputs/mlflow.db").items()
    assert (name, len(runs)) == ("rates", 3)
