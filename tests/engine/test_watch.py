"""What is watched is what the tensors are, of every kind of model, and changes nothing."""

import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.engine.layers import RECORDED, Layer, layers, weights
from dlrun.engine.look import Seen
from dlrun.engine.watch import Watch, bound
from dlrun.recipe import build
from tests.conftest import Trained, in_suite
from tests.engine.test_sharpness import Recurrent
from tests.states import differences, without_clock

BOTH = ("watch=[layers,sharpness]", "watch_every='5 steps'")


def left(trained: Trained):
    """What a training has left: its points without clock and looks, and its checkpoints."""
    points = [
        (point["step"], {k: v for k, v in point["values"].items() if not is_watched(k)})
        for point in trained.points
    ]
    points = [(step, values) for step, values in points if values]
    folder = trained.directory / "checkpoints"
    last, best = (checkpoint.read(folder / f"{name}.pt") for name in ("last", "best"))
    return {"points": points, "last": without_clock(last), "best": best}


def is_watched(key: str) -> bool:
    return key.startswith(("layer/", "sharpness", "time/"))


CHANGES = [
    ("regularization=[dropout,batch_norm,l2]", "augmentation=[crop]", "accumulate=2"),
    ("model=cnn", "epochs='12 steps'", "batch_size=16", "optimizer=adam"),
    ("regularization=[weight_average,stochastic_depth]", "model=resnet", "model.depth=8"),
    ("optimizer=lbfgs", "batch_size=full", "epochs=6", "schedule=constant"),
    ("optimizer=natural_gradient", "clip_norm=1"),
    ("regularization=[dropconnect,input_noise,max_norm]", "precision=bf16"),
    ("model=autoencoder", "loss=mse", "augmentation=[crop]"),
]


@pytest.mark.parametrize("words", in_suite(CHANGES[:4:3], CHANGES), ids=lambda words: words[0])
def test_not_a_bit_of_the_training_changes(train_recipe, words):
    words = ["epochs='17 steps'", "log_every='4 steps'", "validate_every='6 steps'", *words]
    plain, watched = train_recipe(*words), train_recipe(*words, *BOTH)
    assert differences(left(plain), left(watched)) == []
    assert watched.values("sharpness")
    keys = [key for point in watched.points for key in point["values"]]
    looked = {key.rpartition("/")[2] for key in keys if key.startswith("layer/")}
    assert looked
    assert looked <= {*RECORDED}
    hooks = [
        [len(module._forward_hooks) for module in each.run.model.modules()]
        for each in (plain, watched)
    ]
    assert hooks[0] == hooks[1]


@pytest.mark.proof
def test_a_resumed_run_sees_what_a_whole_one_does(here):
    words = ["tracking=none", "threads=1", "schedule=constant", "regularization=[dropout]"]
    words += ["watch=[layers,sharpness]", "watch_every='9 steps'", "checkpoint_every='20 steps'"]
    assert main([*words, "epochs='40 steps'", "outputs=parts"]) == 0
    assert main(["resume=last", "epochs=3", "outputs=parts"]) == 0
    assert main([*words, "epochs=3", "outputs=whole"]) == 0
    runs = [record.read_points(record.find(name, "last")) for name in ("parts", "whole")]
    parts, whole = (
        {p["step"]: watched for p in points if (watched := _watched(p["values"]))}
        for points in runs
    )
    assert set(parts) - set(whole) == {40}  # where the first part ended
    assert {step: parts[step] for step in whole} == whole
    assert len(whole) == 12


def _watched(values):
    return {k: v for k, v in values.items() if k.startswith(("layer/", "sharpness"))}


def test_it_is_no_part_of_a_recipe_and_names_no_run(compose_recipe):
    from dlrun.job.recording import name
    from dlrun.recipe import identity

    plain, watched = compose_recipe(), compose_recipe(*BOTH)
    assert identity.digest(plain) == identity.digest(watched)
    assert name(["epochs=3", *BOTH]) == "epochs=3"


def seen_of(run, samples=48):
    seen = Seen(run)
    seen.x = seen.x[:samples].to(next(run.model.parameters()).dtype)
    seen.y = seen.x if run.reconstructs else seen.y[:samples]
    return seen


def test_statistics_by_hand(compose_recipe, digits):
    """Forward and backward of a two-layer network in numpy and float64."""
    words = ("model.hidden=[7]", "watch=layers", "optimizer=sgd", "optimizer.lr=0.5")
    run = build.build(compose_recipe(*words), digits)
    run.model.double()
    with torch.no_grad():
        run.model[1].weight[3] = run.model[1].weight[0]  # two equal units
        run.model[1].bias[5] = -1e3  # one dead
    seen = seen_of(run)
    x = seen.x.flatten(1).numpy()
    first, last = run.model[1], run.model[3]
    w1, b1, w2, b2 = (
        value.detach().numpy() for value in (first.weight, first.bias, last.weight, last.bias)
    )
    before = x @ w1.T + b1
    hidden = np.maximum(before, 0)
    logits = hidden @ w2.T + b2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    at_logits = shares - np.eye(10)[seen.y.numpy()]  # of each sample's own loss
    at_hidden = at_logits @ w2
    at_before = at_hidden * (before > 0)
    expected = {"1": (before, at_before), "2": (hidden, at_hidden), "3": (logits, at_logits)}
    found = {each.name: each for each in layers(run, seen)}
    for name, (values, gradients) in expected.items():
        layer = found[name]
        assert layer.mean == pytest.approx(values.mean())
        assert layer.std == pytest.approx(values.std())
        assert layer.zeros == pytest.approx((values == 0).mean(), abs=1e-6)
        assert layer.gradient_mean == pytest.approx(gradients.mean(), abs=1e-12)
        assert layer.gradient_std == pytest.approx(gradients.std())
    assert found["2"].dead == pytest.approx((hidden == 0).all(0).mean(), abs=1e-6)
    assert found["2"].dead >= 1 / 7
    assert (found["1"].dead, found["3"].dead, found["2"].saturated) == (None, None, None)
    for name, gradient in (("1", at_before.T @ x), ("3", at_logits.T @ hidden)):
        signs = np.sign(gradient)
        more = np.maximum((signs > 0).sum(1), (signs < 0).sum(1))
        assert found[name].same_sign == pytest.approx(more.sum() / (signs != 0).sum())
        assert found[name].rows == len(gradient)
    assert found["1"].distinct == 6
    assert found["1"].statistics()["distinct"] == pytest.approx(6 / 7)
    assert found["3"].distinct == 10


def test_the_update_of_a_step_against_the_weights(train_recipe, compose_recipe, digits):
    """Of plain gradient descent it is the rate times the gradient, over the weights."""
    words = ("epochs='1 steps'", "optimizer=sgd", "optimizer.lr=0.1", "schedule=constant")
    words += ("batch_size=full", "clip_norm=1e9", "test=false")
    run = build.build(compose_recipe(*words), digits)
    run.model.double()
    before = run.model[1].weight.detach().clone()
    rows = run.train.rows
    loss = F.cross_entropy(run.model(run.train.x[rows].double()), run.train.y[rows])
    [gradient] = torch.autograd.grad(loss, run.model[1].weight)
    expected = 0.1 * float(gradient.norm() / before.norm())

    trained = train_recipe(*words, "watch=layers")
    assert trained.values("layer/1/update") == [pytest.approx(expected, rel=1e-4)]
    assert trained.values("layer/2/update") == []


def test_the_bound_is_that_of_momentum_and_points_come_as_often_as_asked(train_recipe):
    words = ["epochs='20 steps'", "watch=sharpness", "watch_every='8 steps'", "log_every='8 steps'"]
    trained = train_recipe(*words)
    looks = [point for point in trained.points if "sharpness" in point["values"]]
    assert [point["step"] for point in looks] == [8, 16, 20]
    for point in looks:
        assert point["values"]["sharpness/bound"] == pytest.approx(3.8 / point["values"]["lr"])
        assert not any(key.startswith("layer/") for key in point["values"])


@pytest.mark.parametrize(
    ("words", "samples"), [((), 32), (("watch_every=5",), 163), (("watch_every=9",), 256)]
)
def test_a_look_takes_a_small_share_of_what_is_trained_on(
    compose_recipe, digits, monkeypatch, words, samples
):
    run = build.build(compose_recipe("watch=layers", *words), digits)
    seen = []
    monkeypatch.setattr(run.model, "forward", lambda x: seen.append(len(x)) or whole(x))
    whole = type(run.model).forward.__get__(run.model)
    watch = Watch(run)
    watch.before()
    assert watch.look()
    assert seen == [samples]


def test_nothing_is_recorded_or_built_when_it_is_off(train_recipe, monkeypatch):
    monkeypatch.setattr(Watch, "before", lambda self: pytest.fail("looks"))
    monkeypatch.setattr(Watch, "look", lambda self: pytest.fail("looks"))
    trained = train_recipe("epochs=2")
    assert not any(_watched(point["values"]) for point in trained.points)


class Operations(TorchDispatchMode):
    """Counts the operations of torch, but for detaching, which differs by version."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is not torch.ops.aten.detach.default
        return function(*args, **(kwargs or {}))


def test_a_look_is_cheap(compose_recipe, digits):
    """A small network's time is that of its operations: six a layer for what it gives and gets
    back, four for its weights, and what goes there and back and puts the weights back.
    """
    run = build.build(compose_recipe("watch=layers"), digits)
    watch = Watch(run)
    watch.before()
    watch.look()
    with Operations() as bare:
        loss = run.objective(run.model(run.train.x[:32]), run.train.y[:32])
        torch.autograd.grad(loss, [*run.model.parameters()])
    watch.before()
    with Operations() as look:
        watch.look()
    put_back, updates = 2 * 4, 4
    assert look.count <= bare.count + 3 * 6 + 2 * 4 + put_back + updates


class Functional(nn.Module):
    """Activations that are no modules, in place; a layer that runs twice; odd parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.norm = nn.BatchNorm1d(12)
        self.twice = nn.Linear(12, 12)
        self.out = nn.Linear(12, 10)
        self.spare = nn.Linear(3, 3)
        self.frozen = nn.Linear(12, 12).requires_grad_(False)

    def forward(self, x):
        x = F.relu_(self.norm(self.first(x.flatten(1))))
        x = torch.tanh(self.twice(torch.sigmoid(self.twice(x))))
        return self.out(F.relu(self.frozen(x)))


class Direct(nn.Module):
    """A network whose weights are its own, without any layer."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 10) / 8)

    def forward(self, x):
        return F.relu(x.flatten(1)) @ self.w


class Transformer(nn.Module):
    """A transformer over the rows of an image."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        return self.out(self.encoder(x.flatten(1, 2)).mean(1))


def looked(compose_recipe, digits, model, *words):
    run = build.build(compose_recipe(*words), digits)
    torch.manual_seed(0)
    run.model = run.uncompiled = model()
    return run, {each.name: each for each in layers(run, seen_of(run))}


def test_functions_are_layers_too(compose_recipe, digits):
    run, found = looked(compose_recipe, digits, Functional)
    names = ["first", "norm", "norm.relu", "twice", "twice.sigmoid", "twice.tanh", "frozen"]
    assert set(names) | {"frozen.relu", "out", "spare"} == set(found)
    assert [*found][:4] == names[:4]
    x = seen_of(run).x.flatten(1)
    with torch.no_grad():
        normed = F.batch_norm(run.model.first(x), None, None, training=True)
        hidden = normed.relu()
        squashed = run.model.twice(hidden).sigmoid()
        outputs = [run.model.twice(hidden), run.model.twice(squashed)]
        near = ((squashed < 0.01) | (squashed > 0.99)).float().mean()
        tanh = outputs[1].tanh()
    assert found["norm"].mean == pytest.approx(float(normed.mean()), abs=1e-6), "before relu_"
    assert found["norm.relu"].mean == pytest.approx(float(hidden.mean()), abs=1e-6)
    assert found["norm.relu"].dead is not None
    assert found["twice.sigmoid"].saturated == pytest.approx(float(near))
    assert found["twice.tanh"].std == pytest.approx(float(tanh.std(correction=0)))
    both = [float(each.mean()) for each in outputs]
    assert found["twice"].mean == pytest.approx(sum(both) / 2, abs=1e-6)
    assert (found["frozen"].same_sign, found["frozen"].rows) == (None, 0)
    assert found["frozen"].gradient > 0
    assert (found["spare"].mean, found["spare"].same_sign, found["spare"].distinct) == (
        None,
        None,
        3,
    )


@pytest.mark.parametrize(
    ("model", "some"),
    [
        (lambda: Recurrent("LSTM"), {"rnn", "attention", "attention.out_proj", "out"}),
        (Direct, {"model"}),
        (Transformer, {"encoder.self_attn", "encoder.linear1", "encoder.linear1.relu", "out"}),
    ],
    ids=["recurrent", "direct", "transformer"],
)
def test_every_kind_of_model(compose_recipe, digits, model, some):
    _, found = looked(compose_recipe, digits, model)
    assert some <= set(found)
    for name in some - {"encoder.linear1.relu"}:
        assert found[name].same_sign is not None
        assert 0 < found[name].distinct <= found[name].rows


def test_units_of_a_sequence_are_its_last_axis(compose_recipe, digits):
    """A unit that is zero at every place is dead, a place where all are zero is none."""
    run, _ = looked(compose_recipe, digits, Transformer)
    with torch.no_grad():
        run.model.encoder.linear1.bias[:4] = -1e3
    found = {each.name: each for each in layers(run, seen_of(run))}
    assert found["encoder.linear1.relu"].units == 16
    assert found["encoder.linear1.relu"].dead == pytest.approx(0.25, abs=0.07)


def test_units_of_images_are_their_channels(compose_recipe, digits):
    run = build.build(compose_recipe("model=cnn"), digits)
    with torch.no_grad():
        run.model[1].bias[:8] = -1e3  # of the norm before the first ReLU
    found = {each.name: each for each in layers(run, seen_of(run))}
    assert (found["2"].kind, found["2"].units) == ("ReLU", 32)
    assert found["2"].dead == pytest.approx(0.25)


def test_weights_are_those_that_are_trained(compose_recipe, digits):
    words = ("regularization=[weight_norm,dropconnect]", "model.hidden=[9]", "model.norm=batch")
    run = build.build(compose_recipe(*words), digits)
    found = weights(run.model)
    assert {name: [tuple(w.shape) for w in own] for name, own in found.items()} == {
        "1": [(9, 64)],
        "4": [(10, 9)],
    }
    names = [each.name for each in layers(run, seen_of(run)) if each.acts]
    assert names == ["1", "2", "3", "4"]


def test_same_inputs_make_gradients_of_one_sign(compose_recipe, digits):
    """After all-positive inputs each sample moves all weights of a unit the same way."""
    words = ("model=linear", "preprocessing=none", "data.samples=10")
    run = build.build(compose_recipe(*words), digits)
    seen = seen_of(run)
    seen.x, seen.y = seen.x[:1] + 0.1, seen.y[:1]
    [_, only] = layers(run, seen)
    assert only.same_sign == 1
    run.model[1].weight.requires_grad_(False)
    assert layers(run, seen)[-1].same_sign is None


class Once(torch.autograd.Function):
    """Whose gradient has no gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient


class Rough(nn.Module):
    """A layer that can be differentiated once."""

    def forward(self, x):
        return Once.apply(x)


def test_what_cannot_be_differentiated_twice_is_said_once(train_recipe, caplog):
    def change(run):
        run.model.append(Rough())

    with caplog.at_level(logging.WARNING, "dlrun"):
        trained = train_recipe("model=linear", "epochs=3", *BOTH, change=change)
    said = [each.message for each in caplog.records if "watch=sharpness" in each.message]
    assert len(said) == 1
    assert "\n" not in said[0]
    assert trained.values("sharpness") == []
    assert len(trained.values("layer/1/std")) == 21


def test_a_layer_keeps_what_is_known(compose_recipe):
    layer = Layer("fc", "Linear", 3, mean=1.0, std=0.0)
    assert json.dumps(layer.statistics()) == '{"mean": 1.0, "std": 0.0}'


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_descent_on_a_parabola_stays_below_the_bound_alone(momentum, nesterov):
    """Cohen et al. 2021, by experiment: the curvature is a little below the bound, and above."""
    for factor, stays in ((0.98, True), (1.02, False)):
        weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
        nesterov = nesterov and momentum > 0
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum, nesterov=nesterov)
        curvature = factor * bound(optimizer)
        for _ in range(2000):
            weight.grad = curvature * weight.detach()
            optimizer.step()
        assert (float(weight.detach().abs()) < 1) == stays
