"""Every verdict on numbers made for it, and silence where they support none."""

import pytest

from dlrun.finding import FAIL, NOTE, WARN
from dlrun.report.course import plateau
from dlrun.report.diagnosis import diagnose, diverged
from dlrun.report.known import Trained

SOUND = {
    **{"train_eval/loss": 0.10, "train_eval/error": 0.01, "train_eval/samples": 2000.0},
    **{"val/loss": 0.15, "val/error": 0.02, "val/samples": 1000.0, "val/accuracy": 0.95},
    **{"undecided": 2.3, "guess": 0.1, "dead": 0.1, "saturated": 0.0},
    **{"classes": 0.02, "classes/errors": 0.0},
    **{"labels/train": 0.05, "labels/train_error": 0.01, "labels/val": 0.05},
    **{"labels/val_error": 0.01, "shift": 0.5, "probes": 500.0},
    **{"moved": 0.0, "spread": 0.0},
}
RECIPE = {
    **{"epochs": 20, "optimizer": {"lr": 0.01, "weight_decay": 0.0}, "regularization": {}},
    "schedule": {"_target_": "dlrun.schedule.constant"},
}
OTHER = {"classes": 0.4, "classes/errors": 9.0}  # shares in validation that are not training's
MANUAL = {"schedule": {"_target_": "dlrun.schedule.manual", "table": [[0, 1e-4], [5, 1e-5]]}}
NOTHING = {"train_eval/loss": 2.2, "val/loss": 2.25}
TRIED = {"trial/before": 0.15, "trial/error": 0.003, "trial/steps": 15.0, "trial/tempered": 0.0}
FELL = [2.3, 0.5, 0.3, 0.2, 0.15, 0.12, 0.11, 0.105, 0.104]
FLAT = [2.3, 2.31, 2.29, 2.31, 2.3, 2.31, 2.3, 2.31, 2.3]
CREPT = [2.300, 2.299, 2.298, 2.297, 2.296, 2.295, 2.294, 2.293, 2.292]
FALLING = [2.3, 2.2, 2.1, 2.0, 1.9, 1.85, 1.8, 1.75, 1.7]


def found(losses=FELL, recipe=None, last=None, **changed):
    seen = SOUND | {key.replace("__", "/"): value for key, value in changed.items()}
    points = [
        {"step": n, "epoch": float(n), "values": {"train/loss": loss, "val/loss": loss + 0.05}}
        for n, loss in enumerate(losses)
    ]
    points.append({"step": len(losses), "epoch": 0.0, "values": dict(last or {})})
    return diagnose(seen, points, RECIPE | (recipe or {}))


def one(*args, **changed):
    [finding] = found(*args, **changed)
    return finding


def nothing_learnt(losses, recipe=None, **more):
    return one(losses, recipe, train_eval__loss=2.2, val__loss=2.25, **more)


def test_a_sound_training():
    finding = one()
    assert (finding.name, finding.level, finding.changes) == ("good_fit", NOTE, {})


@pytest.mark.parametrize(
    ("more", "name"), [({"undecided__equal": 0.69}, "class_missing"), ({}, "label_range")]
)
def test_targets_that_are_all_the_same_are_all_that_is_said(more, name):
    """Guessing is right then, so that 0.18 are 180,000 times its loss of 1e-6."""
    finding = one(train_eval__loss=0.18, undecided__train=1e-6, same_target=1.0, **more)
    assert (finding.name, finding.level) == (name, WARN)
    assert "%" not in finding.text


def test_too_few_samples_to_tell():
    finding = one(val__error=0.3, val__samples=50.0)
    assert (finding.name, finding.level) == ("inconclusive", NOTE)
    known = (0.01**2 + 0.3**2 * 50 / finding.numbers["samples"]) ** 0.5  # with so many
    assert 2 * known == pytest.approx(0.23, rel=2e-3)


def test_no_number_of_validation_samples_makes_up_for_training_losses_known_too_badly():
    finding = one(val__error=0.3, val__samples=50.0, train_eval__error=0.2)
    assert finding.name == "inconclusive"
    assert "samples" not in finding.numbers
    assert "more of both would be enough" in finding.text


def test_labels_that_neighbours_contradict_in_training_alone():
    noisy = {"labels__train": 0.3, "train_eval__loss": 0.9, "val__loss": 0.5}
    assert one(**noisy).name == "label_noise"
    said = one(**noisy, labels__train_error=0.1)
    assert "nearest" not in said.text, "what neighbours say may be chance"
    assert one(**noisy, shift=0.1).name == "distribution_shift"
    assert one(labels__train=0.3).name == "good_fit", "training is fitted better"


@pytest.mark.parametrize("kind", ["labels", "contradicted"])
def test_shares_of_classes_explain_as_much_contradiction_as_they_differ_by(kind):
    """A validation split without the class that is hard to tell."""
    noisy = {f"{kind}/train": 0.3, f"{kind}/train_error": 0.01}
    noisy |= {f"{kind}/val": 0.0, f"{kind}/val_error": 0.01, "train_eval/loss": 0.2}
    assert one(**noisy).name == "label_noise"
    assert one(**noisy, **OTHER).name != "label_noise"
    assert one(**noisy, **OTHER | {"classes": 0.2}).name == "label_noise", "they explain 0.2 of 0.3"


@pytest.mark.parametrize(("shift", "where"), [(0.9, "further from"), (0.1, "nearer to")])
def test_splits_from_two_distributions(shift, where):
    finding = one(shift=shift)
    assert (finding.name, finding.level) == ("distribution_shift", WARN)
    assert where in finding.text
    assert one(shift=shift, probes=8.0).name == "good_fit", "may be chance"
    assert one(shift=shift, **OTHER).name == "good_fit", "the classes have other shares"


def test_shares_of_classes_explain_no_more_than_they_differ_by():
    """Inverted images whose classes were split at random."""
    inverted = {"shift": 1.0, "moved": 30.0, "val/loss": 20.0}
    assert one(FALLING, **inverted, classes=0.11).name == "distribution_shift", "by chance"
    assert one(FALLING, **inverted, **OTHER | {"classes": 0.3}).name == "distribution_shift"
    assert one(FALLING, **inverted, **OTHER).name != "distribution_shift", "of 0.5 they explain 0.4"


def test_neighbours_that_agree_against_labels_of_training_alone():
    against = {"contradicted/train": 0.06, "contradicted/train_error": 0.008}
    against |= {"contradicted/val": 0.01, "contradicted/val_error": 0.006}
    finding = one(**against)
    assert (finding.name, finding.level) == ("label_noise", WARN)
    assert "0.06 against 0.01" in finding.text
    assert one(**against | {"contradicted/train": 0.03}).name == "good_fit", "may be chance"
    assert one(**against | {"contradicted/val": 0.05}).name == "good_fit", "such are the classes"
    assert one(**against, moved=9.0).name == "distribution_shift"


def test_training_that_is_fitted_worse_than_validation_of_like_inputs():
    worse = {"train_eval__loss": 0.9, "val__loss": 0.5}
    assert one(**worse).name == "validation_easier", "neighbours agree with the labels of both"
    worse |= {"labels__train": 0.6, "labels__val": 0.6}
    finding = one(**worse)
    assert (finding.name, finding.changes) == ("label_noise", {"procedure": "show_data"})
    assert finding.numbers["train"] == 0.9
    assert one(**worse, **OTHER).name == "validation_easier"
    assert one(**worse, spread=5.0).name == "distribution_shift"


@pytest.mark.parametrize(
    ("which", "said"), [("moved", "lie elsewhere"), ("spread", "spread differently")]
)
def test_splits_that_differ_in_place_or_spread(which, said):
    finding = one(**{which: 4.0})
    assert (finding.name, finding.numbers[which]) == ("distribution_shift", 4.0)
    assert said in finding.text
    assert finding.text.endswith("come from different distributions.")
    drawn = one(**{which: 4.0}, drawn=1.0)
    assert said in drawn.text
    assert "the draw is unlucky" in drawn.text
    assert (drawn.level, drawn.changes) == (WARN, {"data.split_seed": 1})
    assert one(**{which: 2.5}).name == "good_fit", "may be chance"
    assert one(**{which: 4.0}, **OTHER).name == "good_fit", "the classes have other shares"


def test_a_wide_gap_is_overfitting():
    finding = one(val__loss=0.9)
    assert finding.name == "overfit"
    assert finding.changes == {"regularization": ["early_stopping", "l2"]}
    short = found(FELL[:5], val__loss=0.9)[0]
    assert short.changes == {"regularization": ["l2"]}, "no patience would be reached"
    by_training = one(recipe={"monitor": "train/loss"}, val__loss=0.9)
    assert by_training.changes == {"regularization": ["l2"]}, "it would stop by training"
    kept = one(FELL, {"regularization": {"dropout": {}}}, val__loss=0.9)
    assert kept.changes == {"regularization": ["dropout", "early_stopping", "l2"]}
    assert found(val__loss=0.9, val__error=0.5)[0].name == "inconclusive"


@pytest.mark.parametrize(
    ("losses", "recipe", "name", "changes"),
    [
        (CREPT, {}, "rate_too_low", {"optimizer.lr": 0.1}),
        (CREPT, MANUAL, "rate_too_low", {"schedule.table": [[0, 0.001], [5, 0.0001]]}),
        (CREPT, {"optimizer": {}}, "rate_too_low", {"procedure": "find_lr"}),
        (
            CREPT,
            {"optimizer": {"lr": 0}},
            "rate_too_low",
            {"optimizer.lr": 0.01, "procedure": "find_lr"},
        ),
        (FALLING, {}, "still_improving", {"epochs": 60}),
        (FALLING, {"epochs": "100steps"}, "still_improving", {"epochs": "300 steps"}),
        (FALLING[:2], {"epochs": 2}, "still_improving", {"epochs": 6}),
        (FLAT, {}, "underfit", {"procedure": "find_lr"}),
        (
            FLAT,
            {"regularization": {"l2": {}, "batch_norm": {}}},
            "too_much_regularization",
            {"regularization": ["batch_norm"]},
        ),
        (
            FLAT,
            {"regularization": {"dropout": {}}},
            "too_much_regularization",
            {"regularization": "none"},
        ),
        (
            FLAT,
            {"optimizer": {"lr": 1.0, "weight_decay": 0.5}},
            "too_much_regularization",
            {"optimizer.weight_decay": 0.0},
        ),
    ],
    ids=str,
)
def test_why_nothing_was_learnt(losses, recipe, name, changes):
    finding = nothing_learnt(losses, recipe)
    assert (finding.name, finding.level) == (name, WARN)
    assert finding.changes == changes


def test_a_loss_that_comes_to_rest_is_no_sign_of_small_steps():
    rested = [0.70, 0.55, 0.45, 0.40, 0.38, 0.38, *(0.38 - n / 10_000 for n in range(12))]
    worse = {"neighbours/val": 0.05, "neighbours/val_error": 0.015}
    assert one(rested, train_eval__loss=0.38, val__loss=0.4, **worse).name == "underfit"


def test_dead_units_come_before_the_rate():
    assert nothing_learnt(FALLING, dead=0.95, set_up__dead_units=1.0).name == "dead_units"


def test_units_that_have_died_in_training():
    finding = one(FELL, dead=0.8, train_eval__loss=0.6, val__loss=0.6)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.lr": 0.001})
    assert one(FELL, dead=0.8).name == "rate_too_high", "however well it fits"
    assert one(FELL, dead=0.8, set_up__dead_units=1.0).name == "good_fit"
    sparse = {"regularization": {"l1": {}}}
    assert one(FELL, sparse, dead=0.8).name == "good_fit", "so it was asked"


def test_a_network_without_a_bias():
    finding = nothing_learnt(FALLING, homogeneous=1.0)
    assert (finding.name, finding.changes) == ("underfit", {"procedure": "baseline"})
    assert "no layer has a bias" in finding.text
    assert one(FELL, homogeneous=1.0).name == "good_fit", "it needs none"


def test_a_gradient_that_fades_explains_a_bad_fit():
    finding = nothing_learnt(CREPT, fading=0.01)
    assert (finding.name, finding.changes["activation"]) == ("vanishing_gradient", "relu")
    assert nothing_learnt(CREPT, fading=0.3).name == "rate_too_low"
    assert one(FELL, fading=0.01).name == "good_fit"


@pytest.mark.parametrize(
    ("patience", "more"), [(3, 30), ("10steps", "100 steps"), ("20%", "100%"), ("0.5 epochs", 5)]
)
def test_a_training_that_early_stopping_has_ended_too_soon(patience, more):
    recipe = {"regularization": {"early_stopping": {"patience": patience}}}
    finding = one(FALLING, recipe, stopped=1.0, **TRIED | {"trial/after": 0.12})
    assert finding.name == "still_improving"
    assert finding.changes == {"regularization.early_stopping.patience": more}


def test_worse_than_at_the_beginning():
    finding = one([2.3, 9.0, 30.0], train_eval__loss=40.0, val__loss=41.0, dead=1.0)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.lr": 0.001})


def test_a_loss_that_was_far_above_that_of_saying_nothing():
    wild = [30.0, 9.0, 2.0, 0.9, 0.5, 0.3, 0.2, 0.15, 0.12]
    finding = one(wild)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.lr": 0.001})
    assert one(wild, val__loss=0.9).name == "rate_too_high", "no more data would help"
    assert one(wild[:1] + FELL[1:]).name == "good_fit", "the first mean of an untrained network"
    assert one([2.3, 30.0, *FELL[1:]], {"optimizer": {}}).changes == {"clip_norm": 1.0}


def test_a_training_of_an_epoch_whose_loss_was_still_falling():
    steep = {"as_trained": 0.9, "as_trained/error": 0.02}
    seen = {"train_eval__loss": 0.9, "val__loss": 0.9}
    finding = one([1.2], {"epochs": 1}, **steep, **seen)
    assert (finding.name, finding.changes) == ("still_improving", {"epochs": 3})
    assert "averaged 1.2" in finding.text
    assert one([1.0], **steep, **seen).name == "good_fit", "hardly"
    assert one([1.2], **steep | {"as_trained/error": 0.1}, **seen).name == "good_fit", "chance"
    assert one([0.8, 1.2], **steep, **seen).name == "good_fit", "it has risen before"


def test_of_thinned_networks_the_loss_says_nothing_of_the_rate():
    noisy = [4.0, 2.3, 2.3, 2.3, 2.2]
    points = [
        {"step": n, "epoch": float(n), "values": {"train/loss": loss, "val/loss": 2.2}}
        for n, loss in enumerate(noisy)
    ]
    assert diagnose(SOUND | NOTHING, points, RECIPE)[0].name == "rate_too_high"
    dropped = RECIPE | {"regularization": {"dropout": {}}}
    assert diagnose(SOUND | NOTHING, points, dropped)[0].name == "still_improving"


def test_worse_than_ten_neighbours():
    worse = {"neighbours/val": 0.05, "neighbours/val_error": 0.015}
    fitted = {"train_eval__loss": 0.5, "val__loss": 0.6}
    assert one(FLAT, **worse, **fitted).name == "underfit"
    assert "ten nearest neighbours do better" in one(FLAT, **worse, **fitted).text
    assert one(**worse | {"neighbours/val_error": 0.03}).name == "good_fit", "may be chance"
    assert one(**worse | {"neighbours/val": 0.01}).name == "good_fit", "hardly worse"
    assert one(**worse, val__loss=0.9).name == "overfit", "it fits what it was trained on"


def test_a_layer_too_narrow_to_be_as_good_as_a_linear_model():
    def narrow(*hidden, **seen):
        fitted = {
            "train_eval__loss": 0.9,
            "val__loss": 1.0,
            "undecided__equal": 2.3026,
            "outputs": 10.0,
        }
        linear = {"linear": 0.1, "linear/worse": 0.2, "linear/error": 0.02}
        return one(FALLING, {"model": {"hidden": [*hidden]}}, **linear | fitted | seen)

    finding = narrow(64, 2)
    assert (finding.name, finding.changes) == ("underfit", {"model.hidden": [64, 64]})
    assert "9 outputs of their own for 10 classes, and a layer of the network has 2" in finding.text
    assert narrow(9).name == "still_improving"
    assert "9 outputs of their own" in narrow(2, undecided__equal=9.0).text, "of whatever loss"
    assert narrow(2, undecided__equal=1.0986, outputs=3.0).name == "still_improving", (
        "of three classes"
    )
    assert "units" not in narrow(2, train_eval__loss=2.2).text, "it has learnt nothing yet"
    assert "units" not in narrow(2, linear__error=0.2).text, "it may be as good"


def test_a_trial_that_makes_validation_better_says_that_more_fitting_would_help():
    better = TRIED | {"trial/after": 0.12}
    finding = one(FALLING, **better)
    assert (finding.name, finding.changes) == ("still_improving", {"epochs": 60})
    said = "15 more steps without penalties lower the validation loss from 0.15 to 0.12"
    assert said in finding.text
    rules = {"regularization": {"l2": {}}}
    assert one(FALLING, rules, **better).name == "too_much_regularization"
    assert "temperature" in one(FALLING, **better | {"trial/tempered": 1.0}).text
    assert one(**TRIED | {"trial/after": 0.14}).name == "good_fit", "too little"
    assert one(**better | {"trial/error": 0.013}).name == "good_fit", "may be chance"


@pytest.mark.parametrize("losses", [FALLING, CREPT])
def test_where_more_steps_gain_nothing_neither_rate_nor_length_is_blamed(losses):
    tried = TRIED | {"trial/before": 2.2, "trial/error": 0.02}
    finding = nothing_learnt(losses, **tried | {"trial/after": 2.16})
    assert (finding.name, finding.changes) == ("underfit", {"procedure": "overfit"})
    assert "15 more steps gain nothing on validation" in finding.text
    gained = nothing_learnt(losses, **tried | {"trial/after": 2.14})
    assert gained.name in ("still_improving", "rate_too_low")


@pytest.mark.parametrize("seen", [{"fading": 0.001}, {"dead": 1.0}, {"neighbours/val": 0.0}])
def test_penalties_that_leave_nothing_of_a_layers_weights_are_blamed_for_all_that_follows(seen):
    """No trial gets away from weights of 0; what fades or dies there does so for want of them."""
    still = {"trial/before": 2.3, "trial/after": 2.3, "trial/error": 0.01, "trial/steps": 30.0}
    others = {"linear": 0.9, "linear/worse": -0.01, "linear/error": 0.02}
    others |= {"neighbours/val": 0.5, "neighbours/val_error": 0.02, "train_eval/loss": 2.3}
    known = still | others | {"val/loss": 2.3, "val/accuracy": 0.1, "passed": 0.003} | seen
    rules = {"regularization": {"l1": {}, "batch_norm": {}}}
    finding = one(FLAT, rules, **known)
    assert (finding.name, finding.changes) == (
        "too_much_regularization",
        {"regularization": ["batch_norm"]},
    )
    assert "passes on 0.003 of its signal" in finding.text
    decay = one(FLAT, {"optimizer": {"lr": 0.01, "weight_decay": 2.0}}, **known)
    assert decay.changes == {"optimizer.weight_decay": 0.0}
    assert "a weight decay of 2 drew" in decay.text
    for other in ({"passed": 0.5}, {"set_up/vanishing_gradient": 1.0}):
        names = [each.name for each in found(FLAT, rules, **known | other)]
        assert "too_much_regularization" not in names
    assert all(each.name != finding.name for each in found(FLAT, **known)), "nothing shrinks them"


def test_penalties_are_blamed_where_the_same_steps_gain_far_less_with_them():
    """The control: 0.15 falls to 0.12 without them, and to `held` with them."""
    both = {"l2": {}, "batch_norm": {}}
    recipe = {"regularization": both, "optimizer": {"lr": 0.01, "weight_decay": 0.5}}
    better = TRIED | {"trial/after": 0.12, "trial/held_error": 0.002}
    finding = one(FALLING, recipe, **better, trial__held=0.145)
    assert finding.name == "too_much_regularization"
    assert finding.changes == {"regularization": ["batch_norm"], "optimizer.weight_decay": 0.0}
    said = "with l2 and a weight decay of 0.5, 15 such steps end at 0.145, without at 0.12."
    assert finding.text.endswith(said)
    assert one(FALLING, recipe, **better, trial__held=0.121).name == "still_improving"
    unsure = better | {"trial/held_error": 0.02}
    assert one(FALLING, recipe, **unsure, trial__held=0.145).name == "still_improving"
    small = {"optimizer": {"lr": 0.01, "weight_decay": 1e-3}}
    finding = one(FALLING, small, **better, trial__held=0.145)
    assert finding.changes == {"optimizer.weight_decay": 0.0}
    decayed = {"optimizer": {"lr": 0.01, "weight_decay": 0.05}}
    assert one(FALLING, decayed, **better, trial__held=0.121).name == "still_improving"
    slow = better | {"trial/before": 1.6, "trial/after": 1.1, "val__loss": 1.6}
    slow |= {"trial/held": 1.1, "train_eval__loss": 1.5}
    assert one([2.2 - n / 1000 for n in range(300)], recipe, **slow).name == "rate_too_low"
    collapsed = {"trial/before": 2.25, "trial/after": 2.24, "trial/held": 2.25}
    assert nothing_learnt(FLAT, recipe, **better | collapsed).name == "too_much_regularization"


def test_units_that_die_where_dropout_holds_the_network_back_are_not_the_rates():
    recipe = {"regularization": {"dropout": {}}}
    better = TRIED | {"trial/before": 2.2, "trial/after": 1.9, "trial/held_error": 0.02}
    finding = nothing_learnt(FLAT, recipe, dead=0.8, **better, trial__held=2.2)
    assert (finding.name, finding.changes) == (
        "too_much_regularization",
        {"regularization": "none"},
    )
    finding = nothing_learnt(FLAT, recipe, dead=0.8, **better, trial__held=1.9)
    assert finding.name == "rate_too_high", "with it the same steps gain as much"


def test_units_that_die_where_the_models_own_dropout_holds_it_back():
    better = TRIED | {"trial/before": 1.9, "trial/after": 1.4, "trial/held_error": 0.03}
    finding = nothing_learnt(FLAT, dead=0.8, own_dropout=0.9, **better, trial__held=1.85)
    assert (finding.name, finding.changes) == ("too_much_regularization", {})
    assert "the model's own dropout of 0.9" in finding.text
    gained = nothing_learnt(FLAT, dead=0.8, own_dropout=0.1, **better, trial__held=1.45)
    assert gained.name == "rate_too_high"


def test_augmentation_is_blamed_where_the_same_steps_gain_far_less_with_it():
    better = TRIED | {"trial/after": 0.12, "trial/augmented_error": 0.002}
    recipe = {"augmentation": {"crop": {}, "flip": {}}, "regularization": {"l2": {}}}
    finding = one(FALLING, recipe, **better, trial__augmented=0.145, trial__held=0.121)
    assert (finding.name, finding.changes) == ("too_much_regularization", {"augmentation": "none"})
    assert "crop and flip, 15 such steps end at 0.145, without at 0.12" in finding.text
    kept = better | {"trial/held": 0.121}
    assert one(FALLING, recipe, **kept, trial__augmented=0.14).name == "still_improving"
    unsure = kept | {"trial/augmented_error": 0.02}
    assert one(FALLING, recipe, **unsure, trial__augmented=0.145).name == "still_improving"


def test_an_output_that_cannot_give_the_targets_is_not_the_rates():
    finding = nothing_learnt(FLAT, dead=1.0, set_up__label_range=1.0)
    assert (finding.name, finding.changes) == ("underfit", {})
    assert "label_range, found before the training" in finding.text


def test_facts_of_the_record_come_before_the_shape_of_the_curve():
    bounces = [2.2, 2.21] * 30
    better = TRIED | {"trial/before": 2.2, "trial/after": 1.1}
    slow = {"regularization": {"label_smoothing": {"amount": 0.9, "spread": "others"}}}
    assert nothing_learnt(bounces, **better).name == "rate_too_high"
    known = {"undecided__equal": 2.303, "outputs": 10.0}
    assert nothing_learnt(bounces, slow, **better, **known).name == "too_much_regularization"


def test_max_norm_is_blamed_where_most_weights_are_at_its_limit():
    better = TRIED | {"trial/after": 0.12}
    rules = {"regularization": {"max_norm": {"limit": 0.3}, "batch_norm": {}}}
    finding = one(FALLING, rules, **better, max_norm=0.8)
    assert (finding.name, finding.changes) == (
        "too_much_regularization",
        {"regularization": ["batch_norm"]},
    )
    assert one(FALLING, rules, **better, max_norm=0.1).name == "still_improving"


def test_where_validation_has_hardly_a_mistake_no_more_fitting_is_advised():
    better = TRIED | {"trial/after": 0.12}
    few = {"trial__samples": 200.0, "val__samples": 30_000.0}  # of the whole, with a target_error
    assert one(FALLING, **better, **few, val__accuracy=0.95).name == "still_improving"
    assert one(FALLING, **better, **few, val__accuracy=0.98).name == "good_fit"


def test_a_trial_whose_steps_do_far_more_than_those_of_the_training():
    better = TRIED | {"trial/before": 1.6, "trial/after": 1.1, "val__loss": 1.6}
    slow = better | {"train_eval__loss": 1.5}
    points = [2.2 - n / 1000 for n in range(300)]
    finding = one(points, **slow)
    assert (finding.name, finding.changes) == ("rate_too_low", {"optimizer.lr": 0.1})
    assert one(points, {"optimizer": {}}, **slow).changes == {"procedure": "find_lr"}
    assert one(FALLING, **slow).name == "still_improving", "as much as a step had done"


def test_a_loss_that_goes_up_and_down_is_no_sign_of_small_steps():
    """Digits at a rate of 0.5: the best weights are those of the first epoch."""
    tried = {"trial/before": 1.78, "trial/after": 0.77, "trial/error": 0.01}
    seen = {key.replace("/", "__"): value for key, value in (TRIED | tried).items()}
    bounced = [1.35, 1.43, 1.52, 1.23, 1.36, 1.32, 1.21, 1.22, 1.14, 1.18] * 30
    finding = one(bounced, train_eval__loss=1.7, val__loss=1.78, **seen)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.lr": 0.001})
    smooth = sorted(bounced, reverse=True)
    assert one(smooth, train_eval__loss=1.7, val__loss=1.78, **seen).name != "rate_too_high"


def test_worse_than_a_linear_model():
    worse = {"linear": 0.04, "linear/worse": 0.05, "linear/error": 0.01}
    assert found(FLAT, **worse)[0].name == "underfit"
    assert "a linear model does better" in found(FLAT, **worse)[0].text
    assert one(**worse | {"linear/error": 0.02}).name == "good_fit", "may be chance"
    hardly = {"linear": 0.0002, "linear/worse": 0.015, "linear/error": 0.001}
    assert found(**hardly)[0].name == "good_fit", "far less than what guessing leaves"
    assert found(FLAT, **hardly | {"linear/unit": 0.1})[0].name == "underfit", (
        "of so little variance"
    )


def test_a_linear_model_that_is_as_good():
    same = {"linear": 0.2, "linear/worse": 0.0, "linear/error": 0.01}
    fit, simpler = found(**same)
    assert fit.name == "good_fit"
    assert (simpler.name, simpler.level) == ("simpler_would_do", NOTE)
    assert simpler.changes == {"model": "linear"}
    assert "solved by least squares" in simpler.text
    rules = ("l2", "batch_norm", "dropout", "dropconnect", "input_noise", "early_stopping")
    recipe = {"regularization": {key: {} for key in rules}, "optimizer": {"weight_decay": 0.01}}
    _, simpler = found(FELL, recipe, **same)
    assert simpler.changes == {
        "model": "linear",
        "regularization": ["early_stopping"],
        "optimizer.weight_decay": 0.0,
    }
    assert one(**same | {"linear/worse": -0.01}).name == "good_fit"
    linear = {"model": {"_target_": "dlrun.model.linear.linear"}}
    assert one(FELL, linear, **same).name == "good_fit"


def test_validation_that_is_easier():
    """Where the classes have other shares, that says nothing of the labels."""
    finding = one(train_eval__loss=0.6, classes=0.2)
    assert (finding.name, finding.level) == ("validation_easier", WARN)
    unsure = one(train_eval__loss=0.6, train_eval__error=0.2, classes=0.2)
    assert unsure.name != "validation_easier"


def test_batch_norm_that_lags_behind():
    lagging = {"train_mode": 0.1, "train_mode_before": 1.5, "train_mode_momentum": 0.001}
    finding = one(FELL, {"regularization": {"batch_norm": {"momentum": 0.001}}}, **lagging)
    assert (finding.name, finding.level) == ("train_mode_differs", WARN)
    assert finding.changes == {"regularization.batch_norm.momentum": 0.1}
    assert one(**lagging).changes == {"epochs": 60}
    near = lagging | {"train_mode_before": 0.2}
    assert one(**near | {"train_mode_momentum": 0.4}).name == "good_fit"
    assert one(**near).name == "train_mode_differs", "of 9 updates nothing has arrived"
    assert one(**near | {"train_mode_before": 0.13}).name == "good_fit", "may be chance"


def test_batch_norms_averages_that_large_steps_leave_behind():
    """A usual momentum over mini-batches of enough: they lag by what the last steps changed."""
    lagging = {"train_mode": 0.9, "train_mode_before": 1.5, "train_mode_momentum": 0.4}
    finding = one(FELL, {"batch_size": 32}, **lagging)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.lr": 0.001})
    assert one(FELL, {"batch_size": "full"}, **lagging).name == "rate_too_high"
    for other in (
        {"batch_size": 4},
        {"augmentation": {"noise": {}}},
        {"sampling": "balanced"},
        {"sampling": "fixed"},
        {"regularization": {"input_noise": {}}},
    ):
        assert one(FELL, {"batch_size": 32} | other, **lagging).name == "train_mode_differs"


def test_batch_norm_by_two_samples_that_adds_too_much_noise():
    noisy = {"train_mode": 1.6, "train_mode_before": 0.8, "train_mode_momentum": 0.4}
    poor = {"train_eval__loss": 0.8, "val__loss": 0.85}
    finding = one(FELL, {"batch_size": 2}, **noisy, **poor)
    assert (finding.name, finding.changes) == ("train_mode_differs", {"batch_size": 32})
    assert "mini-batches of 2" in finding.text
    assert one(FELL, {"batch_size": 32}, **noisy, **poor).name == "good_fit"
    assert one(FELL, {"batch_size": "full"}, **noisy, **poor).name == "good_fit"
    assert one(FELL, {"batch_size": 2}, **noisy).name == "good_fit", "it fits none the less"


def test_momentum_that_outlasts_the_training():
    def carried(momentum, losses=(2.3, 0.9, 1.5, 2.6, 1.1), **seen):
        recipe = {"optimizer": {"lr": 0.05, "momentum": momentum}}
        fitted = {"train_eval__loss": 1.3, "val__loss": 1.4}
        return one([*losses], recipe, **fitted | seen)

    finding = carried(0.99)
    assert (finding.name, finding.changes) == ("rate_too_high", {"optimizer.momentum": 0.9})
    assert "acts on 100 steps, and the training had 5" in finding.text
    assert "had fallen to 0.9 and rose by 1.7" in finding.text
    assert carried(0.5).changes != finding.changes, "on two steps"
    assert carried(0.99, losses=CREPT).name == "good_fit", "it was not carried away"
    assert carried(0.99, train_eval__loss=0.1, val__loss=0.15).name == "good_fit"


def test_a_training_that_is_too_short_even_for_batch_norms_averages():
    short = {"train_mode": 0.1, "train_mode_before": 0.2, "train_mode_momentum": 0.1}
    finding = one(**short)
    assert (finding.name, finding.changes) == ("still_improving", {"epochs": 60})
    assert "9 updates" in finding.text
    assert one(**short | {"train_mode_before": 0.13}).name == "good_fit", "may be chance"
    longer = [*FELL, *(0.104 - n / 1000 for n in range(30))]
    assert one(longer, **short).name == "good_fit", "now they have caught up"


def test_batch_norm_that_has_averaged_what_dropout_thinned():
    seen = {"train_mode": 0.1, "train_mode_before": 1.5, "train_mode_momentum": 0.5}
    finding = one(FELL, {"regularization": {"dropout": {}, "l2": {}}}, **seen)
    assert (finding.name, finding.changes) == (
        "too_much_regularization",
        {"regularization": ["l2"]},
    )
    assert one(FELL, {"regularization": {"l2": {}}}, **seen).name == "train_mode_differs"


def test_a_test_split_that_is_worse_than_validation():
    worse, known = {"test/loss": 0.8}, {"test/error": 0.03, "test/higher": 9.0}
    fit, overused = found(last=worse, **known)
    assert (fit.name, overused.name, overused.level) == ("good_fit", "validation_overused", WARN)
    assert overused.numbers["error"] == pytest.approx((0.02**2 + 0.03**2) ** 0.5)
    assert "too much was chosen by validation, or the test split" in overused.text
    _, shifted = found(last=worse, **known, first=1.0)
    assert "chosen" not in shifted.text, "no other recipe was tried"
    assert one(last=worse, **known | {"test/error": 0.3}).name == "good_fit", "may be chance"
    assert one(last=worse, **known | {"test/higher": 2.0}).name == "good_fit", "a few large ones"
    assert one(last={"test/loss": 0.2}, **known).name == "good_fit"
    views = {"test_augmentation": {"_target_": "dlrun.test_augmentation.flip"}}
    assert one(FELL, views, worse, **known).name == "good_fit", "measured another way"


def test_a_test_split_whose_loss_is_that_of_a_few_mistakes():
    worse = {"test/loss": 0.8, "test/accuracy": 0.94}
    known = {"test/error": 0.03, "test/higher": 9.0, "test/samples": 1000.0}
    assert one(last=worse, **known).name == "good_fit", "as often right"
    worse["test/accuracy"] = 0.8
    assert found(last=worse, **known)[1].name == "validation_overused"
    few = known | {"test/samples": 20.0, "val/samples": 20.0}
    assert one(last=worse, **few).name == "good_fit", "chance"


def test_validation_that_jumps():
    finding = found([2.3, 1.0, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3])[1]
    assert (finding.name, finding.level) == ("noisy", NOTE)
    assert finding.changes == {"schedule": "cosine", "optimizer.lr": 0.00333}


def test_where_the_rate_falls_already_it_is_to_be_smaller():
    losses = [2.3, 1.0, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3]
    falling = {"schedule": {"_target_": "dlrun.schedule.cosine"}}
    finding = found(losses, falling)[1]
    assert (finding.name, finding.changes) == ("noisy", {"optimizer.lr": 0.00333})
    assert "smaller steps" in finding.text


def test_what_jumps_next_to_nothing_is_not_noisy():
    near = [2.3, 0.5, 0.1, *[0.003, 0.001] * 4]
    points = [{"step": n, "epoch": float(n), "values": {"val/loss": v}} for n, v in enumerate(near)]
    assert "noisy" not in {each.name for each in diagnose(SOUND, points, RECIPE)}


ALL_TRIED = {
    **{"trial/before": 0.456, "trial/after": 0.456, "trial/error": 0.002, "trial/steps": 20.0},
    **{"linear": 0.2, "linear/worse": 0.0, "linear/error": 0.005},
    **{"neighbours/val": -0.02, "neighbours/val_error": 0.01},
}


@pytest.mark.parametrize("warmup", ["50 epochs", 50, "10 steps"])
def test_a_warm_up_that_outlasts_the_training(warmup):
    finding = nothing_learnt(CREPT, {"warmup": warmup}, **TRIED | {"trial/after": 0.01})
    assert (finding.name, finding.changes) == ("rate_too_low", {"warmup": "10%"})
    assert "the warm-up is longer than the training" in finding.text


@pytest.mark.parametrize("warmup", [0, "5 epochs", "9 steps", "100%"])
def test_a_warm_up_that_ends_in_time_leaves_the_rate_to_blame(warmup):
    finding = nothing_learnt(CREPT, {"warmup": warmup}, **TRIED | {"trial/after": 0.01})
    assert (finding.name, finding.changes) == ("rate_too_low", {"optimizer.lr": 0.1})


WEAK = {"train_eval/loss": 0.451, "val/loss": 0.456, "undecided": 0.485, "val/accuracy": 0.8}


def test_what_fits_training_nearly_wholly_does_not_lack_more_of_it():
    better = TRIED | {"trial/before": 0.9, "trial/after": 0.8, "val/loss": 0.9}
    assert one(FALLING, **better).name == "overfit"
    assert one(FALLING, **better, train_eval__loss=0.4).name == "still_improving"
    linear = {"linear": 0.9, "linear/worse": 0.1, "linear/error": 0.01}
    assert found(FALLING, **linear, val__loss=20.0)[0].name == "overfit"


def test_validation_above_guessing_is_overfit_however_high_training_is():
    """Labels of chance, of which the network has learnt a tenth by heart."""
    fitted = {"undecided": 1.79, "train_eval/loss": 1.61, "train_eval/error": 0.02}
    assert one(FELL, **fitted, val__loss=2.07, val__error=0.08).name == "overfit"
    assert one(FELL, **fitted, val__loss=1.9, val__error=0.08).name != "overfit", "may be chance"
    worse = fitted | {"train_eval/loss": 1.8}
    assert one(FELL, **worse, val__loss=2.2, val__error=0.08).name != "overfit", "so is training"


def test_a_weak_signal_that_nothing_else_finds_either_is_no_fault_of_the_rate():
    slow = [0.49, 0.46, 0.455, 0.453, 0.452, 0.4515, 0.4512, 0.451]
    known = WEAK | ALL_TRIED | {"val/error": 0.005, "train_eval/error": 0.005}
    assert found(slow, **known)[0].name == "good_fit"
    for worse in ({"linear/worse": 0.01}, {"train_eval/loss": 0.48}):
        finding = found(slow, **known | worse)[0]
        assert (finding.name, finding.changes) == ("underfit", {"procedure": "overfit"})
    assert found(slow, **known | {"trial/after": 0.44})[0].name == "rate_too_low"


def test_what_is_learnt_by_heart_after_the_best_weights():
    values = [(1.0, 1.0), (0.98, 1.1), (0.9, 1.2), (0.8, 1.3), (0.6, 1.37)]
    points = [
        {"step": n, "epoch": float(n), "values": {"train/loss": train, "val/loss": val}}
        for n, (train, val) in enumerate(values)
    ]
    seen = SOUND | {"train_eval/loss": 0.97, "val/loss": 1.0, "undecided": 1.0}
    [finding] = diagnose(seen, points, RECIPE)
    assert (finding.name, finding.level) == ("overfit", WARN)
    assert finding.changes == {"regularization": ["l2"]}, "no patience would be reached"
    assert finding.numbers == {"train": 0.6, "val": 1.37, "best": 0.0}


@pytest.mark.parametrize("how", [{"sampling": "balanced"}, {"class_weights": "balanced"}])
def test_balanced_classes_are_compared_with_equal_outputs(how):
    rare = {"train_eval/loss": 0.08, "val/loss": 0.085, "undecided": 0.06, "undecided/train": 0.06}
    rare |= {"undecided/equal": 0.69, "neighbours/val": 0.1, "neighbours/val_error": 0.001}
    losses = [0.3, 0.2, 0.15, 0.12, 0.11, 0.1, 0.09, 0.085]
    assert one(losses, **rare).name == "rate_too_high"
    assert one(losses, how, **rare).name == "good_fit"


def test_training_is_compared_with_what_is_undecided_of_training():
    heavy = {"train_eval/loss": 0.177, "val/loss": 0.18, "undecided": 0.18}
    slow = [0.2, 0.19, 0.185, 0.18, 0.178, 0.1775, 0.1772, 0.177]
    assert one(slow, **heavy).name == "rate_too_low"
    assert one(slow, **heavy | {"undecided/train": 0.6}).name == "inconclusive"


@pytest.mark.parametrize("name", ["no_gradient", "ignores_input", "linear_network"])
def test_what_was_found_before_the_training_explains_that_nothing_is_learnt(name):
    finding = nothing_learnt(CREPT, **{f"set_up/{name}": 1.0})
    assert (finding.name, finding.changes) == ("underfit", {})
    assert f"{name}, found before the training" in finding.text
    better = TRIED | {"trial/before": 2.2, "trial/after": 1.0, "val/accuracy": 0.2}
    assert nothing_learnt(CREPT, **better | {f"set_up/{name}": 1.0}).name == "rate_too_low"


def test_bad_first_weights_are_no_large_steps():
    falling = [12.4, 9.0, 7.0, 5.5, 4.4, 3.5, 3.0, 2.6]
    bad = {"train_eval__loss": 2.5, "val__loss": 2.6}
    assert one(falling, **bad).name == "rate_too_high"
    assert one(falling, **bad, initial=13.0).name == "still_improving"
    risen = [12.4, 20.0, *falling[2:]]
    assert one(risen, **bad, initial=13.0).name == "rate_too_high"


def test_a_flat_curve_goes_up_and_down_by_chance():
    unchanged = [0.71, 0.712, 0.709, 0.711, 0.71, 0.712, 0.709, 0.71]
    better = TRIED | {"trial/before": 0.7, "trial/after": 0.45, "val/accuracy": 0.5}
    seen = {"train_eval/loss": 0.7, "val/loss": 0.7, "undecided": 0.69}
    assert one(unchanged, **better | seen).name == "rate_too_low"


def test_a_test_split_from_elsewhere():
    fit, shift = found(test__moved=5.0, test__spread=0.0)
    assert (fit.name, shift.name, shift.level) == ("good_fit", "distribution_shift", WARN)
    assert "test split lie elsewhere" in shift.text
    assert shift.changes == {"procedure": "show_data"}
    _, shift = found(test__moved=5.0, test__spread=0.0, test__drawn=1.0)
    assert "the draw is unlucky" in shift.text
    assert shift.changes == {"data.split_seed": 1}
    assert one(test__moved=2.0, test__spread=2.0).name == "good_fit"
    assert one(test__moved=5.0, set_up__leak=1.0).name == "good_fit"


def test_leaked_samples_are_no_shift():
    assert one(shift=0.1, set_up__leak=1.0).name == "good_fit"


def test_a_little_overfitting_is_told_or_said_to_be_unsure():
    little = {"train_eval/loss": 0.002, "train_eval/error": 0.001, "val/loss": 0.3}
    assert one(**little).name == "overfit"
    finding = one(**little, val__error=0.1)
    assert (finding.name, finding.level) == ("inconclusive", NOTE)
    assert finding.numbers["samples"] == pytest.approx(1000 * (0.35 / 0.298) ** 2, abs=1)


def test_validation_that_stopped_getting_better():
    finding = found([2.3, 0.5, 0.1, 0.1, 0.101, 0.1, 0.101, 0.1, 0.1])[1]
    assert (finding.name, finding.level) == ("plateau", NOTE)
    assert finding.changes == {"regularization": ["early_stopping"]}
    assert finding.numbers == {"best": 2.0, "length": 8.0}
    too_short = found([2.3, 0.5, 0.1, 0.1, 0.101, 0.1, 0.101, 0.1])[1]
    assert too_short.changes == {"epochs": 2}, "its patience would not be reached"
    stops = {"regularization": {"early_stopping": {"patience": 9}}}
    assert len(found([2.3, 0.5, 0.1, 0.1, 0.101, 0.1, 0.101, 0.1], stops)) == 1, "it has that"


@pytest.mark.parametrize("name", ["accuracy", "auroc"])
def test_a_plateau_is_one_of_what_is_monitored_too(name):
    rising, flat = [0.5 + 0.05 * n for n in range(9)], [0.5, 0.6, 0.7, 0.8, *5 * [0.8]]
    assert not flattened(name, rising), "the weights of the end are the best"
    assert flattened("loss", rising)[0].changes == {"regularization": ["early_stopping"]}
    [finding] = flattened(name, flat)
    assert finding.numbers == {"best": 3.0, "length": 8.0}
    assert f"by val/loss and val/{name}:" in finding.text
    assert finding.changes == {"epochs": 3}, "the patience would end with the training"
    falling = flattened(name, [-each for each in flat], {"monitor/rises": 0.0})
    assert falling[0].numbers == finding.numbers


def test_an_accuracy_that_is_better_by_chance_is_a_plateau():
    almost = [0.5, 0.6, 0.7, *5 * [0.7], 0.71]
    chance = {"val/metric_error": 0.007}
    assert flattened("accuracy", almost, chance)[0].changes == {
        "regularization": ["early_stopping"]
    }
    assert not flattened("accuracy", almost, {"val/metric_error": 0.001})


def flattened(name, values, more=None):
    """`plateau` after a loss that is lowest at epoch 2, monitoring such values."""
    losses = [2.3, 0.5, 0.09, *6 * [0.1]]
    measured = name if name != "loss" else "accuracy"
    points = [
        {"step": n, "epoch": float(n), "values": {"val/loss": loss, f"val/{measured}": value}}
        for n, (loss, value) in enumerate(zip(losses, values, strict=True))
    ]
    seen = SOUND | {"monitor/rises": float(name != "loss")} | (more or {})
    return list(plateau(Trained(seen, points, RECIPE | {"monitor": f"val/{name}"})))


def test_a_loss_that_is_no_longer_finite():
    finding = diverged("The training loss became nan at step 3", RECIPE)
    assert (finding.name, finding.level) == ("diverged", FAIL)
    assert finding.changes == {"optimizer.lr": 0.001}
    assert diverged("It", {}).changes == {"clip_norm": 1.0}
    assert diverged("It", RECIPE, untrained=True).changes == {}
    expected = diverged("It", RECIPE, causes=["input_scale", "initial_loss"])
    assert (expected.text, expected.changes) == ("It, as input_scale led to expect.", {})


def test_a_run_without_a_point_of_training_is_called_too_short():
    assert one([], train_eval__loss=2.2, val__loss=2.25).name == "still_improving"


def test_without_validation_nothing_is_said_of_it():
    seen = {key: value for key, value in SOUND.items() if not key.startswith(("val/", "labels/"))}
    del seen["shift"]
    points = [{"values": {"train/loss": loss}} for loss in FELL]
    assert diagnose(seen, points, RECIPE) == []


def test_validation_that_is_no_better_than_guessing_is_no_good_fit():
    """Labels of chance: the training loss falls a little, and validation rises."""
    noise = {"undecided": 0.693, "train_eval/loss": 0.654, "val/loss": 0.71, "val/accuracy": 0.5}
    rising = [0.66, 0.65, 0.65, 0.66, 0.67, 0.68]
    finding = one(rising, **noise)
    assert (finding.name, finding.level) == ("overfit", WARN)
    assert "nothing was learnt that holds for new samples" in finding.text
    untaught = noise | {"train_eval/loss": 0.692, "val/loss": 0.694}
    assert one(rising, **untaught).name == "underfit", "of the best weights, before it rose"
    better = found(rising, **noise | {"val/loss": 0.6})
    assert "nothing was learnt" not in better[0].text
    few = {"undecided": 0.056, "train_eval/loss": 0.0084, "val/loss": 0.0283, "val/error": 0.02}
    rare = [0.05, 0.03, 0.02, 0.021, 0.02, 0.021]
    assert found(rare, **few)[0].name == "inconclusive", "three samples of a class decide"
    sure = noise | {"val/accuracy": 0.75, "guess": 0.53, "val/metric_error": 0.069}
    assert not any("nothing was learnt" in each.text for each in found(rising, **sure))
    chance = sure | {"val/accuracy": 0.65}
    assert "nothing was learnt" in found(rising, **chance)[0].text
    lucky = sure | {"guess/lucky": 0.6}  # the share of another class than training has most of
    assert "nothing was learnt" in found(rising, **lucky)[0].text
    easy = {"linear": 0.2, "linear/worse": 0.3, "linear/error": 0.02}
    assert "a linear model does better" in found(rising, **untaught, **easy)[0].text


@pytest.mark.parametrize(
    "changed",
    [
        {"train_eval__accuracy": 0.0},
        {"train_eval__accuracy": 0.08},
        {"train_eval__mae": 18.0, "train_eval__metric_error": 0.1, "guess": 3.0},
    ],
)
def test_a_loss_that_is_learnt_while_the_metric_says_that_nothing_is(changed):
    """Rather than to train longer, or anything else that makes this loss still smaller."""
    finding = one(FALLING, labels__train=0.3, val__loss=0.9, **changed)
    assert (finding.name, finding.level, finding.changes) == ("wrong_loss", FAIL, {"loss": "auto"})


@pytest.mark.parametrize(
    "changed",
    [
        {"train_eval__accuracy": 0.97},
        {"train_eval__accuracy": 0.93, "guess": 0.95},  # of equal classes
        {"train_eval__mae": 3.1, "train_eval__metric_error": 0.1, "guess": 3.0},
    ],
)
def test_a_metric_that_does_not_contradict_the_loss(changed):
    assert one(**changed).name == "good_fit"


@pytest.mark.parametrize("undecided", [0.0, -2.3])
def test_of_a_loss_that_is_not_positive_there_are_no_shares(undecided):
    finding = one(FALLING, undecided=undecided, train_eval__loss=-9.0, val__loss=-8.0)
    assert (finding.name, finding.level) == ("inconclusive", NOTE)
    assert "%" not in finding.text


ALIKE = {"contradicted/train": 0.02, "contradicted/train_error": 0.004}


@pytest.mark.parametrize(
    "changed",
    [
        ALIKE | {"contradicted/val": 0.3, "contradicted/val_error": 0.02},
        ALIKE | {"contradicted/val": 0.97, "contradicted/val_error": 0.01, **OTHER},
        {"labels/train": 0.1, "labels/val": 2.0, "labels/val_error": 0.2}
        | {"val/mae": 1.2, "val/metric_error": 0.05, "guess": 0.8},
    ],
)
def test_labels_of_validation_that_those_of_training_contradict(changed):
    """Rather than that the network overfits."""
    finding = one(val__loss=1.2, **changed)
    assert (finding.name, finding.level) == ("label_noise", WARN)
    assert "labels of validation look wrong" in finding.text


@pytest.mark.parametrize(
    "changed",
    [
        ALIKE | {"contradicted/val": 0.09, "contradicted/val_error": 0.01},
        ALIKE | {"contradicted/val": 0.3, "contradicted/val_error": 0.1},
        ALIKE | {"contradicted/val": 0.3, "contradicted/val_error": 0.02, **OTHER},
        {"labels/train": 0.1, "labels/val": 2.0, "labels/val_error": 0.2}
        | {"val/mae": 0.7, "val/metric_error": 0.05, "guess": 0.8},
    ],
)
def test_labels_of_validation_that_may_be_right(changed):
    assert "label_noise" not in {each.name for each in found(val__loss=1.2, **changed)}
