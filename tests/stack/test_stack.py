"""Runs that train at once come to what each comes to alone.

In float64 and without random layers every point, the weights and what is the best of them are
the same to 1e-9. On a GPU too: DLRUN_DEVICE=cuda make test ARGS=tests/stack/test_stack.py
"""

import itertools
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlrun import metric, record
from dlrun.data import Data
from dlrun.engine import checkpoint
from dlrun.engine.run import Run
from dlrun.engine.state import begin, begin_together
from dlrun.engine.train import Member, train, train_together
from dlrun.errors import Failure
from dlrun.metric import Metric
from dlrun.recipe import build
from dlrun.record import Record
from dlrun.stack import StackedStep, apart, unfit
from dlrun.stack.network import Network
from dlrun.stack.weights import Stack
from tests.conftest import Recipe, Watcher, sparsely

BASE = ("epochs=3", "data.samples=15%")
TO = 1e-9


@dataclass
class Ended:
    """A run that has ended, and what it left."""

    run: Run
    best_step: int
    points: list[dict[str, Any]]
    failure: str


@dataclass
class Lab:
    """Trains the same recipes alone and together."""

    compose: Recipe
    data: Data
    folder: Path

    def runs(
        self,
        words: Sequence[str],
        siblings: Sequence[str],
        double: bool = True,
        rows: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
    ) -> list[Run]:
        """The runs of several recipes, which differ by some words; rows: of train and val."""
        found = []
        own_rows = rows or itertools.repeat(None, len(siblings))
        for own, some in zip(siblings, own_rows, strict=True):
            data = self.data
            if some is not None:
                parts = zip((data.train, data.val), some, strict=True)
                own_train, own_val = (replace(split, rows=each) for split, each in parts)
                data = replace(data, train=own_train, val=own_val)
            run = build.build(self.compose(*BASE, *words, *filter(None, own.split("; "))), data)
            if some is not None:
                run.lengths = replace(run.lengths, evaluation_batch=20)
            if double:
                in_double(run)
            found.append(run)
        return found

    def record(self) -> Record:
        """A new record."""
        return record.create(self.folder, "test", {"versions": {}, "git": {}}, "")

    def alone(self, run: Run) -> Ended:
        """What becomes of a run that trains alone."""
        kept, failure = self.record(), ""
        state = begin(run, kept)
        try:
            train(run, state, kept, Watcher())
        except Failure as error:
            failure = str(error)
        kept.close()
        return Ended(run, state.runs[0].best_step, kept.points(), failure)

    def together(self, runs: Sequence[Run], records: Sequence[Record] = ()) -> list[Ended]:
        """What becomes of runs that train at once."""
        kept = list(records) or [self.record() for _ in runs]
        state = begin_together(runs, kept)
        pairs = zip(runs, state.runs, kept, strict=True)
        members = [Member(*each, Watcher()) for each in pairs]
        try:
            every = train_together(members, state, StackedStep(runs))
            ended = [member for some in every for member in some]
        finally:
            for each in kept:
                each.close()
        assert sorted(map(id, ended)) == sorted(map(id, members))
        return [
            Ended(m.run, m.standing.best_step, m.record.points(), str(m.failure or ""))
            for m in members
        ]

    def compare(
        self, words: Sequence[str], siblings: Sequence[str], ties: str = "", **more: Any
    ) -> list[Ended]:
        """Train recipes in both ways, and require the same of both. more: as `runs` takes it.

        ties: a value for which rounding may decide between outputs that are equal.
        """
        runs = self.runs(words, siblings, **more)
        assert [unfit(run) for run in runs[:1]] == [""]
        assert [apart(runs[0], run) for run in runs] == [""] * len(runs)
        found = self.together(runs)
        for one, all_of_them in zip(self.runs(words, siblings, **more), found, strict=True):
            same(self.alone(one), all_of_them, ties)
        return found


@pytest.fixture
def lab(compose_recipe, digits, tmp_path):
    return Lab(compose_recipe, digits, tmp_path)


class Double(torch.nn.Module):
    """Into float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def in_double(run: Run) -> None:
    """Compute in float64."""
    run.model.double()
    for name in ("train", "val", "train_eval"):
        feed = getattr(run, name)
        if feed is not None:
            y = feed.y.double() if feed.y.is_floating_point() else feed.y
            x = feed.x.double() if feed.prepared else feed.x
            setattr(run, name, type(feed)(x, y, feed.rows, feed.prepared))
    if not run.train.prepared:
        run.preprocessing = torch.nn.Sequential(run.preprocessing, Double())
        run.evaluation = torch.nn.Sequential(run.evaluation, Double())
    for memory in run.optimizer.state.values():  # AdaGrad has one from the start
        memory["sum"] = memory["sum"].double()
    if run.objective.weight is not None:
        run.objective.weight = run.objective.weight.double()


def same(alone: Ended, together: Ended, ties: str = "") -> None:
    """Require of two runs the same points, weights and end."""
    said = [each.failure.partition(" with a rate")[0] for each in (alone, together)]
    assert said[0] == said[1]  # the rate is that of when it is noticed
    assert [p["step"] for p in together.points] == [p["step"] for p in alone.points]
    for one, other in zip(alone.points, together.points, strict=True):
        assert list(one["values"]) == list(other["values"])
        for name, value in one["values"].items():
            if not name.startswith("time/") and name != ties:
                close = math.isclose(other["values"][name], value, rel_tol=TO, abs_tol=1e-12)
                assert close, (one["step"], name, value, other["values"][name])
    if alone.failure:
        return
    assert together.best_step == alone.best_step
    weights = together.run.model.state_dict()
    for name, value in alone.run.model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=TO, atol=1e-10, msg=name)


OPTIMIZERS = {
    "sgd": "optimizer.weight_decay=0.01",
    "momentum": "optimizer.momentum=0.5; optimizer.weight_decay=0.01",
    "nesterov": "optimizer.momentum=0.5; optimizer.weight_decay=0.01",
    "adagrad": "optimizer.lr_decay=0.1; optimizer.initial_accumulator_value=0.1",
    "adagrad; optimizer.eps_form=inside": "optimizer.lr_decay=0.1; optimizer.eps=0.01",
    "rmsprop": "optimizer.alpha=0.9; optimizer.weight_decay=0.01",
    "rmsprop; optimizer.momentum=0.9; optimizer.centered=true": "optimizer.momentum=0.5",
    "rmsprop; optimizer.eps_form=inside": "optimizer.alpha=0.9; optimizer.eps=1e-4",
    "adam": "optimizer.betas=[0.8,0.99]; optimizer.weight_decay=0.01; optimizer.eps=1e-4",
    "adam; optimizer.amsgrad=true": "optimizer.betas=[0.8,0.9]; optimizer.weight_decay=0.01",
    "adam; optimizer.bias_correction=false": "optimizer.betas=[0.8,0.99]",
    "adamw": "optimizer.betas=[0.8,0.99]; optimizer.weight_decay=0.1",
    "nadam": "optimizer.betas=[0.8,0.99]; optimizer.momentum_decay=0.01",
    "muon": "optimizer.momentum=0.8; optimizer.adamw_lr=0.01; optimizer.weight_decay=0.1",
    "lion": "optimizer.betas=[0.8,0.9]; optimizer.weight_decay=0.1",
    # One after another, by their own step.
    "adadelta": "optimizer.rho=0.8",
    "radam": "optimizer.betas=[0.8,0.99]",
    "nesterov; optimizer.form=classical": "optimizer.momentum=0.5",
    "momentum; optimizer.momentum_start=0.5": "optimizer.momentum=0.6",
    "schedulefree_adamw": "optimizer.weight_decay=0.1",
}


@pytest.mark.parametrize("optimizer", sparsely(OPTIMIZERS, 5, names=1))
def test_optimizers(lab, optimizer):
    words = f"optimizer={optimizer}".split("; ")
    lab.compare([*words, "warmup=10%"], ["seed=1", f"seed=2; {OPTIMIZERS[optimizer]}; epochs=2"])


def test_rates_of_their_own(lab):
    """The same batch for all, which is not copied; groups with rates of their own."""
    words = ["optimizer=adam", "layer_lr=fan_in", "decay=weights", "optimizer.weight_decay=0.01"]
    lab.compare(words, [f"optimizer.lr={rate}" for rate in (0.02, 0.001, 0.005)])
    runs = lab.runs(words, ["optimizer.lr=0.1", "optimizer.lr=0.2"])
    step = StackedStep(runs)
    rows = step.rows(0)
    [(x, y)] = next(step.batches(rows, 0))
    assert rows.dim() == 1
    assert x.shape == (32, 1, 8, 8)
    assert y.shape == (32,)


@pytest.mark.parametrize(
    "words",
    [
        ("metric=[auroc,brier]",),
        pytest.param(
            ("regularization=[batch_norm,input_noise]", "train_eval=true"), marks=pytest.mark.proof
        ),
        pytest.param(("augmentation=[flip]",), marks=pytest.mark.proof),
    ],
)
def test_rows_of_their_own(lab, words):
    """Folds and bags: other samples, some of them twice, and other numbers of them to measure."""
    every = torch.cat([lab.data.train.rows, lab.data.val.rows])
    draw = torch.Generator().manual_seed(3)
    bags = [every[torch.randint(90, (90,), generator=draw)] for _ in range(3)]
    rows = [(bag, every[100 : 160 - 9 * k]) for k, bag in enumerate(bags)]
    lab.compare(words, ["seed=1", "seed=2", "seed=2; optimizer.lr=0.01"], rows=rows)


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that there are at once; peak: the most."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        out: torch.Tensor = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self._storages[reference.cdata] = reference, storage.nbytes()
        alive = {key: each for key, each in self._storages.items() if not each[0].expired()}
        self._storages = alive
        self.peak = max(self.peak, sum(size for _, size in alive.values()))
        return out


@pytest.mark.parametrize(
    "words",
    [
        ("model.hidden=[256,256]", "optimizer=adam"),
        pytest.param(("model=cnn", "model.channels=[4,8]"), marks=pytest.mark.proof),
    ],
)
def test_a_sibling_takes_the_memory_of_a_run_of_its_own(lab, words):
    def peak(count: int) -> int:
        with Live() as live:
            siblings = [f"seed={k}; optimizer.lr=0.00{k + 1}" for k in range(count)]
            runs = lab.runs(words, siblings, double=False)
            lab.together(runs) if count > 1 else lab.alone(runs[0])
        return live.peak

    assert (peak(6) - peak(3)) / 3 < 1.3 * peak(1)


def test_no_sample_is_kept_more_often_than_alone(lab):
    """Where all train on the same, once; else as often as there are other samples."""
    every = lab.data.train.rows
    for rows, times in (((every[:90],) * 3, 1), ((every[:90], every[:90], every[90:180]), 2)):
        runs = lab.runs(
            [], [""] * 3, double=False, rows=[(some, lab.data.val.rows) for some in rows]
        )
        size = runs[0].train.x.nbytes
        step = StackedStep(runs)
        assert step.rows(0).dim() == 1
        kept = {run.train.x.untyped_storage().data_ptr(): run.train.x for run in runs}
        assert sum(x.untyped_storage().nbytes() for x in kept.values()) == times * size


SCHEDULES = [
    *("constant", "step", "multistep", "exponential", "time", "inverse", "sqrt", "linear"),
    *("polynomial", "cosine", "restarts", "cyclic", "one_cycle", "bold_driver", "plateau"),
    *("halve_on_worse", "manual"),
    "plateau; schedule.patience=1; schedule.return_to_best=true",
]


@pytest.mark.proof
def test_schedules(lab):
    """All at once, with lengths of their own."""
    siblings = [
        f"schedule={schedule}; seed={number}; epochs={2 + number % 2}"
        for number, schedule in enumerate(SCHEDULES)
    ]
    lab.compare(["optimizer=adam"], siblings)


@pytest.mark.parametrize("average", ["lookahead", "weight_average"])
def test_a_cut_begins_anew_with_its_own_optimizer(average, lab):
    words = ["optimizer=nadam", "schedule=bold_driver", "epochs=5", "optimizer.lr=0.03"]
    words.append(f"regularization=[{average}]")
    lab.compare(words, ["seed=1", "seed=2; optimizer.betas=[0.8,0.99]", "seed=3; schedule=cosine"])


@pytest.mark.parametrize(
    "initializers",
    [
        ["he", "orthogonal"],
        pytest.param(
            [
                *("data_dependent", "default", "he_normal", "he_uniform", "lecun"),
                *("large_normal", "lsuv", "normal", "random_walk", "small_normal", "uniform"),
                *("small_uniform", "xavier", "xavier_normal", "xavier_uniform", "zeros"),
            ],
            marks=pytest.mark.proof,
        ),
        ["constant"],
    ],
    ids=["two", "others", "constant"],
)
def test_initializers(lab, initializers):
    ties = "train/accuracy" if initializers == ["constant"] else ""  # all outputs are the same
    siblings = [f"initializer={each}; optimizer.lr=0.01" for each in initializers]
    lab.compare([], [*siblings, f"{siblings[0]}; seed=2"], ties=ties)


REGULARIZED = {
    "l1,l2,max_norm,label_smoothing": (
        "regularization.l1.strength=0.01; regularization.l2.strength=0.1; "
        "regularization.max_norm.limit=1; regularization.label_smoothing.amount=0.3"
    ),
    "elastic,input_noise,target_noise": (
        "regularization.elastic.ratio=0.1; regularization.elastic.strength=0.01; "
        "regularization.input_noise.std=0.3; regularization.target_noise.flip=0.3"
    ),
    "batch_norm,weight_average": "regularization.weight_average.decay=0.9",
    "lookahead,batch_norm": "regularization.lookahead.share=0.9",
}


@pytest.mark.parametrize("rules", sparsely(REGULARIZED, 5, names=1))
def test_regularization(lab, rules):
    own = f"seed=2; {REGULARIZED[rules]}; optimizer.lr=0.02"
    words = [f"regularization=[{rules}]", "class_weights=balanced"]
    lab.compare(words, ["seed=1", own, "seed=3; epochs=2"])


LIMITED = ("regularization=[max_norm,l1]", "regularization.l1.form=proximal")
LIMITED += ("regularization.max_norm.limit=0.4",)


@pytest.mark.parametrize(
    ("words", "own"),
    [
        pytest.param(
            ("regularization=[l2]", "regularization.l2.decoupled=true", "decay=weights"),
            "regularization.l2.strength=0.1",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            ("regularization=[l1]", "regularization.l1.form=proximal"),
            "regularization.l1.strength=0.1",
            marks=pytest.mark.proof,
        ),
        (
            ("optimizer=nesterov", "optimizer.form=classical", *LIMITED),
            "regularization.max_norm.limit=0.3",
        ),
        (
            ("optimizer=schedulefree_sgd", "optimizer.lr=0.5", *LIMITED),
            "regularization.max_norm.limit=0.3",
        ),
        (
            ("accumulate=3", "batch_size=20", "log_every='5 steps'", "validate_every='3 steps'"),
            "clip_norm=0.5; clip_value=0.02",
        ),
        pytest.param(
            ("augmentation=[flip,crop]", "augmentation.crop.padding=1", "loss=mse"),
            "optimizer.lr=0.01",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            ("model=cnn", "model.channels=[4,6]", "metric=[auroc,brier]", "train_eval=true"),
            "optimizer.lr=0.01",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            ("model=autoencoder", "drop_last=true"), "optimizer.lr=0.01", marks=pytest.mark.proof
        ),
    ],
)
def test_what_else_a_recipe_says(lab, words, own):
    lab.compare(words, ["seed=1", f"seed=2; {own}", "seed=3; epochs=2"])


def test_early_stopping_takes_runs_out(lab):
    words = ["regularization=[early_stopping,batch_norm]", "epochs=9"]
    patience = "regularization.early_stopping.patience"
    siblings = [f"seed={k}; optimizer.lr=0.0{k}; {patience}='{k} epochs'" for k in range(1, 5)]
    found = lab.compare(words, siblings)
    assert len({len(each.points) for each in found}) > 2


def test_a_run_that_diverges_touches_no_other(lab):
    words = ["optimizer=sgd", "preflight=off"]
    found = lab.compare(words, ["seed=1", "seed=2; optimizer.lr=1e200", "seed=3"])
    assert [bool(each.failure) for each in found] == [False, True, False]


@pytest.mark.parametrize("words", [[], ["regularization=[weight_average]"]])
@pytest.mark.parametrize("of_sums", [None, metric.mean])
def test_a_metric_that_raises_touches_no_other_run(lab, of_sums, words):
    def judge(predicted, y):
        return (predicted.argmax(1) == y).double().sum()

    def fail(predicted, y):
        raise ValueError("no value")

    def runs():
        found = lab.runs(["train_eval=true", *words], ["seed=1", "seed=2", "seed=3"])
        for run, function in zip(found, (judge, fail, judge), strict=True):
            run.metrics = {"own": Metric("own", True, function=function, of_sums=of_sums)}
        return found

    first, failed, last = lab.together(runs())
    assert (failed.failure, failed.points) == ("no value", [])
    for one, of_all in zip(runs()[::2], (first, last), strict=True):
        same(lab.alone(one), of_all)


@pytest.mark.parametrize("words", [[], ["model=autoencoder"]])
def test_a_metric_of_a_whole_split_sees_each_batch_as_it_was(lab, words):
    """What comes out of a layer lies where that of the batch before did."""

    def uneven(predicted, y):
        return (predicted * torch.arange(len(predicted))[:, None]).mean()

    def runs():
        found = lab.runs(words, ["seed=1", "seed=2"])
        for run in found:
            run.lengths = replace(run.lengths, evaluation_batch=20)
            run.metrics = {"own": Metric("own", True, function=uneven)}
        return found

    assert len(runs()[0].val) > 40
    for one, of_all in zip(runs(), lab.together(runs()), strict=True):
        same(lab.alone(one), of_all)


class Kill(Exception):
    """The end of a process."""


@pytest.mark.parametrize("saves", [pytest.param(0, marks=pytest.mark.proof), 1])
def test_a_killed_stack_goes_on_exactly(lab, monkeypatch, saves):
    """Killed in the midst of an epoch, or between the checkpoints of two runs."""
    words = ["regularization=[dropout,l2]", "optimizer=adam", "checkpoint_every='4 steps'"]
    siblings = ["seed=1", "seed=2; regularization.dropout.hidden=0.3", "seed=3; epochs=2"]
    torch.manual_seed(5)
    whole = lab.together(lab.runs(words, siblings, double=False))

    kept, saving, written = [lab.record() for _ in siblings], checkpoint.saving, itertools.count()

    def dying(state: dict[str, Any], folder: Path) -> AbstractContextManager[None]:
        if next(written) == 6 + saves:
            raise Kill
        return saving(state, folder)

    monkeypatch.setattr(checkpoint, "saving", dying)
    torch.manual_seed(5)
    with pytest.raises(Kill):
        lab.together(lab.runs(words, siblings, double=False), kept)
    monkeypatch.undo()
    for each in kept:
        each.close()
    again = [record.open_existing(each.directory) for each in kept]
    torch.manual_seed(99)
    went_on = lab.together(lab.runs(words, siblings, double=False), again)
    for one, other in zip(whole, went_on, strict=True):
        assert [p["step"] for p in one.points] == [p["step"] for p in other.points]
        for before, after in zip(one.points, other.points, strict=True):
            for name, value in before["values"].items():
                assert name.startswith("time/") or after["values"][name] == value, name
        weights = other.run.model.state_dict()
        assert all(map(torch.equal, one.run.model.state_dict().values(), weights.values()))


def test_checkpoints_of_a_stack_are_on_the_disk_before_they_are_in_place(lab, monkeypatch):
    """So are the points that they know of; else a power cut takes what a checkpoint goes by."""
    fsync, move, synced, placed = os.fsync, Path.replace, set(), []

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def moved(path: Path, target: Path) -> Path:
        if target.parent.name == "checkpoints" and path.suffix == ".part":
            placed.append(target.name)
            assert path.stat().st_ino in synced
            if target.name == "last.pt":
                assert (target.parents[1] / "metrics.jsonl").stat().st_ino in synced
        return move(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", moved)
    lab.together(lab.runs(["epochs=1"], ["seed=1", "seed=2"]))
    assert sorted(placed) == ["best.pt", "best.pt", "last.pt", "last.pt"]


def test_a_sibling_goes_on_alone(lab):
    """Longer than the others, as if it had never trained with them."""
    words = ["optimizer=nadam", "schedule=constant", "regularization=[l2]"]
    siblings = ["seed=1", "seed=2; optimizer.lr=0.01"]
    kept = [lab.record() for _ in siblings]
    lab.together(lab.runs(words, siblings), kept)
    [longer] = lab.runs([*words, "epochs=5"], siblings[1:])
    again = record.open_existing(kept[1].directory)
    state = begin(longer, again)
    train(longer, state, again, Watcher())
    again.close()
    [whole] = lab.runs([*words, "epochs=5"], siblings[1:])
    same(lab.alone(whole), Ended(longer, state.runs[0].best_step, again.points(), ""))
    size = (kept[1].directory / "checkpoints/last.pt").stat().st_size
    assert size < 1.5 * (kept[0].directory / "checkpoints/last.pt").stat().st_size


def test_masks_are_each_runs_own(lab):
    words = ["regularization=[dropout,dropconnect]", "regularization.dropconnect.linear=0.3"]
    runs = lab.runs(words, ["", "", "regularization.dropout.hidden=0.1"])
    step = StackedStep(runs)
    result = step(next(step.batches(step.rows(0), 0)), [1.0] * 3, norm=False)
    assert len({float(loss) for loss in result.batches[0].loss}) == 3


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.5, 0.3)])
def test_masks_of_two_runs_are_independent(lab, rates):
    """Of units kept in one run, as large a share is kept in another as of all."""
    words = ["regularization=[dropout]", "regularization.dropout.visible=0"]
    runs = lab.runs(words, [f"regularization.dropout.hidden={rate}" for rate in rates])
    model: Any = runs[0].model
    hidden = [place for place, layer in enumerate(model) if layer._forward_pre_hooks]
    stage = Network(runs)._stages[hidden[0]]  # dropout, before its layer
    stack = Stack(runs)
    tensors, x = stack.tensors(), torch.ones(2, 64, 64).to(stack.flat)
    kept = [stage(tensors, x) > 0 for _ in range(20)]
    first, second = torch.stack(kept, 1).double().flatten(1)
    error = 4 / math.sqrt(len(first))
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < error
    assert abs(float(first.mean()) + rates[0] - 1) < error
    assert abs(float(second.mean()) + rates[1] - 1) < error


@pytest.mark.proof
def test_dropout_is_distributed_as_in_single_runs(lab):
    """The final validation loss of 200 siblings and of 200 single runs (Kolmogorov–Smirnov)."""
    words = ["regularization=[dropout]", "model.hidden=[16]", "epochs=2", "preflight=off"]
    draw = torch.Generator().manual_seed(7)
    rows = lab.data.train.rows[torch.randperm(len(lab.data.train), generator=draw)]
    some = [(rows[:64], rows[64:192])]

    def losses(seeds: range, at_once: int) -> list[float]:
        found = []
        for start in seeds[::at_once]:
            names = [f"seed={seed}" for seed in range(start, start + at_once)]
            runs = lab.runs(words, names, double=False, rows=some * at_once)
            ended = lab.together(runs) if at_once > 1 else [lab.alone(runs[0])]
            found += [each.points[-1]["values"]["val/loss"] for each in ended]
        return found

    together, alone = losses(range(200), 100), losses(range(1000, 1200), 1)
    assert len(set(together)) == 200
    assert ks_2samp(together, alone).pvalue > 0.01


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("optimizer=lbfgs", "LBFGS evaluates the loss itself"),
        ("optimizer=sam", "SAM evaluates the loss itself"),
        ("on_divergence=backoff", "on_divergence=backoff returns to a step"),
        ("freeze=[backbone]", "some of its weights are frozen"),
        ("regularization=[gradient_noise]", "gradient_noise draws from one source"),
        ("channels_last=true; model=cnn", "channels_last=true lays out one network"),
        ("loss=hinge", "its network or its loss can't run as several at once: aten::multi"),
        (
            "regularization=[weight_norm]",
            "its network or its loss can't run as several at once: aten::_weight_norm",
        ),
    ],
)
def test_what_trains_alone(lab, words, why):
    [run] = lab.runs([], [words], double=False)
    before = torch.get_rng_state()
    assert unfit(run).startswith(why)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("batch_size=16", "batch_size is 32 and 16"),
        ("model.hidden=[32]", "model: 1.weight of shape (64, 64) and (32, 64)"),
        ("activation=tanh", "model: 2 is ReLU and Tanh"),
        ("optimizer=adam", "optimizer: SGD and Adam"),
        ("optimizer=nesterov", "optimizer: form is velocity and nesterov velocity"),
        ("loss=mse", "loss: cross_entropy and mse"),
        ("regularization=[l2]", "regularization: has regularization.l2 in one alone"),
        ("class_weights=balanced", "objective: "),
        ("data.split_seed=1", ""),
        ("seed=5; optimizer.lr=0.3; epochs=9; schedule=step; initializer=he", ""),
    ],
)
def test_what_cannot_share_a_stack(lab, words, why):
    first, second = lab.runs([], ["seed=0", words], double=False)
    found = apart(first, second)
    assert found.startswith(why)
    assert bool(found) == bool(why)


def layers() -> list[torch.nn.Module]:
    """Some that are known by heart, others, and one that is used twice."""
    layer = torch.nn.Linear(16, 16)
    return [
        *(torch.nn.Conv2d(1, 2, 3, stride=2), torch.nn.Tanh(), torch.nn.Flatten()),
        *(torch.nn.Linear(18, 16), torch.nn.ELU(), layer, torch.nn.LayerNorm(16)),
        *(torch.nn.Sequential(torch.nn.ReLU(), layer), torch.nn.PReLU()),
        torch.nn.Linear(16, 10),
    ]


def in_a_row() -> torch.nn.Module:
    """Layers one after another."""
    return torch.nn.Sequential(*layers())


class Whole(torch.nn.Module):
    """The same as a network of a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = in_a_row()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inside(x)
        return found


@pytest.mark.parametrize("network", ["in_a_row", pytest.param("Whole", marks=pytest.mark.proof)])
def test_layers_known_and_unknown(lab, network):
    words = ["model=custom", f"model._target_=tests.stack.test_stack.{network}"]
    lab.compare(words, ["seed=1", "seed=2; optimizer.lr=0.01", "seed=3"])
