"""Each check finds what it is for, finds nothing in sound recipes, and changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.data import Data, Split
from dlrun.engine import signal
from dlrun.engine.examine import initial_loss
from dlrun.engine.preflight import preflight, raised_by
from dlrun.finding import FAIL, NOTE, WARN
from dlrun.loss import Loss
from dlrun.recipe import build
from tests.states import differences

OWN = ("model=custom", "'+model.shape=${facts.shape}'", "'+model.outputs=${facts.outputs}'")


def network(*last, shape=(1, 8, 8), outputs=10, width=16):
    inputs = shape[0] * shape[1] * shape[2]
    layers = (nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
    return nn.Sequential(*layers, *last)


class Does(nn.Module):
    """A layer that does what a function does."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def found(compose_recipe, digits):
    """found(words, model=..., data=...) is {name: level} of what preflight says."""

    def look(*words, model=None, data=digits, loss=None):
        run = build.build(compose_recipe(*words), data)
        if loss is not None:
            run.loss = Loss(loss)
        if model is not None:
            run.model = run.uncompiled = model
        return {each.name: each.level for each in preflight(run)}

    return look


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("model=cnn", "augmentation=[crop]"),
        ("model=resnet", "model.depth=8"),
        ("optimizer=adam", "regularization=[dropout,batch_norm,l2]"),
        ("initializer=he", "model.hidden=[64,64,64]"),
        ("activation=tanh", "initializer=xavier", "model.hidden=[64,64]"),
        ("model=autoencoder", "loss=mse"),
        ("model=linear",),
        ("regularization=[label_smoothing]", "class_weights=balanced"),
        ("loss=hinge",),
        ("loss=bce",),
    ],
    ids=" ".join,
)
def test_sound_recipes_are_let_pass(found, words):
    assert found(*words) == {}


@pytest.mark.parametrize(
    ("words", "name", "level"),
    [
        (("initializer=zeros",), "symmetric_units", FAIL),
        (("initializer=constant",), "symmetric_units", FAIL),
        (("initializer=normal", "initializer.std=3"), "initial_loss", WARN),
        (("activation=identity",), "linear_network", WARN),
        (("loss=mae",), "wrong_loss", WARN),
        (("activation=sigmoid", "model.hidden=[50,50,50,50]"), "vanishing_gradient", WARN),
        (
            ("activation=tanh", "initializer=normal", "initializer.std=1", "model.hidden=[99,99]"),
            "saturated_units",
            WARN,
        ),
        (
            ("initializer=normal", "initializer.std=20", "model.hidden=[99,99,99]"),
            "exploding_gradient",
            WARN,
        ),
    ],
    ids=str,
)
def test_of_the_recipe(found, words, name, level):
    assert found(*words).get(name) == level


def dying():
    model = network()
    nn.init.constant_(model[1].bias, -100.0)
    return model


def frozen():
    model = network()
    model[1].requires_grad_(False)
    return model


def unused():
    model = network()
    model.register_parameter("spare", nn.Parameter(torch.ones(3, 3)))
    return model


class Listed(nn.Module):
    """Layers that nn.Module does not see, held in one way or another, or made for each pass."""

    def __init__(self, hold):
        super().__init__()
        self.held, self.last = hold(nn.Linear(64, 8)), nn.Linear(8, 10)

    def forward(self, x):
        held = self.held
        while not callable(held):
            held = next(iter(held.values() if isinstance(held, dict) else held))
        return self.last(held(x.flatten(1)))


HELD = {
    "list": lambda layer: [layer],
    "nested": lambda layer: {"first": (layer,)},
    "made": lambda layer: lambda x: nn.Linear(64, 8)(x),
}


@pytest.mark.parametrize("how", HELD)
def test_layers_that_the_model_does_not_list(how, compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = Listed(HELD[how])
    [one] = [each for each in preflight(run) if each.name == "no_gradient"]
    assert (one.level, one.numbers) == (FAIL, {"weights": 64 * 8 + 8})
    assert ("(held)" in one.text) == (how != "made")


def test_layers_that_are_also_in_a_list_are_listed(found):
    model = Listed(lambda layer: layer)
    model.again = [model.held, model.last]
    model.teacher = [nn.Linear(64, 8)]  # on purpose, and not in the graph
    assert "no_gradient" not in found(model=model)


def test_gradients_that_are_large_because_inputs_are(found, digits):
    """The scale of the inputs is the cause, and is told instead."""
    said = found("preprocessing=none", data=replace(digits, **_times(digits, 1e5)))
    assert "input_scale" in said
    assert "exploding_gradient" not in said


def _times(data, factor):
    splits = {name: getattr(data, name) for name in ("train", "val", "test")}
    return {name: replace(each, x=each.x * factor) for name, each in splits.items()}


class Rows(nn.Module):
    """A recurrent layer over the rows of an image, of which `batch_first` may be forgotten."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(16, 10)

    def forward(self, x):
        return self.last(self.layer(x.flatten(1, 2))[0][:, -1])


@pytest.mark.parametrize(
    ("model", "mixes"),
    [
        (Rows(nn.GRU(8, 16)), True),
        (Rows(nn.LSTM(8, 16)), True),
        (Rows(nn.GRU(8, 16, batch_first=True)), False),
        (network(Does(lambda x: x + x.cumsum(0))), True),
        (network(Does(lambda x: x + x.flip(0).cumsum(0).flip(0))), True),
        (network(Does(lambda x: x + x.flip(0))), True),
        (network(Does(lambda x: x + x[-1:])), True),
        (network(Does(lambda x: torch.cat((x[:1], x[1:] + x[:-1])))), True),
        (network(Does(lambda x: torch.cat((x[1:] + x[:-1], x[-1:])))), True),
        (network(Does(lambda x: x + x.roll(2, 0))), True),
        (network(Does(lambda x: x + x.roll(4, 0))), True),
        (network(Does(lambda x: x.cumsum(1))), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_samples_that_mix_in_either_direction(found, model, mixes):
    assert ("batch_mixing" in found(model=model)) == mixes


@pytest.mark.parametrize(
    ("model", "name", "level"),
    [
        (network(nn.Softmax(1)), "probabilities_into_loss", FAIL),
        (network(Does(lambda x: x.exp() / x.exp().sum(1, True))), "probabilities_into_loss", FAIL),
        (network(nn.Sigmoid()), "probabilities_into_loss", FAIL),
        (network(nn.Softmax(0)), "batch_mixing", FAIL),
        (network(Does(lambda x: x - x.mean())), "batch_mixing", FAIL),
        (network(Does(lambda x: x.view(10, -1).t())), "batch_mixing", FAIL),
        (network(Does(lambda x: nn.functional.dropout(x, 0.5))), "random_in_eval", FAIL),
        (network(Does(lambda x: x * 0)), "ignores_input", FAIL),
        (frozen(), "no_gradient", WARN),
        (unused(), "no_gradient", FAIL),
        (dying(), "dead_units", FAIL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_of_the_users_own_model(found, model, name, level):
    assert found(model=model).get(name) == level


def cut(x):
    """The upper half."""
    return x * (torch.arange(8) < 4)[:, None]


def on(function):
    """A network that sees what a function leaves of its images."""
    return nn.Sequential(Does(function), *network())


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (on(cut), True),
        (on(lambda x: x.roll(2, 2) * 1.0), False),
        (on(lambda x: x[..., 1:].contiguous().repeat(1, 1, 1, 2)[..., :8]), False),  # a crop
        (on(torch.round), False),
        (nn.Sequential(nn.Conv2d(1, 4, 1, stride=2), *network(shape=(4, 4, 4))), True),
        (nn.Sequential(nn.MaxPool2d(2), *network(shape=(1, 4, 4))), False),
        (nn.Sequential(nn.Conv2d(1, 4, 3, stride=3), *network(shape=(4, 2, 2))), True),
        (nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), *network(shape=(4, 3, 3))), False),
    ],
    ids=range(8),
)
def test_images_of_which_a_large_part_is_never_used(found, model, named):
    assert (found(model=model).get("ignores_input") == WARN) == named


@pytest.mark.parametrize(
    ("part", "named"),
    [(lambda x: x[:, [0, 0, 1, 2, 3]], True), (lambda x: x, False), (lambda x: x.sign(), False)],
)
def test_columns_that_are_never_used(found, table, part, named):
    x, y = table
    model = nn.Sequential(Does(part), nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3))
    assert (found(data=made(x, y), model=model).get("ignores_input") == WARN) == named


def test_inputs_without_a_weight_at_first_are_used(found, table):
    model = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3))
    with torch.no_grad():
        model[0].weight[:, 2] = 0
    assert "ignores_input" not in found(data=made(*table), model=model)


def made(x, y, train=None, classes=3, scale=None):
    rows = torch.arange(len(x))
    train = rows[: len(x) // 2] if train is None else train
    splits = [Split(x, y, part) for part in (train, rows[len(x) // 2 :], rows[:0])]
    names = tuple("abcdefghij"[:classes])
    outputs = classes or y.shape[1]
    return Data("made", *splits, tuple(x.shape[1:]), names, outputs, "", scale)


@pytest.fixture
def table():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=generator)
    return x, torch.arange(400) % 3


def test_of_a_sound_table(found, table):
    assert found(data=made(*table)) == {}


def test_inputs_that_are_not_scaled(found, table):
    x, y = table
    x = x * torch.tensor([1.0, 1.0, 1.0, 1.0, 5000.0])
    assert found("preprocessing=none", data=made(x, y))["input_scale"] == WARN
    assert "input_scale" not in found(data=made(x, y))
    assert "input_scale" not in found("preprocessing=none", model=_normed(), data=made(x, y))


def _normed():
    return nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


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


class Series(nn.Module):
    """A network for which the inputs of a sample are the times of a series."""

    def __init__(self):
        super().__init__()
        self.gru, self.last = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.gru(x[..., None])[0][:, -1])


@pytest.mark.parametrize(("model", "cured"), [(None, True), (Series(), False)])
def test_a_series_is_not_to_be_whitened(model, cured, compose_recipe, table):
    x, y = table
    x = torch.cat((x, x[:, :1] + x[:, 1:2] + 0.02 * (100 * x[:, 2:3]).sin()), 1)
    run = build.build(compose_recipe(), made(x, y))
    run.model = run.uncompiled = model or run.model
    [one] = [each for each in preflight(run) if each.name == "dependent_inputs"]
    assert bool(one.changes) == cured
    assert ("whitening removes this" in one.text) == cured


def test_a_network_whose_activations_bend_nothing(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = model = network()
    nn.init.constant_(model[1].bias, 100.0)  # all in the linear part of the rectifiers
    [one] = [each for each in preflight(run) if each.name == "linear_network"]
    assert "no sample reaches a bend of its relu" in one.text


def test_samples_that_stand_in_two_splits(found, table):
    x, y = table
    hashes = torch.arange(400)
    data = replace(made(x, y), hashes=hashes)
    assert "leak" not in found(data=data)
    hashes[200:210] = hashes[:10]
    assert found(data=replace(data, hashes=hashes))["leak"] == WARN
    hashes[201:400] = torch.arange(201, 400)
    assert found(data=replace(data, hashes=hashes))["leak"] == NOTE


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


def test_targets_that_the_last_function_cannot_give(found, table):
    x, _ = table
    y = torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    data = made(x, y, classes=0)
    layers = (nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    assert found("loss=mse", data=data) == {}
    for last in (nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        assert found("loss=mse", model=nn.Sequential(*layers, last), data=data)["label_range"]


def test_the_undecided_loss_is_that_of_the_formula(compose_recipe, digits):
    for words, expected in (
        ((), torch.tensor(10.0).log()),
        (("loss=bce",), torch.tensor(2.0).log()),
        (("loss=hinge",), torch.tensor(9.0)),
    ):
        run = build.build(compose_recipe("initializer=normal", "initializer.std=9", *words), digits)
        [loss] = [each for each in preflight(run) if each.name == "initial_loss"]
        assert loss.numbers["undecided"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ("regularization=[dropout,batch_norm]", "augmentation=[crop]", "model=cnn"),
        ("regularization=[weight_norm,dropconnect]", "optimizer=adam"),
        ("regularization=[gradient_noise,weight_average]", "optimizer=lbfgs", "batch_size=full"),
    ],
    ids=str,
)
def test_training_goes_as_if_nobody_had_looked(train_recipe, words):
    words = ("epochs='5 steps'", *words)
    alone = train_recipe(*words)
    looked = train_recipe(*words, change=preflight)
    assert not differences(alone.run.model.state_dict(), looked.run.model.state_dict())
    assert alone.values("val/loss") == looked.values("val/loss")


class Keeps(nn.Module):
    """Keeps a buffer that no state_dict has, and something that is no tensor."""

    def __init__(self):
        super().__init__()
        self.layers = network()
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def get_extra_state(self):
        return {"words": ["a", "b"]}

    def set_extra_state(self, state):
        pass

    def forward(self, x):
        self.calls += 1
        return self.layers(x)


def test_a_users_module_may_keep_more_than_tensors(found):
    model = Keeps()
    assert found(model=model) == {}
    assert model.calls == 0


@pytest.mark.parametrize("samples", [16, 257])
def test_a_norm_over_the_batch_sees_no_single_sample(compose_recipe, digits, samples):
    """It mixes the batch, which is said; nothing is left out."""
    few = replace(digits, train=replace(digits.train, rows=digits.train.rows[:samples]))
    run = build.build(compose_recipe("batch_size=16"), few)
    norm = nn.BatchNorm1d(16, track_running_stats=False)
    layers = (nn.Flatten(), nn.Linear(64, 16), norm, nn.ReLU(), nn.Linear(16, 10))
    run.model = run.uncompiled = nn.Sequential(*layers)
    names = {each.name for each in preflight(run)}
    assert "batch_mixing" in names
    assert not {"inconclusive", "ignores_input"} & names


def test_a_check_is_left_out_where_layers_of_torch_refuse_its_batch(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = nn.Sequential(nn.Unflatten(0, (16, -1)), nn.Flatten(0, 1))
    run.model.extend([*network()])
    [one] = [each for each in preflight(run) if each.name == "inconclusive"]
    assert "RuntimeError" in one.text


def test_an_error_of_the_users_loss_is_theirs(compose_recipe, digits):
    def refuses(z, y):
        raise ValueError("it takes pairs")

    run = build.build(compose_recipe(), digits)
    run.loss = run.objective = Loss(refuses)
    found = [each.text for each in preflight(run) if each.name == "inconclusive"]
    assert any("ValueError: it takes pairs" in text for text in found)


class Breaks(nn.Module):
    def forward(self, x):
        raise ValueError("a mistake of dlrun")


def test_an_error_of_dlruns_own_layer_is_no_fault_of_the_model(monkeypatch):
    monkeypatch.setattr(Breaks, "__module__", "dlrun.model.blocks")
    monkeypatch.setattr("dlrun.errors._PACKAGE", __file__)
    model = nn.Sequential(Breaks())
    with pytest.raises(ValueError, match="mistake") as caught:
        model(torch.ones(1))
    assert not raised_by(model, caught.value)


def test_an_error_without_words_is_named_once(compose_recipe, digits):
    def refuses(x):
        if len(x) == 8:
            raise MemoryError
        return x

    run = build.build(compose_recipe(), digits)
    run.model = run.uncompiled = network(Does(refuses))
    [one] = [each for each in preflight(run) if each.name == "inconclusive"]
    assert f": MemoryError ({__file__}:" in one.text


def test_targets_that_are_all_the_same(found, table):
    x, _ = table
    same = found("loss=mse", data=made(x, torch.full((len(x), 1), 1.5), classes=0))
    assert same["label_range"] == WARN
    assert "initial_loss" not in same


def test_shares_of_dead_and_saturated_units_by_hand():
    values = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    assert signal.Activations("ReluBackward0", values).dead == pytest.approx(1 / 3)
    assert signal.Activations("TanhBackward0", values).dead == 0
    maps = torch.zeros(2, 2, 3, 3)
    maps[1, 0, 2, 2] = 1
    assert signal.Activations("ReluBackward0", maps).dead == 0.5
    values = torch.tensor([[-0.999, 0.0], [0.5, 0.99]])
    assert signal.Activations("TanhBackward0", values).saturated == 0.5
    values = torch.tensor([[0.001, 0.5], [0.02, 0.995]])
    assert signal.Activations("SigmoidBackward0", values).saturated == 0.5


def test_a_loss_whose_shapes_broadcast(found, table):
    x, _ = table
    numbers = made(x, x[:, :1].contiguous(), classes=0)

    def broadcast(logits, y):
        return (logits - y.flatten()).square().mean()

    assert found("loss=mse", data=numbers, loss=broadcast)["wrong_loss"] == WARN
    assert "wrong_loss" not in found("loss=mse", data=numbers)
    assert "wrong_loss" not in found("loss=mse", data=numbers, loss=nn.MSELoss(reduction="sum"))


def test_labels_that_compete_in_a_softmax(found, compose_recipe):
    recipe = compose_recipe("data._target_=dlrun.experiment.mistakes.properties")
    labels = build.load_data(recipe)
    softmax = nn.Sequential(network(outputs=4), Does(lambda z: z.softmax(1).logit()))
    assert found("loss=bce", data=labels, model=softmax)["wrong_loss"] == WARN
    assert "wrong_loss" not in found("loss=bce", data=labels, model=network(outputs=4))


def test_logits_that_pass_a_rectifier(found):
    assert found(model=nn.Sequential(network(), nn.ReLU()))["dead_units"] == WARN


def test_a_gradient_that_fades_from_layer_to_layer(found):
    assert found("activation=sigmoid", "model.hidden=[64,64,64,64]")["vanishing_gradient"] == WARN
    assert "vanishing_gradient" not in found("model.hidden=[64,64,64,64]")


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


@pytest.mark.parametrize(("mean", "spread"), [(3e6, 2e5), (50.0, 1.0), (0.0, 100.0)])
def test_targets_that_are_not_scaled(compose_recipe, table, mean, spread):
    x, _ = table
    run = build.build(compose_recipe(), made(x, mean + spread * x[:, :1], classes=0))
    [one] = [each for each in preflight(run) if each.name == "initial_loss"]
    assert one.changes == {"data.scale_targets": True}
    run = build.build(compose_recipe(), made(x, 5 + x[:, :1], classes=0))
    assert "initial_loss" not in {each.name for each in preflight(run)}
