"""The rate finder: its trials are bare loops, its choice is near the analytic one."""

import copy
import math
import re

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.procedure import find_lr
from dlrun.procedure.find_lr import Trials, is_lost, smoothed, steepest
from dlrun.recipe import build
from tests.conftest import sparsely
from tests.states import differences, without_clock

COMMON = ("tracking=none", "threads=1")
FIND = (*COMMON, "procedure=find_lr")


def own(outputs="outputs"):
    """The record of the procedure."""
    [found] = record.all_runs(outputs)
    return found


def trials(directory):
    """What the record says of each rate, without the time."""
    return [point["values"] for point in record.read_points(directory)]


def finding(directory):
    [found] = record.read_json(directory / "run.json")["findings"]
    return found


@pytest.mark.proves("procedure=find_lr")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_losses_are_those_of_a_bare_loop(compose_recipe, digits, dtype):
    """Of any schedule and length; momentum, its start, and a penalty act as in the recipe."""
    words = ("regularization=[l2]", "regularization.l2.strength=0.1", "schedule=one_cycle")
    run = build.build(compose_recipe(*words, "warmup='5 epochs'", "batch_size=100"), digits)
    run.model.to(dtype)
    x, y = run.train.x.to(dtype), run.train.y
    run.train = type(run.train)(x, y, run.train.rows, prepared=True)
    bare = copy.deepcopy(run.model)
    tried = Trials(run, lr=0.05)
    for rate in (0.03, 5.0, 0.03):
        model = copy.deepcopy(bare)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        losses = []
        for epoch in range(2):
            for rows in run.order(epoch).split(100):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
                for name, weight in model.named_parameters():
                    if "weight" in name:
                        weight.grad.add_(weight.detach(), alpha=0.1)
                optimizer.step()
                losses.append(loss.item())
        got = [loss.item() for loss in tried.losses([rate] * len(losses))]
        assert got == losses


@pytest.mark.figures
def test_on_a_parabola_the_choice_is_the_inverse_of_the_curvature(here):
    """(w − 1)² + b²: plain descent is there after one step of 1/2, and diverges beyond 1."""
    x = np.tile([-1.0, 1.0], 20).astype("float32")
    np.savez("line.npz", x=x[:, None], y=x[:, None])
    words = ["data=arrays", "data.path=line.npz", "data.task=regression", "loss=mse"]
    words += ["model=linear", "optimizer=sgd", "batch_size=full", "preprocessing=none"]
    assert main([*FIND, *words, "procedure.lowest=0.01", "procedure.steps=30"]) == 0
    found = finding(own())
    assert found["name"] == "best_rate"
    assert found["numbers"] == {"lr": pytest.approx(0.5, abs=0.06), "largest": 0.82}
    assert "the largest rate with a loss within 4 times the first one is 0.82" in found["text"]
    tried = {trial["find_lr/lr"]: trial for trial in trials(own())}
    assert len(tried) == 10 + 6
    assert math.isnan(tried[10.0]["find_lr/loss"])
    assert tried[10.0]["find_lr/steps"] == 10, "a trial that is lost is given up"
    rate = found["numbers"]["lr"]
    first = tried[rate]["find_lr/first"]
    by_hand = smoothed([first * (1 - 2 * rate) ** (2 * step) for step in range(30)])
    assert tried[rate]["find_lr/loss"] == pytest.approx(by_hand, rel=0.02)
    assert (own() / "figures" / "rates.png").is_file()


def test_the_running_mean_has_no_bias_to_its_beginning():
    assert smoothed([3.0]) == pytest.approx(3)
    assert smoothed([2.0] * 7) == pytest.approx(2)
    weights = 0.9 ** np.arange(3)[::-1]
    assert smoothed([1.0, 4.0, 2.0]) == pytest.approx(weights @ [1, 4, 2] / weights.sum())


@pytest.mark.parametrize(
    ("course", "lost"),
    [([2.0, 2.1], False), ([2.0, math.nan], True), ([2.0, math.inf, 1.0], True), ([1, 9.0], True)],
)
def test_when_a_trial_is_lost(course, lost):
    assert is_lost(course) == lost


def test_the_steepest_place_of_a_range_is_that_of_a_logistic_curve():
    rates = np.geomspace(1e-6, 10, 141)
    logs = -3 / (1 + np.exp(-4 * (np.log10(rates) + 2.5)))
    course = np.exp(logs) + np.where(np.arange(141) > 120, 20.0 * (np.arange(141) % 2), 0)
    assert steepest(list(rates), list(course)) == pytest.approx(10**-2.5, rel=0.15)


@pytest.mark.figures
def test_a_range_is_one_run_of_growing_rates(here, compose_recipe, digits):
    words = [*FIND, "procedure.method=range", "procedure.steps=40", "procedure.highest=1"]
    assert main(words) == 0
    points = trials(own())
    rates = [point["find_lr/lr"] for point in points]
    assert rates == pytest.approx(np.geomspace(1e-6, 1, 40)[: len(rates)])
    run = build.build(compose_recipe(), digits)
    losses = [loss.item() for loss in Trials(run, 0.05).losses(rates)]
    assert [point["find_lr/loss"] for point in points] == losses
    assert "falls fastest at optimizer.lr=" in finding(own())["text"]
    assert finding(own())["numbers"]["largest"] == 1.0
    assert "from 1e-06 to 1; up to 1 its running mean is within 4 times" in finding(own())["text"]
    assert (own() / "figures" / "rates.png").is_file()
    before = (own() / "metrics.jsonl").read_bytes()
    assert main(words) == 0
    assert (own() / "metrics.jsonl").read_bytes() == before


def test_a_range_that_ends_early_names_the_last_rate_near_the_first_loss(here, monkeypatch):
    """Running means of 0.81, 0.68, 2.9 and 13 times the first loss after the first."""
    course = [1.0, 0.65, 0.4, 9.0, 50.0]
    monkeypatch.setattr(find_lr.Trials, "course", lambda trials, rates: course)
    assert main([*FIND, "procedure.method=range", "procedure.steps=10"]) == 0
    rates, found = np.geomspace(1e-6, 10, 10), finding(own())
    assert found["numbers"]["largest"] == pytest.approx(rates[3])
    assert f"to {rates[4]:.2g}; up to {rates[3]:.2g} its running mean" in found["text"]


def test_a_range_that_is_lost_from_the_start_proposes_nothing(here, monkeypatch):
    monkeypatch.setattr(find_lr.Trials, "course", lambda trials, rates: [math.nan])
    assert main([*FIND, "procedure.method=range"]) == 0
    found = finding(own())
    assert found["level"] == "warn"
    assert "No rate from" in found["text"]
    assert found["command"] == ""


def test_interrupted_and_typed_again_it_tries_what_is_missing(here, monkeypatch, capsys):
    words = [*FIND, "procedure.rates=[0.1,0.01,0.001]", "procedure.steps=20", "optimizer=adagrad"]
    assert main([*words, "outputs=whole"]) == 0
    course, tried = Trials.course, []

    def dying(trials, rates):
        tried.append(trials)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return course(trials, rates)

    monkeypatch.setattr(find_lr.Trials, "course", dying)
    assert main(words) == 130
    assert record.read_status(own())["status"] == record.KILLED
    assert len(trials(own())) == 1
    [told] = re.findall(r"go on with it +dlrun (.*)", capsys.readouterr().out)
    assert told == f"resume={own().name}"
    assert main([told]) == 0, "as printed"
    assert len(tried) == 4
    assert trials(own()) == trials(own("whole"))
    assert finding(own())["numbers"] == finding(own("whole"))["numbers"]
    assert main(words) == 0
    assert len(tried) == 4, "nothing is tried twice"


def test_a_later_training_is_the_same_to_the_last_bit(here, capsys):
    recipe = [*COMMON, "epochs=2", "regularization=[dropout]", "augmentation=[noise]"]
    assert main([*recipe, "outputs=alone"]) == 0
    words = ["procedure=find_lr", "procedure.rates=[0.1,100]", "procedure.steps=20"]
    assert main([*recipe, *words]) == 0
    shown = capsys.readouterr().out
    assert "dlrun tracking=none threads=1 epochs=2 'regularization=[dropout]'" in shown
    assert "'augmentation=[noise]' optimizer.lr=0.1\n" in shown
    assert main(recipe) == 0
    found, alone = record.find("outputs", "last"), record.find("alone", "last")
    assert found != record.all_runs("outputs")[0]
    for name in ("last", "best"):
        states = [checkpoint.read(run / "checkpoints" / f"{name}.pt") for run in (found, alone)]
        if name == "last":
            states = [without_clock(state) for state in states]
        assert not differences(*states)


def test_resume_last_is_the_training_before(here):
    assert main([*COMMON, "epochs='2 steps'"]) == 0
    [training] = record.all_runs("outputs")
    assert main([*FIND, "procedure.rates=[0.1]", "procedure.steps=10"]) == 0
    assert record.find("outputs", "last") == training


@pytest.mark.parametrize("optimizer", ["muon", "natural_gradient"])
def test_a_rate_of_its_own_stays(compose_recipe, digits, optimizer):
    words = (f"optimizer={optimizer}", "model.norm=batch", "decay=weights", "scale_lr=linear")
    words = words[:2] if optimizer == "natural_gradient" else words
    rate = 0.3
    tried = build.build(compose_recipe(*words), digits)
    base = float(compose_recipe(*words).optimizer.lr)
    assert len(list(Trials(tried, base).losses([rate]))) == 1
    asked = build.build(compose_recipe(*words, f"optimizer.lr={rate}"), digits)
    rates = [group["lr"] for group in asked.optimizer.param_groups]
    assert len(rates) > 1
    assert tried.rates == pytest.approx(rates)


@pytest.mark.parametrize(
    "optimizer", sparsely(["lbfgs", "rprop", "line_search", "vsgd", "adadelta"], 3)
)
def test_every_kind_of_optimizer_can_be_tried(here, optimizer):
    size = ["batch_size=full"] if optimizer in ("lbfgs", "rprop") else []
    words = [f"optimizer={optimizer}", *size, "procedure.rates=[1e-6,0.1]", "procedure.steps=20"]
    assert main([*FIND, *words]) == 0
    slow, fast = trials(own())
    assert slow["find_lr/first"] == fast["find_lr/first"]
    assert fast["find_lr/loss"] < slow["find_lr/loss"]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ("[0.1]", ", and no other rate was tried."),
        ("[0.1,100]", ", and no lower rate was tried."),
        ("[1e-4,0.1]", ", and no higher rate was tried."),
        ("[1e-4,0.1,100]", "the first one is 0.1."),
        ("[1e-9]", "optimizer.lr=1e-09, the only rate tried, did not lower the loss by 1%"),
    ],
)
def test_it_says_on_which_side_of_the_best_no_rate_was_tried(here, rates, said):
    assert main([*FIND, f"procedure.rates={rates}", "procedure.steps=10"]) == 0
    assert said in finding(own())["text"]


def test_what_cannot_learn_is_said(here, capsys):
    words = ["initializer=zeros", "model.hidden=[8]", "model=mlp", "data.split=60/20/20"]
    assert main([*FIND, *words, "procedure.steps=10", "procedure.rates=[1e-9,1e-8]"]) == 0
    found = finding(own())
    assert found["level"] == "warn"
    assert found["command"] == ""
    assert "No rate from 1e-09 to 1e-08 lowered the loss" in capsys.readouterr().out


def test_it_is_a_point_like_another(here, capsys):
    words = ["-m", *FIND, "procedure.rates=[0.1,0.01]", "procedure.steps=10"]
    assert main([*words, "optimizer=sgd,adam"]) == 0
    assert "2 finished" in capsys.readouterr().out
    runs = record.all_runs("outputs")
    assert len(runs) == 2
    commands = [finding(run)["command"] for run in runs]
    assert [("optimizer=sgd" in line, "optimizer=adam" in line) for line in commands] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    sparsely(
        [
            (["procedure.rates=[]"], "procedure.rates=[]: must hold at least one"),
            (["procedure.rates=[0.1,0]"], "all above 0"),
            (["procedure.rates=[0.1]", "procedure.method=range"], "are those of a grid"),
            (["procedure.method=smith"], "procedure.method=smith: must be grid or range"),
            (
                ["procedure.lowest=1", "procedure.highest=0.1"],
                "procedure.lowest=1: must be above 0",
            ),
            (["procedure.steps=5"], "procedure.steps=5: must be at least 10"),
            (["procedure.per_decade=0"], "procedure.per_decade=0: must be at least 1"),
            (["optimizer.lr=0"], "optimizer.lr=0"),
            (["optimizer.lr=-1"], "optimizer.lr=-1"),
            (["~optimizer.lr"], "has no setting optimizer.lr"),
            (["rates=[0.1]"], "procedure.rates=[0.1]"),
            (["procedure.rats=[0.1]"], "did you mean procedure.rates=[0.1]?"),
        ],
        3,
    ),
    ids=str,
)
def test_mistakes(here, capsys, words, said):
    assert main([*FIND, *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
