import pytest
import torch
from torch import nn

from dlrun.data import Split
from dlrun.engine import feed
from dlrun.engine.feed import prepare

CPU = torch.device("cpu")


class Half(nn.Module):
    """A preprocessing that can be told from the raw values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() / 2


@pytest.fixture
def split():
    x = torch.arange(40, dtype=torch.uint8).reshape(10, 4)
    return Split(x, torch.arange(10), torch.tensor([7, 2, 5]))


def test_fixed_samples_are_prepared_once(split):
    made = prepare(split, Half(), CPU, fixed=True)
    assert made.prepared
    assert torch.equal(made.x[made.rows], split.x[split.rows].float() / 2)
    assert torch.equal(made.y[made.rows], torch.tensor([7, 2, 5]))
    assert len(made) == 3


def test_changing_samples_stay_raw(split):
    made = prepare(split, Half(), CPU, fixed=False)
    assert not made.prepared
    assert not made.prefetch
    assert made.x.data_ptr() == split.x.data_ptr()
    assert torch.equal(made.x[made.rows], split.x[split.rows])


def test_what_does_not_fit_is_fetched_ahead(split, monkeypatch):
    monkeypatch.setattr(feed, "_fits", lambda size, device: size <= 12)  # raw, but not floats
    made = prepare(split, Half(), CPU, fixed=True)
    assert (made.prepared, made.prefetch) == (False, False)
    monkeypatch.setattr(feed, "_fits", lambda size, device: False)
    assert prepare(split, Half(), CPU, fixed=True).prefetch


def test_long_splits_are_prepared_in_parts(monkeypatch):
    x = torch.randint(0, 256, (3000, 40, 40), dtype=torch.uint8)
    rows = torch.randperm(3000)[:2900]
    made = prepare(Split(x, torch.arange(3000), rows), Half(), CPU, fixed=True)
    assert torch.equal(made.x, x[rows].float() / 2)
    assert torch.equal(made.y, rows)


def test_an_empty_split_stays_empty(split):
    empty = Split(split.x, split.y, split.rows[:0])
    assert len(prepare(empty, Half(), CPU, fixed=True)) == 0


def test_a_quarter_of_the_free_memory_is_the_limit():
    free = feed._available()
    assert feed._fits(free // 5, CPU)
    assert not feed._fits(free // 2, CPU)
