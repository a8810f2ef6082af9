"""Training on train and val together, as long as a first training says."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dlrun import record, shell
from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.engine import checkpoint
from dlrun.engine.batches import order
from dlrun.record.trained import find as weights_of
from dlrun.verb.asked import Asked
from dlrun.verb.opened import opened
from tests.conftest import in_suite, sparsely
from tests.job.test_lab import assert_as_never_killed, assert_equal, children, parent, typed

COMMON = ("tracking=none", "threads=1", "log_every='1 steps'", "model.hidden=[8]")
SHORT = (*COMMON, "epochs=6", "batch_size=64", "validate_every='7 steps'")
pytestmark = pytest.mark.usefixtures("here")


def last(run):
    return record.read_points(run)[-1]["values"]


def rates(run):
    points = [(p["step"], p["values"]) for p in record.read_points(run)]
    return {step: values["lr"] for step, values in points if "lr" in values}


def best(run):
    """The step of the best weights, and how many passes that is."""
    epoch = last(run)["best/epoch"]
    return next((p["step"], p["epoch"]) for p in record.read_points(run) if p["epoch"] == epoch)


def state(run, name="last"):
    return checkpoint.read(run / "checkpoints" / f"{name}.pt")


def test_that_val_is_trained_on_is_no_leak(capsys):
    words = [*SHORT, "regularization=[early_stopping]"]
    assert main(words) == 0
    again = ["procedure=retrain", "procedure.strategy=continue", "procedure.run=last"]
    assert main([*words, *again]) == 0
    said = capsys.readouterr()
    assert "leak" not in said.out + said.err
    assert "never reached" not in said.out  # of a length that the recipe does not choose
    assert all("leak" not in {each.name for each in record.findings_of(r)} for r in children())


def test_the_length_of_what_is_retrained_is_the_procedures(capsys):
    assert main([*SHORT, "procedure=retrain"]) == 0
    run = children()[-1].name
    assert main([f"resume={run}"]) == 0
    points = record.read_points(children()[-1])
    assert "train on" not in capsys.readouterr().out
    assert main([f"resume={run}", "epochs=40"]) == 2
    said = capsys.readouterr().err
    assert (
        f"error: epochs=40: a procedure has chosen the length of run {run}; weights={run}" in said
    )
    assert record.read_points(children()[-1]) == points
    assert main([f"weights={run}", *SHORT]) == 0


@pytest.mark.proves("procedure=retrain")
@pytest.mark.parametrize("count", ["steps", "passes"])
def test_restart_is_a_command_on_a_file_of_train_and_val(count, here):
    recipe = (*SHORT, "schedule=constant", "preprocessing=none", "optimizer.lr=0.5")
    assert main([*recipe, "procedure=retrain", f"procedure.count={count}"]) == 0
    first, retrained = children()
    steps, passes = best(first)
    assert steps < record.read_points(first)[-1]["step"]
    with np.load(retrained / "rows.npz") as file:
        rows = dict(file)
    assert set(rows) == {"train", "test"}
    source = digits()
    arrays = {}
    for split, some in rows.items():
        arrays |= {f"x_{split}": source.x[some].numpy(), f"y_{split}": source.y[some].numpy()}
    np.savez(here / "both.npz", **arrays)
    length = f"epochs={passes!r}" if count == "passes" else f"epochs='{steps} steps'"
    words = ["data=arrays", "data.path=both.npz", "data.val=0", "outputs=alone"]
    words += ["regularization=[early_stopping]", "regularization.early_stopping.patience=100"]
    words += ["regularization.early_stopping.restore_best=false"]
    assert main([*recipe, *words, length]) == 0
    alone = record.find("alone", "last")
    one, other = state(retrained)["model"], state(alone)["model"]
    assert all(torch.equal(one[name], other[name]) for name in one)
    tests = [{k: v for k, v in last(run).items() if "test/" in k} for run in (retrained, alone)]
    assert tests[0] == tests[1]
    assert len(tests[0]) == 2
    assert not any(name.startswith("test/") for name in last(first)), "measured once"
    assert record.read_points(parent()[0])[-1]["values"] == tests[0]


@pytest.mark.parametrize("count", in_suite(["steps"], ["steps", "passes"]))
@pytest.mark.parametrize(
    "schedule",
    [
        ("schedule=plateau", "schedule.patience='7 steps'", "warmup='1 epochs'"),
        ("schedule=step", "schedule.every='2 epochs'"),
        ("schedule=cosine", "warmup=10%"),
    ],
    ids=["plateau", "step", "cosine"],
)
def test_restart_has_the_rates_of_the_first_training(schedule, count):
    words = (*SHORT, *schedule, "optimizer.lr=0.5", "procedure=retrain")
    assert main([*words, f"procedure.count={count}"]) == 0
    first, retrained = children()
    before, after = rates(first), rates(retrained)
    assert len(set(before.values())) > 2
    infos = [record.read_json(run / "run.json")["data"]["samples"]["train"] for run in children()]
    first_per, per = (-(-samples // 64) for samples in infos)
    for step, rate in after.items():
        same = (step - 1) * first_per // per + 1 if count == "passes" else step
        assert rate == before[same]
    fitted = [state(run)["preprocessing"] for run in (first, retrained)]
    assert all(torch.equal(fitted[0][name], fitted[1][name]) for name in fitted[0])


@pytest.mark.proves("procedure=retrain")
def test_continue_is_algorithm_7_3():
    recipe = (*SHORT, "preprocessing=none", "schedule=exponential", "optimizer.lr=1")
    recipe = (*recipe, "regularization=[l2]", "regularization.l2.strength=0.001")
    assert main([*recipe, "procedure=retrain", "procedure.strategy=continue"]) == 0
    first, there, retrained = children()
    most, _ = best(first)
    assert record.read_points(there)[-1]["step"] == most
    assert all(torch.equal(state(there)["model"][k], v) for k, v in state(first, "best").items())
    with np.load(retrained / "rows.npz") as file:
        rows = {name: torch.from_numpy(some) for name, some in file.items()}
    source = digits()
    x, y = source.x.float() / 255, source.y
    w = {k: v.clone().requires_grad_() for k, v in state(first, "best").items()}
    saved = state(there)["optimizer"]["state"]
    momentum = [saved["state"][place]["momentum_buffer"].clone() for place in range(len(w))]
    group = saved["param_groups"][0]
    assert group["lr"] == rates(first)[most], "the rate of the best step"

    def loss(some):
        first_layer, bias, second_layer, bias2 = w.values()
        hidden = F.linear(x[some].flatten(1), first_layer, bias).relu()
        return F.cross_entropy(F.linear(hidden, second_layer, bias2), y[some])

    def objective(some):
        with torch.no_grad():
            penalty = sum(v.square().sum() for v in w.values() if v.ndim > 1)
            return float(loss(some) + penalty * 0.0005)

    was_train = rows["train"][~torch.isin(rows["train"], rows["val"])]
    target = objective(was_train)
    step, epoch = 0, 0
    while step < most:
        for some in order(rows["train"], epoch, seed=0).split(64):
            grads = torch.autograd.grad(loss(some), list(w.values()))
            for place, (weight, grad) in enumerate(zip(w.values(), grads, strict=True)):
                if weight.ndim > 1:
                    grad = grad + 0.001 * weight.detach()
                momentum[place].mul_(group["momentum"]).add_(grad)
                weight.data.add_(momentum[place], alpha=-group["lr"])
            step += 1
            reached = step % 7 == 0 and objective(rows["val"]) < target
            if step == most or reached:
                break
        if reached:
            break
        epoch += 1
    assert record.read_points(retrained)[-1]["step"] == step
    found = state(retrained)["model"]
    for name, weight in w.items():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-5, atol=1e-6)
    assert last(retrained)["target/objective"] == pytest.approx(target, rel=1e-5)
    assert last(retrained)["val/objective"] == pytest.approx(objective(rows["val"]), rel=1e-5)
    assert bool(record.read_json(parent()[0] / "run.json")["findings"]) != reached


def test_continue_ends_where_the_objective_is_reached(capsys):
    words = (*COMMON, "epochs='8 steps'", "validate_every='4 steps'", "schedule=constant")
    words = (*words, "optimizer=adam")
    again = ("procedure=retrain", "procedure.strategy=continue")
    assert main([*words, *again]) == 0
    first, retrained = children()
    assert best(first)[0] == 8, "the last step is the best: nothing is done once more"
    assert record.read_points(retrained)[-1]["step"] == 4
    assert record.read_json(retrained / "run.json")["ended_by_rule"]
    end = last(retrained)
    assert end["val/objective"] < end["target/objective"]
    kept = record.read_json(parent()[0] / "run.json")
    assert kept["findings"] == []
    points, chart = record.read_points(retrained), kept["chart"]
    former = [point for point in points if "val/loss" in point["values"]]
    assert former
    assert chart["lines"] == {"best step": 8}
    assert chart["paths"]["retrained, former validation"] == [
        [8 + point["step"] for point in former],
        [point["values"]["val/loss"] for point in former],
    ]
    capsys.readouterr()
    assert main([*words, *again, f"procedure.run={first.name}"]) == 0
    other = children()[-1]
    assert other.parent == retrained.parent
    assert other != retrained
    assert_equal(other, retrained)
    assert len(children()) == 3, "the named run is taken, not trained"


def test_it_says_what_was_not_reached(capsys):
    words = (*SHORT, "optimizer.lr=1", "procedure=retrain", "procedure.strategy=continue")
    assert main([*words]) == 0
    first = children()[0]
    [found] = record.read_json(parent()[0] / "run.json")["findings"]
    assert (found["name"], found["level"]) == ("not_reached", "warn")
    assert found["numbers"]["val/objective"] >= found["numbers"]["target/objective"]
    assert found["command"].endswith(f"procedure=retrain procedure.run={first.name}")
    assert f"  {found['command']}" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", in_suite(["restart"], ["restart", "continue"]))
def test_its_record_stands_for_the_last_weights_of_the_retrained_run(strategy, capsys):
    words = (*SHORT, "optimizer.lr=2", "optimizer.momentum=0.9", "schedule=constant")
    assert main([*words, "procedure=retrain", f"procedure.strategy={strategy}"]) == 0
    *_, retrained = children()
    ends = state(retrained)
    with opened(Asked("evaluate")) as made:
        assert made.directory == retrained
        weights = made.run.model.state_dict()
    assert all(torch.equal(value, ends["model"][name]) for name, value in weights.items())
    if strategy == "restart":
        assert not torch.equal(state(retrained, "best")["1.weight"], ends["model"]["1.weight"])
    capsys.readouterr()
    assert main(["evaluate", "last", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["values"]["loss"] == pytest.approx(last(retrained)["test/loss"])
    assert f"the result is {shell.near(retrained)}" in said.err
    [whole] = parent()
    assert weights_of("outputs", whole.name).file == retrained / "checkpoints" / "last.pt"


@pytest.mark.parametrize("strategy", in_suite(["restart"], ["restart", "continue"]))
def test_killed_and_typed_again_it_is_as_if_never_killed(strategy):
    words = [*SHORT, "checkpoint_every='3 steps'", "optimizer=adam", "regularization=[dropout]"]
    words += ["procedure=retrain", f"procedure.strategy={strategy}", "schedule=plateau"]
    words += ["schedule.patience='7 steps'", "validate_every='5 steps'", "optimizer.lr=0.05"]
    assert main([*words, "outputs=whole"]) == 0
    last_one = len(children("whole")) - 1
    dying = [*words, "procedure._target_=tests.procedure.dying.retrain"]
    dying += [f"+procedure.kill_in={last_one if strategy == 'continue' else 0}"]
    typed(dying, code=-9)
    typed(dying, SPARED="1")
    assert_as_never_killed()


def test_targets_keep_the_scale_of_the_first_training(here):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 3)).astype(np.float32)
    y = np.exp(x @ [1.0, 2.0, -1.0] + 3).astype(np.float32)
    np.savez(here / "numbers.npz", x=x, y=y)
    words = ("data=arrays", "data.path=numbers.npz", "data.task=regression", "loss=mse")
    assert main([*COMMON, "epochs=2", *words, "procedure=retrain"]) == 0
    scales = [record.read_json(run / "run.json")["data"]["scale"] for run in children()]
    assert scales[0] == scales[1]


def trained(*words):
    assert main([*COMMON, "epochs='4 steps'", *words]) == 0
    return record.find("outputs", "last").name


@pytest.mark.parametrize(
    ("words", "said"),
    sparsely(
        [
            ("procedure.run={id} optimizer.lr=0.5", "has another recipe, in optimizer.lr"),
            ("procedure.run={id} optimizer=adam", "in optimizer._target_, optimizer.amsgrad"),
            ("procedure.run={id} data.split_seed=1", "has another recipe, in data.split_seed"),
            ("procedure.run=nothing", "procedure.run=nothing: no run 'nothing'"),
            ("procedure.strategy=again", "procedure.strategy=again: must be restart or continue"),
            ("procedure.count=epochs", "procedure.count=epochs: must be steps or passes"),
            ("data.split=80/0/20", "procedure=retrain: there is no validation split"),
            ("strategy=continue", "did you mean procedure.strategy=continue?"),
        ],
        3,
    ),
)
def test_mistakes_leave_nothing_behind(words, said, capsys, here):
    name = trained() if "{id}" in words else ""
    before = record.all_runs("outputs")
    command = [*COMMON, "epochs='4 steps'", "procedure=retrain", *words.format(id=name).split()]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert record.all_runs("outputs") == before


def test_a_run_on_other_data_is_refused(here, capsys):
    generator = np.random.default_rng(0)
    words = ("data=arrays", "data.path=set.npz")
    for place in range(2):
        x = generator.normal(size=(60, 3)).astype(np.float32)
        np.savez(here / "set.npz", x=x, y=np.arange(60) % 2)
        if not place:
            trained(*words)
    run = ("procedure=retrain", "procedure.run=last")
    assert main([*COMMON, "epochs='4 steps'", *words, *run]) == 2
    assert "procedure.run=last: was trained on other data" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", in_suite(["restart"], ["restart", "continue"]))
def test_its_result_needs_no_checkpoint_of_the_first_training(strategy, capsys):
    words = [*COMMON, "epochs='4 steps'", "regularization=[weight_average]"]
    assert main([*words, "procedure=retrain", f"procedure.strategy={strategy}"]) == 0
    first, *_, retrained = children()
    before = last(retrained)
    assert main([*COMMON, "epochs='1 steps'"]) == 0
    assert main(["clean", "--yes"]) == 0
    assert not (first / "checkpoints").exists()
    capsys.readouterr()
    assert main(["evaluate", retrained.name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["values"]["loss"] == pytest.approx(before["test/loss"])
    code = main([f"resume={retrained.name}", "tracking=none"])
    said = capsys.readouterr().err
    if strategy == "restart":
        assert code == 0, said
    else:  # ends by the objective of weights that are lost
        assert code == 2
        assert "best.pt: is lost, and this training begins with it" in said
