"""Metrics of a run: what they are given, on which splits, and that they change nothing else."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from dlrun import record
from dlrun.data import Data, Split
from dlrun.data.scale import standardize
from dlrun.engine import checkpoint, evaluate
from dlrun.engine.evaluate import measure
from dlrun.engine.feed import prepare
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.errors import Failure, Mistake
from dlrun.metric import Metric
from dlrun.procedure.train import measured
from dlrun.recipe import build
from dlrun.schedule import Fixed
from tests.conftest import Watcher
from tests.states import differences, without_clock

ALL = (
    "metric=[top5,balanced_accuracy,precision,recall,macro_f1,auroc,average_precision,"
    "calibration_error,brier]"
)


def probabilities(run, split):
    """The predictions and the true targets of a split, as arrays of float64."""
    x, y = split.x[split.rows], split.y[split.rows]
    run.model.eval()
    with torch.no_grad():
        z = run.model(run.evaluation(x)).double()
    return z.softmax(1).numpy(), y.numpy()


def table(y, scale=None, seed=0):
    """60 rows of five features with these targets."""
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(seed))
    splits = [Split(x, y, rows) for rows in torch.arange(60).split([40, 12, 8])]
    return Data("table", *splits, (5,), (), y.shape[1], "", scale=scale)


def labels(seed=1):
    return (torch.rand(60, 3, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def test_each_split_is_measured_as_scikit_learn_would(train_recipe):
    trained = train_recipe("epochs=2", ALL)
    run = trained.run
    for name, values in (
        ("val", {key: trained.values(f"val/{key}")[-1] for key in run.metrics}),
        ("test", {key.partition("/")[2]: one for key, one in measured(run, "test").items()}),
    ):
        p, y = probabilities(run, getattr(run.data, name))
        said = p.argmax(1)
        expected = {
            "top5": sk.top_k_accuracy_score(y, p, k=5, labels=range(10)),
            "balanced_accuracy": sk.balanced_accuracy_score(y, said),
            "macro_f1": sk.f1_score(y, said, average="macro"),
            "auroc": sk.roc_auc_score(y, p, multi_class="ovr"),
            "average_precision": sk.average_precision_score(y, p),
            "brier": ((p - np.eye(10)[y]) ** 2).sum(1).mean(),
        }
        for key, value in expected.items():
            assert values[key] == pytest.approx(value, rel=1e-6), (name, key)
    assert not [key for key in trained.points[-1]["values"] if key.startswith("train/auroc")]
    assert set(run.facts()["metrics"]) == {"accuracy", "loss", *run.metrics}


def test_they_change_nothing_of_the_training(train_recipe):
    plain = train_recipe("epochs=1", "augmentation=[noise]")
    watched = train_recipe("epochs=1", "augmentation=[noise]", ALL)
    for name, weight in plain.run.model.state_dict().items():
        torch.testing.assert_close(watched.run.model.state_dict()[name], weight, rtol=0, atol=0)
    for key in ("val/loss", "val/accuracy", "train/loss"):
        assert watched.values(key) == plain.values(key)


def test_without_metrics_none_of_their_code_runs(train_recipe, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(evaluate, "Tally", fail)
    monkeypatch.setattr("dlrun.engine.run.Run.answers", fail)
    assert train_recipe("epochs=1").values("val/accuracy")
    code = "import sys, dlrun.recipe.build, dlrun.procedure.train;"
    code += "print([name for name in sys.modules if name.startswith('dlrun.metric.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_views_of_test_augmentation_are_averaged_first(compose_recipe, digits):
    run = build.build(compose_recipe("test_augmentation=flip", "metric=[auroc,brier]"), digits)
    x, y = digits.test.x[digits.test.rows], digits.test.y[digits.test.rows].numpy()
    run.model.eval()
    with torch.no_grad():
        z = [run.model(run.evaluation(view)).double() for view in (x, x.flip(3))]
    p = torch.stack(z).softmax(-1).mean(0).numpy()
    found = measured(run, "test")
    assert found["test/auroc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), rel=1e-6)
    expected = ((p - np.eye(10)[y]) ** 2).sum(1).mean()
    assert found["test/brier"] == pytest.approx(expected, rel=1e-6)


def test_averaged_weights_are_the_ones_that_are_measured(train_recipe):
    words = ["epochs=2", "regularization=[weight_average]", "metric=[brier]", "monitor=val/brier"]
    trained = train_recipe(*words)
    p, y = probabilities(trained.run, trained.run.data.val)  # the best weights, the averages
    expected = ((p - np.eye(10)[y]) ** 2).sum(1).mean()
    best = -trained.state.runs[0].best_score
    assert best == min(trained.values("val/brier")) == pytest.approx(expected, rel=1e-6)


def test_numbers_are_measured_in_the_units_of_the_data(compose_recipe):
    generator = torch.Generator().manual_seed(2)
    raw = torch.randn(60, 2, generator=generator) * torch.tensor([30.0, 0.5]) + 2000
    y, scale = standardize(raw, torch.arange(40))
    run = build.build(compose_recipe("loss=mse", "metric=[rmse,r2,mae]"), table(y, scale))
    run.model.eval()
    rows = run.data.val.rows
    with torch.no_grad():
        z = run.model(run.evaluation(run.data.val.x[rows])).double()
    predicted, so = (each * scale.std.double() + scale.mean.double() for each in (z, y[rows]))
    found = measure(run, run.val)
    given = (so.numpy(), predicted.numpy())
    assert list(found) == ["mae", "loss", "rmse", "r2"]
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(*given), rel=1e-5)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(*given), rel=1e-5)
    assert found["r2"] == pytest.approx(sk.r2_score(*given), rel=1e-5)


def test_columns_of_zeros_and_ones_are_labels_where_the_loss_has_a_sigmoid(compose_recipe):
    words = ("model=linear", "loss=bce", "metric=[accuracy,auroc,average_precision,brier,r2]")
    run = build.build(compose_recipe(*words), table(labels()))
    run.model.eval()
    rows = run.data.val.rows
    with torch.no_grad():
        p = run.model(run.evaluation(run.data.val.x[rows])).double().sigmoid().numpy()
    so, found = run.data.val.y[rows].numpy(), measure(run, run.val)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(so, p > 0.5))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(so, p), rel=1e-6)
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(so, p), rel=1e-6)
    assert found["brier"] == pytest.approx(((p - so) ** 2).sum(1).mean(), rel=1e-6)
    assert found["r2"] == pytest.approx(sk.r2_score(so, p), rel=1e-6)
    assert (
        build.build(compose_recipe(*words, "monitor=val/accuracy"), table(labels())).monitor
        == "val/accuracy"
    )


def test_scores_of_the_hinge_loss_compare_classes_within_a_sample(compose_recipe, digits):
    """What is added to all scores of a sample changes nothing: the loss does not see it."""
    run = build.build(compose_recipe("loss=hinge", "metric=[auroc]"), digits)
    found = measure(run, run.val)["auroc"]
    model = run.forward

    def shifted(x):
        z = model(x)
        return z + 7 * x.flatten(1).sum(1, keepdim=True)

    run.forward = shifted
    assert measure(run, run.val)["auroc"] == pytest.approx(found, rel=1e-6)


MISFITS = [
    (("metric=[r2,recall]",), "digits", "metric=r2: is for targets that are numbers, and those of"),
    (("metric=[brier]", "loss=mse"), "digits", "metric=brier: needs probabilities, and loss=mse"),
    (("metric=[brier]", "loss=hinge"), "digits", "loss=hinge gives none; use loss=cross_entropy"),
    (
        ("metric=[brier]", "loss._target_=torch.nn.functional.multi_margin_loss"),
        "digits",
        "or a dlrun.loss.Loss that says its link",
    ),
    (("metric=[auroc]", "loss=mse"), "numbers", "that are classes or several labels at once, and"),
    (("metric=[auroc]", "loss=mse"), "labels", "for labels, each 0 or 1, there is loss=bce"),
    (("metric=[top5]", "loss=bce"), "labels", "those of data=table are several labels at once"),
    (("metric=[auroc]", "loss=mse", "model=autoencoder"), "digits", "the model gives its input"),
    (("monitor=val/mae",), "digits", "monitor=val/mae: is not measured, because there are classes"),
    (
        ("monitor=val/accuracy", "loss=mse"),
        "numbers",
        "there are no classes; use monitor=val/loss or val/mae",
    ),
]


@pytest.mark.parametrize(("words", "which", "message"), MISFITS, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_the_task_is_refused(words, which, message, compose_recipe, digits):
    numbers = torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
    data = {"digits": digits, "numbers": table(numbers), "labels": table(labels())}[which]
    with pytest.raises(Mistake) as refused:
        build.build(compose_recipe(*words), data)
    assert message in str(refused.value)


def three_classes(digits):
    """Digits 0 to 2 alone."""
    rows = torch.arange(len(digits.train.y))[digits.train.y < 3]
    splits = [Split(digits.train.x, digits.train.y, part) for part in rows.split([200, 100, 237])]
    return Data("digits", *splits, digits.shape, digits.classes[:3], 3, "")


def test_five_of_three_classes_are_refused(compose_recipe, digits):
    with pytest.raises(Mistake, match="metric=top5: would always be 1, because there are 3"):
        build.build(compose_recipe("metric=[top5]"), three_classes(digits))


@pytest.mark.parametrize("name", ["auroc", "macro_f1"])
def test_a_val_split_of_one_class_has_no_order_to_choose_by(name, compose_recipe, digits):
    data = three_classes(digits)
    rows = torch.arange(len(data.train.y))[data.train.y == 1]
    data = replace(data, val=Split(data.val.x, data.val.y, rows[:50]))
    recipe = compose_recipe(f"metric=[{name}]", f"monitor=val/{name}")
    if name == "macro_f1":
        assert build.build(recipe, data).monitor == "val/macro_f1"
        return
    with pytest.raises(Mistake, match="monitor=val/auroc: has no value on the val split, which"):
        build.build(recipe, data)


def no_number(predicted, y):
    return torch.tensor(math.nan)


@pytest.mark.parametrize("which", ["digits", "numbers"])
def test_a_metric_of_ones_own_without_a_number_is_nothing_to_choose_by(
    which, compose_recipe, digits, monkeypatch
):
    from dlrun.metric import metric

    monkeypatch.setitem(globals(), "no_number", metric(True)(no_number))
    numbers = torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
    words = ["+metric.own._target_=tests.engine.test_metrics.no_number", "monitor=val/own"]
    recipe = compose_recipe(*words, "+metric.own._partial_=true")
    with pytest.raises(Mistake, match=r"monitor=val/own: metric\.own gives nan for predictions"):
        build.build(recipe, {"digits": digits, "numbers": table(numbers)}[which])


def of_chance_alone(predicted, y):
    right = (predicted.argmax(1) == y).double().mean()
    return torch.where(right < 0.3, right, math.nan)


def test_where_no_validation_has_a_number_the_last_weights_are_the_result(
    here, capsys, monkeypatch
):
    from dlrun.__main__ import main
    from dlrun.metric import metric

    monkeypatch.setitem(globals(), "of_chance_alone", metric(True)(of_chance_alone))
    words = ["+metric.own._target_=tests.engine.test_metrics.of_chance_alone", "monitor=val/own"]
    words += ["+metric.own._partial_=true", "tracking=none", "epochs=2"]
    assert main(words) == 0
    said = "val/own was nan at every validation, so the last weights are the result"
    assert said in capsys.readouterr().out
    [run] = record.all_runs(here / "outputs")
    assert record.read_json(run / "run.json")["result_step"] == 68
    assert main(["-m", *words, "seed=0,1"]) == 0
    assert "no val/own" in capsys.readouterr().out


def several_numbers(predicted, y):
    return predicted.sum(0)


def test_a_metric_of_ones_own_gives_one_number(compose_recipe, digits, monkeypatch):
    from dlrun.metric import metric

    monkeypatch.setitem(globals(), "several_numbers", metric(True)(several_numbers))
    target = "+metric.own._target_=tests.engine.test_metrics.several_numbers"
    recipe = compose_recipe(target, "+metric.own._partial_=true")
    with pytest.raises(Mistake, match=r"metric\.own: must give one number for a split, not 10"):
        build.build(recipe, digits)


@pytest.mark.parametrize("of_sums", [None, lambda total, samples: total])
@pytest.mark.parametrize("given", [torch.tensor([[0.5]]), torch.tensor(0.5), 0.5])
def test_one_number_is_one_in_whatever_shape_it_comes(given, of_sums):
    tally = evaluate.Tally({"own": Metric("own", True, function=lambda *_: given, of_sums=of_sums)})
    tally.add(torch.rand(3, 2), torch.tensor([0, 1, 1]))
    assert tally.values(3) == {"own": 0.5}


@pytest.mark.parametrize(
    ("given", "said"), [(torch.ones(2), "2"), ("high", "a str"), (1j, "a complex"), (10**400, "an")]
)
def test_a_metric_that_gives_no_number_any_more_says_so(given, said):
    tally = evaluate.Tally({"own": Metric("own", True, function=lambda *_: given)})
    tally.add(torch.rand(3, 2), torch.tensor([0, 1, 1]))
    with pytest.raises(
        Failure, match=rf"metric\.own: must give one number for a split, not {said}"
    ):
        tally.values(3)


@pytest.mark.parametrize(("monitor", "sign"), [("val/brier", -1), ("val/auroc", 1)])
def test_all_that_watch_a_run_hear_that_higher_is_better(monitor, sign, train_recipe):
    heard = {"schedule": [], "rule": []}

    def listen(run):
        stops = run.stopping[0].should_stop
        run.schedule.observe = heard["schedule"].append
        run.stopping[0].should_stop = lambda score, step: (
            heard["rule"].append(score) or stops(score, step)
        )

    words = ["epochs=2", "metric=[brier,auroc]", f"monitor={monitor}", "schedule=halve_on_worse"]
    trained = train_recipe(*words, "regularization=[early_stopping]", change=listen)
    scores = [sign * value for value in trained.values(monitor)]
    assert heard == {"schedule": scores, "rule": scores}
    assert trained.state.runs[0].best_score == max(scores)


def test_the_best_of_a_metric_survives_a_kill(compose_recipe, digits, tmp_path):
    """Lower is better; bit for bit the run that was never stopped."""
    words = ["epochs='6 steps'", "validate_every='1 steps'", "checkpoint_every='1 steps'"]
    words += ["regularization=[early_stopping]", "batch_size=200"]
    recipe = compose_recipe(*words, "metric=[brier,auroc]", "monitor=val/brier")

    class Stop(Exception):
        pass

    def run(folder, stops=False):
        made = build.build(recipe, digits)
        schedule = made.schedule

        def stopping(step, total_steps, steps_per_epoch):
            if step == 3:
                raise Stop
            return schedule(step, total_steps, steps_per_epoch)

        if stops:
            made.schedule = Fixed(stopping)
        existing = record.all_runs(folder)
        kept = record.open_existing(existing[0]) if existing else record.create(folder, "", {}, "")
        try:
            state = train(made, begin(made, kept), kept, Watcher())
        except Stop:
            return None
        finally:
            kept.close()
        points = [point["values"] for point in kept.points()]
        found = [[point[f"val/{name}"] for name in ("brier", "auroc")] for point in points]
        last = checkpoint.read(kept.directory / "checkpoints" / "last.pt")
        return without_clock(last), found, state.runs[0]

    whole, found, standing = run(tmp_path / "whole")
    assert -standing.best_score == min(brier for brier, _ in found)
    assert run(tmp_path / "killed", stops=True) is None
    again, resumed, after = run(tmp_path / "killed")
    assert resumed == found
    assert after.best_score == standing.best_score
    assert not differences(whole, again)


def test_a_split_without_samples_has_no_values(compose_recipe, digits):
    run = build.build(compose_recipe("metric=[auroc,brier]"), digits)
    none = Split(digits.test.x, digits.test.y, digits.test.rows[:0])
    found = measure(run, prepare(none, run.evaluation, run.device, fixed=False))
    assert set(found) == {"accuracy", "loss", "auroc", "brier"}
    assert all(np.isnan(value) for value in found.values())
