"""What variants come to at several values of one setting."""

import pytest

from dlrun import record
from dlrun.__main__ import main

SHORT = ("procedure=against", "tracking=none", "epochs=2 steps", "model.hidden=[4]", "test=false")
pytestmark = pytest.mark.usefixtures("here")


def _own():
    [own] = [r for r in record.all_runs("outputs") if _info(r).get("kind") == "procedure"]
    return own


def _info(directory):
    return record.read_json(directory / "run.json")


@pytest.mark.figures
@pytest.mark.proves("procedure=against")
def test_each_variant_at_each_value():
    words = [*SHORT, "procedure.key=optimizer.lr", "procedure.values=[0.01,0.1,1]"]
    words.append("procedure.variants={plain: 'seed=0', normed: 'regularization=[batch_norm]'}")
    assert main(words) == 0
    values = record.last_values(record.read_points(_own()))
    assert {f"normed {rate} val/accuracy" for rate in ("0.01", "0.1", "1")} <= values.keys()
    first, second = _info(_own())["chart"]
    assert (first["x"], first["log"], first["at"]) == ("optimizer.lr", True, [0.01, 0.1, 1])
    assert list(second["curves"]) == ["plain", "normed"]
    assert len(_info(_own())["runs"]) == 6
    assert len(list((_own() / "figures").glob("against.png"))) == 1


@pytest.mark.figures
@pytest.mark.parametrize(
    ("key", "values", "names"),
    [
        ("initializer", "[he,zeros]", ["he", "zeros"]),
        ("model.hidden", "[[8],[16]]", ["[8]", "[16]"]),
        ("train_eval", "[true,false]", ["true", "false"]),
    ],
)
def test_names_are_places_too(key, values, names, capsys):
    words = [*SHORT, f"procedure.key={key}", f"procedure.values={values}"]
    assert main([*words, "procedure.seeds=2", "preflight=off"]) == 0
    assert "warning" not in capsys.readouterr().err
    [first, _] = _info(_own())["chart"]
    assert (first["names"], first["at"]) == (names, [0, 1])
    assert (_own() / "figures" / "against.png").is_file()


VARIANT = "procedure.variants={low: 'optimizer.lr=-1'}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "procedure.key and procedure.values are required"),
        (("procedure.key=optimizer.lr", "procedure.values=[fast]"), "optimizer.lr=fast"),
        (
            ("procedure.key=optimizer.lrr", "procedure.values=[0.1]"),
            "error: procedure.key=optimizer.lrr procedure.values=[0.1]: optimizer.lrr=0.1: opt",
        ),
        (
            ("procedure.key=optimizer.lr", "procedure.values=[-1]"),
            "error: procedure.key=optimizer.lr procedure.values=[-1]: optimizer.lr=-1: must be at",
        ),
        (
            ("procedure.key=seed", "procedure.values=[1]", VARIANT),
            "error: procedure.variants.low: optimizer.lr=-1: must be at least 0",
        ),
        (
            ("procedure.key=seed", "procedure.values=[1]", "procedure.metric=val/los"),
            "error: procedure.metric=val/los: is not measured; did you mean val/loss?",
        ),
        (
            ("procedure.key=procedure", "procedure.values=[train]"),
            "procedure.values=[train]: procedure=train: belongs to the whole command",
        ),
        (
            ("procedure.key=epochs", "procedure.values=[1]", "procedure.seeds=0"),
            "procedure.seeds=0",
        ),
        (
            ("procedure.key=optimizer.lr", "procedure.values=[0.1,0.1]"),
            "procedure.values: 0.1 is there twice; write each value once",
        ),
    ],
)
def test_mistakes(words, said, capsys):
    assert main([*SHORT, *words]) == 2
    assert said in capsys.readouterr().err
