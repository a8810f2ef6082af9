"""What is found of the points of a sweep: said once, by the sweep, with the points concerned."""

import shlex
from pathlib import Path

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.finding import NOTE, WARN, Finding
from dlrun.job.session import Checked
from tests.sweep.typed import directory, points

LINEAR = "linear_network: "


def verdicts(run: Path) -> list[Finding]:
    """What is found of a run after its training."""
    set_up = record.read_json(run / "run.json").get("set_up", ())
    return [each for each in record.findings_of(run) if each.name not in set_up]


def runs(folder: Path) -> dict[str, Path]:
    """The runs by what was changed."""
    found = record.all_runs(folder / "outputs")
    return {record.read_json(run / "run.json")["name"]: run for run in found}


def test_preflight_is_said_once_with_the_points_it_concerns(sweep, tmp_path, capsys):
    words = ("activation=identity,relu", "optimizer.lr=0.1,0.01", "sweep.export=none")
    assert sweep(*words) == 0
    out, err = capsys.readouterr()
    assert err.count(LINEAR) == 1
    assert out.count(LINEAR) == 1
    which = "(activation=identity optimizer.lr=0.1; activation=identity optimizer.lr=0.01)."
    found = record.findings_of(directory(tmp_path))
    [said] = [each for each in found if each.name == "linear_network"]
    assert said.text.endswith(which)
    assert (said.level, said.numbers["points"]) == (WARN, 2)
    assert said.command in out
    assert which in (directory(tmp_path) / "report.html").read_text()
    kept = [name for name, run in runs(tmp_path).items() if record.findings_of(run)]
    assert kept == ["activation=identity optimizer.lr=0.1"], "it was looked at once"
    assert main(shlex.split(said.command)[1:]) == 0
    assert sweep(*words) == 0
    out, err = capsys.readouterr()
    assert (out.count(LINEAR), err.count(LINEAR)) == (1, 0)


def test_what_all_points_have_is_said_so(sweep, tmp_path):
    assert sweep("activation=identity", "optimizer.lr=0.1,0.01,0.03", "epochs='2 steps'") == 0
    found = record.findings_of(directory(tmp_path))
    [said] = [each for each in found if each.name == "linear_network"]
    assert said.text.endswith("(all 3 points).")


def test_strict_stops_every_point(sweep, capsys):
    assert sweep("initializer=constant", "optimizer.lr=0.1,0.01", "preflight=strict") == 1
    out, err = capsys.readouterr()
    assert err.count("preflight=strict: symmetric_units") == 2
    assert err.count("warning: symmetric_units: ") == 1
    assert "(both points)" in out


def test_processes_tell_each_other_what_they_have_found(tmp_path):
    found = [Finding("input_scale", WARN, "Far too large.", {"highest": 300.0}, "dlrun")]
    one, other, alone = Checked(tmp_path), Checked(tmp_path), Checked()
    assert one.find("a") is None
    assert one.keep("a", found)
    assert other.find("a") == found
    assert other.find("b") is None
    assert alone.find("a") is None
    late = Checked(tmp_path)
    assert not late.keep("a", found), "both have looked, one says it"
    one.clear()
    assert Checked(tmp_path).find("a") is None
    assert one.keep("b", [])
    assert other.find("b") == [], "nothing was found, which is known too"


def test_jobs_elsewhere_say_it_once(sweep, tmp_path, capfd):
    parallel = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "epochs='2 steps'")
    assert sweep("activation=identity", "optimizer.lr=0.1,0.01", *parallel) == 0
    out, err = capfd.readouterr()
    assert (out.count(LINEAR), err.count(LINEAR)) == (1, 1)
    assert "(both points)" in out
    assert not [*(directory(tmp_path) / "jobs").glob("checked*")]


@pytest.mark.figures
def test_the_best_run_alone_is_diagnosed(sweep, tmp_path, capsys):
    words = ("optimizer.lr=0.0001,0.00001", "epochs=3")
    assert sweep(*words) == 0
    out = capsys.readouterr().out
    examined = {
        name: "examined" in record.read_json(run / "run.json")
        for name, run in runs(tmp_path).items()
    }
    assert sorted(examined.values()) == [False, True]
    [best] = [run for name, run in runs(tmp_path).items() if examined[name]]
    [found] = verdicts(best)
    assert f"{found.name}: {found.text[:-1]} (the best run, {best.name})." in out
    assert found.command in out
    before = best.stat().st_mtime_ns, (best / "run.json").read_bytes()
    assert sweep(*words) == 0
    assert (best.stat().st_mtime_ns, (best / "run.json").read_bytes()) == before
    assert f"(the best run, {best.name})" in capsys.readouterr().out

    capsys.readouterr()
    alone = [each for each in words if not each.startswith("optimizer")]
    name = next(name for name in examined if examined[name])
    lr = next(word for word in name.split() if word.startswith("optimizer.lr"))
    assert main(["tracking=none", "threads=1", lr, *alone, "outputs=alone"]) == 0
    [single] = record.all_runs(tmp_path / "alone")
    assert [(each.name, each.numbers) for each in verdicts(single)] == [(found.name, found.numbers)]


@pytest.mark.parametrize(("export", "many"), [("none", 0), ("all", 2)])
def test_what_is_exported_is_diagnosed(sweep, tmp_path, export, many):
    assert sweep("optimizer.lr=0.1,0.01", f"sweep.export={export}") == 0
    found = [record.read_json(run / "run.json") for run in runs(tmp_path).values()]
    assert sum("examined" in info for info in found) == many


@pytest.mark.figures
def test_the_best_cross_validation_has_the_figures_of_its_folds(sweep, tmp_path):
    words = ("procedure=cross_validate", "procedure.folds=2", "optimizer.lr=0.1,0.0001")
    assert sweep(*words) == 0
    drawn = {
        run.name for run in record.all_runs(tmp_path / "outputs") if (run / "figures").is_dir()
    }
    points = [record.read_json(run / "run.json") for run in record.all_runs(tmp_path / "outputs")]
    best = next(p for p in points if p.get("kind") and "optimizer.lr=0.1" in p["overrides"])
    assert drawn == set(best["runs"])


def test_what_procedures_find_is_said_of_each_point(sweep, tmp_path, capsys):
    assert sweep("procedure=overfit", "procedure.samples=[1]", "optimizer=sgd,adam") == 0
    out = capsys.readouterr().out
    assert out.count("memorized: ") == 2
    assert "(optimizer=sgd)." in out
    found = record.findings_of(directory(tmp_path))
    assert [(each.name, each.level) for each in found] == 2 * [("memorized", NOTE)]
    assert "2 finished\n" in out, "what is not judged lacks no value"
    assert "no val/accuracy" not in out


@pytest.mark.parametrize(
    ("words", "names", "said"),
    [
        (
            [
                "bias_variance",
                "procedure.sets=2",
                "data=toy",
                "data.kind=sine",
                "model.hidden=[2],[3]",
            ],
            ["model.hidden=[2]", "model.hidden=[3]"],
            ["Over 2 training sets", "bias_squared"],
        ),
        (["probe", "sweep.repeats=2"], ["seed 0", "seed 1"], ["layer", "gradient"]),
    ],
)
def test_what_no_value_ranks_is_shown_of_each_point(sweep, tmp_path, capsys, words, names, said):
    assert sweep(f"procedure={words[0]}", *words[1:]) == 0
    out = capsys.readouterr().out
    page = (directory(tmp_path) / "report.html").read_text()
    assert all(f"\n{name}\n" in out and f"<code>{name}</code>" in page for name in names)
    assert [out.count(each) for each in said] == [2] * len(said)
    assert all(each in page for each in said)
    assert "val/" not in out.splitlines()[0]
    assert "<b>none</b>" not in page


def test_what_a_value_ranks_is_shown_in_the_ranking_alone(sweep, capsys):
    words = ("procedure=ensemble", "procedure.seeds=2", "data.samples=100", "optimizer=sgd,adam")
    assert sweep(*words) == 0
    assert "mean member" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.repeats=2"], ["(seed 0).", "(seed 1)."]),
        (["optimizer=sgd", "seed=0,1"], ["(seed 0).", "(seed 1)."]),
        pytest.param(
            ["optimizer=sgd,adam", "sweep.repeats=2"],
            [f"(optimizer={name}, seed {n})." for name in ("sgd", "adam") for n in (0, 1)],
            marks=pytest.mark.proof,
        ),
    ],
)
def test_what_repeated_procedures_find_names_the_seed(sweep, tmp_path, words, said):
    assert sweep("procedure=overfit", "procedure.samples=[1]", *words) == 0
    found = record.findings_of(directory(tmp_path))
    assert [next(s for s in said if each.text.endswith(s)) for each in found] == said


def test_what_several_seeds_find_alike_is_said_once(sweep, tmp_path):
    words = ("procedure=ensemble", "procedure.seeds=2", "initializer=zeros", "data.samples=100")
    assert sweep(*words, "optimizer.lr=0", "batch_size=32,64", "sweep.repeats=2") == 0
    [found] = [f for f in record.findings_of(directory(tmp_path)) if "same samples" in f.text]
    assert found.text.endswith("(batch_size=32, seeds 0, 2; batch_size=64, seeds 0, 2).")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["procedure=retrain", "procedure.strategy=restart,continue"],
            "procedure.strategy cannot change val/accuracy, which is the first training's",
        ),
        (["procedure=train,retrain"], "Each procedure is judged by a value of its own"),
    ],
)
def test_what_cannot_be_judged_is_not(sweep, tmp_path, words, said):
    assert sweep(*words, "data.samples=100", "model.hidden=[4]", "preflight=off") == 0
    found = record.findings_of(directory(tmp_path))
    [note] = [each for each in found if said in each.text]
    assert not note.command
    assert not [each for each in found if each.name == "hardly_matters" or "seeds" in each.text]


@pytest.mark.parametrize(
    ("procedure", "split"),
    [(["cross_validate", "folds=2"], "held_out"), (["bagging", "models=2"], "out_of_bag")],
)
def test_a_procedure_is_judged_under_the_name_of_its_value(sweep, tmp_path, procedure, split):
    name, option = procedure
    words = [f"procedure={name}", f"procedure.{option}", "data.samples=100", "preflight=off"]
    assert sweep(*words, "optimizer.lr=0.1") == 0
    key = f"{split}/accuracy"
    assert record.read_json(directory(tmp_path) / "sweep.json")["objective"] == key
    runs = [point.runs[0] for point in points(tmp_path)]
    ends = [record.read_points(tmp_path / "outputs" / str(run.directory)) for run in runs]
    assert [run.value for run in runs] == [record.last_values(end)[key] for end in ends]
    errors = [record.last_values(end).get(f"{key}_stderr") for end in ends]
    assert [point.stderr for point in points(tmp_path)] == errors
    assert (errors != [None]) == (name == "cross_validate")
