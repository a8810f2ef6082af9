"""What is told of the data before a training; of sound data nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.engine.examine import initial_loss
from dlrun.engine.preflight import preflight
from dlrun.finding import FAIL, NOTE, WARN
from dlrun.recipe import build
from tests.engine.conftest import made


def _normed():
    return nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


class Series(nn.Module):
    """A network for which the inputs of a sample are the times of a series."""

    def __init__(self):
        super().__init__()
        self.gru, self.last = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.gru(x[..., None])[0][:, -1])


def test_of_a_sound_table(found, table):
    assert found(data=made(*table)) == {}


def test_inputs_that_are_not_scaled(found, table):
    x, y = table
    x = x * torch.tensor([1.0, 1.0, 1.0, 1.0, 5000.0])
    assert found("preprocessing=none", data=made(x, y))["input_scale"] == WARN
    assert "input_scale" not in found(data=made(x, y))
    assert "input_scale" not in found("preprocessing=none", model=_normed(), data=made(x, y))


@pytest.mark.parametrize("large", [1e3, 1e6])
def test_a_network_that_normalizes_its_inputs_begins_undecided(compose_recipe, table, large):
    """Batch norm's first statistics are not those that it trains with; they stay as they are."""
    x, y = table
    run = build.build(compose_recipe("preprocessing=none"), made(large * (x + 1), y))
    norm = nn.BatchNorm1d(5)
    run.model = run.uncompiled = nn.Sequential(norm, nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3))
    assert "initial_loss" not in {each.name for each in preflight(run)}
    assert initial_loss(run) < 2
    assert float(norm.running_mean.abs().max()) == float(norm.num_batches_tracked) == 0
    nn.init.normal_(run.model[-1].weight, std=100)
    assert "initial_loss" in {each.name for each in preflight(run)}


def test_inputs_that_depend_on_each_other(found, table):
    x, y = table
    x = torch.cat((x, x[:, :1] + x[:, 1:2] + 1e-3 * x[:, 2:3]), 1)
    assert "dependent_inputs" in found(data=made(x, y))


@pytest.mark.parametrize("preprocessing", ["none", "standardize", "[pca]", "[whiten]"])
def test_rare_columns_are_no_combinations_of_others(found, preprocessing):
    """In 256 of these samples many of them are 0 throughout, or alike."""
    generator = torch.Generator().manual_seed(0)
    rare = (torch.rand(3000, 60, generator=generator) < 0.006).float()
    x = torch.cat((rare, torch.randn(3000, 3, generator=generator)), 1)
    assert np.linalg.matrix_rank((x[:1500] - x[:1500].mean(0)).numpy()) == 63
    words = f"preprocessing={preprocessing}"
    assert "dependent_inputs" not in found(words, data=made(x, torch.arange(3000) % 3))


def test_all_inputs_are_counted_with_those_that_depend_on_others(compose_recipe, table):
    x, y = table
    x = torch.cat((x, x[:, :1] - 2 * x[:, 1:2], x[:, 2:3] + x[:, 3:4]), 1)
    run = build.build(compose_recipe(), made(x, y))
    [one] = [each for each in preflight(run) if each.name == "dependent_inputs"]
    assert one.text.startswith("Only 5 of 7 inputs are independent")


@pytest.mark.parametrize(("model", "cured"), [(None, True), (Series(), False)])
def test_a_series_is_not_to_be_whitened(model, cured, compose_recipe, table):
    x, y = table
    x = torch.cat((x, x[:, :1] + x[:, 1:2] + 0.02 * (100 * x[:, 2:3]).sin()), 1)
    run = build.build(compose_recipe(), made(x, y))
    run.model = run.uncompiled = model or run.model
    [one] = [each for each in preflight(run) if each.name == "dependent_inputs"]
    assert bool(one.changes) == cured
    assert ("whitening removes this" in one.text) == cured


def test_samples_that_stand_in_two_splits(found, table):
    x, y = table
    hashes = torch.arange(400)
    data = replace(made(x, y), hashes=hashes)
    assert "leak" not in found(data=data)
    hashes[200:210] = hashes[:10]
    assert found(data=replace(data, hashes=hashes))["leak"] == WARN
    hashes[201:400] = torch.arange(201, 400)
    assert found(data=replace(data, hashes=hashes))["leak"] == NOTE


@pytest.mark.parametrize(("many", "level"), [(1, NOTE), (2, NOTE), (4, WARN)])
def test_one_sample_of_few_that_stands_in_two_splits_may_be_one_of_a_hundred(
    found, table, many, level
):
    """Of 40 samples one is by chance, if one of a hundred is: in 33 % of such sets (binomial)."""
    x, y = (each[:80] for each in table)
    hashes = torch.arange(80)
    hashes[40 : 40 + many] = hashes[:many]
    few = replace(made(x, y), hashes=hashes)
    assert found(data=few)["leak"] == level


def test_copies_are_kept_together_where_the_split_is_ours(compose_recipe, table):
    x, y = table
    data = made(x, y)
    hashes = torch.arange(400) % 200
    for drawn, cure in (({"train", "val"}, "together"), ({}, None), ({"val"}, None)):
        run = build.build(compose_recipe(), replace(data, hashes=hashes, drawn=frozenset(drawn)))
        [leak] = [each for each in preflight(run) if each.name == "leak"]
        assert leak.changes.get("data.leaks") == cure


def test_identical_samples_with_different_labels(found, table):
    x, y = table
    hashes = torch.arange(400)
    hashes[:9] = hashes[9:18]
    assert found(data=replace(made(x, y), hashes=hashes)) == {}, "labels agree: 9 is 3 times 3"
    hashes[:10] = hashes[10:20]
    assert found(data=replace(made(x, y), hashes=hashes))["label_noise"] == WARN


def test_a_class_that_is_missing_or_rare(found, table):
    x, y = table
    rows = torch.arange(200)
    assert found(data=made(x, y, rows[y[:200] != 2]))["class_missing"] == WARN
    assert found(data=made(x, y, rows[y[:200] == 1]))["class_missing"] == FAIL
    # That a class is missing is not also that its share differs.
    assert "class_imbalance" not in found(data=made(x, y, rows[y[:200] != 2]))
    rare = torch.cat((rows[y[:200] != 2], rows[y[:200] == 2][:9]))
    for words in ((), ("regularization=[label_smoothing]",)):
        assert found(*words, data=made(x, y, rare))["class_imbalance"] == WARN
    for word in ("class_weights=balanced", "sampling=balanced"):
        assert "class_imbalance" not in found(word, data=made(x, y, rare))


def test_a_class_with_too_few_samples_for_another_split(compose_recipe, table):
    def missing(classes):
        found = preflight(build.build(compose_recipe(), made(x, y, classes=classes)))
        [one] = [each for each in found if each.name == "class_missing"]
        return one.text, one.changes

    x, y = table[0], torch.arange(400) % 3
    y[y == 2] = 0
    y[0] = 2
    few = "too few for each split to have one."
    assert missing(3) == (f"Class c has no validation sample; it has {few}", {})
    y[1] = 2
    assert missing(3) == ("Class c has no validation sample.", {"data.split": "60/20/20"})
    y[:4] = torch.tensor([2, 3, 4, 5])
    assert missing(6)[0] == f"Classes c, d, e, … have no validation sample; they have {few}"


def test_a_class_that_is_rarer_in_training_than_in_validation(found):
    x, y = torch.rand(4000, 6), torch.arange(4000) % 3
    rows = torch.arange(2000)
    half = rows[(y[:2000] != 2) | (rows % 2 == 0)]
    assert found(data=made(x, y, half))["class_imbalance"] == WARN
    nearly = rows[(y[:2000] != 2) | (rows % 10 != 0)]
    assert "class_imbalance" not in found(data=made(x, y, nearly)), "may be chance"


def test_a_class_that_is_more_frequent_in_training_than_in_validation(found):
    """Each of the others is rarer by no more than chance makes it."""
    x, y = torch.rand(4000, 6), torch.arange(4000) % 8
    rows, generator = torch.arange(2000), torch.Generator().manual_seed(0)
    kept = torch.rand(2000, generator=generator) < 0.5
    more = made(x, y, rows[(y[:2000] == 0) | kept], classes=8)
    assert found(data=more)["class_imbalance"] == WARN
    assert "class_imbalance" not in found(data=made(x, y, rows[kept], classes=8)), "may be chance"


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (
            [500, *[166] * 8, 172],
            [200] * 10,
            "Class a makes up 25.0% of training and 10.0% of validation, more than chance "
            "explains: a network learns to name it more often than validation has it.",
        ),
        (
            [400, 400, 100],
            [200, 200, 200],
            "Class c makes up 11.1% of training and 33.3% of validation, more than chance "
            "explains: a network learns to name it less often than validation has it.",
        ),
        (
            [700, 700, 400],
            [200, 200, 400],
            "Class c makes up 22.2% of training and 50.0% of validation, more than chance "
            "explains: a network learns to name it less often than validation has it.",
        ),
        (
            [800, 700, 100],
            [200, 200, 20],
            "Class c has 100 training samples, the most frequent one 800: a network may ignore it "
            "and still be right most of the time.",
        ),
    ],
)
def test_the_class_that_differs_most_is_named(compose_recipe, train, val, said):
    classes = torch.arange(len(train))
    y = torch.cat([classes.repeat_interleave(torch.tensor(counts)) for counts in (train, val)])
    rows = torch.arange(len(y))
    data = made(torch.rand(len(y), 4), y, rows[: sum(train)], classes=len(train))
    data = replace(data, val=replace(data.val, rows=rows[sum(train) :]))
    run = build.build(compose_recipe(), data)
    [one] = [each for each in preflight(run) if each.name == "class_imbalance"]
    assert one.text == said


def test_no_validation_split(found, digits):
    none = replace(digits, val=replace(digits.val, rows=digits.val.rows[:0]))
    assert found(data=none)["no_validation"] == WARN


def test_no_split_is_proposed_of_samples_that_are_too_few_for_one(compose_recipe):
    for samples, proposed in ((2, {}), (4, {}), (5, {"data.split": "60/20/20"})):
        data = made(torch.rand(samples, 3), torch.rand(samples, 1), torch.arange(samples), 0)
        data = replace(data, val=replace(data.val, rows=data.val.rows[:0]))
        data = replace(data, test=replace(data.test, rows=data.test.rows[:0]))
        run = build.build(compose_recipe("loss=mse", "model.hidden=[4]"), data)
        [said] = [each for each in preflight(run) if each.name == "no_validation"]
        assert said.changes == proposed
        assert (f"{samples} samples are too few" in said.text) is not bool(proposed)


@pytest.mark.parametrize("numbers", [False, True])
def test_an_order_that_stays_sorted(found, table, numbers):
    x, y = table
    mixed = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    y = y[:200][mixed].repeat(2)
    y = y[:, None] + x[:, :1] if numbers else y
    by_target = y[:200].flatten().argsort()
    data = made(x, y, classes=0 if numbers else 3)
    ordered = made(x, y, by_target, classes=0 if numbers else 3)
    name = "not_shuffled"
    assert found("sampling=fixed", "batch_size=20", data=ordered)[name] == WARN
    assert name not in found("sampling=fixed", "batch_size=20", data=data)
    assert name not in found("batch_size=20", data=ordered)
