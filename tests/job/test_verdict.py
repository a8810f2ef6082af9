"""What is said of a training when it ends, and the command that helps."""

import shlex

import pytest

from dlrun import record
from dlrun.__main__ import main

COMMON = ("tracking=none", "threads=1")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def verdicts():
    run = record.find("outputs", "last")
    checked = record.read_json(run / "run.json").get("set_up", ())
    return [each for each in record.findings_of(run) if each.name not in checked]


def best():
    end = record.last_values(record.read_points(record.find("outputs", "last")))
    return end["best/val_accuracy"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("epochs=5", "optimizer.lr=1e-5"), "rate_too_low"),
        (("epochs=3", "batch_size=full"), "still_improving"),
        (
            ("epochs=5", "regularization=[l1]", "regularization.l1.strength=0.5"),
            "too_much_regularization",
        ),
        (("epochs=3", "optimizer=sgd", "optimizer.lr=8"), "rate_too_high"),
    ],
    ids=str,
)
def test_the_command_that_is_proposed_does_better(words, name, capsys):
    assert main([*COMMON, *words]) == 0
    found, *_ = verdicts()
    assert found.name == name
    assert f"{name}: " in capsys.readouterr().out
    before = best()
    assert main(shlex.split(found.command)[1:]) == 0
    assert best() > before


def test_a_good_one_is_called_so():
    assert main([*COMMON, "epochs=4"]) == 0
    assert {each.name for each in verdicts()} <= {"good_fit", "inconclusive", "simpler_would_do"}
    seen = record.read_json(record.find("outputs", "last") / "run.json")["examined"]
    assert seen["train_eval/loss"] < seen["undecided"]


def test_one_that_diverges_says_how_to_go_on():
    words = ("epochs=4", "optimizer=sgd", "optimizer.lr=1e30", "loss=mse", "activation=identity")
    assert main([*COMMON, *words]) == 1
    found, *_ = verdicts()
    assert (found.name, found.level) == ("diverged", "fail")
    assert "optimizer.lr=1e+29" in found.command


def test_a_later_verdict_takes_the_place_of_an_earlier_one():
    assert main([*COMMON, "epochs=1", "optimizer.lr=0.001", "activation=identity"]) == 0
    first, *_ = verdicts()
    assert first.name == "rate_too_low"
    assert main(["resume=last", "epochs=20"]) == 0
    assert verdicts()[0].numbers != first.numbers
    names = [each.name for each in record.findings_of(record.find("outputs", "last"))]
    assert names.count("linear_network") == 1, "what was found before training stays"


def test_off_measures_nothing():
    assert main([*COMMON, "epochs=1", "preflight=off"]) == 0
    assert verdicts() == []
    assert "examined" not in record.read_json(record.find("outputs", "last") / "run.json")
