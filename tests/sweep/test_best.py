"""The test split is measured for the run that a sweep names best, at its end, and for no other."""

import fcntl
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.errors import Interrupted, Mistake
from dlrun.job import factory
from dlrun.procedure import train
from dlrun.record import Record, named, test_set
from tests.conftest import sparsely
from tests.sweep.conftest import QUICK
from tests.sweep.typed import directory, points, table

WORDS = ("optimizer.lr=0.1,0.01,0.03",)


def of_test_split(run: Path) -> dict[str, float]:
    """What a record says of the test split."""
    values = [item for point in record.read_points(run) for item in point["values"].items()]
    found = [(key, value) for key, value in values if key.startswith("test/")]
    assert len(found) == len(dict(found)), "once"
    assert bool(found) == ("test_measured" in record.read_json(run / "run.json"))
    return dict(found)


def best(folder: Path) -> Path:
    """The best run of the one sweep below a working directory."""
    runs = [run for point in points(folder) for run in point.runs]
    return folder / "outputs" / str(max(runs, key=lambda run: run.value or 0.0).directory)


@pytest.fixture
def measured(monkeypatch):
    """What was measured of the test split, each time that it was."""
    found = []
    measure = train.measured

    def remember(run: Any, split: str) -> dict[str, float]:
        assert split == "test"
        found.append(measure(run, split))
        return found[-1]

    monkeypatch.setattr(train, "measured", remember)
    return found


def test_the_best_run_alone_is_tested_as_one_command_would(sweep, tmp_path, measured, capsys):
    assert sweep(*WORDS, "epochs=2") == 0
    said, run = capsys.readouterr().out, best(tmp_path)
    assert len(measured) == 1
    assert {path.name: of_test_split(path) for path in record.all_runs(tmp_path / "outputs")} == {
        path.name: measured[0] if path == run else {}
        for path in record.all_runs(tmp_path / "outputs")
    }
    when = datetime.fromisoformat(record.read_json(run / "run.json")["test_measured"][0]["when"])
    assert abs(when.timestamp() - record.read_points(run)[-1]["time"] / 1000) < 60
    assert record.read_status(run)["status"] == "FINISHED"
    assert f"test/accuracy {measured[0]['test/accuracy']:.4f}, test/loss " in said
    assert f"measured once, only for the best point, by its run {run.name}" in said
    first, second = (line.split() for line in said.splitlines() if line[:3] in ("1  ", "2  "))
    assert len(first) == len(second) + 1
    page = (directory(tmp_path) / "report.html").read_text()
    assert "<th class=number>test/accuracy</th>" in page
    assert "measured once, only for the best point" in page

    word = next(p.overrides[0] for p in points(tmp_path) if str(p.runs[0].directory) in str(run))
    assert main([*QUICK, word, "epochs=2", "outputs=alone"]) == 0
    [alone] = record.all_runs(tmp_path / "alone")
    assert of_test_split(alone) == measured[0] == measured[1], "to the last bit"


def test_it_is_never_tested_twice(sweep, tmp_path, measured):
    assert sweep(*WORDS) == 0
    assert sweep(*WORDS) == 0
    assert len(measured) == 1
    values = [(run.value, run.loss) for point in points(tmp_path) for run in point.runs]
    assert sweep(*reversed(WORDS), "sweep.seed=3", "sweep.trials=2") == 0
    (tmp_path / "outputs" / "sweeps").rename(tmp_path / "lost")
    assert sweep(*WORDS) == 0, "taken over from the runs on disk"
    assert len(measured) == 1
    assert [(run.value, run.loss) for point in points(tmp_path) for run in point.runs] == values


def test_a_second_measurement_of_a_sweep_that_goes_on_is_said(sweep, tmp_path, capsys):
    words = ("sweep=random", "sweep.seed=1", "optimizer.lr=tag(log,interval(1e-5,1))")
    found = []
    for many in (1, 9):
        assert sweep(*words, f"sweep.trials={many}") == 0
        found.append(best(tmp_path).name)
    assert found[0] != found[1], "another is the best"
    before, _, after = capsys.readouterr().out.rpartition(f"by its run {found[1]}")
    assert f"measured once, only for the best point, by its run {found[0]}" in before
    assert after.startswith("; 2 runs of this sweep have been measured on the test split by now")


@pytest.mark.figures
def test_a_sweep_that_was_killed_before_does_it_then(sweep, tmp_path, monkeypatch):
    def killed(run: Any, split: str) -> dict[str, float]:
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(train, "measured", killed)
        assert sweep(*WORDS) == 143
    runs = record.all_runs(tmp_path / "outputs")
    assert len(runs) == 3
    assert not any(map(of_test_split, runs))
    assert not (directory(tmp_path) / "report.html").exists()
    assert sweep(*WORDS) == 0
    assert [run for run in runs if of_test_split(run)] == [best(tmp_path)]
    assert (best(tmp_path) / "figures" / "loss.png").exists()


def test_two_sweeps_do_not_complete_one_run_at_once(sweep, tmp_path, monkeypatch):
    complete, held = factory.complete, []

    def is_held(path: Path) -> bool:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def remember(*given: Any) -> None:
        held.extend(map(is_held, (tmp_path / "outputs" / "claims").iterdir()))
        complete(*given)

    monkeypatch.setattr(factory, "complete", remember)
    assert sweep(*WORDS) == 0
    assert sorted(held) == [False, False, True]


@pytest.mark.figures
@pytest.mark.parametrize(
    ("words", "count"),
    sparsely([(["test=false"], 0), (["sweep.export=none"], 1), (["sweep.export=all"], 1)], 3),
)
def test_what_is_exported_is_another_matter(sweep, tmp_path, measured, words, count):
    assert sweep(*WORDS, *words) == 0
    assert len(measured) == count
    figures = list((tmp_path / "outputs").glob("runs/*/figures"))
    assert len(figures) == {"none": 0, "all": 3}.get(words[0].rpartition("=")[2], 1)


def test_the_best_of_repeated_points_has_the_best_mean(sweep, tmp_path, measured):
    """Seeds that are swept are repeats: the best single run may be of another point."""
    assert sweep("optimizer.lr=0.1,0.03,0.01", "seed=0,1", "epochs=2") == 0
    means: dict[float, list[Any]] = {}
    for point in points(tmp_path):
        means.setdefault(point.values["optimizer.lr"], []).append(point.runs[0])
    wanted = max(means.values(), key=lambda runs: sum(run.value for run in runs))
    run = min(wanted, key=lambda run: (-run.value, run.loss))
    assert [one for one in record.all_runs(tmp_path / "outputs") if of_test_split(one)] == [
        tmp_path / "outputs" / run.directory
    ]


@pytest.mark.proof
def test_a_stage_that_another_follows_tests_nothing(sweep, tmp_path, measured):
    stages = "sweep.stages=[{epochs: 1}, {epochs: 2, around: 1}]"
    assert sweep("optimizer.lr=0.1,0.01", stages) == 0
    assert len(measured) == 1
    [run] = [run for run in record.all_runs(tmp_path / "outputs") if of_test_split(run)]
    assert "epochs=2" in record.read_json(run / "run.json")["overrides"]


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, of MLflow's queries
def test_it_is_delivered_with_the_other_points(sweep, tmp_path, measured):
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path}/store.db"
    words = (*WORDS, "tracking=mlflow", f"tracking.uri={store}", "tracking.model=false")
    assert sweep(*words) == 0
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("dlrun")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {
        run.data.tags["dlrun.id"]: {k: v for k, v in run.data.metrics.items() if "test/" in k}
        for run in runs
    }
    expected = {run.name: of_test_split(run) for run in record.all_runs(tmp_path / "outputs")}
    assert found == expected | {directory(tmp_path).name: measured[0]}
    assert {run.info.status for run in runs} == {"FINISHED"}
    [chosen] = [run for run in runs if run.data.tags["dlrun.id"] == best(tmp_path).name]
    for key in chosen.data.metrics:
        steps = [at.step for at in client.get_metric_history(chosen.info.run_id, key)]
        assert len(steps) == len(set(steps)), "each point once"


def test_a_best_run_that_is_gone_is_trained_again(sweep, tmp_path, capsys):
    words = ["optimizer.lr=0.01,0.1", "data.samples=60"]
    assert sweep(*words) == 0
    before = table(tmp_path)
    where = directory(tmp_path)
    for run in record.all_runs(tmp_path / "outputs"):
        shutil.rmtree(run)
    with pytest.raises(Mistake, match=r"the best run of this sweep, .*, is gone; typed again"):
        named.find(tmp_path / "outputs", where.name)
    capsys.readouterr()
    assert sweep(*words) == 0
    said = capsys.readouterr()
    assert said.err.startswith("warning: 2 runs of the sweep are gone from ")
    assert said.err.endswith("what they came to counts; the best is trained again\n")
    [run] = record.all_runs(tmp_path / "outputs")
    assert named.find(tmp_path / "outputs", where.name) == run
    assert "test/accuracy" in record.last_values(record.read_points(run))
    assert table(tmp_path) == before


def of_tests(outputs: str) -> list[dict[str, float]]:
    """What the records of procedures say of the test split, in their order."""
    runs = record.all_runs(outputs)
    own = [run for run in runs if record.read_json(run / "run.json").get("kind") == "procedure"]
    ends = [record.last_values(record.read_points(run)) for run in own]
    return [{key: v for key, v in end.items() if key.startswith("test/")} for end in ends]


@pytest.mark.parametrize(
    "procedure",
    [("procedure=retrain",), ("procedure=ensemble", "procedure.seeds=2")],
    ids=["retrain", "ensemble"],
)
def test_a_procedure_is_tested_where_it_is_the_best_or_typed_alone(sweep, tmp_path, procedure):
    """The command alone takes the sweep's record over, and measures what the sweep did not."""
    words = [*procedure, "model.hidden=[4]", "data.samples=200", "preflight=off"]
    rates = ("0.1", "0.0001")
    alone = [[*QUICK, *words, f"optimizer.lr={rate}"] for rate in rates]
    for one in alone:
        assert main([*one, "outputs=fresh"]) == 0
    fresh = of_tests("fresh")
    assert all(fresh)
    assert sweep(*words, f"optimizer.lr={','.join(rates)}") == 0
    runs = record.all_runs("outputs")
    assert of_tests("outputs") == [fresh[0], {}]
    assert main(alone[1]) == 0
    assert of_tests("outputs") == fresh
    assert sweep(*words, f"optimizer.lr={','.join(rates)}") == 0
    assert record.all_runs("outputs") == runs
    assert of_tests("outputs") == fresh
    tables = [table for run in runs if (table := record.read_json(run / "run.json").get("table"))]
    assert all("test" in str(table) for table in tables), "the sweep takes nothing away"
    assert len(tables) == 2


@pytest.mark.parametrize("killed", ["append", "note"])
def test_a_measurement_and_the_word_of_it_are_never_apart(sweep, tmp_path, monkeypatch, killed):
    """Whichever of the two a kill comes before: of the best run, and of one of a procedure."""
    append = Record.append

    def dying(*given: Any) -> None:
        if killed == "note" or any(name.startswith("test/") for name in given[-1]):
            raise Interrupted(15)
        append(*given)

    where = (Record, "append") if killed == "append" else (test_set, "note")
    short = ["model.hidden=[4]", "data.samples=200", "preflight=off", *QUICK]
    again = [*short, "procedure=retrain", "optimizer.lr=0.0001"]
    assert main(["-m", *again[:-1], "optimizer.lr=0.1,0.0001"]) == 0
    for words in (["-m", *WORDS, *short], again):
        with monkeypatch.context() as patch:
            patch.setattr(*where, dying)
            assert main(words) == 143
        assert main(words) == 0
    runs = [run for run in record.all_runs(tmp_path / "outputs") if not named.is_procedure(run)]
    assert sum(bool(of_test_split(run)) for run in runs) == 3


def test_a_procedure_that_was_killed_once_it_was_tested_is_ended_then(sweep, monkeypatch):
    words = ["procedure=ensemble", "procedure.seeds=2", "model.hidden=[4]", "data.samples=200"]
    words += ["preflight=off", "optimizer.lr=0.1,0.0001"]
    append = Record.append

    def killed(self: Record, step: int, epoch: float, values: dict[str, float]) -> None:
        append(self, step, epoch, values)
        if any(name.startswith("test/") for name in values):
            raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "append", killed)
        assert sweep(*words) == 143
    tested = of_tests("outputs")
    assert tested[0]
    assert sweep(*words) == 0
    assert of_tests("outputs") == tested
    runs = record.all_runs("outputs")
    assert {record.read_status(run)["status"] for run in runs} == {record.FINISHED}
