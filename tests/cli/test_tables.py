"""Tables as they are typed: what is said of them runs as printed, and resuming reads them alike."""

import json
import re
import shlex
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.job.training import trained
from dlrun.procedure.train import deployable

ROWS = 100


@pytest.fixture
def place(here, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(here / "cache"))
    return here


def write(path, separator=",", **named):
    lines = [separator.join(named), *map(separator.join, zip(*named.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fractions(seed, mark="."):
    values = np.random.default_rng(seed).normal(size=ROWS)
    return [f"{value:.4f}".replace(".", mark) for value in values]


def run(capsys, *words):
    """What the record of the run says of its data, and what the command says on stderr."""
    tiny = ("data=arrays", "tracking=none", "threads=1", "epochs=2 steps", "model.hidden=[4]")
    code = main([*tiny, *words])
    said = capsys.readouterr().err
    assert code == 0, said
    return data("last"), said.splitlines()


def data(run):
    return json.loads((record.find("outputs", run) / "run.json").read_text())["data"]


def test_labels_that_look_like_numbers(place, capsys):
    write(place / "t.csv", a=fractions(0), kind=["001", "1", "010", "10"] * 25)
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["classes"] == ["001", "010", "1", "10"]
    assert len([line for line in said if "kind" in line]) == 1


@pytest.mark.proof
def test_what_is_left_out_is_taken_in_as_it_is_proposed(place, capsys):
    """Also under names that a shell and Hydra read otherwise."""
    values = [str(i * i + 7) for i in range(ROWS)]
    names = ["größe, 'in' m", 'say "id"', "[key]={x}", "row $HOME \\", "null id", "user id"]
    header = ["", *names[1:], names[0], "kind"]
    rows = zip(map(str, range(ROWS)), *[values] * 5, fractions(0), ["a", "b"] * 50, strict=True)
    quoted = ['"' + name.replace('"', '""') + '"' for name in header]
    (place / "t.csv").write_text("\n".join(map(",".join, [quoted, *rows])) + "\n")
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["shape"] == [1]
    lines = [line for line in said if "is left out: " in line]
    assert len(lines) == 6
    for line in lines:
        [word] = shlex.split(re.search(r"(\S*data\.features=.*) takes it in$", line)[1])
        found, said = run(capsys, "data.path=t.csv", "data.target=kind", word)
        assert found["shape"] == [2]
        assert not any("left out" in line for line in said)


def test_noise_beside_a_count_of_the_rows_is_no_better_than_chance(place, capsys):
    rows = [f"{i},{noise},{i // 50}" for i, noise in enumerate(fractions(0))]
    (place / "t.csv").write_text("\n".join([",noise,kind", *rows]) + "\n")
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["shape"] == [1]
    assert any(
        "the column without a name, here column_1, is left out: it counts" in x for x in said
    )


def test_resuming_reads_the_table_alike(place, capsys):
    write(
        place / "t.csv",
        ";",
        a=fractions(0, ","),
        flag=["True", "FALSE"] * 50,
        kind=["NA", "None", "?", ""] * 25,
    )
    words = ["data.path=t.csv", "data.target=kind", "data.missing=['-',-999]", "data.decimal=comma"]
    found, _ = run(capsys, *words)
    assert found["shape"] == [2]
    assert found["classes"] == ["", "?", "NA", "None"]
    assert main(["resume=last", "epochs=4 steps"]) == 0
    assert "not those that the run began with" not in capsys.readouterr().err
    assert data("last") == found
    run(capsys, *words[:2], "data.missing=[]")  # another key of the cache
    assert data("last")["digest"] == found["digest"]
    assert len(list((place / "cache").glob("arrays-*"))) == 4  # two entries, and their locks


def test_a_run_that_goes_on_keeps_its_columns(place, capsys):
    write(place / "t.csv", a=fractions(0), b=fractions(1), y=["u", "v"] * 50)
    run(capsys, "data.path=t.csv", "data.target=y")
    for word, was in (("target=b", "y"), ("features=[a]", "null"), ("group=b", "null")):
        assert main(["resume=last", f"data.{word}"]) == 2
        assert f"error: data.{word} (was {was}): a run that" in capsys.readouterr().err
    assert main(["resume=last", "data.target=y", "epochs=4 steps"]) == 0


@pytest.mark.proof
def test_what_is_proposed_of_missing_values_runs_as_printed(place, capsys):
    write(place / "t.csv", a=fractions(0), kind=["NA", "x", "y", "z"] * 25)
    words = ["data.path=t.csv", "data.target=kind"]
    found, said = run(capsys, *words)
    assert found["classes"] == ["x", "y", "z"]
    assert "25 of 100 rows are left out: they lack a value of kind" in "\n".join(said)
    [word] = shlex.split(re.search(r"where 'NA' is a value, (\S+)", "\n".join(said))[1])
    assert run(capsys, *words, word)[0]["classes"] == ["NA", "x", "y", "z"]
    write(place / "t.csv", a=fractions(0), kind=["NA", "x", "y", ""] * 25)
    found, said = run(capsys, *words)
    [word] = shlex.split(re.search(r"where 'NA' is a value, (\S+)", "\n".join(said))[1])
    found, said = run(capsys, *words, word)
    assert found["classes"] == ["NA", "x", "y"]
    assert any("25 of 100 rows are left out" in line for line in said)
    found, said = run(capsys, *words, "data.missing=[]")
    assert found["classes"] == ["", "NA", "x", "y"]
    [word] = shlex.split(re.search(r"(\S+) takes them for missing", "\n".join(said))[1])
    assert run(capsys, *words, word)[0]["classes"] == ["NA", "x", "y"]


def test_decimal_commas_are_said_and_read(place, capsys):
    write(place / "t.csv", ";", a=fractions(0, ","), preis=fractions(1, ","))
    words = ["data.path=t.csv", "data.target=preis", "loss=mse"]
    found, said = run(capsys, *words)
    np.testing.assert_allclose(found["scale"]["mean"], 0, atol=0.3)
    assert len([line for line in said if "with a decimal comma; data.decimal=point" in line]) == 1
    again, said = run(capsys, *words, "data.decimal=comma")
    assert again["digest"] == found["digest"]
    assert not any("decimal" in line for line in said)


def mixed(path, rows=ROWS):
    """A table with a number of its own for each row, holes, texts and dates."""
    draw = np.random.default_rng(1)
    town = draw.choice(["Rome", "Oslo", "Bern", "NA", *(f"v{i}" for i in range(80))], rows)
    age = [str(years) if years < 70 else "" for years in draw.integers(18, 90, rows)]
    sold = [f"2001-{month:02d}-15" for month in draw.integers(1, 13, rows)]
    kind = np.where(draw.random(rows) < 0.5, "a", "b")
    write(path, age=age, town=town, sold=sold, area=fractions_of(rows), kind=kind)


def fractions_of(rows):
    return [f"{value:.4f}" for value in np.random.default_rng(2).normal(size=rows)]


def reading_of(directory):
    return json.loads((directory / "run.json").read_text())["data"]["reading"]["columns"]


def test_a_table_as_it_is_is_said_in_a_few_lines(place, capsys):
    mixed(place / "t.csv", 200)
    main(["data=arrays", "data.path=t.csv", "data.target=kind", "tracking=none", "epochs=1 steps"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    first = next(place for place, line in enumerate(lines) if line.startswith("columns  "))
    assert lines[first].startswith("columns  2 numbers: age (")
    assert lines[first + 1] == "1 date, as days: sold"
    assert re.fullmatch(r"1 text, one-hot: town \(\d+, \d+ rare as one\)", lines[first + 2])
    assert re.fullmatch(r"\d+ inputs in all", lines[first + 3])


@pytest.mark.proof
def test_a_resumed_run_keeps_what_it_has_learned(place, capsys):
    """Also where the table has changed, and another median with it."""
    mixed(place / "t.csv")
    found, _ = run(capsys, "data.path=t.csv", "data.target=kind")
    directory = record.find("outputs", "last")
    before = reading_of(directory)
    assert main(["resume=last", "epochs=4 steps"]) == 0
    assert data("last") == found
    head, *rows = (place / "t.csv").read_text().splitlines()
    changed = [f"{1000 + n % 50},p{n % 3},{row.split(',', 2)[2]}" for n, row in enumerate(rows)]
    (place / "t.csv").write_text("\n".join([head, *changed]))
    assert main(["resume=last", "epochs=6 steps"]) == 0
    assert "not those that the run began with" in capsys.readouterr().err
    assert reading_of(directory) == before


def test_each_fold_learns_of_its_own_rows(place, capsys):
    mixed(place / "t.csv")
    words = ["data.path=t.csv", "data.target=kind", "procedure=cross_validate", "procedure.folds=2"]
    assert main(["data=arrays", "tracking=none", "threads=1", "epochs=2 steps", *words]) == 0
    runs = [each.parent for each in place.glob("outputs/runs/*/rows.npz")]
    assert len(runs) == 2
    ages = np.array([line.split(",")[0] or "nan" for line in lines(place / "t.csv")], float)
    for each in runs:
        with np.load(each / "rows.npz") as rows:
            seen = ages[rows["train"]]
        assert reading_of(each)[0]["fill"] == np.nanmedian(seen)


def lines(path):
    return path.read_text().splitlines()[1:]


SERVE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "dlrun":
            raise ImportError("dlrun is not there")
sys.meta_path.insert(0, Block())
import mlflow, numpy, pandas
from sklearn.compose import ColumnTransformer
model = mlflow.pyfunc.load_model(sys.argv[1])
as_texts, typed = pandas.read_csv("t.csv", dtype=str), pandas.read_csv("t.csv")
numpy.save("served.npy", numpy.stack([model.predict(as_texts), model.predict(typed)]))
assert model.metadata.get_input_schema().input_names() == ["age", "town", "sold", "area"]
assert isinstance(model.get_raw_model().columns[0], ColumnTransformer)
example = model.metadata.load_input_example(sys.argv[1])
assert model.predict(example).shape == (1, 2)
"""


def served(model):
    """The saved model's logits of all rows of the table, in a process without dlrun."""
    command = [sys.executable, "-W", "ignore", "-c", SERVE, str(model)]
    subprocess.run(command, check=True, capture_output=True)
    as_texts, typed = np.load("served.npy")
    np.testing.assert_array_equal(as_texts, typed)
    return as_texts


@pytest.mark.proof
def test_the_saved_model_takes_rows_as_they_are(place):
    """Without dlrun, and with the numbers of the run."""
    mixed(place / "t.csv")
    words = ["data=arrays", "data.path=t.csv", "data.target=kind", "epochs=3", "preflight=off"]
    assert main([*words, "threads=1"]) == 0
    directory = record.find("outputs", "last")
    recipe = DictConfig(OmegaConf.load(directory / "recipe.yaml"))
    run, _ = trained(recipe, directory, Session())
    with torch.no_grad():
        expected = deployable(run)(run.data.train.x).numpy()
    np.testing.assert_allclose(served(directory / "model"), expected, atol=1e-5)
    needed = (directory / "model" / "requirements.txt").read_text().split()
    assert [one.split("==")[0] for one in needed] == [
        *("mlflow", "torch", "scikit-learn", "pandas", "numpy")
    ]


@pytest.mark.proof
def test_the_saved_ensemble_takes_rows_as_they_are(place):
    """Each of its members has learned of rows of its own, so that their inputs differ."""
    mixed(place / "t.csv")
    words = ["data=arrays", "data.path=t.csv", "data.target=kind", "epochs=3", "preflight=off"]
    assert main([*words, "threads=1", "procedure=bagging", "procedure.models=3"]) == 0
    directory = record.find("outputs", "last")
    runs = json.loads((directory / "run.json").read_text())["runs"]
    widths = {data(each)["shape"][0] for each in runs}
    assert len(widths) > 1
    with np.load(directory / record.PREDICTIONS) as said:
        test = said["split"] == "test"
        rows, expected = said["row"][test], said["output"][test]
    found = torch.from_numpy(served(directory / "model")[rows]).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow, of itself
@pytest.mark.filterwarnings("ignore:.*unknown value")  # rows that a bag has not drawn
def test_the_saved_model_of_bags_takes_the_columns_of_all(place):
    mixed(place / "t.csv")
    words = ["data.path=t.csv", "data.target=kind", "procedure=bagging", "procedure.models=3"]
    assert main(["data=arrays", *words, "procedure.features=2", "threads=1", "epochs=2 steps"]) == 0
    directory = record.find("outputs", "last")
    runs = json.loads((directory / "run.json").read_text())["runs"]
    chosen = [{one["name"] for one in reading_of(record.find("outputs", each))} for each in runs]
    assert len(chosen[0]) < len(set().union(*chosen))
    model = mlflow.pyfunc.load_model(str(directory / "model"))
    assert set(model.metadata.get_input_schema().input_names()) == set().union(*chosen)
    with np.load(directory / record.PREDICTIONS) as said:
        test = said["split"] == "test"
        rows, expected = said["row"][test], said["output"][test]
    found = torch.from_numpy(model.predict(pd.read_csv("t.csv"))[rows]).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bags_with_some_of_the_columns(place, capsys):
    mixed(place / "t.csv")
    words = ["data.path=t.csv", "data.target=kind", "procedure=bagging", "procedure.models=2"]
    words += ["procedure.features=2", "tracking=none", "threads=1", "epochs=2 steps"]
    assert main(["data=arrays", *words]) == 0
    directory = record.find("outputs", "last")
    runs = json.loads((directory / "run.json").read_text())["runs"]
    chosen = [[one["name"] for one in reading_of(record.find("outputs", each))] for each in runs]
    assert [len(names) for names in chosen] == [2, 2]
    assert set().union(*chosen) <= {"age", "town", "sold", "area"}
    assert main(["data=arrays", *words, "procedure.features=5"]) == 2
    assert "procedure.features=5: must be at most 4" in capsys.readouterr().err
