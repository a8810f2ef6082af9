"""Programs of torch.export: those that differ in weights alone are traced once, and are right."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from dlrun.regularization.dropout import Drop
from dlrun.tracking import program


class Scaled(nn.Module):
    """Each attribute is kept in another way: in the state dict, beside it, or as a number."""

    def __init__(self, slope: float = 0.1, beside: float = 2.0, kept: float = 3.0) -> None:
        super().__init__()
        self.layer, self.slope = nn.Linear(4, 3), slope
        self.register_buffer("kept", torch.tensor(kept))
        self.register_buffer("beside", torch.tensor(beside), persistent=False)
        self.constant = torch.tensor([beside])

    def forward(self, x):
        x = (x / 255 * self.kept + self.beside + self.constant).to(self.layer.weight)
        return nn.functional.leaky_relu(self.layer(x), self.slope)


class Tied(nn.Module):
    """Two layers with one weight, or with one each."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.float()))


def test_a_full_disk_is_an_error_and_no_abort():
    with pytest.raises(OSError, match="No space left"):
        program.save(nn.Linear(100, 10), torch.zeros(2, 100), Path("/dev/full"))


@pytest.fixture
def traces(monkeypatch):
    """How often a module was traced."""
    counter, traced = [], program.traced
    monkeypatch.setattr(program, "traced", lambda *given: (counter.append(1), traced(*given))[1])
    program._last.clear()
    return counter


@pytest.fixture
def agrees(tmp_path):
    """Whether the saved program says what its module says, in batches of any size."""
    numbers = count()

    def check(module, x):
        path = tmp_path / f"{next(numbers)}.pt2"
        with torch.no_grad():
            program.save(module, x[:2], path)
            loaded = torch.export.load(path)
            given = loaded.example_inputs[0][0]
            assert torch.equal(given, x[:2])
            assert given.dtype == x.dtype
            return torch.equal(loaded.module()(x), module(x))

    return check


X = torch.arange(28, dtype=torch.uint8).reshape(7, 4)


def test_weights_and_buffers_are_each_one_s_own(traces, agrees):
    for number in range(3):
        torch.manual_seed(number)
        module = Scaled(kept=float(number))
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert agrees(module.eval(), X)
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert len(traces) == 1


@pytest.mark.parametrize(
    "other",
    [
        Scaled(slope=0.2),
        Scaled(beside=2.5),
        Scaled().train(),
        Scaled().double(),
        nn.Sequential(Scaled()),
    ],
    ids=["number", "beside", "mode", "precision", "structure"],
)
def test_what_differs_in_more_is_traced_anew(traces, agrees, other):
    assert agrees(Scaled().eval(), X)
    assert agrees(other, X)
    assert len(traces) == 2


def test_another_example_is_kept_and_one_of_another_type_is_traced_anew(traces, agrees):
    assert agrees(Scaled().eval(), X)
    assert agrees(Scaled().eval(), X + 1)
    assert len(traces) == 1
    assert agrees(Scaled().eval(), X.float())
    assert len(traces) == 2


@pytest.mark.parametrize("first", [True, False])
def test_tied_weights_are_told_from_others(traces, agrees, first):
    assert agrees(Tied(first).eval(), X)
    assert agrees(Tied(not first).eval(), X)
    assert agrees(Tied(not first).eval(), X)
    assert len(traces) == 2


def test_frozen_weights_are_told_from_others(traces, agrees):
    frozen = Tied(tied=False)
    frozen.first.requires_grad_(False)
    assert agrees(Tied(tied=False).eval(), X)
    assert agrees(frozen.eval(), X)
    assert len(traces) == 2


def test_what_cannot_be_pickled_is_traced_each_time(traces, agrees):
    for _ in range(2):
        module = Tied(tied=False).eval()
        module.register_forward_hook(lambda *given: None)
        assert agrees(module, X)
    assert len(traces) == 2


def test_no_weights_stay_behind(traces, agrees, tmp_path):
    assert agrees(Scaled().eval(), X)
    (kept,) = program._last.values()
    assert not kept.state_dict
    with pytest.raises(FileNotFoundError):
        program.save(Scaled().eval(), X[:2], tmp_path / "nowhere" / "model.pt2")
    assert not program._last
    assert agrees(Scaled().eval(), X)


def test_hooks_are_told_apart_by_what_they_do(traces, agrees):
    def hooked(rate):
        module = nn.Sequential(nn.Linear(4, 3)).eval()
        module[0].register_forward_pre_hook(Drop(rate))
        return module

    for number, rate in enumerate((0.1, 0.1, 0.5)):
        assert agrees(hooked(rate), X.float())
        assert len(traces) == (1, 1, 2)[number]
