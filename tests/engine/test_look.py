"""A look changes nothing, and sees the network as it is."""

from dataclasses import replace

import torch
from torch import nn

from dlrun.engine.look import Seen, untouched
from dlrun.engine.preflight import preflight
from dlrun.recipe import build
from tests.states import differences


def test_everything_is_put_back(compose_recipe, digits):
    words = ("model=cnn", "regularization=[dropout]")
    run = build.build(compose_recipe(*words), digits)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    with untouched(run):
        run.model.eval()
        first = torch.rand(1)
        run.model(torch.rand(2, 1, 8, 8)).sum().backward()
        with torch.no_grad():
            next(run.model.parameters()).zero_()
    assert torch.rand(1) == first
    assert run.model.training
    assert all(weight.grad is None for weight in run.model.parameters())
    assert not differences(before, run.model.state_dict())


class Remembers(nn.Module):
    """What it gives depends on all that it has been asked, which it keeps beside its tensors."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.noise = torch.Generator().manual_seed(0)
        self.calls, self.seen, self.known, self.memory = 0, [], {}, torch.zeros(10)

    def forward(self, x):
        self.calls += 1
        self.seen.append(len(x))
        self.known[self.calls] = len(x)
        self.later = self.calls
        with torch.no_grad():
            self.memory.add_(1)
        noise = torch.rand(10, generator=self.noise)
        return self.layers(x) * (1 + noise / len(self.seen)) + self.memory / 100


def test_what_a_users_module_keeps_beside_tensors_is_put_back(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = model = Remembers()
    seen, known, memory = model.seen, model.known, model.memory
    preflight(run)
    assert model.seen is seen
    assert model.known is known
    assert model.memory is memory
    assert (model.calls, seen, known, memory.any()) == (0, [], {}, False)
    assert not hasattr(model, "later")
    assert torch.equal(
        torch.rand(3, generator=model.noise),
        torch.rand(3, generator=torch.Generator().manual_seed(0)),
    )


def test_a_large_network_sees_fewer_samples_in_batches_as_it_evaluates(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    assert len(Seen(run).x) == 256
    run.flops = 10**12
    run.lengths = replace(run.lengths, evaluation_batch=5)
    sizes, forward = [], run.uncompiled
    run.uncompiled = lambda x: sizes.append(len(x)) or forward(x)
    assert len(Seen(run).outputs) == 16
    assert sizes == [5, 5, 4, 2]


def test_activations_come_in_the_order_of_the_network(compose_recipe, digits):
    run = build.build(compose_recipe("model.hidden=[7,5,3]"), digits)
    met = Seen(run).trained.activations
    assert [each.values.shape[1] for each in met] == [7, 5, 3]


def test_a_buffer_that_cannot_be_written_to_is_left(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model.register_buffer("wide", torch.zeros(1).expand(4))
    wide = run.model.wide
    with untouched(run):
        run.model.wide = torch.ones(4)
    assert run.model.wide is wide
