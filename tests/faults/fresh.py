"""A third set of planted faults, on other data, that no verdict has been fitted to.

Its rules are those of the table; it was written without a look at what any verdict goes by, and
what is in it was chosen by two things alone: whether a recipe is broken, as five paired seeds
show, and whether its twin is one that a teacher would let pass. Look at its rates once; then it
is one more set to fit to.
"""

from tests.faults.table import Fault
from tests.faults.words import (
    ADAM,
    ADAMW,
    BEGINNER,
    BLENDS,
    BLENDS_DATA,
    CNN,
    DEEP_SHAPES,
    FAR_TOO_WILD,
    FASTER,
    FEW,
    LEARNED_BY_HEART,
    LINEAR,
    MY_SPIRAL,
    NEVER_ALIVE,
    NOISED,
    ON_BLENDS,
    ON_PHASES,
    ON_SPIRAL,
    OWN,
    OWN_PHASES,
    PHASES,
    PHASES_DATA,
    PHASES_FILE,
    SATURATED,
    SCENES_DATA,
    SHAPES,
    SHAPES_DATA,
    SHORT,
    SLOW,
    SMALL_CNN,
    SPIRAL,
    SPIRAL_DATA,
    STRICT,
    VANISHING,
    chosen,
)

DATA = ("points", "table", "regression", "images", "cifar10")

# What recipes begin with besides, by their data.
_CIRCLES = "data=toy data.kind=circles data.n_samples=1000 data.noise=0.1 data.split=60/20/20"
_SINE = "data=toy data.kind=sine data.n_samples=800 data.noise=0.1 data.split=60/20/20"
_IMPEDANCES = "data=arrays data.path={sets}/impedances.npz"
_WINE = "data=arrays data.path={sets}/wine.npz"
_DIABETES = "data=arrays data.path={sets}/diabetes.npz"

_ON_IMPEDANCES = f"{_IMPEDANCES} model.hidden=[32]"

# Sound recipes, from which most faults are made.
IMPEDANCES = f"{_ON_IMPEDANCES} {ADAMW} epochs=15"
SHAPES_CNN = f"{SHAPES_DATA} {SMALL_CNN} {ADAM} epochs=5"

_MOONS_FILE = f"data=arrays model.hidden=[24] {FASTER} epochs=25"
_BLENDS_FILE = "data=arrays model.hidden=[24] optimizer=nesterov epochs=20"
_SHAPES_FILE = "data=arrays epochs=12"
_STEPS_SHAPES = f"data=arrays {SMALL_CNN} {ADAM} epochs='280 steps' validate_every='28 steps'"
_STEPS_PHASES = (
    f"data=arrays model.hidden=[32,16] {ADAMW} epochs='1125 steps' validate_every='75 steps'"
)
_DEEP_SPIRAL = f"{SPIRAL_DATA} model.hidden=[32,32,32] optimizer.lr=0.03 epochs=30"
_MOMENTUM_IMPEDANCES = f"{_ON_IMPEDANCES} optimizer.lr=0.02 epochs=15"
_OWN_CIRCLES = f"{_CIRCLES} {OWN} {ADAM} epochs=20"
_OWN_SINE = f"{_SINE} {OWN} {ADAM} epochs=40"
_OWN_SCENES = f"{SCENES_DATA} {OWN} +model.channels=[8,16] {ADAM} epochs=5"
_MY_BLENDS = f"{BLENDS_DATA} {BEGINNER} optimizer=adam optimizer.lr=0.005 epochs=15"
_MY_SHAPES = f"{SHAPES_DATA} {BEGINNER} epochs=12"

# The causes, by the conventions of the table.
_DEAD = ("dead_units", "initial_loss")
_CUT = ("dead_units", "underfit")
_GONE = ("class_missing", "class_imbalance")
_UNSEEN = ("no_validation", "inconclusive")


# fmt: off
FRESH = (
    # labels of training samples changed at random; those of validation are right
    Fault("labels_changed-moons-35", "labels_changed", "points", "strong", _MOONS_FILE,
          chosen("moons-relabelled-0.35"), chosen("moons"), ("label_noise",), False),
    Fault("labels_changed-shapes-20", "labels_changed", "images", "middle", _SHAPES_FILE,
          chosen("shapes-relabelled-0.2"), chosen("shapes"), ("label_noise",), False),
    # training samples removed, as many updates
    Fault("data_removed-phases-10", "data_removed", "regression", "middle", _STEPS_PHASES,
          chosen("phases-thinned-0.1"), chosen("phases"), FEW, False),
    Fault("data_removed-shapes-5", "data_removed", "images", "strong", _STEPS_SHAPES,
          chosen("shapes-thinned-0.05"), chosen("shapes"), FEW, False),
    # classes made rare in training, not in validation
    Fault("unbalanced-blends-5", "unbalanced", "table", "strong", _BLENDS_FILE,
          chosen("blends-rare-0.05"), chosen("blends"), ("class_imbalance",)),
    Fault("unbalanced-shapes-10", "unbalanced", "images", "middle", _SHAPES_FILE,
          chosen("shapes-rare-0.1"), chosen("shapes"), ("class_imbalance",)),
    # noise on the inputs of training alone
    Fault("data_noised-moons-40", "data_noised", "points", "border", _MOONS_FILE,
          chosen("moons-noised-0.4"), chosen("moons"), NOISED, False),
    Fault("data_noised-shapes-1", "data_noised", "images", "middle", _SHAPES_FILE,
          chosen("shapes-noised-1"), chosen("shapes"), NOISED, False),
    # training samples that stand there again under the next class
    Fault("classes_overlap-blends-40", "classes_overlap", "table", "middle", _BLENDS_FILE,
          chosen("blends-overlapped-0.4"), chosen("blends"), ("label_noise",), False),
    Fault("classes_overlap-shapes-80", "classes_overlap", "images", "strong", _SHAPES_FILE,
          chosen("shapes-overlapped-0.8"), chosen("shapes"), ("label_noise",), False),
    # a batch so large that few updates are left
    Fault("batch_size-spiral-300", "batch_size", "points", "middle", SPIRAL,
          "batch_size=300", "", SHORT),
    Fault("batch_size-impedances-200", "batch_size", "regression", "border", IMPEDANCES,
          "batch_size=200", "", SHORT),
    # a rate too low
    Fault("rate_lowered-spiral-100", "rate_lowered", "points", "strong",
          f"{ON_SPIRAL} epochs=30 optimizer=adam", "optimizer.lr=0.0002", "optimizer.lr=0.02",
          SLOW),
    # too few epochs
    Fault("epochs-spiral-3", "epochs", "points", "strong", f"{ON_SPIRAL} {FASTER}",
          "epochs=3", "epochs=30", SHORT),
    # no mini-batches: one update an epoch
    Fault("batching_disabled-spiral", "batching_disabled", "points", "", SPIRAL,
          "batch_size=full", "", SHORT),
    Fault("batching_disabled-blends", "batching_disabled", "table", "", BLENDS,
          "batch_size=full", "", SHORT),
    # sigmoids where rectified units were
    Fault("activation_changed-spiral-3", "activation_changed", "points", "strong",
          f"{_DEEP_SPIRAL} initializer=he",
          "activation=sigmoid", "", VANISHING),
    # no activation between the layers
    Fault("activation_removed-spiral", "activation_removed", "points", "", SPIRAL,
          "activation=identity", "", LINEAR),
    Fault("activation_removed-impedances", "activation_removed", "regression", "", IMPEDANCES,
          "activation=identity", "", LINEAR),
    # an activation after the last layer
    Fault("activation_added-sine-relu", "activation_added", "regression", "", _OWN_SINE,
          "+model.last=relu", "", _CUT, mendable=False),
    # a penalty that keeps the network from fitting
    Fault("penalty_added-shapes-l2", "penalty_added", "images", "strong", SHAPES,
          "regularization=[l2] regularization.l2.strength=0.3", "", STRICT),
    # a penalty of another strength or form than was meant
    Fault("penalty_changed-impedances-l1", "penalty_changed", "regression", "strong",
          f"{IMPEDANCES} regularization=[l1]", "regularization.l1.strength=0.1",
          "regularization.l1.strength=0.0001", STRICT),
    # no penalty where a network would learn the noise by heart
    Fault("penalty_removed-impedances-l1", "penalty_removed", "regression", "strong",
          f"data=arrays {chosen('impedances-padded-30')} model.hidden=[32] {ADAM} "
          "epochs='500 steps' validate_every='25 steps'", "",
          "regularization=[l1] regularization.l1.strength=0.005", LEARNED_BY_HEART),
    # far too much dropout
    Fault("dropout-impedances-visible", "dropout", "regression", "border",
          f"{IMPEDANCES} regularization=[dropout] regularization.dropout.hidden=0",
          "regularization.dropout.visible=0.05", "regularization.dropout.visible=0", STRICT),
    # stopped at the first stumble
    Fault("patience-shapes-5", "patience", "images", "strong",
          f"{SHAPES} validate_every='5 steps' regularization=[early_stopping]",
          "regularization.early_stopping.patience='5 steps'",
          "regularization.early_stopping.patience='5 epochs'", SHORT),
    # weights that start far too large or too small
    Fault("initialization-spiral-small", "initialization", "points", "strong", _DEEP_SPIRAL,
          "initializer=small_normal", "initializer=he", VANISHING),
    # biases that start far below zero
    Fault("bias_added-spiral", "bias_added", "points", "strong", f"{SPIRAL} initializer=he",
          "initializer.bias=-5", "initializer.bias=0", _DEAD),
    Fault("bias_added-impedances", "bias_added", "regression", "middle",
          f"{IMPEDANCES} initializer=he", "initializer.bias=-3", "initializer.bias=0", _DEAD),
    # layers without a bias, so that only the direction of an input counts
    Fault("bias_removed-circles", "bias_removed", "points", "strong", _OWN_CIRCLES,
          "+model.bias=false", "", ("underfit", "simpler_would_do"), mendable=False),
    Fault("bias_removed-sine", "bias_removed", "regression", "strong", _OWN_SINE,
          "+model.bias=false", "", ("underfit", "simpler_would_do"), mendable=False),
    # another loss than the task's
    Fault("loss_changed-impedances-percentage", "loss_changed", "regression", "strong",
          f"{IMPEDANCES} loss=mae", "loss._target_=tests.faults.parts.percentage", "",
          ("wrong_loss", "underfit"), by="val/mae"),
    # another optimizer with the rate of the last one
    Fault("optimizer-spiral-sgd", "optimizer", "points", "strong",
          f"{ON_SPIRAL} epochs=30 optimizer.lr=0.02", "optimizer=sgd", "optimizer=adam", SLOW),
    # gradients cut so short that hardly anything moves
    Fault("clipping-impedances-norm", "clipping", "regression", "middle", _MOMENTUM_IMPEDANCES,
          "clip_norm=0.01", "", SLOW),
    Fault("clipping-shapes-value", "clipping", "images", "strong", SHAPES,
          "clip_value=0.0001", "", SLOW),
    # nothing held back to choose by
    Fault("no_validation-spiral", "no_validation", "points", "",
          "data=toy data.kind=spiral data.n_samples=1500 model.hidden=[32,32] epochs=30 "
          f"{FASTER}", "data.split=80/0/20", "data.split=60/20/20", _UNSEEN, mendable=False,
          counts=True, by="test/accuracy"),
    Fault("no_validation-blends", "no_validation", "table", "",
          "data=arrays data.path={sets}/blends.csv data.target=y model.hidden=[24] "
          "optimizer=nesterov epochs=20",
          "data.split=80/0/20", "data.split=60/20/20", _UNSEEN, mendable=False, counts=True,
          by="test/accuracy"),
    # probabilities where the loss takes logits
    Fault("softmax_before_loss-spiral", "softmax_before_loss", "points", "", MY_SPIRAL,
          "+model.bug=softmax", "", ("probabilities_into_loss",), mendable=False, counts=True),
    Fault("sigmoid_before_loss-blends", "softmax_before_loss", "table", "", _MY_BLENDS,
          "+model.bug=sigmoid", "", ("probabilities_into_loss",), mendable=False, counts=True),
    Fault("softmax_before_loss-scenes", "softmax_before_loss", "cifar10", "", _OWN_SCENES,
          "+model.last=softmax", "", ("probabilities_into_loss",), mendable=False, counts=True),
    # a wrong dimension, by which samples of a batch change each other's outputs
    Fault("samples_mixed-blends-normalized", "samples_mixed", "table", "", _MY_BLENDS,
          "+model.bug=normalized_over_samples", "", ("batch_mixing",), mendable=False,
          counts=True),
    Fault("samples_mixed-phases-centered", "samples_mixed", "regression", "", OWN_PHASES,
          "+model.inside=centered_by_samples", "", ("batch_mixing",), mendable=False,
          counts=True),
    Fault("samples_mixed-shapes-largest", "samples_mixed", "images", "", _MY_SHAPES,
          "+model.bug=by_the_largest", "", ("batch_mixing",), mendable=False, counts=True),
    # inputs as they come, in very different units
    Fault("unnormalized_inputs-wine", "unnormalized_inputs", "table", "strong",
          f"{_WINE} model=linear epochs=30 optimizer.lr=0.02",
          "preprocessing=none", "", ("input_scale",)),
    Fault("unnormalized_inputs-impedances", "unnormalized_inputs", "regression", "strong",
          IMPEDANCES, "preprocessing=none", "", ("input_scale",)),
    # a layer that never learns
    Fault("frozen_layer-shapes-list", "frozen_layer", "images", "", _MY_SHAPES,
          "+model.bug=list", "", ("no_gradient", "underfit"), mendable=False),
    # a rate 10 or 100 times too high
    Fault("rate_raised-spiral-50", "rate_raised", "points", "strong",
          f"{ON_SPIRAL} epochs=30 optimizer=adam", "optimizer.lr=1", "optimizer.lr=0.02",
          FAR_TOO_WILD),
    Fault("rate_raised-impedances-100", "rate_raised", "regression", "border",
          f"{_ON_IMPEDANCES} epochs=15 optimizer=adamw", "optimizer.lr=1", "optimizer.lr=0.01",
          FAR_TOO_WILD),
    # all weights alike
    Fault("zero_initialization-spiral", "zero_initialization", "points", "", SPIRAL,
          "initializer=zeros", "initializer=he", ("symmetric_units", "no_gradient")),
    # rectified units that no sample reaches
    Fault("dead_relus-shapes", "dead_relus", "images", "strong", DEEP_SHAPES,
          "initializer=uniform initializer.low=-0.3 initializer.high=0", "initializer=he",
          NEVER_ALIVE),
    # sigmoids at their flat ends
    Fault("saturated_sigmoids-impedances", "saturated_sigmoids", "regression", "middle",
          f"{_ON_IMPEDANCES} activation=sigmoid optimizer=adam optimizer.lr=0.05 epochs=25",
          "initializer=normal initializer.std=5", "initializer=xavier", SATURATED),
    # test samples in training
    Fault("test_in_training-blends-30", "test_in_training", "table", "middle", _BLENDS_FILE,
          chosen("blends-leaked-0.3"), chosen("blends"), ("leak",), False, True),
    Fault("test_in_training-phases-10", "test_in_training", "regression", "border", PHASES_FILE,
          chosen("phases-leaked-0.1"), chosen("phases"), ("leak",), False, True),
    Fault("test_in_training-shapes-100", "test_in_training", "images", "strong", _SHAPES_FILE,
          chosen("shapes-leaked-1"), chosen("shapes"), ("leak",), False, True),
    # validation from elsewhere
    Fault("shifted_validation-blends-60", "shifted_validation", "table", "middle", _BLENDS_FILE,
          chosen("blends-shifted-0.6"), chosen("blends"), ("distribution_shift",), False),
    Fault("shifted_validation-shapes-50", "shifted_validation", "images", "strong", _SHAPES_FILE,
          chosen("shapes-shifted-0.5"), chosen("shapes"), ("distribution_shift",), False),
    # dropout in evaluation, too
    Fault("dropout_left_on-blends", "dropout_left_on", "table", "", _MY_BLENDS,
          "+model.bug=dropout_made_anew", "", ("random_in_eval",), mendable=False, counts=True),
    Fault("dropout_left_on-scenes", "dropout_left_on", "cifar10", "", _OWN_SCENES,
          "+model.inside=functional_dropout", "", ("random_in_eval",), mendable=False,
          counts=True),
    # training samples of one class only
    Fault("one_class-moons", "one_class", "points", "", _MOONS_FILE,
          chosen("moons-single-1"), chosen("moons"), _GONE, False),
    Fault("one_class-shapes", "one_class", "images", "", _SHAPES_FILE,
          chosen("shapes-single-2"), chosen("shapes"), _GONE, False),
)
# fmt: on


SOUND = {
    "spiral-silu": f"{SPIRAL} activation=silu",
    "spiral-momentum": f"{ON_SPIRAL} epochs=40 optimizer=momentum optimizer.lr=0.05",
    "spiral-wide": f"{SPIRAL_DATA} model.hidden=[128] initializer=he optimizer=adam "
    "optimizer.lr=0.03 epochs=60",
    "circles-tanh": f"{_CIRCLES} model.hidden=[16] activation=tanh initializer=xavier "
    "optimizer=adam optimizer.lr=0.03 epochs=40",
    "circles-one_logit": f"{_CIRCLES} model.hidden=[32] loss=bce loss.one_logit=true {ADAM} "
    "epochs=20",
    "mixture-small": "data=toy data.kind=mixture data.n_samples=1500 data.split=60/20/20 "
    f"model.hidden=[16] {ADAM} epochs=15",
    "blobs-linear": "data=toy data.kind=blobs data.n_samples=800 data.noise=0.3 "
    "data.split=60/20/20 model=linear epochs=15",
    "line-linear": "data=toy data.kind=line data.n_samples=600 data.noise=0.1 data.split=60/20/20 "
    "model=linear optimizer=sgd epochs=15",
    "sine-tanh": f"{_SINE} model.hidden=[32] activation=tanh {ADAM} epochs=60",
    "blends-adamw": f"{ON_BLENDS} optimizer=adamw optimizer.lr=0.005 epochs=25",
    "blends-batch_norm": f"{BLENDS_DATA} model.hidden=[24,24] optimizer.lr=0.02 epochs=15 "
    "batch_size=64 regularization=[batch_norm]",
    "blends-dropout": f"{BLENDS_DATA} model.hidden=[64] optimizer.lr=0.02 epochs=25 "
    "regularization=[dropout] regularization.dropout.hidden=0.2 "
    "regularization.dropout.visible=0",
    "blends-smoothing": f"{BLENDS} regularization=[label_smoothing] "
    "regularization.label_smoothing.amount=0.05",
    "blends-early_stopping": f"{ON_BLENDS} optimizer=nesterov optimizer.lr=0.02 epochs=60 "
    "regularization=[early_stopping] regularization.early_stopping.patience='10 epochs'",
    "wine-linear-l2": f"{_WINE} model=linear epochs=40 optimizer.lr=0.02 regularization=[l2] "
    "regularization.l2.strength=0.01",
    "diabetes-linear": f"{_DIABETES} model=linear epochs=30 optimizer.lr=0.005",
    "phases-gelu": f"{PHASES} activation=gelu",
    "phases-huber": f"{PHASES} loss=huber",
    "phases-one_cycle": f"{ON_PHASES} optimizer=adam optimizer.lr=0.02 schedule=one_cycle "
    "epochs=15",
    "phases-large": f"{PHASES_DATA} model.hidden=[64,64] optimizer=adam optimizer.lr=0.005 "
    "epochs=15",
    "impedances-mae": f"{IMPEDANCES} loss=mae",
    "impedances-rmsprop": f"{_ON_IMPEDANCES} optimizer=rmsprop optimizer.lr=0.005 epochs=20",
    "impedances-l2": f"{IMPEDANCES} regularization=[l2] regularization.l2.strength=0.0001",
    "impedances-clipped": f"{_MOMENTUM_IMPEDANCES} clip_norm=1 schedule=linear",
    "shapes-adam": f"{SHAPES} optimizer=adam optimizer.lr=0.003",
    "shapes_cnn-elu": f"{SHAPES_CNN} activation=elu",
    "shapes-dropout": f"{SHAPES_DATA} epochs=25 model.hidden=[128] regularization=[dropout] "
    "regularization.dropout.hidden=0.3 regularization.dropout.visible=0.1",
    "shapes-big_batch": f"{SHAPES_DATA} epochs=30 batch_size=128 optimizer.lr=0.1",
    "shapes_cnn-sgd": f"{SHAPES_DATA} {SMALL_CNN} optimizer=sgd optimizer.lr=0.1 epochs=6",
    "shapes_cnn-cropped": f"{SHAPES_DATA} {SMALL_CNN} {ADAM} epochs=8 augmentation=[crop] "
    "augmentation.crop.padding=1",
    "shapes_cnn-weight_average": f"{SHAPES_CNN} schedule=constant regularization=[weight_average]",
    "scenes-flip": f"{SCENES_DATA} {CNN} {ADAM} epochs=8 augmentation=[flip]",
    "scenes-momentum": f"{SCENES_DATA} {CNN} optimizer=momentum optimizer.lr=0.05 epochs=7",
}
"""Recipes that a teacher would let pass, beside the mended twins: by name, as typed."""
