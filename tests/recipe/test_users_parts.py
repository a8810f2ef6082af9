"""The user's own ingredients: what they give is tried, and what they raise says where."""

import re
import sys
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlrun.__main__ import main
from dlrun.console import outcome
from dlrun.engine.preflight import preflight
from dlrun.errors import Failure, Mistake
from dlrun.metric import metric
from dlrun.model.mlp import mlp
from dlrun.recipe import build, view
from dlrun.recipe.instantiate import problems, users


@pytest.fixture(autouse=True)
def _own(monkeypatch):
    monkeypatch.setitem(sys.modules, "own", sys.modules[__name__])


class Breaks(torch.optim.SGD):
    def step(self, closure=None):
        raise KeyError("missing")


class NoStep(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})


class NoRate(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    def step(self, closure=None):
        pass


def seven(params):
    return 7


def factor(step, total_steps, steps_per_epoch, last):
    given = {"none": None, "text": "a", "nan": float("nan"), "up": -1.0, "inf": float("inf")}
    return given[last] if step else 1.0


class Counts:
    calls = 0

    def __call__(self, step, total_steps, steps_per_epoch):
        self.calls += 1
        return 1.0


def augmented(x, y, generator, how):
    made: dict[str, Any] = {"none": None, "x": x, "fewer": (x[:-1], y[:-1]), "text": (x, "y")}
    return made[how]


class Prepared(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def fit(self, batches):
        if self.how == "fails":
            raise ZeroDivisionError("by 0")

    def forward(self, x):
        return {"none": None, "twice": torch.cat([x, x])}[self.how]


@metric(higher_is_better=True)
def judged(predicted, y, value):
    return value or None


class Weighs(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, y, generator=None):
        return nn.functional.cross_entropy(self.weight * x, y)


class Rule:
    @torch.no_grad()
    def penalty(self, weights):
        return sum(weight.square().sum() for weight in weights)

    def add_gradient(self, weights):
        for weight in weights:
            weight.grad += 2 * weight.detach()


class OnlyRecorded:
    penalty = Rule.penalty


class Mistyped:
    def add_gradients(self, weights):
        pass


class Asks(Rule):
    def add_gradient(self):
        pass


class Half(Rule):
    def penalty(self, weights):
        return 0.5


class Differentiated(Rule):
    def penalty(self, weights):
        return weights[0].square().sum()


class Unfinished(nn.Module):
    pass


class Bare(nn.Module):
    def __init__(self):
        pass


def of_one(x):
    return x


def lost(logits, y):
    nn.functional.cross_entropy(logits, y)


def each(logits, y):
    return nn.functional.cross_entropy(logits, y, reduction="none")


class Network(nn.Module):
    def __init__(self, how):
        super().__init__()
        dtype = torch.cfloat if how == "complex" else torch.float
        self.weight = nn.Parameter(torch.ones(64, 10, dtype=dtype), how != "frozen")

    def forward(self, x):
        return (x.flatten(1).to(self.weight.dtype) @ self.weight).abs()


def wrapped(hidden):
    return mlp([1, 8, 8], 10, nn.ReLU, hidden)


def begins(model, x):
    raise RuntimeError("no\nweights")


WHOLE = {"_partial_": False}
HERE = rf" \({re.escape(__file__)}:\d+\)"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "own.NoStep"}, r"optimizer\._target_=own\.NoStep: has no step\(\)"),
        ({"optimizer": "own.NoRate"}, r"optimizer\._target_=own\.NoRate: its groups have no lr"),
        ({"optimizer": "own.seven"}, r"own\.seven: gives an int, no torch\.optim\.Optimizer"),
        ({"schedule": ("own.factor", {"last": "none"})}, r"gives None in step \d\d+; it must"),
        ({"schedule": ("own.factor", {"last": "text"})}, "gives a str in step"),
        ({"schedule": ("own.factor", {"last": "nan"})}, "gives nan in step"),
        ({"schedule": ("own.factor", {"last": "up"})}, "gives -1 in step .*at least 0"),
        ({"schedule": ("own.factor", {"last": "inf"})}, "gives inf in step"),
        (
            {"schedule": "own.of_one"},
            r"but 3 were given; it is called as of_one\(step, total_steps",
        ),
        ({"loss": "own.of_one"}, r"^loss: .*; it is called as of_one\(logits, y\)"),
        ({"loss": "own.lost"}, "loss=own.lost: gives None; it must give a tensor with one number"),
        (
            {"loss": "own.each"},
            r"gives a tensor of shape \(2,\); it must .*, the mean over the batch",
        ),
        ({"activation": "own.of_one"}, r"^activation: .*'x'; it is called as of_one\(\)"),
        ({"activation": "own.Unfinished"}, r"own\.Unfinished: has no forward\(self, x\)"),
        ({"activation": "own.Bare"}, r"own\.Bare: its __init__ must begin with super\(\)"),
        ({"model": "own.Bare"}, r"own\.Bare: its __init__ must begin with super\(\)"),
        ({"preprocessing": "own.Unfinished"}, r"own\.Unfinished: has no forward\(self, x\)"),
        (
            {"regularization": "own.seven"},
            "gives a function, which does nothing; it must give an ob",
        ),
        ({"regularization": ("own.Mistyped", WHOLE)}, "gives a Mistyped, which does nothing"),
        ({"regularization": ("own.OnlyRecorded", WHOLE)}, "has a penalty, which is only recorded"),
        (
            {"regularization": ("own.Asks", WHOLE)},
            r"its add_gradient\(\) takes other arguments; it is called as add_gradient\(weights\)",
        ),
        ({"regularization": ("own.Half", WHOLE)}, r"penalty\(\) gives a float; it must give a ten"),
        ({"regularization": ("own.Differentiated", WHOLE)}, r"write @torch\.no_grad\(\) above it"),
        (
            {"model": ("own.wrapped", {"hidden": 5})},
            rf"model\._target_=own\.wrapped: TypeError: 'int' object is not iterable{HERE}",
        ),
        ({"model": ("own.Network", {"how": "frozen"})}, "train, all 640 are frozen: requires_grad"),
        ({"model": ("own.Network", {"how": "complex"})}, r"weight is complex \(torch.complex64\)"),
        (
            {"loss": "own.Weighs"},
            r"loss\._target_=own\.Weighs: has parameters of its own \(weight\)",
        ),
        (
            {"augmentation": "own.Weighs"},
            r"augmentation\.own\._target_=own\.Weighs: has parameters",
        ),
        ({"regularization": "own.Weighs"}, r"regularization\.own\._target_=own\.Weighs: has param"),
        ({"augmentation": ("own.augmented", {"how": "none"})}, r"gives None; it must give \(x, y"),
        ({"augmentation": ("own.augmented", {"how": "x"})}, "gives a Tensor; it must"),
        ({"augmentation": ("own.augmented", {"how": "fewer"})}, "gives 1 x for 2 samples"),
        ({"augmentation": ("own.augmented", {"how": "text"})}, "gives a str for y"),
        ({"preprocessing": ("own.Prepared", {"how": "none"})}, "Prepared gives None for 64 samp"),
        ({"preprocessing": ("own.Prepared", {"how": "twice"})}, r"shape \(128, 1, 8, 8\) for 64"),
        (
            {"preprocessing": ("own.Prepared", {"how": "fails"})},
            rf"preprocessing\.own\._target_=own\.Prepared: ZeroDivisionError: by 0{HERE}",
        ),
        ({"metric": ("own.judged", {"value": "high"})}, "one number for a split, not a str"),
        ({"metric": ("own.judged", {"value": ""})}, "one number for a split, not None"),
        (
            {"initializer": "own.begins"},
            rf"initializer\._target_=own\.begins: RuntimeError: no{HERE}",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_training(compose_recipe, digits, options, said):
    with pytest.raises(Mistake, match=said):
        build.build(_with(compose_recipe, options), digits)


def _with(compose_recipe, options):
    """The usual recipe with options of the user's own."""
    recipe = compose_recipe()
    for group, option in options.items():
        target, values = option if isinstance(option, tuple) else (option, {})
        whole = group in ("preprocessing", "model") or target == "own.Weighs"
        partial = {} if whole else {"_partial_": True}
        node = {"_target_": target, **partial, **values}
        several = group in ("preprocessing", "augmentation", "metric", "regularization")
        recipe[group] = {"own": node} if several else node
    return recipe


def test_a_rule_of_the_users_own_acts(compose_recipe, digits):
    run = build.build(_with(compose_recipe, {"regularization": ("own.Rule", WHOLE)}), digits)
    assert run.penalties == run.change_gradient == list(run.regularizers.values())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "loss._target_=own.each",
            "own.each: write _partial_: true beside it; it is called as each",
        ),
        ("optimizer._target_=own.NoStep", "beside it; it is called as NoStep(parameters)"),
        ("metric.own._target_=own.judged", "beside it; it is called as judged(predicted, y)"),
    ],
)
def test_a_function_that_is_to_be_called_later_is_partial(compose_recipe, option, said):
    group, _, target = option.partition("._target_=")
    recipe = compose_recipe()
    OmegaConf.update(recipe, group, {"_target_": target}, merge=False, force_add=True)
    (problem,) = problems(recipe, view.as_written(recipe), group.partition(".")[0])
    assert said in problem


def test_each_place_has_an_activation_of_its_own(compose_recipe, digits):
    recipe = compose_recipe()
    recipe.activation = {"_target_": "torch.nn.ReLU"}
    with pytest.raises(Mistake, match=r"activation\._target_=torch\.nn\.ReLU: .*_partial_: true"):
        build.build(recipe, digits)


def test_a_schedule_that_counts_its_calls_begins_to_count_in_training(compose_recipe, digits):
    recipe = compose_recipe()
    recipe.schedule = {"_target_": "own.Counts"}
    schedule = build.build(recipe, digits).schedule
    assert schedule(0, 10, 5) == 1
    assert schedule.calls == 1


def test_what_a_users_part_raises_in_training_names_its_key_and_line(compose_recipe, digits):
    recipe = _with(compose_recipe, {"optimizer": ("own.Breaks", {"lr": 0.1})})
    run = build.build(recipe, digits)
    with pytest.raises(Failure) as found, users(recipe):
        run.optimizer.step()
    said = rf"optimizer\._target_=own\.Breaks: KeyError: 'missing'{HERE}"
    assert re.fullmatch(said, str(found.value))


def test_an_error_of_dlrun_stays_one(compose_recipe):
    from dlrun.duration import Duration

    with pytest.raises(AttributeError), users(compose_recipe()):
        Duration.steps(None, 1, 1)


def test_an_error_out_of_the_users_code_is_one_line(capsys, monkeypatch):
    try:
        begins(None, None)
    except RuntimeError as error:
        found = error
    assert outcome.report(found) == 1
    assert re.fullmatch(rf"error: RuntimeError: no{HERE}\n", capsys.readouterr().err)
    monkeypatch.setenv("DLRUN_DEBUG", "1")
    outcome.report(found)
    assert "Traceback" in capsys.readouterr().err


class InPlace(nn.Module):
    """Changes its input in evaluation, or in training alone."""

    def __init__(self, always):
        super().__init__()
        self.layer, self.always = nn.Linear(64, 10), always

    def forward(self, x):
        if self.training or self.always:
            x.mul_(-3).add_(1)
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("always", [True, False])
def test_a_model_that_changes_its_input_gets_a_copy(compose_recipe, digits, caplog, always):
    run = build.build(_with(compose_recipe, {"model": ("own.InPlace", {"always": always})}), digits)
    [said] = caplog.messages
    assert said.startswith("model=InPlace: changes its input in place, so it gets a copy")
    assert "random_in_eval" not in [each.name for each in preflight(run)]
    x = torch.rand(4, 1, 8, 8)
    before = x.clone()
    run.model.train()(x)
    assert torch.equal(x, before)


def spoils(logits, y):
    loss = nn.functional.cross_entropy(logits, y)
    y.zero_()
    return loss


@metric(higher_is_better=True)
def blanks(predicted, y):
    y.zero_()
    return 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "own.spoils"}, "loss=own.spoils: changes its targets"),
        ({"metric": "own.blanks"}, "metric.own: changes what it is given"),
    ],
)
def test_what_changes_the_targets_of_others_is_refused(compose_recipe, digits, options, said):
    with pytest.raises(Mistake, match=said):
        build.build(_with(compose_recipe, options), digits)


ENDS = """
import sys
from torch import nn

def made():
    sys.exit(3)

def loss(out, y):
    sys.exit(3)

class Net(nn.Module):
    def forward(self, x):
        sys.exit(3)
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("model=custom", "model._target_=ends.made"), 6),
        (("model=custom", "model._target_=ends.Net"), 13),
        (("loss._target_=ends.loss",), 9),
        (("data=custom", "data._target_=ends.made"), 6),
        (("model=custom", "model._target_=ended.Net"), 1),
    ],
)
def test_a_part_that_ends_the_program_is_a_mistake_of_its_key(
    words, line, here, monkeypatch, capsys
):
    (here / "ends.py").write_text(ENDS)
    (here / "ended.py").write_text("raise SystemExit(3)\n")
    monkeypatch.delitem(sys.modules, "ends", raising=False)
    assert main(["tracking=none", *words]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {words[-1]}: ")
    assert re.search(rf"SystemExit: 3 \(.*end\w+\.py:{line}\)$", said)
    assert not (here / "outputs").exists()


def test_a_part_that_ends_the_program_in_training_fails_the_run(compose_recipe):
    said = r"^SystemExit: 3 \(.*test_users_parts\.py:"
    with pytest.raises(Failure, match=said), users(compose_recipe()):
        sys.exit(3)
