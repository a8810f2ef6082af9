"""`dlrun evaluate` says what the record says of the test split, and measures other data as such."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn import metrics

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.job.training import trained
from dlrun.recipe.resume import placed
from dlrun.record import test_set
from tests.verb.conftest import SHORT, write_houses, write_photos


def evaluated(capsys, *words):
    capsys.readouterr()
    assert main(["evaluate", "--json", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def recorded(run):
    values = record.last_values(record.read_points(run))
    return {key[5:]: value for key, value in values.items() if key.startswith("test/")}


@pytest.mark.parametrize("name", ["digits", "prices", "photos"])
def test_the_test_split_gives_what_training_recorded(name, runs, capsys):
    found = evaluated(capsys, runs[name].name)
    assert found["values"] == recorded(runs[name])
    assert found["samples"] == record.read_json(runs[name] / "run.json")["data"]["samples"]["test"]


@pytest.mark.parametrize(
    ("words", "split", "said"),
    [
        (["procedure=cross_validate", "procedure.folds=2"], "held_out", "of held_out"),
        (["procedure=bagging", "procedure.models=2"], "val", "of val"),
    ],
)
def test_a_run_of_a_procedure_says_which_samples_it_has(words, split, said, here, capsys):
    assert main([*words, "model.hidden=[4]", *SHORT]) == 0
    runs = [run for run in record.all_runs("outputs") if (run / "checkpoints").is_dir()]
    member = runs[0].name
    capsys.readouterr()
    assert main(["evaluate", member]) == 2
    error = capsys.readouterr().err
    assert f"split=test: run {member} has no test samples: one of a procedure, it has its" in error
    assert said in error
    assert f"; split={split} measures these" in error
    found = evaluated(capsys, member, f"split={split}")
    values = record.last_values(record.read_points(runs[0]))
    if split == "held_out":
        assert found["values"]["loss"] == pytest.approx(values["held_out/loss"])
    assert main(["evaluate", member, f"split={split}s"]) == 2
    assert f"did you mean split={split}?" in capsys.readouterr().err


def test_a_split_that_is_held_back_can_be_measured(here, capsys):
    assert main(["data.train_dev=10%", "model.hidden=[4]", *SHORT]) == 0
    values = record.last_values(record.read_points(record.find("outputs", "last")))
    found = evaluated(capsys, "last", "split=train_dev")
    assert found["values"]["loss"] == pytest.approx(values["train_dev/loss"])


def test_each_class_adds_up(runs, capsys):
    found = evaluated(capsys, runs["digits"].name, "metric=[calibration_error,macro_f1]")
    counts, values = np.array(found["confusion"]), found["values"]
    assert counts.sum() == found["samples"]
    assert np.trace(counts) / counts.sum() == pytest.approx(values["accuracy"])
    assert [each["support"] for each in found["classes"]] == counts.sum(1).tolist()
    assert found["calibration_error"] == pytest.approx(values["calibration_error"])
    assert np.mean([each["f1"] for each in found["classes"]]) == pytest.approx(values["macro_f1"])
    assert found["mean"]["f1"] == pytest.approx(values["macro_f1"])


def test_numbers_are_in_their_units(runs, capsys):
    found = evaluated(capsys, runs["prices"].name)
    [target] = found["targets"]
    assert target["name"] == "price"
    assert target["mae"] == pytest.approx(found["values"]["mae"])
    assert target["mae"] > 100  # of standardized ones it would be below 1
    with Session().show.console.capture():
        recipe = placed(OmegaConf.load(runs["prices"] / "recipe.yaml"), runs["prices"].parents[2])
        run, _ = trained(recipe, runs["prices"], Session())
    split = run.data.test
    with torch.no_grad():
        z = run.model.eval()(run.evaluation(split.x[split.rows])).double()
    scale = run.data.scale
    said, true = (
        (each * scale.std.double() + scale.mean.double()).numpy()
        for each in (z, split.y[split.rows])
    )
    assert target["rmse"] == pytest.approx(metrics.mean_squared_error(true, said) ** 0.5, rel=1e-5)
    assert target["r2"] == pytest.approx(metrics.r2_score(true, said), rel=1e-4)


def test_every_measurement_of_the_test_split_is_noted(runs, capsys):
    before = record.read_json(runs["digits"] / "run.json")["test_measured"]
    found = evaluated(capsys, runs["digits"].name)
    after = record.read_json(runs["digits"] / "run.json")["test_measured"]
    assert len(after) == len(before) + 1
    assert found["recipes_measured"] == 1
    evaluated(capsys, runs["digits"].name, "split=val")
    assert record.read_json(runs["digits"] / "run.json")["test_measured"] == after


def test_a_run_that_may_not_be_written_is_measured_and_not_told(runs, read_only, capsys):
    run = runs["digits"]
    before = record.read_json(run / "run.json")
    read_only(run)
    assert main(["evaluate", "--json", run.name]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["values"] == recorded(run)
    assert found["recipes_measured"] == 1
    assert printed.err.startswith(f"warning: cannot write outputs/runs/{run.name}: Permission")
    assert record.read_json(run / "run.json") == before


def test_the_second_recipe_that_is_measured_is_told_so(here, capsys):
    said = "recipes have been measured on this test split"
    short = ("epochs='1 steps'", "tracking=none", "preflight=off")
    assert main([*short]) == 0
    assert main([*short, "seed=1"]) == 0
    assert said not in capsys.readouterr().out, "a seed is no other recipe"
    assert main([*short, "optimizer.lr=0.2", "test=false"]) == 0
    assert said not in capsys.readouterr().out, "it was not measured"
    assert main(["evaluate"]) == 0
    assert f"2 {said}" in capsys.readouterr().out


def measured_by(outputs, recipe, test="t"):
    """What is counted when a recipe is measured, and the record of it."""
    kept = record.create(outputs, recipe, {"recipe": recipe}, "")
    found = test_set.note(kept, {"digest": "d", "splits": {"test": test}})
    kept.close()
    return len(found), kept.info.get("tested_recipes", 0)


def test_recipes_are_counted_once_for_each_test_set(tmp_path):
    assert measured_by(tmp_path, "a") == (1, 1)
    assert measured_by(tmp_path, "b") == (2, 2)
    assert measured_by(tmp_path, "a") == (2, 0), "a repeat, of which nothing is said"
    assert measured_by(tmp_path, "c", "other rows") == (1, 1)
    assert measured_by(tmp_path, "c") == (3, 3)


def test_other_classes_are_matched_by_name(runs, capsys, tmp_path):
    write_photos(tmp_path / "new", 30, classes=("light",), size=(9, 6), seed=3)
    write_photos(tmp_path / "new", 20, classes=("dark",), size=(9, 6), seed=4)
    word = f"data.root={tmp_path / 'new'}"
    found = evaluated(capsys, runs["photos"].name, word)
    assert [(each["name"], each["support"]) for each in found["classes"]] == [
        ("dark", 20),
        ("light", 30),
    ]
    assert found["split"] == "all"
    assert "recipes_measured" not in found
    assert main(["evaluate", runs["photos"].name, word]) == 0
    assert "all samples of new: 50 samples" in capsys.readouterr().out


TAGGED = """
import numpy as np
import torch


class Tagged(torch.utils.data.Dataset):
    def __init__(self, names: str) -> None:
        self.classes = names.split("_")
        self.x = np.random.default_rng(0).normal(size=(80, 3))
        says = {"red": self.x[:, 0] > 0.8, "old": self.x[:, 1] > 0, "wet": self.x[:, 2] > 0}
        self.y = np.stack([says[name] for name in self.classes], 1).astype(int)

    def __len__(self) -> int:
        return 80

    def __getitem__(self, place: int):
        return self.x[place], self.y[place]
"""


def test_labels_of_other_data_are_matched_by_name(here, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(here))
    (here / "tagged.py").write_text(TAGGED)
    words = ["data=custom", "data._target_=tagged.Tagged", "+data.names=red_old"]
    assert main([*SHORT, *words]) == 0
    found = evaluated(capsys, "data.names=old_red")["classes"]
    assert [each["name"] for each in found] == ["red", "old"]
    assert found[0]["support"] < 30 < found[1]["support"]
    assert main(["evaluate", "data.names=wet_red"]) == 2
    assert "has the target wet, which the run does not know; it knows red, old" in (
        capsys.readouterr().err
    )


def test_other_columns_are_matched_by_name(runs, capsys, tmp_path):
    other = tmp_path / "other.csv"
    write_houses(other, 70, columns=("price", "area", "note", "rooms"), seed=5)
    found = evaluated(capsys, runs["prices"].name, f"data.path={other}")
    assert (found["samples"], found["split"]) == (70, "all")
    own = evaluated(capsys, runs["prices"].name, "split=all")["targets"][0]
    assert found["targets"][0]["rmse"] == pytest.approx(own["rmse"], rel=0.3)


@pytest.mark.proof
def test_how_another_table_is_read_can_be_said(runs, capsys, tmp_path):
    points, commas = tmp_path / "points.csv", tmp_path / "commas.csv"
    write_houses(points, 70, seed=5)
    table = points.read_text().replace(",", ";").replace(".", ",")
    commas.write_text(table + "-;50,5;900\n")
    words = ("data.decimal=comma", "data.missing=['-']")
    found = evaluated(capsys, runs["prices"].name, f"data.path={commas}", *words)
    assert found["samples"] == 71
    commas.write_text(table)
    found = evaluated(capsys, runs["prices"].name, f"data.path={commas}", *words)
    assert (
        found["values"] == evaluated(capsys, runs["prices"].name, f"data.path={points}")["values"]
    )
    for word in ("data.features=[area]", "data.columns={area: text}", "data.task=classification"):
        assert main(["evaluate", runs["prices"].name, f"data.path={points}", word]) == 2
        said = f"{word.partition('=')[0]}: another table is read as the run's was, but for"
        assert f"error: {said} data.target, data.missing, data.decimal\n" in capsys.readouterr().err


def test_rows_of_another_table_without_a_target_are_counted(runs, capsys, tmp_path):
    table = tmp_path / "other.csv"
    write_houses(table, 70, seed=5)
    table.write_text(table.read_text() + "3,50.5,NA\n")
    assert main(["evaluate", runs["prices"].name, f"data.path={table}"]) == 0
    said = capsys.readouterr()
    assert "all samples of other: 70 samples" in said.out
    assert said.err.count("other.csv: 1 of 71 rows is left out: it lacks a value of price") == 1


@pytest.mark.proof
def test_values_of_another_table_that_cannot_be_read_are_counted(runs, capsys, tmp_path):
    table = tmp_path / "other.csv"
    write_houses(table, 70, seed=5)
    table.write_text(table.read_text() + '3,"50,5",900\n3,large,900\n3,large,NA\n')
    assert main(["evaluate", runs["prices"].name, f"data.path={table}"]) == 0
    said = "warning: other.csv: the column area has 2 values that could not be read, and count as "
    assert said + "missing\n" in capsys.readouterr().err


def test_a_split_of_other_data(runs, capsys, tmp_path):
    draw = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 30), ("test", 12)):
        parts[f"x_{name}"] = draw.integers(0, 255, (count, 8, 8), dtype=np.uint8)
        parts[f"y_{name}"] = draw.integers(0, 10, count)
    np.savez(tmp_path / "new.npz", **parts)
    words = [runs["digits"].name, "data=arrays", f"data.path={tmp_path / 'new.npz'}"]
    assert evaluated(capsys, *words)["samples"] == 12
    assert evaluated(capsys, *words, "split=train")["samples"] == 30
    assert evaluated(capsys, *words, "split=all")["samples"] == 42
    assert main(["evaluate", *words, "split=val"]) == 2
    assert "split=val: new comes with train, test" in capsys.readouterr().err


def of_one_class(form, folder):
    """Words that name data of one class alone: of the digits 3, of the photos dark."""
    if form == "arrays":
        np.savez(folder / "one.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.full(9, 3))
        return [f"data.path={folder / 'one.npz'}"]
    write_photos(folder / "one", 9, classes=("dark",), size=(9, 6))
    if form == "imagefolder":
        return [f"data.root={folder / 'one'}"]
    rows = "".join(f"one/dark/{path.name},dark\n" for path in (folder / "one/dark").iterdir())
    (folder / "one.csv").write_text(f"file,kind\n{rows}")
    return [f"data.path={folder / 'one.csv'}"]


def test_class_folders_may_be_empty_where_nothing_is_trained(runs, tmp_path, capsys):
    folder = tmp_path / "some"
    write_photos(folder, 9, classes=("dark",), size=(9, 6))
    for name in ("light", "unknown"):
        (folder / name).mkdir()
    word = f"data.root={folder}"
    found = evaluated(capsys, runs["photos"].name, word)
    assert [(each["name"], each["support"]) for each in found["classes"]] == [
        ("dark", 9),
        ("light", 0),
    ]
    capsys.readouterr()
    assert main(["data=imagefolder", word, *SHORT]) == 2, "of which the images are known now"
    assert "class folders without images: light, unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "form"), [("digits", "arrays"), ("photos", "imagefolder"), ("photos", "imagetable")]
)
def test_other_data_of_one_class_are_measured_and_not_trained_on(
    name, form, runs, capsys, tmp_path
):
    words = [f"data={form}", *of_one_class(form, tmp_path)]
    capsys.readouterr()
    asked = ["evaluate", "--json", runs[name].name, *words, "metric=[auroc,balanced_accuracy]"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out, parse_constant=pytest.fail)
    assert found["samples"] == 9
    assert found["values"]["balanced_accuracy"] == found["values"]["accuracy"]
    if name == "digits":
        assert found["values"]["auroc"] is None
        [said] = [line for line in printed.err.splitlines() if "auroc" in line]
        assert said == "warning: auroc has no value: these samples are of too few classes"
    assert main([*words, *SHORT]) == 2
    assert "has the single class" in capsys.readouterr().err


def test_the_run_s_own_data_are_recognized(runs, capsys):
    assert main(["evaluate", runs["digits"].name, "data=digits"]) == 0
    out = capsys.readouterr().out
    assert "the test split of digits: 359 samples, the data that it was trained on" in out


@pytest.mark.proof
def test_changed_data_are_not_called_the_run_s_own(here, capsys):
    write_houses("houses.csv", 120)
    words = ["data=arrays", "data.path=houses.csv", "data.target=price", "model.hidden=[4]"]
    assert main([*words, *SHORT]) == 0
    assert main(["seed=2", *words, *SHORT]) == 0
    before, plain = record.all_runs("outputs")
    kept = (before / "validation.npz").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", before.name]) == 0
    assert "not those" not in capsys.readouterr().err
    noted = len(record.read_json(before / "run.json")["test_measured"])
    write_houses("houses.csv", 80)
    said = f"the data are not those that the run began with ({before.name}); what it has trained"
    for words in (["evaluate"], ["evaluate", "data.path=houses.csv"], ["show"]):
        assert main([words[0], before.name, *words[1:]]) == 0
        told = capsys.readouterr()
        assert told.err.count(said) == 1
        assert "that it was trained on" not in told.out
    assert main(["compare", before.name, plain.name, "split=test"]) == 0
    told = capsys.readouterr().err
    assert said in told
    assert f"began with ({plain.name})" in told
    assert len(record.read_json(before / "run.json")["test_measured"]) == noted
    assert (before / "validation.npz").read_bytes() == kept


@pytest.mark.proof
def test_an_autoencoder_has_its_loss_alone(here, capsys):
    assert main(["model=autoencoder", "loss=mse", *SHORT]) == 0
    [run] = record.all_runs("outputs")
    found = evaluated(capsys)
    assert found["values"] == recorded(run)
    assert "classes" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "no run 'nosuch'"),
        (["last", "last"], "evaluate takes one run, not 2"),
        (["split=tset"], "split=tset: write one of test, val, train, all; did you mean split=test"),
        (["epochs=3"], "epochs=3: evaluate takes outputs="),
        (["metric=[auorc]"], "auroc"),
        (["metric=[rmse]"], "rmse"),
        (["data.split=60/20/20"], "data.split: is about training; split= says which"),
        (["data=arrays", "data.path=houses.csv", "data.target=price"], "samples of 2 float32"),
        (["data=imagefolder", "data.root=photos"], "photos has the class dark"),
        (["data=imagefolder"], "data.root is required"),
        (["--jsno"], "unknown flag --jsno of evaluate; did you mean --json?"),
    ],
)
def test_a_mistake_is_named(words, said, runs, capsys):
    own = [] if words[0] in ("nosuch", "last") else [runs["digits"].name]
    assert main(["evaluate", *own, *words]) == 2
    assert said in capsys.readouterr().err
