"""What the shell sees of the checks before training."""

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.preflight import CHECKS

COMMON = ("tracking=none", "threads=1", "epochs='2 steps'")
pytestmark = pytest.mark.usefixtures("here")


def found(which="last"):
    return record.findings_of(record.all_runs("outputs")[-1])


@pytest.mark.proves("procedure=preflight")
def test_a_sound_recipe_passes(capsys):
    assert main([*COMMON, "procedure=preflight"]) == 0
    assert f"{len(CHECKS) + 1} checks, no findings" in capsys.readouterr().out
    assert found() == []
    assert "train on" not in capsys.readouterr().out


@pytest.mark.proves("procedure=preflight")
def test_a_broken_one_ends_with_1_and_says_what_to_type(capsys):
    assert main([*COMMON, "procedure=preflight", "initializer=zeros", "procedure.steps=20"]) == 1
    first = found()[0]
    assert (first.name, first.level) == ("symmetric_units", "fail")
    assert first.command == (
        "dlrun tracking=none threads=1 \"epochs='2 steps'\" initializer=default"
    )
    said = capsys.readouterr()
    assert f" checks, {len(found())} findings" in said.out
    assert first.command in said.out
    assert "error: preflight: symmetric_units" in said.err
    assert "cannot_overfit" in {each.name for each in found()}


def test_a_batch_that_cannot_be_learnt_by_heart(capsys):
    assert main([*COMMON, "procedure=preflight", "optimizer.lr=1e-9", "procedure.steps=1"]) == 1
    assert [each.name for each in found()] == ["cannot_overfit"]
    assert found()[0].text.startswith("After 1 step on the same ")
    assert " checks, 1 finding\n" in capsys.readouterr().out


def test_a_batch_whose_loss_still_falls_gets_more_steps():
    slow = ["optimizer=adam", "optimizer.lr=0.003", "epochs=1", "procedure=preflight"]
    assert main([*COMMON[:2], *slow, "procedure.steps=5"]) == 1
    assert found()[0].numbers["steps"] == 20, "four times as many, and not yet known"
    assert main([*COMMON[:2], *slow, "procedure.steps=10"]) == 0


def test_steps_must_be_above_0(capsys):
    assert main([*COMMON, "procedure=preflight", "procedure.steps=0"]) == 2
    assert "procedure.steps=0" in capsys.readouterr().err


def test_training_goes_on_and_says_what_was_found(capsys):
    assert main([*COMMON, "activation=identity"]) == 0
    said = capsys.readouterr()
    assert "warning: linear_network: The network has 2 layers" in said.err
    assert "linear_network: The network has 2 layers" in said.out
    assert "linear_network" in {each.name for each in found()}


def test_off_says_nothing():
    assert main([*COMMON, "activation=identity", "preflight=off"]) == 0
    assert "linear_network" not in {each.name for each in found()}


def test_strict_stops_at_a_fail_and_lets_a_warning_pass():
    assert main([*COMMON, "initializer=zeros", "preflight=strict"]) == 1
    [run] = record.all_runs("outputs")
    assert record.read_points(run) == []
    assert "symmetric_units" in record.read_status(run)["message"]
    assert main([*COMMON, "activation=identity", "preflight=strict"]) == 0


def test_not_at_resume(capsys):
    assert main([*COMMON, "activation=identity"]) == 0
    capsys.readouterr()
    assert main(["resume=last", "epochs='4 steps'"]) == 0
    assert "linear_network" not in capsys.readouterr().err


def test_once_for_points_that_differ_in_numbers_alone(capsys):
    words = [
        "-m",
        *COMMON,
        "activation=identity",
        "optimizer.lr=0.1,0.01",
        "optimizer=sgd,momentum",
    ]
    assert main(words) == 0
    assert capsys.readouterr().err.count("warning: linear_network") == 2


def test_softmax_before_the_loss_trains_with_preflight_off(capsys):
    words = [*COMMON, "model=custom", "model._target_=tests.procedure.endings.softmax"]
    assert main(words) == 2
    assert "probabilities_into_loss" in capsys.readouterr().err
    assert main([*words, "preflight=off"]) == 0


def test_it_is_no_part_of_what_a_recipe_is_known_by(compose_recipe):
    from dlrun.recipe import identity

    assert identity.digest(compose_recipe()) == identity.digest(compose_recipe("preflight=off"))
    numbers = compose_recipe("optimizer.lr=3", "epochs=7")
    assert identity.structure(compose_recipe()) == identity.structure(numbers)
    assert identity.structure(compose_recipe()) != identity.structure(compose_recipe("loss=mse"))
