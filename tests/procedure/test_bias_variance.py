"""The parts of an error, against what theory says and least squares in numpy."""

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.toy import toy
from dlrun.procedure.bias_variance import decomposed

WORDS = ("procedure=bias_variance", "data=toy", "tracking=none", "threads=1", "preflight=off")
pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.proves("procedure=bias_variance")
def test_the_parts_are_those_of_the_distribution():
    """bias 0.5, variance 0.3², noise 0.2², of three models only, on average over many draws."""
    generator = np.random.default_rng(0)
    truth = np.sin(np.arange(200))
    drawn = [
        decomposed(
            truth + 0.5 + 0.3 * generator.standard_normal((3, 200)),
            truth,
            truth + 0.2 * generator.standard_normal(200),
        )
        for _ in range(400)
    ]
    means = {key: np.mean([each[key] for each in drawn]) for key in drawn[0]}
    assert means["bias_squared"] == pytest.approx(0.25, abs=0.002)
    assert means["variance"] == pytest.approx(0.09, abs=0.001)
    assert means["noise"] == pytest.approx(0.04, abs=0.001)
    assert means["error"] == pytest.approx(0.25 + 0.09 + 0.04, abs=0.003)


@pytest.mark.proves("procedure=bias_variance")
def test_polynomials_are_those_of_least_squares():
    """A line through a sine has a bias² of 1/2 − 3/π², and the parts are those of numpy's fits."""
    words = (
        *("data.kind=sine", "data.noise=0.3", "data.n_samples=380", "data.split=80/300/0"),
        *("preprocessing=none", "model=custom", "procedure.sets=4", "batch_size=full"),
        *("model._target_=dlrun.experiment.fit.Polynomial", "+model.degree=0"),
        *("optimizer=lbfgs", "epochs='20 steps'", "log_every='20 steps'"),
        "procedure.variants={flat: [], line: 'model.degree=1', cubic: 'model.degree=3'}",
    )
    assert main([*WORDS, *words]) == 0
    runs = record.all_runs("outputs")
    infos = [record.read_json(run / "run.json") for run in runs]
    [own] = [run for run, info in zip(runs, infos, strict=True) if info.get("chart")]
    values = record.read_points(own)[-1]["values"]
    source = toy("sine", 380, noise=0.3)
    x, y = source.x.double().numpy()[:, 0], source.y.double().numpy()[:, 0]
    trained = {info["name"]: run for run, info in zip(runs, infos, strict=True) if run != own}
    sets = [dict(np.load(trained[f"line, set {k}"] / "rows.npz"))["train"] for k in (1, 2, 3, 4)]
    assert sorted(map(len, sets)) == [20] * 4
    assert len(np.unique(np.concatenate(sets))) == 80
    val = np.setdiff1d(np.arange(380), np.concatenate(sets))
    for name, degree in (("flat", 0), ("line", 1), ("cubic", 3)):
        said = np.array([np.polyval(np.polyfit(x[s], y[s], degree), x[val]) for s in sets])
        for part, expected in decomposed(said, np.sin(2 * np.pi * x[val]), y[val]).items():
            assert values[f"{name} {part}"] == pytest.approx(expected, rel=2e-3, abs=2e-5)
    assert values["line bias_squared"] == pytest.approx(0.5 - 3 / np.pi**2, abs=0.04)


@pytest.mark.proves("procedure=bias_variance")
def test_each_variant_is_measured_on_its_own_data():
    """The noise is the mean of (y − f)², by the samples of its own validation split."""
    words = (
        *("data.kind=sine", "data.n_samples=220", "data.split=20/200/0", "procedure.sets=2"),
        *("epochs='2 steps'", "validate_every='2 steps'", "log_every='2 steps'"),
        "procedure.variants={low: 'data.noise=0.05', high: 'data.noise=1', line: 'data.kind=line'}",
    )
    assert main([*WORDS, *words]) == 0
    runs = {record.read_json(r / "run.json").get("kind"): r for r in record.all_runs("outputs")}
    values = record.last_values(record.read_points(runs["procedure"]))
    for name, noise in (("low", 0.05), ("high", 1.0), ("line", 0.2)):
        assert values[f"{name} noise"] == pytest.approx(noise**2, rel=0.25)


def test_a_recipe_alone_is_compared_with_none(capsys):
    words = ("data.kind=sine", "data.n_samples=30", "data.split=20/10/0", "procedure.sets=2")
    assert main([*WORDS, *words, "epochs='1 step'"]) == 0
    assert "2 training sets of 10 samples, the error is 0." in capsys.readouterr().out


def test_sets_of_several_sizes_are_not_said_to_have_one(capsys):
    words = ("data.kind=sine", "data.n_samples=30", "data.split=20/10/0", "procedure.sets=2")
    words += ("procedure.variants={a: [], b: 'data.split=10/20/0'}", "epochs='1 step'")
    assert main([*WORDS, *words]) == 0
    assert "2 training sets of each variant's own size, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.kind=moons"], "needs a function that is known"),
        (
            ["data.kind=sine", "procedure.variants={a: 'data.kind=moons'}"],
            "procedure.variants.a: procedure=bias_variance: needs a function that is known",
        ),
        (["data.kind=sine", "procedure.sets=1"], "procedure.sets=1: must be at least 2"),
        (["data.kind=sine", "procedure.sets=500"], "procedure.sets=500: must be at least 2"),
    ],
)
def test_mistakes(words, said, capsys):
    assert main([*WORDS, *words]) == 2
    assert said in capsys.readouterr().err
