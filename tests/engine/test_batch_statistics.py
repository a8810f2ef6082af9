"""Batch norm's statistics for averaged weights: against torch's own, and untouched elsewhere."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import batch_statistics, checkpoint
from dlrun.engine.batches import order
from dlrun.engine.run import Run
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.procedure.train import deployable
from dlrun.recipe import build
from dlrun.regularization import Regularizer
from dlrun.regularization.stochastic_depth import DropBranch
from tests.conftest import Watcher
from tests.states import differences, timeless, without_clock


class Own(_BatchNorm):
    """A layer of the user's own."""

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() == 2


class Shared(nn.Module):
    """One layer of batch norm at two places, and one that never trains."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm, self.frozen = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.frozen.running_mean.fill_(3.0)

    def train(self, mode: bool = True) -> "Shared":
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        return self.norm(self.second(self.frozen(x)))


NETS: dict[str, Callable[[], nn.Module]] = {
    "1d": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    "2d": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4, momentum=0.3)
    ),
    "cumulative": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=None)),
    "own": lambda: nn.Sequential(nn.Linear(6, 8), Own(8), nn.Tanh(), nn.BatchNorm1d(8)),
    "no statistics": lambda: nn.Sequential(
        nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 8), nn.BatchNorm1d(8)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_the_statistics_are_those_of_torch(name):
    torch.manual_seed(0)
    net = NETS[name]().double()
    batches = list((3 * torch.randn(70, 6).double() + 1).split(16))
    for x in batches:
        net(x)
    other = copy.deepcopy(net)
    net.eval()
    batch_statistics.estimate(net, net, batches)
    update_bn(batches, other)
    assert differences(net.state_dict(), other.state_dict()) == []
    for a, b in zip(net.modules(), other.modules(), strict=True):
        assert getattr(a, "momentum", 0) == getattr(b, "momentum", 0)
        assert not a.training
    assert len(batch_statistics.tensors(net)) == 3 * (1 + (name == "own"))


def test_a_frozen_layer_stays_and_a_shared_one_counts_all_its_inputs():
    net = Shared().double().train()
    expected = copy.deepcopy(net).train()
    expected.norm.momentum = None
    batches = list(torch.randn(40, 6).double().split(10))
    for x in batches:
        expected(x)
    batch_statistics.estimate(net, net, batches)
    assert differences(net.state_dict(), expected.state_dict()) == []
    assert net.frozen.running_mean.tolist() == [3.0] * 6
    assert (net.norm.training, net.frozen.training) == (True, False)


def test_nothing_is_left_out_at_random():
    """Neither by a layer of dropout nor by what hangs at a layer of batch norm itself."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8)
    norm.register_forward_hook(DropBranch(0.5, "row"))
    net = nn.Sequential(nn.Linear(6, 8), norm, nn.Dropout(0.5), nn.Linear(8, 8), nn.BatchNorm1d(8))
    plain = nn.Sequential(net[0], nn.BatchNorm1d(8), net[3], nn.BatchNorm1d(8))
    batches = list(torch.randn(40, 6).split(10))
    before = torch.get_rng_state()
    batch_statistics.estimate(net, net, batches)
    assert torch.equal(torch.get_rng_state(), before)
    update_bn(batches, plain)
    for a, b in ((net[1], plain[1]), (net[4], plain[3])):
        assert differences(a.state_dict(), b.state_dict()) == []
    assert len(norm._forward_hooks) == 1
    assert not norm._forward_pre_hooks


NETWORK = ("model.norm=batch", "regularization=[dropout,weight_average]", "epochs=3")
SWA = ("regularization.weight_average.form=swa", "regularization.weight_average.start='40 steps'")
SWA += ("regularization.weight_average.period='5 steps'", "augmentation=[crop]")
SWA += ("augmentation.crop.padding=1", "optimizer.lr=0.1", "schedule=constant")
AVERAGING = {
    "ema": NETWORK,
    "swa": (*NETWORK, *SWA),
    "asgd": ("model.norm=batch", "optimizer=asgd", "epochs=3", "batch_size=20"),
}


def by_torch(run: Run, weights: dict[str, Tensor], most: int | None) -> dict[str, Tensor]:
    """The weights with the statistics that torch finds for them, from so many mini-batches."""
    net = copy.deepcopy(run.model)
    net.load_state_dict(weights)
    net.train()
    for module in net.modules():
        module._forward_pre_hooks.clear()  # dropout
    size, split = run.lengths.batch_size, run.data.train
    rows = split.rows[order(torch.arange(len(split)), 0, 0)]
    rows = rows if most is None else rows[: most * size]
    parts = rows.tensor_split(len(rows) // size)
    update_bn([run.evaluation(split.x[part]) for part in parts], net)
    return net.state_dict()


@pytest.mark.parametrize("name", AVERAGING)
def test_the_final_weights_know_the_whole_split(train_recipe, name):
    trained = train_recipe(*AVERAGING[name])
    run = trained.run
    assert trained.state.runs[0].best_averaged
    kept = checkpoint.read(trained.directory / "checkpoints" / "best.pt")
    final = dict(run.model.state_dict())
    assert differences(kept, final) == []
    assert differences(kept, by_torch(run, kept, None)) == []
    exported = deployable(run)[1].state_dict()
    assert differences(dict(exported), final) == []
    x, y = run.data.val.x[run.data.val.rows], run.data.val.y[run.data.val.rows]
    with torch.no_grad():
        found = run.model.eval()(run.evaluation(x)).argmax(1) == y
    assert trained.state.runs[0].best_score == float(found.double().mean())


@pytest.mark.parametrize("name", AVERAGING)
def test_each_validation_is_of_the_same_mini_batches(train_recipe, name):
    trained = train_recipe(*AVERAGING[name])
    run = trained.run
    saved = checkpoint.read(trained.directory / "checkpoints" / "last.pt")
    names = [key for key, _ in run.model.named_parameters()]
    if name == "asgd":
        kept = saved["optimizer"]["state"]["state"]
        found = [kept[i]["average"] for i in range(len(names))]
    else:
        found = saved["regularization"]["regularization.weight_average"]["state"]["averages"]
    weights = saved["model"] | dict(zip(names, found, strict=False))
    expected = by_torch(run, weights, 32)
    assert differences(expected, by_torch(run, weights, None)), "they tell the two apart"
    net = copy.deepcopy(run.model)
    net.load_state_dict(expected)
    x, y = run.data.val.x[run.data.val.rows], run.data.val.y[run.data.val.rows]
    with torch.no_grad():
        loss = float(cross_entropy(net.eval()(run.evaluation(x)), y))
    assert trained.values("val/loss")[-1] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_training_is_the_same_as_without(train_recipe, name):
    """Neither statistics nor random numbers of the live model are touched."""
    words = [*AVERAGING[name], "monitor=train/loss"]
    averaged = train_recipe(*words)
    without = [word for word in words if "regularization" not in word]
    plain = train_recipe(*without, "regularization=[dropout]")
    a, b = (
        without_clock(checkpoint.read(each.directory / "checkpoints" / "last.pt"))
        for each in (averaged, plain)
    )
    for key in ("model", "optimizer", "random"):
        assert differences(a[key], b[key]) == []
    assert averaged.values("train/loss") == plain.values("train/loss")
    assert averaged.values("val/loss") != plain.values("val/loss")


def test_before_the_average_begins_the_statistics_are_the_live_ones(train_recipe):
    late = (*NETWORK, *SWA, "regularization.weight_average.start='9 epochs'")
    trained = train_recipe(*late)
    assert not trained.state.runs[0].best_averaged
    without = [word for word in late if "regularization" not in word]
    plain = train_recipe(*without, "regularization=[dropout]")
    for name in ("val/loss", "val/accuracy", "train/loss"):
        assert trained.values(name) == plain.values(name)
    both = (checkpoint.read(t.directory / "checkpoints" / "best.pt") for t in (trained, plain))
    assert differences(*both) == []


@pytest.mark.parametrize("name", ["swa", "asgd"])
def test_a_run_that_went_on_is_a_whole_one(compose_recipe, digits, tmp_path, name):
    """Stopped between two validations, with a best of its own behind it."""

    class Halt(Regularizer):
        def should_stop(self, score: float, step: int) -> bool:
            return step == 75

    words = [*AVERAGING[name], "validate_every='25 steps'"]
    found: list[Any] = []
    for halts in (False, True):
        run = build.build(compose_recipe(*words), digits)
        kept = record.create(tmp_path, "test", {}, "")
        if halts:
            run.stopping.append(Halt())
            train(run, begin(run, kept), kept, Watcher())
            run = build.build(compose_recipe(*words), digits)
            state = begin(run, kept)
            state.runs[0].stopped = False
        else:
            state = begin(run, kept)
        standing = train(run, state, kept, Watcher()).runs[0]
        folder = kept.directory / "checkpoints"
        states = [checkpoint.read(folder / file) for file in ("best.pt", "last.pt")]
        found.append(
            [timeless(kept.points()), states[0], without_clock(states[1]), standing.best_score]
        )
        kept.close()
    assert differences(*found) == []


def test_what_is_tested_saved_and_exported_are_one(here, digits):
    words = [*NETWORK, *SWA, "threads=1", f"tracking.uri=sqlite:///{here}/store.db"]
    assert main(words) == 0
    directory = record.find(here / "outputs", "last")
    kept = checkpoint.read(directory / "checkpoints" / "best.pt")
    program = torch.export.load(directory / "model" / "data" / "model.pt2")
    exported = {
        name.removeprefix("1."): value
        for name, value in program.state_dict.items()
        if name.startswith("1.")
    }
    assert differences({name: kept[name] for name in exported}, exported) == []
    end = record.read_points(directory)[-1]["values"]
    for name, split in (("test/accuracy", digits.test), ("best/val_accuracy", digits.val)):
        logits = program.module()(split.x[split.rows])
        assert end[name] == float((logits.argmax(1) == split.y[split.rows]).double().mean())
