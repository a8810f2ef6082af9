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
from dlrun.engine import examine, shift
from dlrun.engine.evaluate import evaluate, samples
from dlrun.engine.feed import prepare
from dlrun.engine.look import error_of_mean, some
from dlrun.job.session import Session
from dlrun.recipe import compose
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


def test_a_whole_split_is_measured_where_that_is_asked_for(compose_recipe, train_recipe):
    big = ("data=toy", "data.kind=mixture", "data.n_samples=8000", "data.split=40/40/20")
    run = train_recipe("epochs=1", data=Session().data(compose_recipe(*big))).run
    part, all_of_it = examine.examined(run, 3200), examine.examined(run, 3200, whole=("val",))
    feed = prepare(run.data.val, run.evaluation, run.device, fixed=True)
    values = evaluate(run, run.forward, samples(run, feed))
    assert part["val/samples"] == shift.SAMPLES
    assert all_of_it["val/samples"] == 3200
    assert all_of_it["val/accuracy"] == pytest.approx(values["accuracy"])
    assert all_of_it["val/loss"] == pytest.approx(values["loss"], rel=1e-5)
    share = values["accuracy"]
    assert all_of_it["val/metric_error"] == pytest.approx(
        math.sqrt(share * (1 - share) / 3200), rel=0.3
    )
    assert all_of_it["train_eval/samples"] == part["train_eval/samples"] == shift.SAMPLES


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


def test_the_error_of_a_share_is_that_of_a_binomial(compose_recipe, train_recipe):
    data = Session().data(compose_recipe("data.train_dev=20%"))
    run = train_recipe("epochs=1", data=data).run
    assert "test/metric_error" not in examine.examined(run, 2000)
    seen = examine.examined(run, 2000, tested=True)
    for name in ("train_eval", "val", "train_dev", "test"):
        split = data.splits[name.removesuffix("_eval")]
        feed = prepare(split, run.evaluation, run.device, fixed=True)
        share = evaluate(run, run.forward, samples(run, feed))["accuracy"]
        error = math.sqrt(share * (1 - share) / (len(split) - 1))
        assert seen[f"{name}/metric_error"] == pytest.approx(error, rel=1e-4)


def test_the_error_of_a_mean_absolute_error_is_that_of_its_samples(train_recipe, tmp_path):
    x = np.random.default_rng(0).exponential(size=(400, 3)).astype(np.float32)
    data = Session().data(compose_table(tmp_path, x, 50 * x[:, 0] ** 2))
    run = train_recipe("loss=mse", "epochs=1", data=data).run
    seen = examine.examined(run, 2000)
    for name, split in (("train_eval", data.train), ("val", data.val)):
        looked = examine._looked(run, split)
        apart = (looked.outputs - looked.y).abs().flatten() * float(data.scale.std)
        assert seen[f"{name}/mae"] == pytest.approx(float(apart.mean()), rel=1e-4)
        error = float(apart.std()) / math.sqrt(len(apart))
        assert seen[f"{name}/metric_error"] == pytest.approx(error, rel=1e-4)


def test_the_constant_answer(trained):
    seen = examine.examined(trained, 2000)
    train, val = trained.data.train, trained.data.val
    shares = torch.bincount(train.y[train.rows]) / len(train)
    y = val.y[val.rows]
    assert seen["undecided"] == pytest.approx(float(-shares.log()[y].mean()), rel=1e-5)
    assert seen["undecided/train"] == pytest.approx(
        float(-shares.log()[train.y[train.rows]].mean()), rel=1e-5
    )
    assert seen["undecided/equal"] == pytest.approx(math.log(10), rel=1e-5)
    assert seen["guess"] == pytest.approx(float((y == shares.argmax()).float().mean()))
    each = [float((y == label).float().mean()) for label in range(10)]
    assert seen["guess/lucky"] == pytest.approx(max(each))
    assert max(each) > seen["guess"]
    assert seen["classes"] < 0.05


def test_runs_on_the_same_targets_look_for_the_constant_answer_once(train_recipe, digits):
    data = replace(digits, train=replace(digits.train, y=digits.train.y.clone()))
    words = ("epochs='1 steps'", "loss=cross_entropy")
    first, second = (train_recipe(*words, f"seed={n}", data=data).run for n in (0, 1))
    found = examine.constants(first)
    assert examine.constants(second)[0] is found[0]
    data.train.y[:300] = 0
    assert not torch.allclose(examine.constants(second)[0], found[0])
    other = train_recipe("epochs='1 steps'", "loss=mse", data=data).run
    assert not torch.allclose(examine.constants(other)[0], examine.constants(second)[0])


@pytest.mark.parametrize(("classes", "samples"), [(2, 50), (10, 200), (100, 1000)])
def test_shares_of_classes_differ_by_chance_as_often_as_chi_squared_says(classes, samples):
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        y = torch.randint(classes, (6 * samples,), generator=generator)
        parts = (y[samples:], y[:samples])
        counts = [torch.bincount(part, minlength=classes).double() for part in parts]
        found.append(examine._by_chance(*counts))
    found = torch.tensor(found)
    assert abs(found.mean()) < 0.2
    assert abs(found.std() - 1) < 0.15
    assert (found > 3.1).float().mean() <= 0.01


def test_shares_of_classes_that_differ_are_told():
    a = torch.tensor([50.0, 30.0, 20.0, 0.0], dtype=torch.float64)
    b = torch.tensor([20.0, 30.0, 50.0, 0.0], dtype=torch.float64)
    theirs = stats.norm.isf(stats.chi2_contingency(torch.stack([a, b])[:, :3].numpy())[1])
    assert examine._by_chance(a, b) == pytest.approx(theirs, abs=0.25)
    assert examine._by_chance(a[:1], b[:1]) == 0


def test_without_an_opinion_where_training_lacks_classes(compose_recipe, train_recipe):
    """The shares of two samples' classes say of all others that they never come."""
    data = Session().data(compose_recipe("data.samples=2"))
    seen = examine.examined(train_recipe("epochs='2 steps'", data=data).run, 4)
    assert seen["undecided"] == pytest.approx(math.log(10), rel=1e-5)


def test_the_inputs_of_the_test_split_are_compared_once_it_is_measured(trained):
    assert "test/moved" not in examine.examined(trained, 2000)
    seen = examine.examined(trained, 2000, tested=True)
    x = [some(trained, split, 2000)[0] for split in (trained.data.train, trained.data.test)]
    assert seen["test/moved"] == pytest.approx(shift.compared(*x)["moved"], abs=0.01)


def test_losses_of_test_and_validation_are_compared_by_their_ranks(trained):
    seen = examine.examined(trained, 2000, tested=True)
    losses = {}
    for name, split in (("val", trained.data.val), ("test", trained.data.test)):
        x, y = some(trained, split, len(split))
        trained.model.eval()
        said = trained.model(x).detach()
        losses[name] = torch.nn.functional.cross_entropy(said, y, reduction="none").numpy()
    here, there = losses["val"], losses["test"]
    more = stats.mannwhitneyu(there, here).statistic / (len(here) * len(there)) - 0.5
    chance = math.sqrt((len(here) + len(there) + 1) / (12 * len(here) * len(there)))
    assert seen["test/higher"] == pytest.approx(more / chance, abs=0.01)
    assert seen["test/error"] == pytest.approx(there.std(ddof=1) / math.sqrt(len(there)), rel=0.01)


@pytest.mark.parametrize(("samples", "same"), [(1, 1.0), (200, 0.0)])
def test_training_samples_of_one_target_are_told(compose_recipe, train_recipe, samples, same):
    words = ["data.classes=[0,1]", f"data.samples={samples}", "epochs=1"]
    run = train_recipe(*words, data=Session().data(compose_recipe(*words))).run
    assert examine.examined(run, samples)["same_target"] == same


def test_targets_of_training_and_validation_are_undecided_apart(
    compose_recipe, train_recipe, tmp_path
):
    """Those of training have five times the spread, and are standardized by it."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(300, 3)), draw.normal(size=300)
    parts = {"x_train": x[:200], "y_train": 5 * y[:200], "x_val": x[200:], "y_val": y[200:]}
    np.savez(tmp_path / "two.npz", **parts)
    words = ["data=arrays", f"data.path={tmp_path / 'two.npz'}", "loss=mse", "epochs=1"]
    run = train_recipe(*words, data=Session().data(compose_recipe(*words))).run
    seen = examine.examined(run, 200)
    assert seen["undecided/train"] == pytest.approx(1.0, rel=1e-3)
    assert seen["undecided"] == pytest.approx(1 / 25, rel=0.4)


def test_the_linear_model_is_that_of_scikit_learn(trained):
    seen = examine.examined(trained, 2000)
    train, val = trained.data.train, trained.data.val
    rows = sample(train, shift.SAMPLES, seed=0).sort().values[: shift.ROWS]
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
    data = Session().data(compose_table(tmp_path, x, y))
    run = train_recipe("loss=mse", "epochs=1", "model.hidden=[4]", data=data).run
    seen = examine.examined(run, 300)
    scale = 1 / float(run.data.scale.std) ** 2
    assert seen["linear"] == pytest.approx(0.01 * scale, rel=0.5)
    assert seen["linear/worse"] > 3.5 * seen["linear/error"] > 0
    assert seen["linear/unit"] == pytest.approx(1, rel=0.3), "of standardized targets"


def test_batch_norm_in_both_modes(train_recipe):
    slow = ("regularization=[batch_norm]", "regularization.batch_norm.momentum=0.0001")
    seen = examine.examined(train_recipe("epochs=2", *slow).run, 2000)
    assert seen["train_mode"] < seen["train_mode_before"] / 2
    sound = examine.examined(train_recipe("epochs=2", slow[0]).run, 2000)
    assert sound["train_mode"] == pytest.approx(sound["train_mode_before"], rel=0.2)
    assert "train_mode" not in examine.examined(train_recipe("epochs=2").run, 2000)


def test_neighbours_are_those_of_scikit_learn(train_recipe, digits, monkeypatch):
    monkeypatch.setattr(shift, "ROWS", 2000)
    y = digits.train.y.clone()
    wrong = digits.train.rows[:100]
    y[wrong] = (y[wrong] + 3) % 10
    data = replace(digits, train=replace(digits.train, y=y))
    run = train_recipe("epochs='2 steps'", data=data).run
    seen = examine.examined(run, 64)
    train, val = data.train, data.val
    # Inputs are standardized for all pixels alike, so neighbours stay neighbours.
    x, labels = train.x[train.rows].float().flatten(1).numpy(), y[train.rows].numpy()
    near = NearestNeighbors(n_neighbors=10).fit(x).kneighbors(return_distance=False)
    counts = np.stack([np.bincount(labels[each], minlength=10) for each in near])
    against = (counts.max(1) >= 8) & (counts.argmax(1) != labels)
    assert seen["labels/train"] == pytest.approx((counts.argmax(1) != labels).mean(), abs=0.01)
    assert seen["contradicted/train"] == pytest.approx(against.mean(), abs=0.01)
    assert 0.05 < seen["contradicted/train"] < 0.11
    assert seen["contradicted/val"] < 0.02
    known = KNeighborsClassifier(10).fit(x, labels)
    x, labels = val.x[val.rows].float().flatten(1).numpy(), val.y[val.rows].numpy()
    theirs = 1 - known.score(x, labels)
    assert seen["labels/val"] == pytest.approx(theirs, abs=0.01)
    assert seen["neighbours/val"] == pytest.approx(1 - seen["val/accuracy"] - theirs, abs=0.01)
    share = (seen["labels/val"] * len(labels) + 1) / (len(labels) + 2)
    error = math.sqrt(share * (1 - share) / len(labels))
    assert seen["labels/val_error"] == pytest.approx(error, rel=0.01)


def test_of_many_inputs_some_samples_are_probes(trained, monkeypatch):
    for module in (examine, shift):
        monkeypatch.setattr(module, "INPUTS", 63)
    monkeypatch.delitem(trained.data.made, "shift", raising=False)
    seen = examine.examined(trained, 2000)
    assert seen["probes"] == pytest.approx(len(trained.data.train) // 3, abs=1)
    assert seen["labels/train"] < 0.1
    assert abs(seen["shift"] - 0.5) < 0.1
    assert "linear" not in seen


def test_what_a_layer_passes_on_is_as_its_initial_weights_have_it(train_recipe):
    """Of weights with a variance of 2/n, sums have √2 (He et al. 2015); 0.01 of 64 pixels 0.08."""
    deep = ("model.hidden=[300,300]", "epochs='1 steps'", "optimizer.lr=1e-9")
    he, small = ("initializer=he_normal",), ("initializer=normal", "initializer.std=0.01")
    seen = [examine.examined(train_recipe(*deep, *each).run, 0)["passed"] for each in (he, small)]
    assert seen == [pytest.approx(math.sqrt(2), rel=0.05), pytest.approx(0.08, rel=0.05)]


def test_a_network_without_a_bias_is_homogeneous(train_recipe):
    run = train_recipe("epochs=1", "model.hidden=[16,16]").run
    assert examine.examined(run, 0)["homogeneous"] == 0
    with torch.no_grad():
        for name, weight in run.model.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
    assert examine.examined(run, 0)["homogeneous"] == 1


def test_the_gradient_fades_through_sigmoids(train_recipe):
    deep = ("epochs=1", "model.hidden=[32,32,32,32]", "initializer=xavier")
    sound = examine.examined(train_recipe(*deep).run, 0)["fading"]
    faded = examine.examined(train_recipe(*deep, "activation=sigmoid").run, 0)["fading"]
    assert faded < 0.05 < 0.2 < sound
    assert "fading" not in examine.examined(train_recipe("epochs='2 steps'").run, 0)


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


@pytest.mark.parametrize(("limit", "held"), [(0.1, 1.0), (30, 0.0)])
def test_how_far_max_norm_holds_the_weights_back(train_recipe, limit, held):
    words = ("regularization=[max_norm]", f"regularization.max_norm.limit={limit}")
    seen = examine.examined(train_recipe("epochs=2", *words).run, 2000)
    assert seen["max_norm"] == pytest.approx(held, abs=0.05)


@pytest.mark.parametrize("rules", ["none", "[dropout,batch_norm,input_noise]"])
def test_after_few_epochs_the_loss_is_measured_as_in_training(train_recipe, rules):
    words = ("epochs=1", f"regularization={rules}", "optimizer.lr=1e-7", "batch_size=40")
    trained = train_recipe(*words)
    run, samples = trained.run, len(trained.run.data.train)
    seen = examine.examined(run, samples)
    recorded = trained.points[-1]["values"]["train/loss"]
    assert seen["as_trained"] == pytest.approx(recorded, abs=3 * seen["as_trained/error"] + 1e-3)
    assert seen["as_trained/error"] < 0.1
    assert "as_trained" not in examine.examined(run, 3 * samples), "the curve tells"


@pytest.mark.parametrize(("name", "least"), [("mse", 0.09), ("hinge", 9.0)])
def test_guessing_is_the_best_constant_answer_of_the_loss(train_recipe, name, least):
    """Ten classes that are about as frequent: 1/10 each, and 0 for all of them."""
    seen = examine.examined(train_recipe("epochs='1 steps'", f"loss={name}").run, 64)
    assert seen["undecided/train"] == pytest.approx(least, rel=1e-2)
    assert seen["undecided/equal"] == pytest.approx(least, rel=1e-3)


def test_guessing_numbers_is_their_median_as_errors_are_measured(train_recipe, tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 2)).astype("float32")
    y = np.random.default_rng(1).exponential(size=400).astype("float32")
    data = Session().data(compose_table(tmp_path, x, y))
    seen = examine.examined(train_recipe("loss=mse", "epochs='1 steps'", data=data).run, 64)
    train, val = np.sort(y[data.train.rows.numpy()]), y[data.val.rows.numpy()]
    median = train[(len(train) - 1) // 2]
    assert seen["guess"] == pytest.approx(np.abs(val - median).mean(), rel=1e-4)


def test_whitening_makes_no_shift_of_a_random_split(train_recipe, tmp_path):
    """It gives the 240 rows that it is fitted to variance 1, and others about 240/(240 − 60)."""
    x = np.random.default_rng(0).normal(size=(400, 60)).astype("float32")
    data = Session().data(compose_table(tmp_path, x, x[:, 0]))
    words = ("loss=mse", "epochs='1 steps'", "preprocessing=[whiten]")
    seen = examine.examined(train_recipe(*words, data=data).run, 64)
    assert abs(seen["shift"] - 0.5) < 0.1
    assert max(seen["moved"], seen["spread"]) < 3
    data.val.x[data.val.rows, 3] += 2.5
    seen = examine.examined(train_recipe(*words, data=data).run, 64)
    assert seen["moved"] > 5, "a shift of one column of 60 is found"


def test_a_shift_of_a_small_column_is_found_beside_a_large_one(train_recipe, tmp_path):
    x = np.random.default_rng(0).normal(size=(600, 30)).astype("float32")
    x[:, 1] *= 1e4
    data = Session().data(compose_table(tmp_path, x, x[:, 0]))
    data.val.x[data.val.rows, 2] += 1.5
    run = train_recipe("loss=mse", "epochs='1 steps'", "preprocessing=none", data=data).run
    assert examine.examined(run, 64)["moved"] > 5


def test_groups_are_compared_as_one_sample_each(train_recipe, tmp_path):
    """Rows of a group lie near each other, and those of others further away."""
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 12)
    x = (draw.normal(size=(60, 4))[group] + 0.1 * draw.normal(size=(720, 4))).astype("float32")
    data = Session().data(compose_table(tmp_path, x, x[:, 0]))
    order = torch.tensor(draw.permutation(60))
    parts = {"train": order[:36], "val": order[36:48]}
    numbers = torch.tensor(group)
    rows = {name: torch.isin(numbers, each).nonzero()[:, 0] for name, each in parts.items()}
    splits = {name: replace(data.train, rows=each) for name, each in rows.items()}
    data = replace(data, **splits, groups=numbers)
    run = train_recipe("loss=mse", "epochs='1 steps'", data=data).run
    seen = examine.examined(run, 64)
    assert seen["probes"] == pytest.approx(2 * 36 * 12 / 48)
    assert abs(seen["shift"] - 0.5) < 0.25
    assert max(seen["moved"], seen["spread"]) < 3
    told = shift.told_apart(run)
    assert told["samples"] == 12
    assert told["share"] - 0.5 < 3 * told["error"]


def test_what_is_frozen_or_dropped_by_the_model_itself(train_recipe):
    run = train_recipe("epochs=1", "freeze=[backbone]").run
    run.model.append(torch.nn.Dropout(0.3))
    seen = examine.examined(run, 2000)
    frozen = sum(p.numel() for p in run.model.parameters() if not p.requires_grad)
    assert seen["frozen"] == pytest.approx(frozen / (frozen + seen["weights"]))
    assert 0.5 < seen["frozen"] < 1
    assert seen["own_dropout"] == 0.3


def test_errors_of_squares_are_those_of_both_splits_together():
    generator = torch.Generator().manual_seed(0)
    parts = {"train": 1000, "val": 150}
    alone = together = 0
    for _ in range(300):
        draws = {  # a few of them large, as of rows that lack what tells the target
            name: 0.1 + 10.0 * (torch.rand(n, generator=generator) < 0.03)
            for name, n in parts.items()
        }
        found = {f"labels/{name}": float(each.mean()) for name, each in draws.items()}
        found |= {f"labels/{name}_error": error_of_mean(each) for name, each in draws.items()}
        pooled = examine._pooled(found, parts)
        spread = torch.cat(list(draws.values())).std(correction=0)
        for name, count in parts.items():
            expected = float(spread) / count**0.5
            assert pooled[f"labels/{name}_error"] == pytest.approx(expected, rel=0.02)
        apart = found["labels/train"] - found["labels/val"]
        alone += apart > 3.5 * math.hypot(*(found[f"labels/{name}_error"] for name in parts))
        together += apart > 3.5 * math.hypot(*pooled.values())
    assert (alone > 5, together) == (True, 0)
