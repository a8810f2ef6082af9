"""Facts of a record that explain a slow training, whatever shape its curve has."""

import math

import pytest

from dlrun.report.brakes import brake, unmoved
from dlrun.report.known import Trained

STEPS = 34
RECIPE = {
    "epochs": 10,
    "optimizer": {"_target_": "dlrun.optimizer.momentum.momentum", "lr": 0.05},
    "schedule": {"_target_": "dlrun.schedule.exponential"},
    "regularization": {},
    **{"scale_lr": "none", "layer_decay": None, "layer_lr": None, "lr_of": None},
}


def braked(recipe=None, rates=(0.05,) * 10, norm=1.0, per_epoch=1, **seen):
    seen = {"train_eval/loss": 2.2, "undecided/equal": math.log(10), "outputs": 10.0} | seen
    points = [
        {
            "step": n * STEPS // per_epoch,
            "epoch": n / per_epoch,
            "values": {"lr": rate, "grad/norm": norm},
        }
        for n, rate in enumerate(rates, start=1)
    ]
    return brake(Trained(seen, points, RECIPE | (recipe or {})))


def test_a_rate_next_to_nothing_for_most_of_the_training_is_the_schedules():
    name, clause, changes = braked(rates=[0.05 * 0.5 ** (STEPS * n) for n in range(1, 11)])
    assert (name, changes) == ("rate_too_low", {"schedule": "cosine"})
    assert "90% of the training the rate was below 1% of 0.05" in clause
    cosine = [0.025 * (1 + math.cos(math.pi * n / 10)) for n in range(1, 11)]
    assert braked(rates=cosine) is None
    assert braked(rates=[0.025, 0.0]) is None, "so a cosine of two epochs ends"
    assert braked(rates=[0.5**n for n in range(10)]) is None, "for 2 epochs of 10"
    assert braked(rates=[0.5**n for n in range(11)]) is not None, "for 3 of 11"
    assert braked({"layer_decay": 0.1}, rates=[1e-6] * 10) is None, "that of the first layer"
    assert braked({"scale_lr": "linear"}, rates=[1e-6] * 10) is None, "of a small batch"


def still(rates, losses=(2.3,) * 3, norm=1.0, lr=0.05):
    each = zip(rates, losses, strict=False)
    points = [
        {"step": n * STEPS, "values": {"lr": rate, "val/loss": loss, "grad/norm": norm}}
        for n, (rate, loss) in enumerate(each, start=1)
    ]
    return unmoved(Trained({}, points, RECIPE | {"optimizer": {"lr": lr}}))


def test_where_no_weight_has_changed_a_larger_rate_is_no_remedy():
    name, clause, changes = still([0.05] * 3)
    assert (name, changes) == ("underfit", {})
    assert clause.endswith("no weight has changed, at a rate of 0.05: the optimizer moves nothing")
    assert still([0.05] * 3, losses=(2.3, 2.3, 2.2999)) is None
    assert still([0.05] * 3, norm=0.0) is None, "there is no gradient to follow"
    assert still([0.05]) is None, "one validation shows no change"


def test_where_no_weight_has_changed_at_a_rate_of_0_that_is_the_reason():
    name, clause, changes = still([0.0] * 3)
    assert (name, changes) == ("rate_too_low", {"schedule": "constant"})
    assert "the schedule gives a rate of 0" in clause
    name, _, changes = still([0.0] * 3, lr=0.0)
    assert (name, changes) == ("rate_too_low", {"optimizer.lr": 0.01, "procedure": "find_lr"})
    assert still([1e-12] * 3) is None, "steps that rounding takes away"


def test_a_rate_that_has_not_risen_is_the_warm_ups():
    rising = [1e-4 * n for n in range(1, 6)]
    name, _, changes = braked({"warmup": "500 epochs"}, rates=rising)
    assert (name, changes) == ("rate_too_low", {"warmup": "10%"})


def test_a_patience_of_less_than_an_epoch_is_no_sign_of_the_rate():
    def stopped(patience, **seen):
        rules = {"regularization": {"early_stopping": {"patience": patience}}}
        return braked(rules, rates=[0.003, 0.003], per_epoch=5, **seen)

    name, clause, changes = stopped("3 steps", stopped=1.0)
    assert name == "still_improving"
    assert "after 13 steps, with a patience of 3 steps" in clause
    assert changes == {"regularization.early_stopping.patience": "5 epochs"}
    assert stopped("3 steps") is None, "it went on to its end"
    assert stopped("2 epochs", stopped=1.0) is None
    assert stopped("10%", stopped=1.0) is None


@pytest.mark.parametrize("target", ["torch.optim.SGD", "dlrun.optimizer.momentum.momentum"])
def test_a_clip_far_below_the_gradients_cuts_the_steps(target):
    recipe = {"clip_norm": 0.001, "optimizer": {"_target_": target, "lr": 0.05}}
    name, clause, changes = braked(recipe, norm=0.5)
    assert (name, changes) == ("rate_too_low", {"clip_norm": 1.0})
    assert "500 times shorter" in clause
    assert braked(recipe | {"clip_norm": 0.1}, norm=0.5) is None, "by five times"
    assert braked(recipe | {"clip_norm": 1.0}, norm=500.0) is None, "so it is meant"
    adam = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001}}
    assert braked(recipe | adam, norm=0.5) is None, "its steps have a length of their own"


def test_a_limit_of_each_element_cuts_the_norm_by_the_root_of_their_number():
    by_value = {"clip_value": 1e-4}
    name, clause, changes = braked(by_value, norm=0.5, weights=10_000.0)
    assert (name, changes) == ("rate_too_low", {"clip_value": None})
    assert "50 times shorter" in clause
    assert braked(by_value, norm=0.05, weights=10_000.0) is None, "by five times"


def test_label_smoothing_whose_best_fit_leaves_much_of_the_loss():
    def smoothed(amount, spread="others", **seen):
        rules = {"label_smoothing": {"amount": amount, "spread": spread}, "l2": {}}
        return braked({"regularization": rules}, **seen)

    name, clause, changes = smoothed(0.8)
    assert (name, changes) == ("too_much_regularization", {"regularization": ["l2"]})
    assert f"leaves {-math.log(0.2):.3g} of the 2.3" in clause
    assert f"leaves {-math.log(0.28):.3g} of" in smoothed(0.8, "all")[1]
    assert smoothed(0.1) is None
    two = {"undecided/equal": math.log(2), "outputs": 2.0}
    assert smoothed(0.1, **two) is None, "of what is left it explains a twentieth"
    assert smoothed(0.8, **{"undecided/equal": 3.25}) is None, "no cross-entropy"


def test_parameters_that_stay_as_they_were_drawn():
    model = {"_target_": "dlrun.model.cnn.cnn"}
    recipe = {"freeze": ["backbone"], "weights": None, "model": model}
    name, clause, changes = braked(recipe, frozen=0.93)
    assert (name, changes) == ("underfit", {"freeze": None, "unfreeze_at": None})
    assert "93% of the parameters as they were drawn" in clause
    assert braked(recipe, frozen=0.1) is None, "most are trained"
    assert braked(recipe | {"weights": "last"}, frozen=0.93) is None
    assert braked(recipe | {"model": model | {"weights": "DEFAULT"}}, frozen=0.93) is None
    own = {"model": {"_target_": "mine.pretrained"}}
    assert braked(recipe | own, frozen=0.93) is None, "nobody knows how they were made"


def test_an_average_that_lags_behind_the_weights_that_it_averages():
    def averaged(live, **rules):
        seen = {"undecided": 2.3, "train_eval/loss": 2.2, "train_eval/error": 0.01}
        recipe = {"regularization": {"l2": {}, **rules}}
        points = [
            {"step": n, "epoch": n, "values": {"lr": 0.05, "train/loss": loss, "val/loss": val}}
            for n, (loss, val) in enumerate([(2.3, 2.3), (live, 2.2), (0.1, 2.25)], start=1)
        ]
        return brake(Trained(seen, points, RECIPE | recipe))

    name, clause, changes = averaged(1.2, weight_average={})
    assert (name, changes) == ("too_much_regularization", {"regularization": ["l2"]})
    assert "it is 2.2, and with those that were averaged it was 1.2" in clause
    assert averaged(1.2) is None
    assert averaged(2.0, weight_average={}) is None, "hardly"


def test_slow_weights_that_hardly_follow():
    def followed(share):
        return braked({"regularization": {"lookahead": {"every": 5, "share": share}}})

    name, clause, changes = followed(0.005)
    assert name == "too_much_regularization"
    assert changes == {"regularization.lookahead.share": 0.5}
    assert "keep 0.005 of the way" in clause
    assert followed(0.2) is None
