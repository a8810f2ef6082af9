"""Means, votes, and the parts of an error, against a few lines of numpy in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dlrun.data import Split
from dlrun.engine.committee import Committee, alone, combined, decomposed, measured, output
from dlrun.engine.evaluate import outputs
from dlrun.engine.feed import prepare
from dlrun.recipe import build

MODELS, SAMPLES = 4, 60


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def judges(compose_recipe, digits):
    """A run by its task: classes, several labels, numbers."""
    x = torch.rand(80, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(80)

    def of(y, loss):
        splits = [Split(x, y, some) for some in rows.split([60, 20, 0])]
        data = replace(
            digits,
            **dict(zip(("train", "val", "test"), splits, strict=True)),
            shape=(5,),
            classes=(),
            outputs=y.shape[1],
        )
        return build.build(compose_recipe(f"loss={loss}", "model=linear"), data)

    def make(task):
        if task == "labels":
            return of((x[:, :3] > 0.5).float(), "bce")
        if task == "numbers":
            return of(x[:, :2] * 3, "mse")
        return build.build(compose_recipe(f"loss={task}"), digits)

    return make


def everywhere(z):
    return torch.ones(z.shape[:2], dtype=torch.bool)


def some(generator):
    there = generator.random((MODELS, SAMPLES)) < 0.4
    there[generator.integers(MODELS, size=SAMPLES), np.arange(SAMPLES)] = True
    return there


@pytest.mark.parametrize("whole", [True, False], ids=["all answer", "some answer"])
def test_classes_as_in_numpy(judges, generator, whole):
    run = judges("cross_entropy")
    z = generator.normal(size=(MODELS, SAMPLES, 10)) * 3
    there = np.ones(z.shape[:2], bool) if whole else some(generator)
    y = generator.integers(10, size=SAMPLES)
    p = softmax(z, -1)
    p[~there] = np.nan
    mean = np.nanmean(p, 0)
    product = np.exp(np.nanmean(np.log(p), 0))
    votes = np.stack([np.bincount(z.argmax(-1)[there[:, i], i], minlength=10) for i in range(60)])
    expected = {
        "mean": mean,
        "geometric mean": product / product.sum(-1, keepdims=True),
        "vote": votes / there.sum(0)[:, None],
    }
    found = combined(run, torch.from_numpy(z), torch.from_numpy(there))
    assert list(found) == list(expected)
    target = torch.from_numpy(y)
    for name, answer in found.items():
        predicted, _ = output(run, answer, target)
        assert predicted.numpy() == pytest.approx(expected[name], abs=1e-8)
        values = measured(run, answer, target)
        answers = expected[name].argmax(-1)
        if name == "vote":  # the mean decides between classes with the same votes
            answers = (votes + mean / 2).argmax(-1)
            assert "loss" not in values
        else:
            losses = -np.log(expected[name][np.arange(SAMPLES), y])
            assert values["loss"] == pytest.approx(losses.mean(), rel=1e-10)
        assert next(iter(values)) == "accuracy"
        assert values["accuracy"] == pytest.approx((answers == y).mean())
        one_hot = np.eye(10)[y]
        assert values["brier"] == pytest.approx(((expected[name] - one_hot) ** 2).sum(1).mean())


def test_labels_count_each_for_itself(judges, generator):
    run = judges("labels")
    z, there = generator.normal(size=(MODELS, SAMPLES, 3)) * 2, some(generator)
    y = generator.integers(2, size=(SAMPLES, 3))
    p = 1 / (1 + np.exp(-z))
    p[~there] = np.nan
    yes, no = (np.exp(np.nanmean(np.log(each), 0)) for each in (p, 1 - p))
    said = np.where(np.isnan(p), np.nan, p > 0.5)
    expected = {
        "mean": np.nanmean(p, 0),
        "geometric mean": yes / (yes + no),
        "vote": np.nanmean(said, 0),
    }
    found = combined(run, torch.from_numpy(z), torch.from_numpy(there))
    target = torch.from_numpy(y).float()
    for name, answer in found.items():
        predicted, _ = output(run, answer, target)
        assert predicted.numpy() == pytest.approx(expected[name], abs=1e-8)
        values = measured(run, answer, target)
        assert values["mae"] == pytest.approx(np.abs(expected[name] - y).mean(), abs=1e-8)
    losses = -np.log(np.where(y == 1, expected["mean"], 1 - expected["mean"]))
    values = measured(run, found["mean"], target)
    assert next(iter(values)) == "loss"
    assert values["loss"] == pytest.approx(losses.mean(), rel=1e-10)
    part = decomposed(run, torch.from_numpy(z), target)
    single = z > 0
    main = single.sum(0) + 1e-9 * ((1 / (1 + np.exp(-z))).mean(0) - 0.5) > MODELS / 2
    assert part["error"] == pytest.approx((single != y).mean())
    assert part["bias_and_noise"] == pytest.approx((main != y).mean())
    # Of two classes: whoever differs from a wrong main prediction is right (Domingos 2000).
    differ = (single != main).mean(0)
    assert part["variance"] == pytest.approx(np.where(main == y, differ, -differ).mean())


def test_numbers_in_the_units_of_the_data(judges, generator):
    run = judges("numbers")
    z, there = generator.normal(size=(MODELS, SAMPLES, 2)) * 2, some(generator)
    y = generator.normal(size=(SAMPLES, 2))
    masked = np.where(there[..., None], z, np.nan)
    expected = {"mean": np.nanmean(masked, 0), "median": np.nanmedian(masked, 0)}
    target = torch.from_numpy(y)
    for name, answer in combined(run, torch.from_numpy(z), torch.from_numpy(there)).items():
        predicted, _ = output(run, answer, target)
        assert predicted.numpy() == pytest.approx(expected[name], rel=1e-12)
        values = measured(run, answer, target)
        assert values["loss"] == pytest.approx(((expected[name] - y) ** 2).mean())
        assert "brier" not in values
    part = decomposed(run, torch.from_numpy(z), target)
    assert part["error"] == pytest.approx(((z - y) ** 2).mean())
    assert part["variance"] == pytest.approx(z.var(0).mean())
    assert part["bias_and_noise"] == pytest.approx(((z.mean(0) - y) ** 2).mean())
    assert part["error"] == pytest.approx(part["bias_and_noise"] + part["variance"])


def test_the_parts_of_the_0_1_loss_by_hand(judges):
    run = judges("cross_entropy")
    # The class that each of four models names, of five samples whose class is 0.
    named = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [1, 1, 2, 2], [2, 2, 2, 1]]).T
    z = np.eye(10)[named] * 5
    z[0, 3, 1] = 6  # the mean decides for 1
    found = decomposed(run, torch.from_numpy(z), torch.zeros(5, dtype=torch.int64))
    assert found["error"] == pytest.approx(1 - (4 + 3 + 1 + 0 + 0) / 20)
    assert found["bias_and_noise"] == pytest.approx(3 / 5)
    assert found["variance"] == pytest.approx((1 / 4 - 1 / 4) / 5)
    assert found["error"] == pytest.approx(found["bias_and_noise"] + found["variance"])


def test_scores_have_a_mean_and_a_vote(judges, generator):
    run = judges("hinge")
    z = generator.normal(size=(MODELS, SAMPLES, 10))
    found = combined(run, torch.from_numpy(z), everywhere(z))
    assert list(found) == ["mean", "vote"]
    target = torch.from_numpy(generator.integers(10, size=SAMPLES))
    values = measured(run, found["mean"], target)
    assert set(values) == {"accuracy", "loss"}, "scores are no probabilities"
    assert values["accuracy"] == pytest.approx((z.mean(0).argmax(-1) == target.numpy()).mean())


@pytest.mark.parametrize("task", ["cross_entropy", "bce", "labels", "numbers"])
def test_the_module_gives_the_mean(judges, generator, task):
    run = judges(task)
    size = 10 if task in ("cross_entropy", "bce") else run.data.outputs
    z = torch.from_numpy(generator.normal(size=(MODELS, SAMPLES, size)))

    class Says(torch.nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def forward(self, x):
            return z[self.number]

    module = Committee([Says(number) for number in range(MODELS)], run.loss)
    mean = combined(run, z, everywhere(z))["mean"]
    target = run.data.train.y[:SAMPLES]
    logits = module(torch.zeros(SAMPLES))
    found, expected = (output(run, each, target)[0] for each in (alone(run, logits), mean))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-12)


def test_dropout_stays_on_where_it_is_asked(compose_recipe, digits):
    """Of a linear model the mean over passes is what it says without dropout."""
    words = ("model=linear", "regularization=[dropout]", "regularization.dropout.visible=0.3")
    run = build.build(compose_recipe(*words), digits)
    val = digits.val
    feed = prepare(Split(val.x, val.y, val.rows[:20]), run.evaluation, run.device, fixed=False)
    still = outputs(run, feed)
    assert torch.equal(still, outputs(run, feed))
    torch.manual_seed(0)
    passes = torch.stack([outputs(run, feed, drops=True) for _ in range(3000)])
    assert float(passes.std(0).min()) > 0.01
    error = passes.std(0) / 3000**0.5
    assert float(((passes.mean(0) - still) / error).abs().max()) < 4.5
    assert torch.equal(still, outputs(run, feed)), "it is off again"
    assert run.model.training
