"""Each check finds what it is for, finds nothing in sound recipes, and changes nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlrun.engine import signal
from dlrun.engine.preflight import preflight, raised_by
from dlrun.finding import FAIL, WARN
from dlrun.job.session import Session
from dlrun.loss import Loss
from dlrun.recipe import build
from tests.engine.conftest import made, network
from tests.states import differences


class Does(nn.Module):
    """A layer that does what a function does."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


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


def test_targets_that_the_last_function_cannot_give(found, table):
    x, _ = table
    y = torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    data = made(x, y, classes=0)
    layers = (nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    assert found("loss=mse", data=data) == {}
    for last in (nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        assert found("loss=mse", model=nn.Sequential(*layers, last), data=data)["label_range"]


@pytest.mark.parametrize("loss", ["mae", "huber", "mse"])
def test_many_classes_by_a_loss_of_numbers_do_not_make_first_outputs_too_large(found, loss):
    """Outputs of about 1 have 40 times the loss of 0, which misses one class in forty alone."""
    generator = torch.Generator().manual_seed(0)
    data = replace(
        made(torch.randn(400, 5, generator=generator), torch.arange(400) % 40, classes=10),
        classes=tuple(map(str, range(40))),
        outputs=40,
    )
    said = found(f"loss={loss}", "initializer=he", data=data)
    assert ("initial_loss" in said, "wrong_loss" in said) == (False, True)
    large = found(f"loss={loss}", "initializer=normal", "initializer.std=3", data=data)
    assert large["initial_loss"] == WARN


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
    labels = Session().data(recipe)
    softmax = nn.Sequential(network(outputs=4), Does(lambda z: z.softmax(1).logit()))
    assert found("loss=bce", data=labels, model=softmax)["wrong_loss"] == WARN
    assert "wrong_loss" not in found("loss=bce", data=labels, model=network(outputs=4))


def test_logits_that_pass_a_rectifier(found):
    assert found(model=nn.Sequential(network(), nn.ReLU()))["dead_units"] == WARN


@pytest.mark.parametrize(("mean", "spread"), [(3e6, 2e5), (50.0, 1.0), (0.0, 100.0)])
def test_targets_that_are_not_scaled(compose_recipe, table, mean, spread):
    x, _ = table
    run = build.build(compose_recipe(), made(x, mean + spread * x[:, :1], classes=0))
    [one] = [each for each in preflight(run) if each.name == "initial_loss"]
    assert one.changes == {"data.scale_targets": True}
    run = build.build(compose_recipe(), made(x, 5 + x[:, :1], classes=0))
    assert "initial_loss" not in {each.name for each in preflight(run)}
