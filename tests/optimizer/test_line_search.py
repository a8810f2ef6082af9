"""The line search against trials made by hand."""

import pytest
import torch
from torch import nn

from dlrun.optimizer.line_search import LineSearch

MULTIPLIERS = [0.25, 0.5, 1.0, 2.0, 4.0]


class Bowl(nn.Module):
    """½Σ λw² + Σ cos(3w): several minima along a line."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.3, -2.0, 0.7], dtype=torch.float64))

    def forward(self, curvature: torch.Tensor) -> torch.Tensor:
        return (0.5 * curvature * self.w**2 + (3 * self.w).cos()).sum()


CURVATURE = torch.tensor([2.0, 0.3, 1.0], dtype=torch.float64)


def value_at(w: torch.Tensor) -> float:
    return float((0.5 * CURVATURE * w**2 + (3 * w).cos()).sum())


@pytest.mark.proves("optimizer=line_search")
def test_five_steps_keep_the_lowest_of_all_trials(closure):
    model = Bowl()
    optimizer = LineSearch(model, lr=0.15, multipliers=MULTIPLIERS)
    objective = closure(model, CURVATURE, None, lambda value, _: value)
    w, chosen = model.w.detach().clone(), set()
    for _ in range(5):
        g = CURVATURE * w - 3 * (3 * w).sin()
        trials = [w] + [w - 0.15 * k * g for k in MULTIPLIERS]
        best = min(range(len(trials)), key=lambda i: value_at(trials[i]))
        before = float(optimizer.step(objective))
        assert before == pytest.approx(value_at(w), abs=1e-12)
        w = trials[best]
        chosen.add(best)
        torch.testing.assert_close(model.w.detach(), w, rtol=0, atol=1e-10)
    assert len(chosen) > 1
    assert objective.calls == ([True] + [False] * 5) * 5


def test_weights_stay_where_no_trial_is_lower(closure):
    model = Bowl()
    before = model.w.detach().clone()
    optimizer = LineSearch(model, lr=1e6, multipliers=[1.0, 1e300])  # one trial overflows
    optimizer.step(closure(model, CURVATURE, None, lambda value, _: value))
    assert torch.equal(model.w.detach(), before)


@pytest.mark.proves("optimizer=line_search")
def test_every_trial_sees_the_same_dropout_mask():
    """A linear function of the mask: each trial's value tells which mask it saw."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False)).double()
    x, masks = torch.ones(1, 64, dtype=torch.float64), []
    model[0].register_forward_hook(lambda module, args, out: masks.append(out.detach() != 0))

    def objective(backward: bool = True) -> torch.Tensor:
        model.zero_grad()
        value = (model(x) - 3).square().sum()
        if backward:
            value.backward()
        return value.detach()

    torch.manual_seed(3)
    optimizer = LineSearch(model, lr=0.01, multipliers=[0.5, 1.0, 2.0])
    for step in range(3):
        optimizer.step(objective)
        seen = masks[4 * step :]
        assert len(seen) == 4
        assert all(torch.equal(mask, seen[0]) for mask in seen)
    assert not torch.equal(masks[0], masks[4])  # drawn anew for every step
    assert not torch.equal(masks[4], masks[8])


def test_running_statistics_take_note_of_the_batch_once():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(20, 3)
    inside = model[0](x).detach()
    mean, var = 0.1 * inside.mean(0), 0.9 + 0.1 * inside.var(0)

    def objective(backward: bool = True) -> torch.Tensor:
        value = model(x).square().mean()
        if backward:
            value.backward()
        return value.detach()

    LineSearch(model, lr=0.1, multipliers=[0.5, 1.0, 2.0]).step(objective)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, var)
    assert model[1].num_batches_tracked == 1


def test_values_out_of_range_are_refused():
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="multipliers"):
        LineSearch(model, lr=0.1, multipliers=[])
    with pytest.raises(ValueError, match="multipliers"):
        LineSearch(model, lr=0.1, multipliers=[1.0, 0.0])
    with pytest.raises(ValueError, match="lr"):
        LineSearch(model, lr=-0.1, multipliers=[1.0])
