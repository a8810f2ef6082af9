"""What is frozen stays as it is to the last bit, and rates are those of each parameter."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dlrun import record
from dlrun.data import Data, Split
from dlrun.engine import checkpoint
from dlrun.engine.freezing import Frozen
from dlrun.engine.preflight import preflight
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.recipe import build
from tests.conftest import Watcher, in_suite
from tests.states import differences, without_clock
from tests.test_contract import Stop, stop_at_third

WORDS = ["model.hidden=[9,9]", "model.norm=batch", "epochs='4 steps'", "batch_size=24"]
WORDS += ["log_every='1 steps'", "validate_every='1 steps'", "checkpoint_every='1 steps'"]


@pytest.fixture
def few(digits):
    """Four batches of digits."""
    x, y = digits.train.x, digits.train.y
    parts = [Split(x, y, some) for some in digits.train.rows[:160].split([96, 32, 32])]
    return Data("digits", *parts, digits.shape, digits.classes, 10, "")


@pytest.fixture
def trained(compose_recipe, few, tmp_path):
    """trained(words) trains for four steps: the run, its first weights, its last checkpoint."""

    def run(*words: str, change: Any = None) -> Any:
        made = build.build(compose_recipe(*WORDS, *words), few)
        first = copy.deepcopy(made.model.state_dict())
        if change is not None:
            change(made)
        folder = tmp_path / " ".join(words).replace("/", "_")[:200]
        existing = record.all_runs(folder)
        kept = record.open_existing(existing[0]) if existing else record.create(folder, "", {}, "")
        try:
            train(made, begin(made, kept), kept, Watcher())
        except Stop:
            pass
        finally:
            kept.close()
        state = checkpoint.read(kept.directory / "checkpoints" / "last.pt")
        return made, first, state, kept.points()

    return run


def moved(first, state):
    return {name for name, value in state["model"].items() if not torch.equal(value, first[name])}


def layer(number):
    """The names of a layer of the network and its norm."""
    parts = ["weight", "bias"]
    norm = [*parts, "running_mean", "running_var", "num_batches_tracked"]
    return {f"{number}.{name}" for name in parts} | {f"{number + 1}.{name}" for name in norm}


HEAD = {"7.weight", "7.bias"}


@pytest.mark.parametrize(
    ("freeze", "free"),
    [
        ("[backbone]", HEAD),
        ("backbone", HEAD),
        ("[1,2]", layer(4) | HEAD),
        ("[head]", layer(1) | layer(4)),
        ("[?]", set()),
        ("['*.bias']", {n for n in layer(1) | layer(4) | HEAD if not n.endswith("bias")}),
    ],
)
@pytest.mark.parametrize("optimizer", in_suite(["adamw"], ["adamw", "momentum", "muon"]))
def test_what_is_frozen_stays_bit_for_bit(freeze, free, optimizer, trained, few, compose_recipe):
    words = [f"optimizer={optimizer}", "optimizer.weight_decay=0.1", f"freeze={freeze}"]
    words += ["regularization=[l1,l2,max_norm,weight_average]", "regularization.l2.decoupled=true"]
    if not free:
        with pytest.raises(Exception, match="leaves nothing to train"):
            build.build(compose_recipe(*WORDS, *words), few)
        return
    run, first, state, _ = trained(*words)
    assert moved(first, state) == free
    assert run.averaging == []  # its average is what the model has now
    now = run.model.state_dict()
    assert {name for name in now if not torch.equal(now[name], first[name])} == free


def test_frozen_batch_norm_normalizes_by_its_running_statistics():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    Frozen(model, {"1.weight", "1.bias", "1.running_mean"}, None).at(0)
    x = torch.randn(5, 3)
    for mode in (True, False):
        model.train(mode)
        assert model.training is mode
        assert torch.equal(model(x), model[0](x) / (1 + 1e-5) ** 0.5)
    assert not model[1].running_mean.any()


def test_set_free_batch_norm_is_as_any_other():
    model = nn.Sequential(nn.BatchNorm1d(3))
    plain = copy.deepcopy(model)
    frozen = Frozen(model, {"0.weight", "0.running_mean"}, 5)
    assert [frozen.at(step) for step in (0, 1, 4, 5, 6, 4, 5)] == [
        *(True, False, False, True, False, True, True)
    ]
    assert vars(model[0]).keys() == vars(plain[0]).keys()
    assert model[0].training
    model.eval()
    assert not model[0].training
    assert all(p.requires_grad for p in model.parameters())


def test_the_record_tells_parameters_and_those_that_are_ever_trained_apart(compose_recipe, few):
    def facts(*words):
        run = build.build(compose_recipe(*WORDS, *words), few)
        every = sum(weight.numel() for weight in run.model.parameters())
        head = sum(weight.numel() for weight in [*run.model.parameters()][-2:])
        return run.facts(), every, head

    found, every, head = facts("freeze=[backbone]")
    assert (found["parameters"], found["trained"]) == (every, head)
    assert found["frozen"]["tensors"] == found["frozen"]["of"] - 2
    for words in ([], ["freeze=[backbone]", "unfreeze_at=2 steps"]):
        found, every, _ = facts(*words)
        assert found["parameters"] == every
        assert "trained" not in found


def test_a_norm_whose_parameters_alone_are_named_moves_its_statistics(trained):
    _, first, state, _ = trained("freeze=['2.weight','2.bias']")
    assert {"2.running_mean", "2.running_var"} <= moved(first, state)
    assert not {"2.weight", "2.bias"} & moved(first, state)


RATES = ["optimizer.lr=0.05", "lr_of={head:3,2:0.5}", "layer_decay=0.5", "schedule=linear"]
FACTORS = {"1": 0.25, "2": 0.25 * 0.5, "4": 0.5, "5": 0.5, "7": 3.0}


@pytest.mark.parametrize("decay", ["all", "weights"])
@pytest.mark.parametrize("thaws", [None, 2])
@pytest.mark.parametrize("optimizer", [["sgd"], ["sam", "optimizer.rho=0", "optimizer.momentum=0"]])
def test_each_parameter_has_its_own_rate(decay, thaws, optimizer, trained, few):
    """Against a loop by hand: w ← w − rate·factor·(g + decay·w), for what is free."""
    chosen, *options = optimizer
    words = [*RATES, f"optimizer={chosen}", *options, "optimizer.weight_decay=0.1"]
    words.append(f"decay={decay}")
    if thaws:
        words += ["freeze=[backbone]", f"unfreeze_at='{thaws} steps'"]
    run, first, state, points = trained(*words)
    model = copy.deepcopy(run.model)
    model.load_state_dict(first)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for step in range(4):
        free = not thaws or step >= thaws
        model.train()
        for module in model:
            vars(module).pop("train", None)
            if isinstance(module, nn.BatchNorm1d):
                module.train(free)
        rows = run.order(0)[24 * step : 24 * (step + 1)]
        x, y = run.train.x[rows], run.train.y[rows]
        x = x if run.train.prepared else run.preprocessing(x)
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        rate = run.schedule(step, 4, 4) * 0.05
        for name, p in model.named_parameters():
            if free or name.startswith("7."):
                shrinks = decay == "all" or p.dim() > 1
                slope = p.grad + (0.1 * p.data if shrinks else 0)
                p.data -= rate * FACTORS[name[0]] * slope
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state["model"][name], value, atol=1e-6, rtol=1e-5)
    shown = [point["values"]["lr"] for point in points if "lr" in point["values"]]
    groups = [group.get("factor") for group in run.optimizer.param_groups]
    assert shown[0] == pytest.approx(0.05 * groups[0])


def test_the_rate_that_is_shown_is_that_of_the_recipe(trained):
    run, _, _, points = trained("lr_of={1:0.1,2:7}", "optimizer=adamw", "schedule=constant")
    assert run.optimizer.param_groups[0]["factor"] == 1.0
    rates = sorted(group["lr"] / run.rates[0] for group in run.optimizer.param_groups)
    assert rates == pytest.approx([0.1, 1, 7])
    assert points[0]["values"]["lr"] == pytest.approx(run.rates[0])


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [
        *(("momentum", 1), ("adam", 2), ("asgd", 3)),
        *(pytest.param(name, 2, marks=pytest.mark.proof) for name in ("momentum", "muon", "asgd")),
        pytest.param("rprop batch_size=96 epochs=4", 3, marks=pytest.mark.proof),
    ],
)
def test_stopped_before_and_after_it_is_set_free(
    optimizer, at, trained, compose_recipe, few, tmp_path
):
    words = [*f"optimizer={optimizer}".split(), "freeze=[backbone]", f"unfreeze_at='{at} steps'"]
    rules = "l2" if optimizer == "asgd" else "l2,weight_average"  # asgd has an average of its own
    words += ["lr_of={head:3}", f"regularization=[{rules}]", "precision=bf16"]
    _, first, whole, points = trained(*words, "seed=1")
    assert moved(first, whole) >= {"1.weight", "7.weight"}
    words += ["seed=1", "train_eval=false"]
    trained(*words, change=stop_at_third)
    _, _, resumed, again = trained(*words)
    assert not differences(without_clock(whole), without_clock(resumed))

    def plain(points):
        return [{k: v for k, v in p["values"].items() if "time" not in k} for p in points]

    assert plain(points) == plain(again)


def test_penalties_and_looks_follow_what_is_trained(trained):
    words = ["freeze=[backbone]", "unfreeze_at='2 steps'", "regularization=[l2]"]
    words += ["watch=layers", "watch_every='1 steps'", "optimizer=sgd"]
    _, first, _, points = trained(*words)
    values = [point["values"] for point in points]
    head = 0.5e-3 * float(first["7.weight"].square().sum())
    every = sum(0.5e-3 * float(first[f"{n}.weight"].square().sum()) for n in (1, 4, 7))
    assert values[0]["train/l2"] == pytest.approx(head, rel=1e-4)
    assert values[2]["train/l2"] == pytest.approx(every, rel=0.05)
    assert ["layer/1/update" in each for each in values[:4]] == [False, False, True, True]
    assert all("layer/7/update" in each for each in values[:4])


def test_a_frozen_network_is_not_warned_of(compose_recipe, few):
    run = build.build(compose_recipe(*WORDS, "freeze=[backbone]"), few)
    assert not [each for each in preflight(run) if each.name == "no_gradient"]


def test_rates_by_fan_in(compose_recipe, few):
    """Weights and biases by n to a power, n what a unit takes in; norms as they are."""
    words = [
        "model=cnn",
        "model.norm=batch",
        "model.hidden=[16]",
        "optimizer=sgd",
        "layer_lr=fan_in",
    ]
    for power, typed in ((0.5, []), (-1.0, ["layer_lr_power=-1"])):
        run = build.build(compose_recipe(*words, *typed), few)
        by_weight = {
            weight: group["factor"]
            for group in run.optimizer.param_groups
            for weight in group["params"]
        }
        for module in run.model.modules():
            own = [by_weight[weight] for weight in module.parameters(recurse=False)]
            if isinstance(module, nn.Conv2d):
                expected = (module.in_channels * module.kernel_size[0] ** 2) ** power
            elif isinstance(module, nn.Linear):
                expected = module.in_features**power
            else:
                expected = 1.0
            assert own == pytest.approx([expected] * len(own))
