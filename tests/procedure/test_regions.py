"""What is drawn of the plane, and the errors beside it, against the same rules by scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.split import make
from dlrun.data.toy import mixture_odds, toy
from dlrun.procedure.regions import points

WORDS = ("procedure=regions", "data=toy", "tracking=none", "threads=1", "preflight=off")
SHORT = ("epochs='30 steps'", "data.n_samples=500", "data.split=100/200/200")
MANY = ("data.n_samples=3000", "data.split=2800/100/100")
pytestmark = pytest.mark.usefixtures("here")


def done(*words):
    """The procedure's record and its values, and the runs of its variants by name."""
    assert main([*WORDS, *SHORT, *words]) == 0
    runs = {record.read_json(run / "run.json")["name"]: run for run in record.all_runs("outputs")}
    [own] = [run for run in runs.values() if record.read_json(run / "run.json").get("chart")]
    return record.read_json(own / "run.json"), record.read_points(own)[-1]["values"], runs


@pytest.mark.proves("procedure=regions")
def test_regions_and_errors_are_those_of_the_rules():
    variants = "procedure.variants={line: 'model=linear', net: 'model.hidden=[8] seed=1'}"
    info, values, runs = done(
        "data.kind=mixture", variants, "procedure.beside=[linear,nearest,best]"
    )
    data = make(toy("mixture", 500), "100/200/200")
    (x, y), (x_test, y_test) = points(data, data.train), points(data, data.test)
    rules = {
        "linear regression": lambda x_: LinearRegression().fit(x, y).predict(x_) > 0.5,
        "nearest neighbour": KNeighborsClassifier(1).fit(x, y).predict,
        "best possible": lambda x_: mixture_odds(x_, 0) > 1,
    }
    drawn = {panel["title"]: panel for panel in info["chart"]}
    assert list(drawn) == ["line", "net", *rules, "error against capacity"]
    for name, rule in rules.items():
        assert values[f"{name} test/error"] == pytest.approx((rule(x_test) != y_test).mean())
        ground = drawn[name]["ground"]
        plane = np.stack(np.meshgrid(ground["x"], ground["y"]), -1).reshape(-1, 2)
        same = rule(plane.astype(np.float32)) == np.ravel(ground["values"])
        assert same.mean() > 0.999  # float32 and float64 may differ on a boundary
    assert values["nearest neighbour train/error"] == 0
    for name in ("line", "net"):
        accuracy = record.read_points(runs[name])[-1]["values"]["test/accuracy"]
        assert values[f"{name} test/error"] == pytest.approx(1 - accuracy)
    errors = drawn["error against capacity"]
    assert errors["names"] == ["line", "net"]
    assert errors["curves"]["test"] == [values[f"{name} test/error"] for name in ("line", "net")]


@pytest.mark.proves("procedure=regions")
def test_each_variant_is_measured_and_drawn_on_its_own_data():
    """A linear model's error on training samples is 1 − the accuracy that its run records there."""
    variants = "procedure.variants={near: 'data.noise=0.05', far: 'data.noise=2 data.seed=1'}"
    info, values, runs = done("data.kind=moons", "train_eval=true", "model=linear", variants)
    panels = {panel["title"]: panel for panel in info["chart"]}
    for name, noise, seed in (("near", 0.05, 0), ("far", 2, 1)):
        reached = record.last_values(record.read_points(runs[name]))
        assert values[f"{name} train/error"] == pytest.approx(1 - reached["train_eval/accuracy"])
        assert values[f"{name} test/error"] == pytest.approx(1 - reached["test/accuracy"])
        train = make(toy("moons", 500, noise=noise, seed=seed), "100/200/200")
        drawn = [x for dots in panels[name]["dots"].values() for x in dots[0]]
        assert sorted(drawn) == sorted(points(train, train.train)[0][:, 0].tolist())
    last = panels["error of each"]
    assert not last["curves"]
    for label, split in (("training", "train"), ("test", "test")):
        expected = [values[f"{name} {split}/error"] for name in ("near", "far")]
        assert last["dots"][label] == [[0, 1], expected]


def test_the_best_possible_knows_the_order_of_the_classes():
    _, values, _ = done("data.kind=mixture", "procedure.beside=[best]", "data.classes=[1,0]")
    data = make(toy("mixture", 500), "100/200/200", classes=[1, 0])
    x, y = points(data, data.test)
    wrong = (mixture_odds(x, 0) < 1) != y  # label 1 is the class "0"
    assert values["best possible test/error"] == pytest.approx(wrong.mean())


def test_the_nearest_of_close_samples_is_the_sample_itself():
    _, values, _ = done("data.kind=sine", *MANY, "procedure.beside=[nearest]")
    assert values["nearest neighbour train/error"] == 0


def test_a_curve_is_drawn_with_the_function_below_it():
    info, values, _ = done("data.kind=sine", "procedure.beside=[best]", "data.noise=0.1")
    panel = info["chart"]
    at, function = panel["paths"]["best possible"]
    assert np.allclose(function, np.sin(2 * np.pi * np.array(at)), atol=1e-6)
    assert values["best possible test/error"] == pytest.approx(0.01, rel=0.3)  # the noise
    assert values["fitted test/error"] > values["best possible test/error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=digits", "data.split=60/20/20"], "has 64 inputs and 10 classes"),
        (["data.split=500/0/0"], "neither test nor validation samples"),
        (["procedure.beside=[bayes]"], "procedure.beside=bayes: write some of linear"),
        (["procedure.beside=[best]"], "procedure.beside=best: needs data whose source is known"),
        (["procedure.variants={a: 'model.hiden=3'}"], "procedure.variants.a: model.hiden"),
        (
            ["procedure.variants={a: 'data=digits'}"],
            "procedure.variants.a: procedure=regions: draws classes of points",
        ),
        (
            ["procedure.variants={a: 'data.kind=line', b: []}"],
            "some have classes and others numbers",
        ),
        (
            ["procedure.variants={a: 'data.noise=1', b: []}", "procedure.beside=[linear]"],
            "procedure.beside=[linear]: is measured on the same data as the variants",
        ),
    ],
)
def test_mistakes(words, said, capsys):
    words = [*words, "data=toy"] if words[0] != "data=digits" else ["data=digits"]
    assert main(["procedure=regions", "tracking=none", *words]) == 2
    assert said in capsys.readouterr().err
