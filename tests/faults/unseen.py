"""A fourth set of planted faults: what of the fresh set had not been measured when it was judged.

They were written together with those of the fresh set, by the same rules, and taken out of it for
want of a measurement alone. What is in this set was chosen by one thing: whether a recipe is
broken, as five paired seeds show. The first run, before any verdict was fitted to it, is in
test_rates.py; since then it is one more set to fit to.
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
    FEW,
    LEARNED_BY_HEART,
    LINEAR,
    MY_SPIRAL,
    NEVER_ALIVE,
    NOISED,
    ON_BLENDS,
    ON_PHASES,
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
    STRICT,
    VANISHING,
    chosen,
)

# What recipes begin with besides; sound recipes, from which most faults are made.
_PLAIN_CNN = f"{SMALL_CNN} model.norm=none"
SCENES = f"{SCENES_DATA} {CNN} {ADAM} epochs=6"

_SCENES_FILE = f"data=arrays {CNN} {ADAM} epochs=6"
_DEEP_BLENDS = f"{BLENDS_DATA} model.hidden=[32,32,32,32] optimizer.lr=0.02 epochs=20"
_DEEP_PHASES = f"{PHASES_DATA} model.hidden=[32,32,32] optimizer.lr=0.02 epochs=15"
_PLAIN_SHAPES = f"{SHAPES_DATA} {_PLAIN_CNN} optimizer.lr=0.02 epochs=6"
_MY_PHASES = f"{PHASES_DATA} {BEGINNER} {ADAMW} epochs=15"

# The causes, by the conventions of the table.
_WILD = ("rate_too_high", "noisy")
_LARGE = ("initial_loss", "exploding_gradient")
_BOUNDED = ("saturated_units", "underfit")
_LOSS = ("wrong_loss", "underfit")


# fmt: off
UNSEEN = (
    # labels of training samples changed at random; those of validation are right
    Fault("labels_changed-phases-10", "labels_changed", "regression", "border", PHASES_FILE,
          chosen("phases-relabelled-0.1"), chosen("phases"), ("label_noise", "overfit"), False),
    Fault("labels_changed-scenes-40", "labels_changed", "cifar10", "strong", _SCENES_FILE,
          chosen("scenes-relabelled-0.4"), chosen("scenes"), ("label_noise",), False),
    # training samples removed, as many updates
    Fault("data_removed-scenes-40", "data_removed", "cifar10", "border",
          f"{SCENES_DATA} {CNN} {ADAM} epochs='360 steps' validate_every='60 steps'",
          "data.samples=40%", "", FEW),
    # classes made rare in training, not in validation
    Fault("unbalanced-scenes-25", "unbalanced", "cifar10", "border", _SCENES_FILE,
          chosen("scenes-rare-0.25"), chosen("scenes"), ("class_imbalance",)),
    # noise on the inputs of training alone
    Fault("data_noised-phases-1", "data_noised", "regression", "strong", PHASES_FILE,
          chosen("phases-noised-1"), chosen("phases"), NOISED, False),
    # a batch so large that few updates are left
    Fault("batch_size-scenes-500", "batch_size", "cifar10", "strong", SCENES,
          "batch_size=500", "", SHORT),
    # a rate too low
    Fault("rate_lowered-blends-50", "rate_lowered", "table", "middle",
          f"{ON_BLENDS} epochs=20 optimizer=nesterov", "optimizer.lr=0.001", "optimizer.lr=0.05",
          SLOW),
    Fault("rate_lowered-phases-10", "rate_lowered", "regression", "border",
          f"{ON_PHASES} epochs=15 optimizer=adamw", "optimizer.lr=0.001", "optimizer.lr=0.01",
          SLOW),
    Fault("rate_lowered-shapes_cnn-100", "rate_lowered", "images", "strong",
          f"{SHAPES_DATA} {SMALL_CNN} epochs=5 optimizer=adam", "optimizer.lr=0.0001",
          "optimizer.lr=0.01", SLOW),
    # too few epochs
    Fault("epochs-phases-5", "epochs", "regression", "border", f"{ON_PHASES} {ADAMW}",
          "epochs=5", "epochs=15", SHORT),
    Fault("epochs-scenes-1", "epochs", "cifar10", "middle", f"{SCENES_DATA} {CNN} {ADAM}",
          "epochs=1", "epochs=6", SHORT),
    # no mini-batches: one update an epoch
    Fault("batching_disabled-shapes", "batching_disabled", "images", "", SHAPES,
          "batch_size=full", "", SHORT),
    # sigmoids where rectified units were
    Fault("activation_changed-blends-4", "activation_changed", "table", "middle", _DEEP_BLENDS,
          "activation=sigmoid", "", VANISHING),
    Fault("activation_changed-phases-3", "activation_changed", "regression", "middle", _DEEP_PHASES,
          "activation=sigmoid", "", VANISHING),
    Fault("activation_changed-shapes_cnn-2", "activation_changed", "images", "strong",
          _PLAIN_SHAPES, "activation=sigmoid", "", VANISHING),
    # no activation between the layers
    Fault("activation_removed-shapes", "activation_removed", "images", "", SHAPES,
          "activation=identity", "", LINEAR),
    # an activation after the last layer
    Fault("activation_added-phases-tanh", "activation_added", "regression", "", _MY_PHASES,
          "+model.bug=tanh", "", _BOUNDED, mendable=False),
    # a penalty that keeps the network from fitting
    Fault("penalty_added-spiral-l2", "penalty_added", "points", "middle", SPIRAL,
          "regularization=[l2] regularization.l2.strength=0.01", "", STRICT),
    Fault("penalty_added-phases-l1", "penalty_added", "regression", "border", PHASES,
          "regularization=[l1] regularization.l1.strength=0.001", "", STRICT),
    Fault("penalty_added-scenes-elastic", "penalty_added", "cifar10", "strong", SCENES,
          "regularization=[elastic] regularization.elastic.strength=0.05", "", STRICT),
    # a penalty of another strength or form than was meant
    Fault("penalty_changed-blends-l2", "penalty_changed", "table", "middle",
          f"{BLENDS} regularization=[l2]", "regularization.l2.strength=0.1",
          "regularization.l2.strength=0.001", STRICT),
    Fault("penalty_changed-shapes-max_norm", "penalty_changed", "images", "border",
          f"{SHAPES} regularization=[max_norm]", "regularization.max_norm.limit=0.3",
          "regularization.max_norm.limit=3", STRICT),
    # no penalty where a network would learn the noise by heart
    Fault("penalty_removed-shapes-dropout", "penalty_removed", "images", "border",
          f"data=arrays {chosen('shapes-thinned-0.3')} model.hidden=[256] epochs=30", "",
          "regularization=[dropout]", LEARNED_BY_HEART),
    # far too much dropout
    Fault("dropout-spiral-50", "dropout", "points", "middle",
          f"{SPIRAL} regularization=[dropout] regularization.dropout.visible=0",
          "regularization.dropout.hidden=0.5", "regularization.dropout.hidden=0.05", STRICT),
    Fault("dropout-shapes-90", "dropout", "images", "strong",
          f"{SHAPES} regularization=[dropout]", "regularization.dropout.hidden=0.9",
          "regularization.dropout.hidden=0.2", STRICT),
    # stopped at the first stumble
    Fault("patience-spiral-1", "patience", "points", "border",
          f"{SPIRAL} regularization=[early_stopping]", "regularization.early_stopping.patience=1",
          "regularization.early_stopping.patience=10", SHORT),
    Fault("patience-phases-10", "patience", "regression", "middle",
          f"{PHASES} validate_every='10 steps' regularization=[early_stopping]",
          "regularization.early_stopping.patience='10 steps'",
          "regularization.early_stopping.patience='8 epochs'", SHORT),
    # weights that start far too large or too small
    Fault("initialization-blends-large", "initialization", "table", "middle",
          f"{BLENDS} activation=tanh", "initializer=normal initializer.std=2",
          "initializer=xavier", SATURATED),
    Fault("initialization-phases-large", "initialization", "regression", "border", PHASES,
          "initializer=normal initializer.std=1", "initializer=he", _LARGE),
    Fault("initialization-shapes-positive", "initialization", "images", "strong", DEEP_SHAPES,
          "initializer=uniform initializer.low=0 initializer.high=1", "initializer=he", _LARGE),
    # another loss than the task's
    Fault("loss_changed-blends-nll", "loss_changed", "table", "middle", BLENDS,
          "loss=cross_entropy loss._target_=tests.faults.parts.nll_of_logits", "",
          ("wrong_loss", "diverged")),
    Fault("loss_changed-shapes-mae", "loss_changed", "images", "border", SHAPES,
          "loss=mae", "", _LOSS),
    Fault("loss_changed-spiral-labels", "loss_changed", "points", "strong", f"{SPIRAL} loss=mse",
          "loss._target_=tests.faults.parts.mse_of_labels", "", _LOSS),
    # another optimizer with the rate of the last one
    Fault("optimizer-blends-rmsprop", "optimizer", "table", "middle",
          f"{ON_BLENDS} epochs=20 optimizer.lr=0.3", "optimizer=rmsprop", "optimizer=sgd", _WILD),
    Fault("optimizer-phases-adagrad", "optimizer", "regression", "border",
          f"{ON_PHASES} epochs=15 optimizer.lr=0.01", "optimizer=adagrad", "optimizer=adamw",
          SLOW),
    Fault("optimizer-shapes-lion", "optimizer", "images", "strong",
          f"{SHAPES} optimizer.lr=0.05", "optimizer=lion", "optimizer=momentum", _WILD),
    # inputs as they come, in very different units
    Fault("unnormalized_inputs-shapes-255", "unnormalized_inputs", "images", "middle",
          f"data=arrays {chosen('shapes-scaled-1')} optimizer.lr=0.02 epochs=12",
          "preprocessing=none", "", ("input_scale",)),
    # a layer that never learns
    Fault("frozen_layer-spiral-no_grad", "frozen_layer", "points", "", MY_SPIRAL,
          "+model.bug=no_grad", "", ("no_gradient",), mendable=False),
    Fault("frozen_layer-phases-detached", "frozen_layer", "regression", "", OWN_PHASES,
          "+model.inside=detached", "", ("no_gradient",), mendable=False),
    # a rate 10 or 100 times too high
    Fault("rate_raised-blends-20", "rate_raised", "table", "middle",
          f"{ON_BLENDS} epochs=20 optimizer=nesterov", "optimizer.lr=1", "optimizer.lr=0.05",
          _WILD),
    Fault("rate_raised-scenes-50", "rate_raised", "cifar10", "strong",
          f"{SCENES_DATA} {CNN} epochs=6 optimizer=adam", "optimizer.lr=0.5", "optimizer.lr=0.01",
          FAR_TOO_WILD),
    # all weights alike
    Fault("zero_initialization-shapes_cnn", "zero_initialization", "images", "", _PLAIN_SHAPES,
          "initializer=zeros", "initializer=he", ("symmetric_units", "no_gradient")),
    Fault("constant_initialization-blends", "constant_initialization", "table", "", BLENDS,
          "initializer=constant initializer.value=0.05", "initializer=he", ("symmetric_units",)),
    Fault("constant_initialization-phases", "constant_initialization", "regression", "", PHASES,
          "initializer=constant initializer.value=0.1", "initializer=he", ("symmetric_units",)),
    # rectified units that no sample reaches
    Fault("dead_relus-phases", "dead_relus", "regression", "middle", PHASES,
          "initializer=normal initializer.mean=-0.5 initializer.std=0.2", "initializer=he",
          NEVER_ALIVE),
    # validation from elsewhere
    Fault("shifted_validation-phases-20", "shifted_validation", "regression", "border",
          PHASES_FILE, chosen("phases-shifted-0.2"), chosen("phases"), ("distribution_shift",),
          False),
    Fault("shifted_validation-scenes-turned", "shifted_validation", "cifar10", "middle",
          _SCENES_FILE, chosen("scenes-turned-2"), chosen("scenes"), ("distribution_shift",),
          False),
)
# fmt: on
