"""A fourth set of planted faults: what of the fresh set had not been measured when it was judged.

They were written together with those of the fresh set, by the same rules, and taken out of it for
want of a measurement alone. What is in this set was chosen by one thing: whether a recipe is
broken, as five paired seeds show. The first run, before any verdict was fitted to it, is in
test_rates.py; since then it is one more set to fit to.
"""

from tests.faults.table import Fault

# What recipes begin with, by their data ...
_SPIRAL = "data=toy data.kind=spiral data.n_samples=1500 data.split=60/20/20"
_BLENDS = "data=arrays data.path={sets}/blends.csv data.target=y data.split=60/20/20"
_PHASES = "data=arrays data.path={sets}/phases.npz"
_SHAPES = "data=arrays data.path={sets}/shapes.npz"
_SCENES = "data=arrays data.path={sets}/scenes.npz"
# ... their network ...
_CNN = "model=cnn model.channels=[8,16,16] model.pool_every=1"
_SMALL_CNN = "model=cnn model.channels=[8,16] model.pool_every=1 model.global_pool=false"
_PLAIN_CNN = f"{_SMALL_CNN} model.norm=none"
_FACTS = "'+model.shape=${facts.shape}' '+model.outputs=${facts.outputs}'"
_OWN = f"model=custom model._target_=tests.faults.parts.network {_FACTS}"
_BEGINNER = f"model=custom model._target_=tests.faults.parts.Beginner {_FACTS}"
# ... and how they train.
_ADAM = "optimizer=adam optimizer.lr=0.01"
_ADAMW = "optimizer=adamw optimizer.lr=0.01"
_FASTER = "optimizer=adam optimizer.lr=0.02"

_ON_SPIRAL = f"{_SPIRAL} model.hidden=[32,32]"
_ON_BLENDS = f"{_BLENDS} model.hidden=[24]"
_ON_PHASES = f"{_PHASES} model.hidden=[32,16]"

# Sound recipes, from which most faults are made.
SPIRAL = f"{_ON_SPIRAL} {_FASTER} epochs=30"
BLENDS = f"{_ON_BLENDS} optimizer=nesterov epochs=20"
PHASES = f"{_ON_PHASES} {_ADAMW} epochs=15"
SHAPES = f"{_SHAPES} epochs=12"
SCENES = f"{_SCENES} {_CNN} {_ADAM} epochs=6"

_PHASES_FILE = f"data=arrays model.hidden=[32,16] {_ADAMW} epochs=15"
_SCENES_FILE = f"data=arrays {_CNN} {_ADAM} epochs=6"
_DEEP_BLENDS = f"{_BLENDS} model.hidden=[32,32,32,32] optimizer.lr=0.02 epochs=20"
_DEEP_PHASES = f"{_PHASES} model.hidden=[32,32,32] optimizer.lr=0.02 epochs=15"
_DEEP_SHAPES = f"{_SHAPES} model.hidden=[64,32] optimizer.lr=0.02 epochs=12"
_PLAIN_SHAPES = f"{_SHAPES} {_PLAIN_CNN} optimizer.lr=0.02 epochs=6"
_OWN_PHASES = f"{_PHASES} {_OWN} +model.hidden=[32,16] {_ADAMW} epochs=15"
_MY_SPIRAL = f"{_SPIRAL} {_BEGINNER} {_FASTER} epochs=30"
_MY_PHASES = f"{_PHASES} {_BEGINNER} {_ADAMW} epochs=15"

# The causes, by the conventions of the table.
_SLOW = ("rate_too_low", "still_improving")
_SHORT = ("still_improving", "underfit")
_WILD = ("rate_too_high", "noisy")
_FAR_TOO_WILD = ("rate_too_high", "diverged")
_STRICT = ("too_much_regularization", "underfit")
_VANISHING = ("vanishing_gradient", "plateau")
_FEW = ("too_little_data", "overfit")
_LEARNED_BY_HEART = ("overfit", "too_little_data")
_NOISED = ("distribution_shift", "overfit")
_LINEAR = ("linear_network", "underfit")
_LARGE = ("initial_loss", "exploding_gradient")
_NEVER_ALIVE = ("dead_units", "no_gradient")
_SATURATED = ("saturated_units", "initial_loss")
_BOUNDED = ("saturated_units", "underfit")
_LOSS = ("wrong_loss", "underfit")


def _file(name: str) -> str:
    return f"data.path={{sets}}/{name}.npz"


# fmt: off
UNSEEN = (
    # labels of training samples changed at random; those of validation are right
    Fault("labels_changed-phases-10", "labels_changed", "regression", "border", _PHASES_FILE,
          _file("phases-relabelled-0.1"), _file("phases"), ("label_noise", "overfit"), False),
    Fault("labels_changed-scenes-40", "labels_changed", "cifar10", "strong", _SCENES_FILE,
          _file("scenes-relabelled-0.4"), _file("scenes"), ("label_noise",), False),
    # training samples removed, as many updates
    Fault("data_removed-scenes-40", "data_removed", "cifar10", "border",
          f"{_SCENES} {_CNN} {_ADAM} epochs='360 steps' validate_every='60 steps'",
          "data.samples=40%", "", _FEW),
    # classes made rare in training, not in validation
    Fault("unbalanced-scenes-25", "unbalanced", "cifar10", "border", _SCENES_FILE,
          _file("scenes-rare-0.25"), _file("scenes"), ("class_imbalance",)),
    # noise on the inputs of training alone
    Fault("data_noised-phases-1", "data_noised", "regression", "strong", _PHASES_FILE,
          _file("phases-noised-1"), _file("phases"), _NOISED, False),
    # a batch so large that few updates are left
    Fault("batch_size-scenes-500", "batch_size", "cifar10", "strong", SCENES,
          "batch_size=500", "", _SHORT),
    # a rate too low
    Fault("rate_lowered-blends-50", "rate_lowered", "table", "middle",
          f"{_ON_BLENDS} epochs=20 optimizer=nesterov", "optimizer.lr=0.001", "optimizer.lr=0.05",
          _SLOW),
    Fault("rate_lowered-phases-10", "rate_lowered", "regression", "border",
          f"{_ON_PHASES} epochs=15 optimizer=adamw", "optimizer.lr=0.001", "optimizer.lr=0.01",
          _SLOW),
    Fault("rate_lowered-shapes_cnn-100", "rate_lowered", "images", "strong",
          f"{_SHAPES} {_SMALL_CNN} epochs=5 optimizer=adam", "optimizer.lr=0.0001",
          "optimizer.lr=0.01", _SLOW),
    # too few epochs
    Fault("epochs-phases-5", "epochs", "regression", "border", f"{_ON_PHASES} {_ADAMW}",
          "epochs=5", "epochs=15", _SHORT),
    Fault("epochs-scenes-1", "epochs", "cifar10", "middle", f"{_SCENES} {_CNN} {_ADAM}",
          "epochs=1", "epochs=6", _SHORT),
    # no mini-batches: one update an epoch
    Fault("batching_disabled-shapes", "batching_disabled", "images", "", SHAPES,
          "batch_size=full", "", _SHORT),
    # sigmoids where rectified units were
    Fault("activation_changed-blends-4", "activation_changed", "table", "middle", _DEEP_BLENDS,
          "activation=sigmoid", "", _VANISHING),
    Fault("activation_changed-phases-3", "activation_changed", "regression", "middle", _DEEP_PHASES,
          "activation=sigmoid", "", _VANISHING),
    Fault("activation_changed-shapes_cnn-2", "activation_changed", "images", "strong",
          _PLAIN_SHAPES, "activation=sigmoid", "", _VANISHING),
    # no activation between the layers
    Fault("activation_removed-shapes", "activation_removed", "images", "", SHAPES,
          "activation=identity", "", _LINEAR),
    # an activation after the last layer
    Fault("activation_added-phases-tanh", "activation_added", "regression", "", _MY_PHASES,
          "+model.bug=tanh", "", _BOUNDED, mendable=False),
    # a penalty that keeps the network from fitting
    Fault("penalty_added-spiral-l2", "penalty_added", "points", "middle", SPIRAL,
          "regularization=[l2] regularization.l2.strength=0.01", "", _STRICT),
    Fault("penalty_added-phases-l1", "penalty_added", "regression", "border", PHASES,
          "regularization=[l1] regularization.l1.strength=0.001", "", _STRICT),
    Fault("penalty_added-scenes-elastic", "penalty_added", "cifar10", "strong", SCENES,
          "regularization=[elastic] regularization.elastic.strength=0.05", "", _STRICT),
    # a penalty of another strength or form than was meant
    Fault("penalty_changed-blends-l2", "penalty_changed", "table", "middle",
          f"{BLENDS} regularization=[l2]", "regularization.l2.strength=0.1",
          "regularization.l2.strength=0.001", _STRICT),
    Fault("penalty_changed-shapes-max_norm", "penalty_changed", "images", "border",
          f"{SHAPES} regularization=[max_norm]", "regularization.max_norm.limit=0.3",
          "regularization.max_norm.limit=3", _STRICT),
    # no penalty where a network would learn the noise by heart
    Fault("penalty_removed-shapes-dropout", "penalty_removed", "images", "border",
          f"data=arrays {_file('shapes-thinned-0.3')} model.hidden=[256] epochs=30", "",
          "regularization=[dropout]", _LEARNED_BY_HEART),
    # far too much dropout
    Fault("dropout-spiral-50", "dropout", "points", "middle",
          f"{SPIRAL} regularization=[dropout] regularization.dropout.visible=0",
          "regularization.dropout.hidden=0.5", "regularization.dropout.hidden=0.05", _STRICT),
    Fault("dropout-shapes-90", "dropout", "images", "strong",
          f"{SHAPES} regularization=[dropout]", "regularization.dropout.hidden=0.9",
          "regularization.dropout.hidden=0.2", _STRICT),
    # stopped at the first stumble
    Fault("patience-spiral-1", "patience", "points", "border",
          f"{SPIRAL} regularization=[early_stopping]", "regularization.early_stopping.patience=1",
          "regularization.early_stopping.patience=10", _SHORT),
    Fault("patience-phases-10", "patience", "regression", "middle",
          f"{PHASES} validate_every='10 steps' regularization=[early_stopping]",
          "regularization.early_stopping.patience='10 steps'",
          "regularization.early_stopping.patience='8 epochs'", _SHORT),
    # weights that start far too large or too small
    Fault("initialization-blends-large", "initialization", "table", "middle",
          f"{BLENDS} activation=tanh", "initializer=normal initializer.std=2",
          "initializer=xavier", _SATURATED),
    Fault("initialization-phases-large", "initialization", "regression", "border", PHASES,
          "initializer=normal initializer.std=1", "initializer=he", _LARGE),
    Fault("initialization-shapes-positive", "initialization", "images", "strong", _DEEP_SHAPES,
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
          f"{_ON_BLENDS} epochs=20 optimizer.lr=0.3", "optimizer=rmsprop", "optimizer=sgd", _WILD),
    Fault("optimizer-phases-adagrad", "optimizer", "regression", "border",
          f"{_ON_PHASES} epochs=15 optimizer.lr=0.01", "optimizer=adagrad", "optimizer=adamw",
          _SLOW),
    Fault("optimizer-shapes-lion", "optimizer", "images", "strong",
          f"{SHAPES} optimizer.lr=0.05", "optimizer=lion", "optimizer=momentum", _WILD),
    # inputs as they come, in very different units
    Fault("unnormalized_inputs-shapes-255", "unnormalized_inputs", "images", "middle",
          f"data=arrays {_file('shapes-scaled-1')} optimizer.lr=0.02 epochs=12",
          "preprocessing=none", "", ("input_scale",)),
    # a layer that never learns
    Fault("frozen_layer-spiral-no_grad", "frozen_layer", "points", "", _MY_SPIRAL,
          "+model.bug=no_grad", "", ("no_gradient",), mendable=False),
    Fault("frozen_layer-phases-detached", "frozen_layer", "regression", "", _OWN_PHASES,
          "+model.inside=detached", "", ("no_gradient",), mendable=False),
    # a rate 10 or 100 times too high
    Fault("rate_raised-blends-20", "rate_raised", "table", "middle",
          f"{_ON_BLENDS} epochs=20 optimizer=nesterov", "optimizer.lr=1", "optimizer.lr=0.05",
          _WILD),
    Fault("rate_raised-scenes-50", "rate_raised", "cifar10", "strong",
          f"{_SCENES} {_CNN} epochs=6 optimizer=adam", "optimizer.lr=0.5", "optimizer.lr=0.01",
          _FAR_TOO_WILD),
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
          _NEVER_ALIVE),
    # validation from elsewhere
    Fault("shifted_validation-phases-20", "shifted_validation", "regression", "border",
          _PHASES_FILE, _file("phases-shifted-0.2"), _file("phases"), ("distribution_shift",),
          False),
    Fault("shifted_validation-scenes-turned", "shifted_validation", "cifar10", "middle",
          _SCENES_FILE, _file("scenes-turned-2"), _file("scenes"), ("distribution_shift",), False),
)
# fmt: on
