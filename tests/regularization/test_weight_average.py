"""Averages of weights against sums written out."""

import io

import pytest
import torch
from torch import Tensor, nn

from dlrun.duration import Steps
from dlrun.regularization.weight_average import WeightAverage, equal, exponential, weight_average


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()
    model[3].bias.requires_grad_(False)
    return model


def train(model: nn.Sequential, rule: WeightAverage, steps: int) -> list[dict[str, Tensor]]:
    """Some steps; what the model's tensors were after each."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.3)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(8, 3, dtype=torch.float64)
        model(x).square().mean().backward()
        optimizer.step()
        rule.constrain(model, [])
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
    return seen


def named(model: nn.Module, rule: WeightAverage) -> dict[str, Tensor]:
    """The averages by the names of the tensors that they stand for."""
    names = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
    return {names[id(live)]: average for live, average in rule.averages()}


AVERAGED = {  # with what is frozen, which may be set free
    *("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"),
    *("1.running_mean", "1.running_var"),
}


@pytest.mark.proves("regularization=weight_average")
@pytest.mark.parametrize("warmup", [True, False])
def test_exponential_average(warmup):
    model, rule = network(), WeightAverage(exponential(0.9, warmup))
    rule.change_model(model, torch.zeros(1))
    assert rule.averages() == []
    seen = train(model, rule, 150)
    averages = named(model, rule)
    assert set(averages) == AVERAGED
    for name, average in averages.items():
        # As one sum: each weight times its share and all the decays after it.
        decays = [min(0.9, (1 + t) / (10 + t)) if warmup else 0.9 for t in range(150)]
        expected = torch.zeros_like(average)
        for t, values in enumerate(seen):
            share = 1.0 if t == 0 else 1 - decays[t]
            for later in decays[t + 1 :]:
                share *= later
            expected += share * values[name]
        torch.testing.assert_close(average, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.proves("regularization=weight_average")
def test_mean_from_a_start_at_every_period():
    model, rule = network(), WeightAverage(equal(start=4, period=3))
    seen: list[dict[str, Tensor]] = []
    for step in range(1, 15):
        seen += train(model, rule, 1)
        chosen = [s for s in (4, 7, 10, 13) if s <= step]
        averages = named(model, rule)
        assert set(averages) == (AVERAGED if chosen else set())
        for name, average in averages.items():
            expected = torch.stack([seen[s - 1][name] for s in chosen]).mean(0)
            torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-14)


def test_a_start_of_zero_is_the_first_step():
    model, rule = network(), WeightAverage(equal(start=0, period=1))
    seen = train(model, rule, 5)
    for name, average in named(model, rule).items():
        expected = torch.stack([values[name] for values in seen]).mean(0)
        torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-14)


def test_the_live_model_is_not_touched():
    plain, averaged = network(), network()
    torch.manual_seed(1)
    train(plain, WeightAverage(lambda steps, count: 0.0), 10)
    torch.manual_seed(1)
    train(averaged, WeightAverage(exponential(0.5)), 10)
    for a, b in zip(plain.state_dict().values(), averaged.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["ema", "swa"])
@pytest.mark.parametrize("before", [0, 1, 6, 11])
def test_goes_on_from_its_state(form, before):
    def make() -> WeightAverage:
        return weight_average(Steps(5), Steps(2), form, decay=0.8)

    model, rule = network(), make()
    train(model, rule, before)
    file = io.BytesIO()
    torch.save([rule.state_dict(), model.state_dict()], file)
    file.seek(0)
    memory, weights = torch.load(file, weights_only=True)

    other_model, other = network(), make()
    other.change_model(other_model, torch.zeros(1))
    other.load_state_dict(memory)
    other_model.load_state_dict(weights)
    compare(named(model, rule), named(other_model, other))
    for each, averaging in ((model, rule), (other_model, other)):
        torch.manual_seed(4)
        train(each, averaging, 7)
    compare(named(model, rule), named(other_model, other))
    kept = other.state_dict()["averages"][0]
    assert all(kept.data_ptr() != value.data_ptr() for value in memory["averages"])


def compare(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name])


def test_a_state_can_be_loaded_into_a_rule_at_work():
    model, rule = network(), WeightAverage(equal(1, 1))
    train(model, rule, 3)
    memory = {key: value for key, value in rule.state_dict().items() if key != "averages"}
    memory["averages"] = [average.clone() for average in rule.state_dict()["averages"]]
    train(model, rule, 3)
    rule.load_state_dict(memory)
    for (_, average), kept in zip(rule.averages(), memory["averages"], strict=True):
        assert torch.equal(average, kept)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="form must be ema or swa, got mean"):
        weight_average(Steps(1), Steps(1), "mean")
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got 1"):
        weight_average(Steps(1), Steps(1), decay=1)
    with pytest.raises(ValueError, match="period must be at least one step, got 0"):
        weight_average(Steps(1), Steps(0), "swa")
    with pytest.raises(ValueError, match="start must not be negative, got -1"):
        equal(-1, 1)


@pytest.mark.parametrize("order", ["[weight_average,max_norm]", "[max_norm,weight_average]"])
def test_averages_are_of_weights_within_their_ball(train_recipe, order):
    trained = train_recipe(
        *("epochs=2", "model=linear", f"regularization={order}", "schedule=constant"),
        *("regularization.max_norm.limit=0.3", "optimizer.lr=0.5"),
    )
    norms = torch.cat([w.norm(dim=1) for w in trained.run.weights if w.dim() > 1])
    assert 0.29 < norms.max() <= 0.3 + 1e-6
