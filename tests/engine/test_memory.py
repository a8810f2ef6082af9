"""What the user's own parts remember goes on after a kill, and settings stay the recipe's."""

import json
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque

import numpy
import pytest
import torch
from torch import nn

from dlrun import record
from dlrun.engine import checkpoint, memory
from dlrun.engine.look import untouched
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.recipe import build
from tests.conftest import Watcher
from tests.states import differences, timeless, without_clock

SHORT = ("epochs='9 steps'", "validate_every='3 steps'", "log_every='3 steps'")
SHORT += ("checkpoint_every='2 steps'",)


@pytest.fixture(autouse=True)
def _own(monkeypatch):
    monkeypatch.setitem(sys.modules, "own", sys.modules[__name__])


class Remembers(nn.Module):
    """What it gives in training depends on all that it has been given before."""

    def __init__(self, share):
        super().__init__()
        self.layer, self.share = nn.Linear(64, 10), share
        self.register_buffer("mean", torch.zeros(10), persistent=False)
        self.drawn = torch.Generator().manual_seed(0)
        self.dice, self.numbers = random.Random(0), numpy.random.default_rng(0)
        self.calls, self.seen, self.last = 0, [], deque(maxlen=2)
        self.kept, self.weights = {}, [self.layer.weight]

    def forward(self, x):
        z = self.layer(x.flatten(1))
        if self.training:
            self.calls += 1
            self.seen.append(len(x))
            self.last.append(float(z.detach().mean()))
            self.kept["spread"] = z.detach().std()
            self.mean = (1 - self.share) * self.mean + self.share * z.detach().mean(0)
            z = z + torch.rand(z.shape, generator=self.drawn) + self.dice.random()
            z = z * (1 + self.numbers.random()) + self.weights[0].mean() / len(self.seen)
            z = z + sum(self.last) + self.kept["spread"] + self.calls / 10
        return z - self.mean


class Averages(torch.optim.Optimizer):
    """A momentum, which it keeps beside `state`."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.count, self.ema = 0, {}

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.ema.setdefault(weight, torch.zeros_like(weight))
                mean.mul_(0.9).add_(weight.grad, alpha=0.1)
                weight.sub_(group["lr"] * mean / self.count**0.5)


class Falls:
    """A schedule that counts its calls."""

    calls = 0

    def __call__(self, step, total_steps, steps_per_epoch):
        self.calls += 1
        return 1 / self.calls


class Shifts:
    """An augmentation that goes on with its own draws."""

    def __init__(self):
        self.drawn = torch.Generator().manual_seed(3)

    def __call__(self, x, y, generator):
        return x.float() / 255 * torch.rand(1, generator=self.drawn), y


class Weighs:
    """A loss that grows."""

    calls = 0

    def __call__(self, logits, y):
        self.calls += torch.is_grad_enabled()
        return nn.functional.cross_entropy(logits, y) * (1 + self.calls / 10)


OWN = {
    "model": {"_target_": "own.Remembers", "share": 0.1},
    "optimizer": {"_target_": "own.Averages", "_partial_": True, "lr": 0.1},
    "schedule": {"_target_": "own.Falls"},
    "augmentation": {"own": {"_target_": "own.Shifts"}},
    "loss": {"_target_": "own.Weighs"},
}


class Dies(Watcher):
    """Ends a run where a kill might."""

    def point(self, step, epoch, values):
        if step == 6:
            raise KeyboardInterrupt


def _recipe(compose_recipe, groups, **model):
    recipe = compose_recipe(*SHORT)
    for group in groups:
        recipe[group] = OWN[group] | (model if group == "model" else {})
    return recipe


def _result(kept):
    """The points without the clock, and the last checkpoint."""
    lines = (kept.directory / "metrics.jsonl").read_text().splitlines()
    return timeless(map(json.loads, lines)), without_clock(
        checkpoint.read(kept.directory / "checkpoints" / "last.pt")
    )


@pytest.mark.parametrize("group", list(OWN))
def test_a_killed_run_remembers(compose_recipe, digits, tmp_path, group):
    recipe = _recipe(compose_recipe, [group])
    whole = record.create(tmp_path / "whole", "test", {}, "")
    run = build.build(recipe, digits)
    train(run, begin(run, whole), whole, Watcher())
    whole.close()
    killed = record.create(tmp_path / "killed", "test", {}, "")
    run = build.build(recipe, digits)
    with pytest.raises(KeyboardInterrupt):
        train(run, begin(run, killed), killed, Dies())
    killed.close()
    again = record.open_existing(killed.directory)
    run = build.build(recipe, digits)
    state = begin(run, again)
    assert 0 < state.counters.step < 6
    train(run, state, again, Watcher())
    again.close()
    assert not differences(_result(whole), _result(again))


def test_settings_stay_those_of_the_recipe(compose_recipe, digits):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    run.model.train()(torch.rand(4, 64))
    saved = memory.changed(run)
    assert "share" not in saved["model."]
    assert saved["model."]["calls"] > 0
    run = build.build(_recipe(compose_recipe, ["model"], share=0.5), digits)
    memory.put_back(run, saved)
    assert (run.model.share, run.model.calls) == (0.5, saved["model."]["calls"])


def test_what_has_not_changed_then_is_put_back_too(compose_recipe, digits):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    saved, calls, seen = memory.changed(run), run.model.calls, run.model.seen
    before = list(seen)
    run.model.train()(torch.rand(4, 64))
    memory.put_back(run, saved)
    assert saved == {}
    assert run.model.calls == calls
    assert run.model.seen is seen
    assert seen == before


def test_a_recipe_without_own_parts_keeps_nothing(compose_recipe, digits):
    words = ("regularization=[weight_average]", "schedule=cosine", "warmup=10%")
    assert build.build(compose_recipe(*words), digits).first == {}


def _odd_values():
    """Attributes that cannot be compared, written to, or followed to an end."""
    loop = []
    loop.append(loop)
    return {
        "sparse": torch.eye(3).to_sparse(),
        "expanded": torch.zeros(1).expand(4),
        "shapeless": torch.zeros(2, device="meta"),
        "system": random.SystemRandom(),
        "loop": loop,
    }


@pytest.mark.parametrize("name", list(_odd_values()))
def test_an_odd_attribute_does_not_end_a_run(compose_recipe, digits, name):
    recipe, value = _recipe(compose_recipe, ["model"]), _odd_values()[name]
    run = build.build(recipe, digits)
    run.model.odd = value
    run.first = memory.of(run)
    run.model.calls = 3
    saved = memory.changed(run)
    assert saved == {"model.": {"calls": 3}}
    run.model.calls = 0
    with untouched(run):
        memory.put_back(run, saved)
    memory.put_back(run, saved)
    assert run.model.odd is value
    assert run.model.calls == 3


def test_a_changed_tensor_is_put_back_where_one_cannot_be_written_to(compose_recipe, digits):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    run.first["model."]["wide"] = {"tensor": [torch.zeros(4), "cpu"]}
    run.model.wide = torch.zeros(1).expand(4)
    memory.put_back(run, {"model.": {"wide": {"tensor": [torch.arange(4.0), "cpu"]}}})
    assert run.model.wide.tolist() == [0, 1, 2, 3]


def _used(source):
    source.random()
    return source


def _kinds(start):
    """Attributes of every kind that is kept, as they begin and as they have become."""
    rng = numpy.random
    makers = [rng.PCG64, rng.PCG64DXSM, rng.MT19937, rng.Philox, rng.SFC64]
    sources = {make.__name__: rng.Generator(make(0)) for make in makers}
    sources |= {"legacy": rng.RandomState(0), "legacy_pcg": rng.RandomState(rng.PCG64(0))}
    values = {
        "float": numpy.float64(0.1),
        "uint": numpy.uint64(2**63),
        "complex": 1j,
        "array": numpy.arange(6.0).reshape(2, 3).T,
        "empty": numpy.zeros((0, 2)),
        "texts": numpy.array(["a", "bc"]),
        "counter": Counter("aab"),
        "lists": defaultdict(list, a=[1]),
        "none": defaultdict(None, a=1),
        "ordered": OrderedDict(b=1, a=2),
        "last": deque([1, 2], maxlen=2),
        "frozen": frozenset({1}),
        "within": {"last": deque([3], maxlen=1)},
    }
    if start:
        return sources | dict.fromkeys(values)
    return {name: _used(each) for name, each in sources.items()} | values


@pytest.mark.parametrize("began", [True, False])
def test_every_kind_is_kept(compose_recipe, digits, tmp_path, began):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    vars(run.model).update(_kinds(start=True))
    run.first = memory.of(run)
    vars(run.model).update(was := _kinds(start=False))
    torch.save(memory.changed(run), tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    assert saved["model."].keys() == was.keys()
    again = build.build(_recipe(compose_recipe, ["model"]), digits)
    if began:
        vars(again.model).update(_kinds(start=True))
    memory.put_back(again, saved)
    for name, value in was.items():
        found = vars(again.model)[name]
        assert type(found) is type(value)
        if hasattr(value, "random"):
            assert found.random() == value.random()
            continue
        assert repr(found) == repr(value)
        assert getattr(found, "dtype", None) == getattr(value, "dtype", None)


def test_what_is_kept_stays_the_same_object(compose_recipe, digits):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    held = _kinds(start=False)
    vars(run.model).update(held)
    run.first = memory.of(run)
    run.model.array *= 2
    run.model.counter["a"], run.model.ordered["c"] = 7, 3
    run.model.lists["b"].append(1)
    run.model.last.append(3)
    saved = memory.changed(run)
    assert saved["model."].keys() == {"array", "counter", "ordered", "lists", "last"}
    vars(run.model).update(other := _kinds(start=False))
    memory.put_back(run, saved)
    for name in saved["model."]:
        assert vars(run.model)[name] is other[name]
        assert repr(other[name]) == repr(held[name])


def test_a_default_of_code_is_not_kept(compose_recipe, digits):
    run = build.build(_recipe(compose_recipe, ["model"]), digits)
    run.model.odd = defaultdict(lambda: 1)
    run.model.odd["a"] = 2
    assert "odd" not in memory.of(run)["model."]
