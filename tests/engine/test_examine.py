"""The numbers of a diagnosis against independent computations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from dlrun.data.sample import sample
from dlrun.engine import examine
from dlrun.engine.evaluate import evaluate, samples
from dlrun.engine.feed import prepare
from dlrun.recipe import build, compose
from tests.states import differences


def compose_table(folder, x, y):
    np.savez(folder / "table.npz", x=x, y=y)
    with compose.composer([]) as composer:
        words = ["data=arrays", f"data.path={folder / 'table.npz'}", "loss=mse", "tracking=none"]
        return composer.recipe(words)


@pytest.fixture
def trained(train_recipe):
    return train_recipe("epochs=2", "regularization=[dropout]").run


def test_losses_are_those_of_an_evaluation(trained):
    seen = examine.examined(trained, 2000)
    for name, split in (("train_eval", trained.data.train), ("val", trained.data.val)):
        feed = prepare(split, trained.evaluation, trained.device, fixed=True)
        values = evaluate(trained, trained.forward, samples(trained, feed))
        assert seen[f"{name}/loss"] == pytest.approx(values["loss"], rel=1e-5)
        assert seen[f"{name}/accuracy"] == pytest.approx(values["accuracy"])
        assert seen[f"{name}/samples"] == len(split)


@pytest.mark.parametrize("mixed", [True, False])
def test_the_error_is_that_of_single_losses_in_whatever_order(trained, mixed):
    y = torch.arange(10).repeat_interleave(40)
    outputs = torch.zeros(400, 10)
    outputs[:, 0] = 3.0  # class 0 is right, all others are wrong
    order = torch.randperm(400) if mixed else torch.arange(400)
    losses = torch.nn.functional.cross_entropy(outputs, y, reduction="none")
    looked = examine.Looked(y, y[order], outputs)
    found = examine._measured(trained, "val", looked)["val/error"]
    assert found == pytest.approx(float(losses.std() / math.sqrt(400)), rel=0.5)


def test_the_constant_answer(trained):
    seen = examine.examined(trained, 2000)
    train, val = trained.data.train, trained.data.val
    shares = torch.bincount(train.y[train.rows]) / len(train)
    y = val.y[val.rows]
    assert seen["undecided"] == pytest.approx(float(-shares.log()[y].mean()), rel=1e-5)
    assert seen["guess"] == pytest.approx(float((y == shares.argmax()).float().mean()))
    assert seen["classes"] < 0.05


def test_without_an_opinion_where_training_lacks_classes(compose_recipe, train_recipe):
    """The shares of two samples' classes say of all others that they never come."""
    data = build.load_data(compose_recipe("data.samples=2"))
    seen = examine.examined(train_recipe("epochs='2 steps'", data=data).run, 4)
    assert seen["undecided"] == pytest.approx(math.log(10), rel=1e-5)


def test_neighbours_are_those_of_scikit_learn(trained):
    seen = examine.examined(trained, 2000)
    train = trained.data.train
    rows = sample(train, examine.PROBED + examine.REFERENCES, seed=1)
    probes = min(examine.PROBED, len(rows) // 3)
    x, y = train.x[rows].float().flatten(1).numpy(), train.y[rows].numpy()
    known = KNeighborsClassifier(examine.NEIGHBOURS).fit(x[probes:], y[probes:])
    wrong = 1 - known.score(x[:probes], y[:probes])
    # Inputs are standardized for all pixels alike, so neighbours stay neighbours.
    assert seen["labels/train"] == pytest.approx(wrong, abs=0.02)
    assert seen["probes"] == probes


def test_the_linear_model_is_that_of_scikit_learn(trained):
    seen = examine.examined(trained, 2000)
    train, val = trained.data.train, trained.data.val
    rows = sample(train, examine.SAMPLES, seed=0).sort().values[: examine.ROWS]
    x, y = train.x[rows].double().flatten(1), train.y[rows]
    mean, spread = x.mean(0), x.std(0, correction=0).clamp(min=1e-12)
    model = Ridge(alpha=examine.RIDGE * len(x)).fit((x - mean) / spread, torch.eye(10)[y])
    x, y = val.x[val.rows].double().flatten(1), val.y[val.rows].numpy()
    wrong = model.predict((x - mean) / spread).argmax(1) != y
    assert seen["linear"] == pytest.approx(wrong.mean(), abs=1e-6)
    assert seen["linear/worse"] == pytest.approx(1 - seen["val/accuracy"] - wrong.mean(), abs=1e-6)


def test_the_linear_model_of_numbers(train_recipe, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = (x @ [1.0, -2.0, 0.5] + 3 + 0.1 * rng.normal(size=300)).astype(np.float32)
    data = build.load_data(compose_table(tmp_path, x, y))
    run = train_recipe("loss=mse", "epochs=1", "model.hidden=[4]", data=data).run
    seen = examine.examined(run, 300)
    scale = 1 / float(run.data.scale.std) ** 2
    assert seen["linear"] == pytest.approx(0.01 * scale, rel=0.5)
    assert seen["linear/worse"] > 3.5 * seen["linear/error"] > 0


def test_batch_norm_in_both_modes(train_recipe):
    slow = ("regularization=[batch_norm]", "regularization.batch_norm.momentum=0.0001")
    seen = examine.examined(train_recipe("epochs=2", *slow).run, 2000)
    assert seen["train_mode"] < seen["train_mode_before"] / 2
    sound = examine.examined(train_recipe("epochs=2", slow[0]).run, 2000)
    assert sound["train_mode"] == pytest.approx(sound["train_mode_before"], rel=0.2)
    assert "train_mode" not in examine.examined(train_recipe("epochs=2").run, 2000)


def test_the_chance_to_lie_further_is_mann_and_whitneys():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(40, generator=generator), torch.rand(30, generator=generator) + 0.1
    b[:3] = a[:3]
    expected = stats.mannwhitneyu(a.numpy(), b.numpy()).statistic / (40 * 30)
    assert examine._further(a, b) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "words", [("model=autoencoder", "loss=mse"), ("loss=bce",), ("loss=hinge",)], ids=str
)
def test_of_other_tasks(train_recipe, words):
    seen = examine.examined(train_recipe("epochs=2", *words).run, 2000)
    assert all(math.isfinite(value) for value in seen.values())
    assert seen["train_eval/loss"] < seen["undecided"]


def test_of_a_single_sample_the_error_is_the_loss(train_recipe, digits):
    one = replace(digits, val=replace(digits.val, rows=digits.val.rows[:1]))
    seen = examine.examined(train_recipe("epochs=1", data=one).run, 2000)
    assert seen["val/error"] == pytest.approx(seen["val/loss"])
    assert seen["val/samples"] == 1


def test_it_changes_nothing(train_recipe):
    run = train_recipe("epochs=1", "model=cnn", "regularization=[dropout]").run
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    state = torch.get_rng_state()
    examine.examined(run, 2000)
    assert torch.equal(torch.get_rng_state(), state)
    assert not differences(before, dict(run.model.state_dict()))


def test_the_classifier_of_two_splits_is_scikit_learns(trained):
    told = examine.told_apart(trained)
    train, val = trained.data.train, trained.data.val
    count = len(val)
    rows = [sample(split, count, seed=2) for split in (train, val)]
    x = torch.cat([train.x[each].float().flatten(1) for each in rows]).numpy()
    of_val = np.arange(2 * count) >= count
    near = math.isqrt(2 * count) // 2 * 2 + 1
    indices = NearestNeighbors(n_neighbors=near).fit(x).kneighbors(return_distance=False)
    right = (of_val[indices].mean(1) > 0.5) == of_val
    assert told["share"] == pytest.approx(right.mean(), abs=0.02)
    assert told["samples"] == count
