"""Ensembles and bags equal a few lines of numpy on the same rows, whole or killed."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.special import softmax

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.data.fingerprint import hash_rows
from dlrun.data.imagefolder import imagefolder
from dlrun.data.split import bootstrap
from dlrun.engine import checkpoint
from dlrun.procedure import ensemble
from dlrun.procedure.bagging import columns
from tests.conftest import in_suite, sparsely
from tests.data.folders import make_folder
from tests.job.test_lab import assert_as_never_killed, assert_equal, children, parent, typed

COMMON = (
    *("tracking=none", "threads=1", "preflight=off"),
    *("epochs='40 steps'", "validate_every='20 steps'"),
)
BAGGING = (*COMMON, "procedure=bagging", "procedure.models=3")
ENSEMBLE = (*COMMON, "procedure=ensemble", "procedure.seeds=3")
pytestmark = pytest.mark.usefixtures("here")


def last(run):
    return record.read_points(run)[-1]["values"]


def arrays(run, name="predictions"):
    with np.load(run / f"{name}.npz") as file:
        return dict(file)


def of_split(kept, name):
    return {key: some[kept["split"] == name] for key, some in kept.items()}


def table(run):
    rows = record.read_json(run / "run.json")["table"]
    return {(row["on"], row[""]): row for row in rows}


def says(run, x, rows):
    """(n, outputs) What a run of one hidden layer says of x, by its best weights, in numpy.

    rows: those it was trained on, by which x is standardized.
    """
    weights = checkpoint.read(run / "checkpoints" / "best.pt")
    w = [value.double().numpy() for value in weights.values()]
    hidden = np.maximum((x - x[rows].mean()) / x[rows].std() @ w[0].T + w[1], 0)
    return hidden @ w[2].T + w[3]


def calibration_error(p, y, bins=15):
    """Guo et al. 2017."""
    confidence, right = p.max(1), p.argmax(1) == y
    which = np.ceil(confidence * bins).clip(1, bins) - 1
    gaps = [
        abs(right[which == k].mean() - confidence[which == k].mean()) * (which == k).mean()
        for k in range(bins)
        if (which == k).any()
    ]
    return sum(gaps)


def assert_measured(row, p, y):
    """A row of the table is what numpy finds of these probabilities."""
    assert row["accuracy"] == pytest.approx((p.argmax(1) == y).mean(), abs=1e-9)
    assert row["loss"] == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean(), rel=1e-5)
    assert row["brier"] == pytest.approx(((p - np.eye(10)[y]) ** 2).sum(1).mean(), rel=1e-5)
    assert row["calibration_error"] == pytest.approx(calibration_error(p, y), abs=1e-6)


@pytest.mark.proves("procedure=bagging")
def test_bags_are_a_few_lines_of_numpy(capsys):
    assert main(list(BAGGING)) == 0
    runs, [own] = children(), parent()
    source = digits()
    x, y = source.x.flatten(1).double().numpy() / 255, source.y.numpy()
    kept = arrays(own)
    val, test = (of_split(kept, name) for name in ("val", "test"))
    train = np.setdiff1d(np.arange(len(y)), np.concatenate([val["row"], test["row"]]))
    p = np.full((3, len(y), 10), np.nan)
    everything = np.zeros((3, len(y), 10))
    for number, run in enumerate(runs):
        rows = arrays(run, "rows")
        places, rest = bootstrap(len(train), number)
        assert np.array_equal(rows["train"], train[places])
        assert np.array_equal(rows["val"], train[rest])
        assert not set(rows["train"]) & set(rows["val"])
        assert 0.3 < len(rest) / len(train) < 0.44, "about 1/e"
        everything[number] = softmax(says(run, x, rows["train"]), -1)
        p[number, rows["val"]] = everything[number, rows["val"]]
        assert not any(name.startswith("test/") for name in last(run))
    assert len({last(run)["best/val_accuracy"] for run in runs}) > 1

    some = np.isfinite(p[:, :, 0]).any(0)
    bag = of_split(kept, "out_of_bag")
    assert np.array_equal(bag["row"], np.flatnonzero(some))
    assert 0.7 < some.sum() / len(train) < 0.8, "1 − (1 − 1/e)³"
    mean = np.nanmean(p[:, some], 0)
    assert bag["output"] == pytest.approx(mean, abs=1e-6)
    assert bag["members"] == pytest.approx(p[:, some].transpose(1, 0, 2), abs=1e-6, nan_ok=True)
    found = table(own)
    assert_measured(found["out_of_bag", "mean"], mean, y[some])
    product = np.exp(np.nanmean(np.log(p[:, some]), 0))
    product /= product.sum(1, keepdims=True)
    assert_measured(found["out_of_bag", "geometric mean"], product, y[some])
    each = [(q[np.isfinite(q[:, 0])].argmax(1) == y[np.isfinite(q[:, 0])]).mean() for q in p]
    assert found["out_of_bag", "mean member"]["accuracy"] == pytest.approx(np.mean(each))
    for name, of in (("val", val), ("test", test)):
        assert_measured(found[name, "mean"], everything[:, of["row"]].mean(0), of["y"])
    info = record.read_json(own / "run.json")
    assert info["value"] == found["out_of_bag", "mean"]["accuracy"]
    [measured] = info["test_measured"]
    assert measured["set"].endswith(f"/{hash_rows(np.sort(test['row']))}"), "its set, not a bag's"
    assert last(own)["out_of_bag/accuracy"] == info["value"]
    each = everything[:, val["row"]]
    gains = (each.mean(0).argmax(1) == val["y"]) - (each.argmax(2) == val["y"]).mean(0)
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    for finding in info["findings"]:
        assert (finding["name"], finding["level"]) == ("inconclusive", "note")
        assert finding["numbers"]["gain"] == pytest.approx(gains.mean())
        assert finding["numbers"]["standard_error"] == pytest.approx(error)
    assert bool(info["findings"]) == (abs(gains.mean()) <= 2 * error)
    assert f"out_of_bag/accuracy {info['value']:.4g} by the mean of 3 members" in (
        capsys.readouterr().out
    )
    answers = everything[:, test["row"]].argmax(2)
    assert last(own)["test/error"] == pytest.approx((answers != test["y"]).mean())


@pytest.mark.proof
def test_single_networks_beside_bags_are_trained_on_all_rows():
    """On val and test they come to what the same commands come to alone; all answer val."""
    beside = "procedure.beside={one: '', tanh: 'activation=tanh'}"
    assert main([*COMMON, "procedure=bagging", "procedure.models=2", beside]) == 0
    [own], found = parent(), table(parent()[0])
    for name, words in (("one", []), ("tanh", ["activation=tanh"])):
        assert main([*COMMON, *words, f"outputs={name}"]) == 0
        alone = last(record.find(name, "last"))
        assert found["val", name]["accuracy"] == pytest.approx(alone["best/val_accuracy"])
        assert found["test", name]["loss"] == pytest.approx(alone["test/loss"], rel=1e-5)
        assert last(own)[f"test_{name}/loss"] == found["test", name]["loss"]
        assert ("out_of_bag", name) not in found, "they may have been trained on these"
    chart = record.read_json(own / "run.json")["chart"]
    assert set(chart["levels"]) == {"mean member", "one", "tanh"}
    assert chart["curves"]["ensemble"][-1] == found["val", "mean"]["accuracy"]


@pytest.mark.proof
@pytest.mark.proves("procedure=ensemble")
def test_seeds_are_runs_of_the_recipe_with_each_seed():
    words = ["regularization=[dropout]", "optimizer=adam"]
    assert main([*ENSEMBLE, *words, "procedure.passes=7", "seed=5"]) == 0
    runs, [own] = children(), parent()
    for seed, run in zip((5, 6, 7), runs, strict=True):
        alone = [*COMMON, *words, f"seed={seed}", f"outputs=alone{seed}", "test=false"]
        assert main(alone) == 0
        assert_equal(run, record.find(f"alone{seed}", "last"))
    found, kept = table(own), arrays(own)
    assert [name for on, name in found if on == "val"] == [
        *("mean member", "mean", "geometric mean", "vote", "Monte Carlo dropout")
    ]
    assert [name for on, name in found if on == "test"] == ["mean"], "measured once"
    val = of_split(kept, "val")
    votes = np.eye(10)[val["members"].argmax(2)].sum(1)
    answers = (votes + val["output"] / 2).argmax(1)
    assert found["val", "vote"]["accuracy"] == pytest.approx((answers == val["y"]).mean())
    singles = [last(run)["best/val_accuracy"] for run in runs]
    assert found["val", "mean member"]["accuracy"] == pytest.approx(np.mean(singles))
    chart = record.read_json(own / "run.json")["chart"]
    curve = chart["curves"]["ensemble"]
    assert len(curve) == 3
    assert curve[0] == pytest.approx(singles[0])
    assert curve[-1] == found["val", "mean"]["accuracy"]
    assert set(chart["levels"]) == {"mean member", "Monte Carlo dropout"}


def test_monte_carlo_dropout_is_the_mean_of_passes_with_dropout_on():
    """So many that it is nearly what numpy finds by its own masks."""
    words = ["regularization=[dropout]", "regularization.dropout.visible=0"]
    assert main([*ENSEMBLE[:-1], "procedure.seeds=2", *words, "procedure.passes=400"]) == 0
    run, [own] = children()[0], parent()
    source, val = digits(), of_split(arrays(own), "val")
    x = source.x.flatten(1).double().numpy() / 255
    kept = arrays(own)
    held = kept["row"]
    train = np.setdiff1d(np.arange(len(x)), held)
    w = [v.double().numpy() for v in checkpoint.read(run / "checkpoints" / "best.pt").values()]
    x = ((x - x[train].mean()) / x[train].std())[val["row"]]
    hidden = np.maximum(x @ w[0].T + w[1], 0)
    generator = np.random.default_rng(0)
    p = np.zeros((len(x), 10))
    for _ in range(400):
        kept_units = generator.random(hidden.shape) < 0.5
        p += softmax(hidden * kept_units * 2 @ w[2].T + w[3], -1) / 400
    row = table(own)["val", "Monte Carlo dropout"]
    losses = -np.log(p[np.arange(len(x)), val["y"]])
    assert row["loss"] == pytest.approx(losses.mean(), rel=0.02)
    assert row["brier"] == pytest.approx(((p - np.eye(10)[val["y"]]) ** 2).sum(1).mean(), rel=0.03)
    assert abs(row["loss"] - table(own)["val", "mean member"]["loss"]) > 0.01


def test_dropout_of_a_member_of_a_bag_is_compared_on_the_rows_of_all(here, capsys):
    words = ("regularization=[dropout]", "procedure.passes=3", "data.split=1700/92/5")
    assert main([*BAGGING, *words]) == 0
    found = table(parent()[0])
    assert ("val", "Monte Carlo dropout") in found
    assert ("out_of_bag", "Monte Carlo dropout") not in found, "one member has no say on all rows"
    said = capsys.readouterr().out
    dropped = found["val", "Monte Carlo dropout"]["accuracy"]
    mean = found["val", "mean"]["accuracy"]
    assert f"val/accuracy {mean:.4g} by the mean of 3 members" in said
    assert f"Monte Carlo dropout {dropped:.4g}" in said
    assert "bias and variance on 5 samples of test are not shown" in said


@pytest.mark.proof
@pytest.mark.parametrize("procedure", in_suite(["bagging"], ["bagging", "ensemble"]))
def test_killed_and_typed_again_it_is_as_if_never_killed(procedure):
    words = [*(BAGGING if procedure == "bagging" else ENSEMBLE), "optimizer=adam"]
    words += ["checkpoint_every='7 steps'", "regularization=[dropout]", "procedure.passes=3"]
    assert main([*words, "outputs=whole"]) == 0
    dying = [*words, f"procedure._target_=tests.procedure.dying.{procedure}"]
    typed(dying, code=-9)
    assert [record.read_status(run)["status"] for run in children()] == ["FINISHED", "RUNNING"]
    typed(dying, SPARED="1")
    assert_as_never_killed()
    kept, whole = arrays(parent()[0]), arrays(parent("whole")[0])
    for name in whole:
        equal_nan = whole[name].dtype.kind == "f"
        assert np.array_equal(kept[name], whole[name], equal_nan=equal_nan)
    assert last(parent()[0]) == last(parent("whole")[0])
    assert table(parent()[0]) == table(parent("whole")[0])


def numbers(here: Path):
    """A CSV whose target is a sum of some columns."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 6)).round(4)
    y = 1000 + 50 * x @ [1.0, 2.0, -1.0, 0.5, 0.0, 0.0] + generator.normal(size=150)
    lines = [",".join(map(str, [*row, f"{target:.3f}"])) for row, target in zip(x, y, strict=True)]
    (here / "houses.csv").write_text("\n".join(["a,b,c,d,e,f,price", *lines]) + "\n")
    return "data=arrays", "data.path=houses.csv", "data.target=price", "loss=mse"


@pytest.mark.proof
def test_a_table_with_some_columns_for_each_model(here):
    words = (*BAGGING, *numbers(here), "procedure.features=50%", "batch_size=16")
    assert main(list(words)) == 0
    runs, [own] = children(), parent()
    recipes = [yaml.safe_load((run / "recipe.yaml").read_text()) for run in runs]
    kept = [recipe["preprocessing"]["columns"]["keep"] for recipe in recipes]
    assert kept == [columns(6, 3, seed) for seed in range(3)]
    assert len({tuple(some) for some in kept}) > 1
    assert [list(recipe["preprocessing"]) for recipe in recipes] == [["columns", "standardize"]] * 3
    for run, some in zip(runs, kept, strict=True):
        weights = checkpoint.read(run / "checkpoints" / "best.pt")
        assert next(iter(weights.values())).shape[1] == len(some)
    found, bag, test = table(own), *(of_split(arrays(own), s) for s in ("out_of_bag", "test"))
    for name, by in (("mean", np.nanmean), ("median", np.nanmedian)):
        error = np.abs(by(bag["members"], 1) - bag["y"]).mean()
        assert found["out_of_bag", name]["mae"] == pytest.approx(error, rel=1e-9)
    assert 900 < test["output"].mean() < 1100, "in the units of the data"
    members, y = test["members"][..., 0], test["y"][:, 0]
    values = last(own)
    assert values["test/error"] == pytest.approx(((members - y[:, None]) ** 2).mean())
    assert values["test/variance"] == pytest.approx(members.var(1).mean())
    parts = values["test/bias_and_noise"] + values["test/variance"]
    assert values["test/error"] == pytest.approx(parts)
    scale = np.std(y)
    assert record.read_json(own / "run.json")["value"] == found["out_of_bag", "mean"]["loss"]
    assert found["test", "mean"]["loss"] == pytest.approx(
        ((test["output"][:, 0] - y) ** 2).mean() / scale**2, rel=0.5
    )
    run = runs[2]
    assert main([f"resume={run.name}", "epochs='50 steps'", "tracking=none"]) == 0
    assert record.read_points(run)[-1]["step"] == 50, "a model can be trained on alone"


@pytest.mark.proof
def test_several_labels(here):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 4)).astype(np.float32)
    y = (x[:, :3] + 0.3 * generator.normal(size=(120, 3)) > 0).astype(np.float32)
    np.savez(here / "labels.npz", x=x, y=y)
    words = ("data=arrays", "data.path=labels.npz", "data.task=regression", "loss=bce")
    assert main([*BAGGING, *words, "procedure.features=3", "metric=[macro_f1]"]) == 0
    [own] = parent()
    bag, found = of_split(arrays(own), "out_of_bag"), table(own)
    mean = np.nanmean(bag["members"], 1)
    assert bag["output"] == pytest.approx(mean, abs=1e-12)
    row = found["out_of_bag", "mean"]
    assert list(row)[2] == "loss", "what is monitored comes first"
    right = np.where(bag["y"] == 1, mean, 1 - mean)
    assert row["loss"] == pytest.approx(-np.log(right).mean())
    assert row["brier"] == pytest.approx(((mean - bag["y"]) ** 2).sum(1).mean())
    assert 0.5 < row["macro_f1"] < 1
    assert "vote" in {name for _, name in found}


def test_it_says_where_the_gain_may_be_chance(here):
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(100, 5)).astype(np.float32), np.arange(100) % 2
    np.savez(here / "set.npz", x=x, y=y)
    assert main([*ENSEMBLE, "data=arrays", "data.path=set.npz"]) == 0
    [found] = record.read_json(parent()[0] / "run.json")["findings"]
    assert (found["name"], found["level"]) == ("inconclusive", "note")
    assert "of val than the mean member, which is too little to tell" in found["text"]


def test_it_says_where_the_ensemble_answers_as_its_members(here):
    x, y = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32), np.arange(100) % 2
    np.savez(here / "set.npz", x=x, y=y)
    words = ("data=arrays", "data.path=set.npz", "optimizer.lr=0", "initializer=zeros")
    assert main([*ENSEMBLE, *words]) == 0
    [found] = record.read_json(parent()[0] / "run.json")["findings"]
    assert (found["name"], found["level"]) == ("inconclusive", "note")
    assert "the same samples of val rightly as the mean member does" in found["text"]


def test_a_gain_of_nothing_is_not_called_more(monkeypatch):
    """The ensemble is right on samples 1 and 2, and its members on 1 and 3, 2 and 4."""
    given = iter([[[1, 1, 0, 0]], [[1, 0, 1, 0], [0, 1, 0, 1]]])
    monkeypatch.setattr(ensemble.committee, "are_numbers", lambda judge: False)
    monkeypatch.setattr(ensemble.committee, "right", lambda *_: torch.tensor(next(given)) * 1.0)
    y, answer = torch.zeros(4), SimpleNamespace(logits=torch.zeros(4, 2))
    part = SimpleNamespace(y=y, z=torch.zeros(2, 4, 2), mean=lambda judge: (answer, y))
    [found] = ensemble._gain(None, {"val": part})
    error = np.std([0.5, 0.5, -0.5, -0.5], ddof=1) / 2
    assert f"is right on as much of val as the mean member, ± {error:.2%}, which" in found.text


def test_a_group_is_in_the_bag_or_out_of_it(here):
    generator = np.random.default_rng(0)
    lines = [
        f"{a:.3f},{b:.3f},{'yes' if a + b > 0 else 'no'},patient{number % 30}"
        for number, (a, b) in enumerate(generator.normal(size=(150, 2)))
    ]
    (here / "table.csv").write_text("\n".join(["a,b,ill,who", *lines]) + "\n")
    words = ("data=arrays", "data.path=table.csv", "data.target=ill", "data.group=who")
    assert main([*BAGGING, *words]) == 0
    for run in children():
        who = [{row % 30 for row in rows} for rows in arrays(run, "rows").values()]
        assert not who[0] & who[1]


@pytest.mark.figures
@pytest.mark.proof
def test_images_as_one_model_that_torch_alone_loads(here, capsys):
    make_folder(here / "photos", {"bright": 30, "dark": 30})
    words = ["data.root=photos", "data=imagefolder", "data.size=8", "epochs=1"]
    words += ["model=cnn", "model.channels=[4]", "threads=1", "augmentation=[flip]"]
    assert main([*words, "procedure=ensemble", "procedure.seeds=2"]) == 0
    [own] = parent()
    told = yaml.safe_load((own / "model" / "MLmodel").read_text())
    assert told["metadata"]["classes"] == ["bright", "dark"]
    assert not any((child / "model").exists() for child in children()), "they are in this one"
    assert main(words) == 0
    [alone] = [run for run in record.all_runs("outputs") if run not in (own, *children())]
    of_one = yaml.safe_load((alone / "model" / "MLmodel").read_text())
    assert told["metadata"]["images"] == of_one["metadata"]["images"]
    program = torch.export.load(own / "model" / "data" / "model.pt2").module()
    source = imagefolder("photos", size=8)
    kept = arrays(own)
    said = program(source.x[kept["row"]]).detach()
    assert said.softmax(1).numpy() == pytest.approx(kept["output"], abs=1e-5)
    assert (own / "figures" / "members.png").exists()
    assert not (own / "figures" / "accuracy.png").exists(), "one point is no curve"
    assert "compare in MLflow" in capsys.readouterr().out


def trained(*words):
    assert main([*COMMON, *words]) == 0
    return record.all_runs("outputs")[-1].name


@pytest.mark.proof
def test_runs_that_are_there_of_other_recipes():
    names = [
        trained("model=linear", "test_augmentation=flip"),
        trained("model.hidden=[9]", "data.samples=50%", "optimizer=asgd"),
        trained("regularization=[weight_average,batch_norm,dropout]", "precision=bf16"),
    ]
    before = {run: (run / "metrics.jsonl").read_bytes() for run in record.all_runs("outputs")}
    words = [*COMMON, "procedure=ensemble", f"procedure.runs=[{','.join(names)}]"]
    assert main(words) == 0
    [own] = parent()
    assert not children()
    info = record.read_json(own / "run.json")
    assert info["runs"] == names
    found = table(own)
    singles = [last(run)["best/val_accuracy"] for run in before]
    assert found["val", "mean member"]["accuracy"] == pytest.approx(np.mean(singles))
    tests = [last(run)["test/accuracy"] for run in before]
    assert last(own)["test/error"] == pytest.approx(1 - np.mean(tests))
    assert {run: (run / "metrics.jsonl").read_bytes() for run in before} == before


@pytest.mark.proof
def test_a_run_from_another_directory(here, monkeypatch):
    words = [word.replace("houses.csv", "data/houses.csv") for word in numbers(here)]
    (here / "data").mkdir()
    (here / "houses.csv").rename(here / "data" / "houses.csv")
    for seed in (0, 1):
        assert main([*COMMON, *words, f"seed={seed}"]) == 0
    names = ",".join(run.name for run in record.all_runs("outputs"))
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    words = [word.replace("=data/", "=../data/") for word in words]
    words += [f"outputs={here / 'outputs'}", "procedure=ensemble", f"procedure.runs=[{names}]"]
    assert main([*COMMON, *words]) == 0


def test_a_sweep_judges_by_the_ensemble(capsys):
    words = ["-m", *COMMON, "procedure=bagging", "procedure.models=2", "optimizer.lr=0.001,0.1"]
    assert main(words) == 0
    values = [record.read_json(run / "run.json")["value"] for run in parent()]
    assert values[1] > values[0]
    assert f"{values[1]:.4f}" in capsys.readouterr().out
    tested = [any(name.startswith("test/") for name in last(run)) for run in parent()]
    assert tested == [False, True], "the best one, once"
    first, second = (point["values"] for point in record.read_points(parent()[1]))
    assert all(name.startswith("test/") for name in second)
    assert first.keys() == last(parent()[0]).keys()
    before = record.all_runs("outputs")
    assert main(words) == 0
    assert record.all_runs("outputs") == before


def test_what_is_on_record_counts_where_the_members_have_lost_their_weights(capsys):
    few = [*COMMON, "procedure=bagging", "procedure.models=2", "data.samples=200"]
    assert main(["-m", *few, "optimizer.lr=0.01,0.1"]) == 0
    worse, better = parent()
    for run in children():
        shutil.rmtree(run / "checkpoints")
    before = [record.read_points(run) for run in (worse, better)]
    value = record.read_json(worse / "run.json")["value"]
    capsys.readouterr()
    assert main(["-m", *few, "optimizer.lr=0.01,1e-9"]) == 0, "another sweep shares the point"
    said = capsys.readouterr()
    assert f"{value:.4f}" in said.out
    assert "has lost its checkpoints, and with them its weights; what" in said.err
    assert main([*few, "optimizer.lr=0.1"]) == 0
    assert "ensemble" in capsys.readouterr().out
    assert {record.read_status(run)["status"] for run in (worse, better)} == {"FINISHED"}
    assert [record.read_points(run) for run in (worse, better)] == before


@pytest.mark.parametrize(
    ("words", "said"),
    sparsely(
        [
            (
                "procedure=bagging procedure.models=1",
                "procedure.models=1: an ensemble has at least 2",
            ),
            ("procedure=bagging procedure.models=x", "procedure.models=x: "),
            ("procedure=bagging procedure.passes=0", "procedure.passes=0: must be at least 1"),
            (
                "procedure=bagging procedure.features=50%",
                "procedure.features=50%: is for the columns of a table; samples of data=digits",
            ),
            ("procedure=bagging model=autoencoder loss=mse", "the model gives its input back"),
            (
                "procedure=ensemble model=autoencoder loss=mse",
                "procedure=ensemble: the model gives",
            ),
            (
                "procedure=ensemble procedure.seeds=1",
                "procedure.seeds=1: an ensemble has at least 2",
            ),
            (
                "procedure=ensemble procedure.runs=[last]",
                "procedure.runs=[last]: an ensemble has at",
            ),
            (
                "procedure=ensemble procedure.runs=[]",
                "procedure.runs=[]: an ensemble has at least 2",
            ),
            (
                "procedure=ensemble procedure.runs=[a,b]",
                "procedure.runs=a: no run 'a': there are no",
            ),
            (
                "procedure=ensemble procedure.runs=[a,b] procedure.seeds=3",
                "procedure.seeds=3: trains new runs, and procedure.runs names others",
            ),
            (
                "procedure=ensemble data.split=80/0/20 monitor=train/loss",
                "procedure=ensemble: there is no validation split to measure on",
            ),
            (
                "procedure=bagging procedure.beside={one:[epochs]}",
                "procedure.beside.one: epochs: write key=value",
            ),
            (
                "procedure=bagging procedure.beside={a:'loss=mse'}",
                "procedure.beside.a: loss=mse has outputs of another kind than loss=cross_entropy",
            ),
            (
                "procedure=bagging procedure.beside={a:['model=autoencoder','loss=mse']}",
                "procedure.beside.a: its model gives its input back; it has no target",
            ),
            (
                "procedure=bagging procedure.beside={a:'data.split_seed=3'}",
                "procedure.beside.a: has another split of the data, or other data",
            ),
            ("procedure=bagging models=5", "did you mean procedure.models=5?"),
            ("procedure=ensemble seeds=5", "did you mean procedure.seeds=5?"),
        ],
        3,
    ),
)
def test_mistakes_leave_nothing_behind(words, said, capsys, here):
    assert main(["tracking=none", *words.split()]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert not list(here.glob("outputs/runs/*"))


def test_columns_are_too_many_or_chosen_already(here, capsys):
    words = ["tracking=none", *numbers(here), "procedure=bagging"]
    for more, said in (
        (["procedure.features=7"], "procedure.features=7: must be at most 6, as many as there are"),
        (["procedure.features=5%"], "procedure.features=5%: must be at least one: 5% of the 6"),
        (["procedure.features=0.5"], "procedure.features=0.5: must be a whole number above 0"),
        (
            ["procedure.features=2", "preprocessing=[columns]"],
            "procedure.features: chooses columns, and so does preprocessing=[columns]",
        ),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    assert not (here / "outputs").exists()


@pytest.mark.proof
def test_runs_that_have_no_mean(here, capsys):
    good, other = trained("seed=1"), trained("seed=2")
    odd = {
        trained("data.split_seed=3"): "was trained on other data, or on another split of them",
        trained(*numbers(here)): "was trained on other data",
        trained(
            "model=autoencoder", "loss=mse"
        ): "its model gives its input back; it has no target",
        trained("loss=bce"): "was trained with loss=bce, whose outputs have no mean with those of "
        "loss=cross_entropy; type loss=bce where all have it",
        good: f"procedure.runs: names {good} twice",
    }
    runs = record.all_runs("outputs")
    words = [*COMMON, "procedure=ensemble"]
    for name, said in odd.items():
        assert main([*words, f"procedure.runs=[{good},{name}]"]) == 2
        assert said in capsys.readouterr().err
    assert record.all_runs("outputs") == runs
    for file in (record.find("outputs", other) / "checkpoints").iterdir():
        file.unlink()
    assert main([*words, f"procedure.runs=[{good},{other}]"]) == 2
    assert "has lost its checkpoints, and with them its weights" in capsys.readouterr().err


@pytest.mark.parametrize("words", [ENSEMBLE, BAGGING], ids=["ensemble", "bagging"])
def test_repetitions_share_no_member_and_no_bag(words, here):
    short = [*words, "data.samples=100", "test=false", "epochs='2 steps'", "model.hidden=[2]"]
    assert main(["-m", *short, "optimizer.lr=0.1", "sweep.repeats=2", "seed=1"]) == 0
    runs = children()
    seeds = [record.read_json(run / "run.json")["training"]["settings"]["seed"] for run in runs]
    assert sorted(seeds) == [1, 2, 3, 4, 5, 6]
    if words is BAGGING:
        bags = [arrays(run, "rows")["train"] for run in runs]
        train = np.unique(np.concatenate(bags))
        for seed, bag in zip(seeds, bags, strict=True):
            places, _ = bootstrap(len(train), seed)
            assert np.array_equal(bag, train[places])


def test_seeds_whose_ensembles_share_members_are_refused(capsys):
    assert main(["-m", *ENSEMBLE, "seed=5,6,11"]) == 2
    assert (
        "error: seed=5,6,11: each procedure=ensemble takes 3 seeds from its own on, so these "
        "share some; use seed=5,8,11" in capsys.readouterr().err
    )
