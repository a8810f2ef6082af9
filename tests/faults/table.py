"""The planted faults: broken recipes, their mended twins, and the causes that an expert accepts.

It was written before any verdict's first threshold, and knows none of them. How a recipe gets in:

1. It is broken by one change of a kind that DeepCrime (Humbatova, Jahangirova, Tonella 2021) drew
   from real faults, or that a course warns of (KINDS). Its mended twin differs by that change.
2. `python -m tests.faults.measure` trains both with five paired seeds. It counts as broken only
   where the validation result is worse than the twin's by more than two standard errors of the
   paired differences. What does not pass is made stronger or taken out. A mistake that a check
   must catch whatever validation says counts as it is (`counts`).
3. Its causes, at most two names of `dlrun.finding.NAMES`, are what a teacher would accept as the
   reason when shown the recipe; the first is the better one. Nobody looks at what a program says.
4. The name, once it is in, stays: it decides by which half it is judged (`half`).

A strength is `border` (just past rule 2), `middle` or `strong`; "" for what is there or is not.
The healthy recipes are the twins and others that a teacher would let pass.
"""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Fault(NamedTuple):
    """A broken recipe and its mended twin.

    kind: of KINDS. data: of DATA. base: the words that both have, as typed; broken, mended: those
    that each has beside them. causes: names of findings.
    mendable: whether an override mends it, as validation shows, and not only other data or code.
    counts: whether it is broken whatever validation says. by: the recorded value to compare, where
    what the recipe monitors is not measured alike in both: of the best weights, `test/…` where
    there is no validation.
    """

    name: str
    kind: str
    data: str
    strength: str
    base: str
    broken: str
    mended: str
    causes: tuple[str, ...]
    mendable: bool = True
    counts: bool = False
    by: str = ""

    @property
    def words(self) -> str:
        """The broken recipe, as typed."""
        return f"{self.base} {self.broken}".strip()

    @property
    def twin(self) -> str:
        """The mended recipe, as typed."""
        return f"{self.base} {self.mended}".strip()


DEEPCRIME = (
    *("labels_changed", "data_removed", "unbalanced", "data_noised", "classes_overlap"),
    *("batch_size", "rate_lowered", "epochs", "batching_disabled"),
    *("activation_changed", "activation_removed", "activation_added"),
    *("penalty_added", "penalty_changed", "penalty_removed", "dropout", "patience"),
    *("initialization", "bias_added", "bias_removed", "loss_changed"),
    *("optimizer", "clipping", "no_validation"),
)
COURSE = (
    *("softmax_before_loss", "samples_mixed", "unnormalized_inputs", "frozen_layer", "rate_raised"),
    *("zero_initialization", "constant_initialization", "dead_relus", "saturated_sigmoids"),
    *("test_in_training", "shifted_validation", "dropout_left_on", "one_class"),
)
"""A rate 100 times too low is rate_lowered, far too much L2 penalty_added."""
KINDS = (*DEEPCRIME, *COURSE)
DATA = ("digits", "table", "regression", "cifar10")
STRENGTHS = ("border", "middle", "strong")


def half(name: str) -> str:
    """By which half a recipe is judged: `tuning`, which verdicts may be fitted to, or `final`."""
    return "tuning" if hashlib.sha1(name.encode()).hexdigest()[0] < "8" else "final"


# What recipes begin with, by their data ...
_ARRAYS = "data=arrays"
_DIGITS = "data=digits"
_QUANTILES = "data=arrays data.path={sets}/quantiles.csv data.target=y data.split=60/20/20"
_FRIEDMAN = "data=arrays data.path={sets}/friedman.csv data.target=y loss=mse"
_CANCER = "data=arrays data.path={sets}/cancer.npz"
_CIFAR = "data=arrays data.path={sets}/cifar.npz"
# ... their network ...
_MLP = "model.hidden=[32,32]"
_DEEP = "model.hidden=[32,32,32,32]"
_CNN = "model=cnn model.channels=[8,16,32] model.pool_every=1"
_PLAIN_CNN = "model=cnn model.channels=[8,16,16] model.pool_every=1 model.norm=none " + (
    "model.global_pool=false"
)
_SMALL_CNN = "model=cnn model.channels=[8,16] model.global_pool=false"
_OWN = "model=custom model._target_=tests.faults.parts.network '+model.shape=${facts.shape}' " + (
    "'+model.outputs=${facts.outputs}'"
)
# ... and how they train.
_ADAM = "optimizer=adam optimizer.lr=0.005"
_SPLIT = "data.split=60/20/20"

# Sound recipes, from which most faults are made.
DIGITS = f"{_DIGITS} epochs=12"
DIGITS_CNN = f"{_DIGITS} {_SMALL_CNN} epochs=6"  # with optimizer.lr=0.02
TABLE = f"{_QUANTILES} {_MLP} epochs=20 {_ADAM}"
REGRESSION = f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 {_ADAM}"
CIFAR = f"{_CIFAR} {_CNN} epochs=6 optimizer.lr=0.02"

_DIGITS_FILE = f"{_ARRAYS} epochs=12"
_TABLE_FILE = f"{_ARRAYS} {_MLP} epochs=20 {_ADAM}"
_REGRESSION_FILE = f"{_ARRAYS} loss=mse {_MLP} epochs=20 {_ADAM}"
_CIFAR_FILE = f"{_ARRAYS} {_CNN} epochs=6 optimizer.lr=0.02"
_STEPS_DIGITS = f"{_ARRAYS} epochs='400 steps' validate_every='40 steps'"
_STEPS_TABLE = f"{_ARRAYS} {_MLP} {_ADAM} epochs='760 steps' validate_every='38 steps'"
_STEPS_REGRESSION = f"{_STEPS_TABLE} loss=mse"
_MOMENTUM_REGRESSION = f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer.lr=0.02"
_DEEP_DIGITS = f"{_DIGITS} {_DEEP} epochs=12 optimizer.lr=0.02"
_DEEP_TABLE = f"{_QUANTILES} {_DEEP} epochs=20 optimizer.lr=0.02"
_DEEP_REGRESSION = f"{_FRIEDMAN} {_SPLIT} model.hidden=[32,32,32] epochs=20 optimizer.lr=0.02"
_PADDED = (
    "data=arrays data.path={sets}/friedman-padded-40.npz loss=mse model.hidden=[32] "
    f"epochs='800 steps' validate_every='40 steps' {_ADAM}"
)
_PLAIN_CIFAR = f"{_CIFAR} {_PLAIN_CNN} epochs=6 optimizer.lr=0.02"
_OWN_DIGITS = f"{_DIGITS} {_OWN} epochs=12"
_OWN_TABLE = f"{_QUANTILES} {_OWN} +model.hidden=[32,32] epochs=20 {_ADAM}"
_OWN_REGRESSION = f"{_FRIEDMAN} {_SPLIT} {_OWN} +model.hidden=[32,32] epochs=20 {_ADAM}"
_OWN_CIFAR = f"{_CIFAR} {_OWN} +model.channels=[8,16,16] epochs=6 optimizer.lr=0.01"

_SLOW = ("rate_too_low", "still_improving")
_SHORT = ("still_improving", "underfit")
_WILD = ("rate_too_high", "noisy")
_STRICT = ("too_much_regularization", "underfit")
_VANISHING = ("vanishing_gradient", "plateau")
_FEW = ("too_little_data", "overfit")
_NOISED = ("distribution_shift", "overfit")
_LINEAR = ("linear_network", "underfit")
_DEAD = ("dead_units", "initial_loss")
_SATURATED = ("saturated_units", "initial_loss")
_LOSS = ("wrong_loss", "underfit")
_UNSEEN = ("no_validation", "inconclusive")


def _file(name: str) -> str:
    return f"data.path={{sets}}/{name}.npz"


# fmt: off
FAULTS = (
    # labels of training samples changed at random; those of validation are right
    Fault("labels_changed-digits-5", "labels_changed", "digits", "border", _DIGITS_FILE,
          _file("digits-relabelled-0.05"), _file("digits"), ("label_noise", "overfit"), False),
    Fault("labels_changed-table-30", "labels_changed", "table", "middle", _TABLE_FILE,
          _file("quantiles-relabelled-0.3"), _file("quantiles"), ("label_noise",), False),
    Fault("labels_changed-regression-30", "labels_changed", "regression", "middle",
          _REGRESSION_FILE, _file("friedman-relabelled-0.3"), _file("friedman"),
          ("label_noise",), False),
    Fault("labels_changed-cifar10-50", "labels_changed", "cifar10", "strong", _CIFAR_FILE,
          _file("cifar-relabelled-0.5"), _file("cifar"), ("label_noise",), False),
    # training samples removed, as many updates
    Fault("data_removed-digits-50", "data_removed", "digits", "border", _STEPS_DIGITS,
          _file("digits-thinned-0.5"), _file("digits"), _FEW, False),
    Fault("data_removed-table-10", "data_removed", "table", "middle", _STEPS_TABLE,
          _file("quantiles-thinned-0.1"), _file("quantiles"), _FEW, False),
    Fault("data_removed-regression-4", "data_removed", "regression", "strong", _STEPS_REGRESSION,
          _file("friedman-thinned-0.04"), _file("friedman"), _FEW, False),
    # classes made rare in training, not in validation
    Fault("unbalanced-digits-10", "unbalanced", "digits", "middle", _DIGITS_FILE,
          _file("digits-rare-0.1"), _file("digits"), ("class_imbalance",)),
    Fault("unbalanced-digits-2", "unbalanced", "digits", "strong", _DIGITS_FILE,
          _file("digits-rare-0.02"), _file("digits"), ("class_imbalance", "class_missing")),
    Fault("unbalanced-table-50", "unbalanced", "table", "border", _TABLE_FILE,
          _file("quantiles-rare-0.5"), _file("quantiles"), ("class_imbalance",)),
    Fault("unbalanced-cifar10-5", "unbalanced", "cifar10", "strong", _CIFAR_FILE,
          _file("cifar-rare-0.05"), _file("cifar"), ("class_imbalance",)),
    # noise on the inputs of training alone
    Fault("data_noised-digits-60", "data_noised", "digits", "border", _DIGITS_FILE,
          _file("digits-noised-0.6"), _file("digits"), _NOISED, False),
    Fault("data_noised-table-1", "data_noised", "table", "middle", _TABLE_FILE,
          _file("quantiles-noised-1"), _file("quantiles"), _NOISED, False),
    Fault("data_noised-regression-2", "data_noised", "regression", "strong", _REGRESSION_FILE,
          _file("friedman-noised-2"), _file("friedman"), _NOISED, False),
    # training samples that stand there again under the next class
    Fault("classes_overlap-digits-70", "classes_overlap", "digits", "middle", _DIGITS_FILE,
          _file("digits-overlapped-0.7"), _file("digits"), ("label_noise",), False),
    Fault("classes_overlap-table-10", "classes_overlap", "table", "border", _TABLE_FILE,
          _file("quantiles-overlapped-0.1"), _file("quantiles"), ("label_noise",), False),
    # a batch so large that few updates are left
    Fault("batch_size-digits-128", "batch_size", "digits", "border", DIGITS,
          "batch_size=128", "", _SHORT),
    Fault("batch_size-table-600", "batch_size", "table", "middle", TABLE,
          "batch_size=600", "", _SHORT),
    Fault("batch_size-regression-400", "batch_size", "regression", "strong", REGRESSION,
          "batch_size=400", "", _SHORT),
    Fault("batch_size-cifar10-400", "batch_size", "cifar10", "strong", CIFAR,
          "batch_size=400", "", _SHORT),
    # a rate too low
    Fault("rate_lowered-digits-5", "rate_lowered", "digits", "border", DIGITS,
          "optimizer.lr=0.01", "optimizer.lr=0.05", _SLOW),
    Fault("rate_lowered-digits_cnn-100", "rate_lowered", "digits", "strong", DIGITS_CNN,
          "optimizer.lr=0.0002", "optimizer.lr=0.02", _SLOW),
    Fault("rate_lowered-table-20", "rate_lowered", "table", "middle",
          f"{_QUANTILES} {_MLP} epochs=20 optimizer=adam", "optimizer.lr=0.00025",
          "optimizer.lr=0.005", _SLOW),
    Fault("rate_lowered-regression-100", "rate_lowered", "regression", "strong",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer=adam", "optimizer.lr=0.00005",
          "optimizer.lr=0.005", _SLOW),
    Fault("rate_lowered-cifar10-100", "rate_lowered", "cifar10", "strong",
          f"{_CIFAR} {_CNN} epochs=6", "optimizer.lr=0.0002", "optimizer.lr=0.02", _SLOW),
    # too few epochs
    Fault("epochs-digits-4", "epochs", "digits", "border", _DIGITS,
          "epochs=4", "epochs=12", _SHORT),
    Fault("epochs-table-2", "epochs", "table", "strong",
          f"{_QUANTILES} {_MLP} {_ADAM}", "epochs=2", "epochs=20", _SHORT),
    Fault("epochs-regression-6", "epochs", "regression", "middle",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} {_ADAM}", "epochs=6", "epochs=20", _SHORT),
    # no mini-batches: one update an epoch
    Fault("batching_disabled-digits", "batching_disabled", "digits", "", DIGITS,
          "batch_size=full", "", _SHORT),
    Fault("batching_disabled-table", "batching_disabled", "table", "", TABLE,
          "batch_size=full", "", _SHORT),
    Fault("batching_disabled-regression", "batching_disabled", "regression", "", REGRESSION,
          "batch_size=full", "", _SHORT),
    # sigmoids where rectified units were
    Fault("activation_changed-digits-4", "activation_changed", "digits", "strong",
          f"{_DEEP_DIGITS} initializer=he", "activation=sigmoid", "activation=relu", _VANISHING),
    Fault("activation_changed-table-4", "activation_changed", "table", "middle", _DEEP_TABLE,
          "activation=sigmoid", "activation=relu", _VANISHING),
    Fault("activation_changed-regression-3", "activation_changed", "regression", "border",
          _DEEP_REGRESSION, "activation=sigmoid", "activation=relu", _VANISHING),
    Fault("activation_changed-cifar10-3", "activation_changed", "cifar10", "strong", _PLAIN_CIFAR,
          "activation=sigmoid", "", _VANISHING),
    # no activation between the layers
    Fault("activation_removed-digits", "activation_removed", "digits", "",
          f"{DIGITS_CNN} optimizer.lr=0.02 model.pooling=average", "activation=identity",
          "activation=relu", _LINEAR),
    Fault("activation_removed-table", "activation_removed", "table", "", TABLE,
          "activation=identity", "activation=relu", _LINEAR),
    Fault("activation_removed-regression", "activation_removed", "regression", "", REGRESSION,
          "activation=identity", "activation=relu", _LINEAR),
    # an activation after the last layer
    Fault("activation_added-digits-relu", "activation_added", "digits", "", _OWN_DIGITS,
          "+model.last=relu", "", ("dead_units", "underfit"), mendable=False),
    Fault("activation_added-regression-relu", "activation_added", "regression", "",
          _OWN_REGRESSION, "+model.last=relu", "", ("dead_units", "underfit"), mendable=False),
    Fault("activation_added-regression-sigmoid", "activation_added", "regression", "",
          _OWN_REGRESSION, "+model.last=sigmoid", "", ("saturated_units", "underfit"),
          mendable=False),
    # a penalty that keeps the network from fitting
    Fault("penalty_added-digits-l2", "penalty_added", "digits", "strong", DIGITS,
          "regularization=[l2] regularization.l2.strength=0.3", "", _STRICT),
    Fault("penalty_added-table-l1", "penalty_added", "table", "middle", TABLE,
          "regularization=[l1] regularization.l1.strength=0.01", "", _STRICT),
    Fault("penalty_added-regression-l2", "penalty_added", "regression", "border", REGRESSION,
          "regularization=[l2] regularization.l2.strength=0.01", "", _STRICT),
    Fault("penalty_added-cifar10-decay", "penalty_added", "cifar10", "strong", _PLAIN_CIFAR,
          "optimizer.weight_decay=0.3", "", _STRICT),
    # a penalty of another strength or form than was meant
    Fault("penalty_changed-digits-l1", "penalty_changed", "digits", "middle", DIGITS,
          "regularization=[l1] regularization.l1.strength=0.02",
          "regularization=[l2] regularization.l2.strength=0.001", _STRICT),
    Fault("penalty_changed-table-l2", "penalty_changed", "table", "middle",
          f"{TABLE} regularization=[l2]", "regularization.l2.strength=0.05",
          "regularization.l2.strength=0.0002", _STRICT),
    Fault("penalty_changed-regression-l1", "penalty_changed", "regression", "strong",
          f"{REGRESSION} regularization=[l1]", "regularization.l1.strength=0.3",
          "regularization.l1.strength=0.0003", _STRICT),
    # no penalty where a network would learn the noise by heart
    Fault("penalty_removed-digits-dropout", "penalty_removed", "digits", "border",
          "data=digits epochs=30 model.hidden=[128]", "", "regularization=[dropout]", _FEW[::-1]),
    Fault("penalty_removed-regression-l1", "penalty_removed", "regression", "middle", _PADDED,
          "", "regularization=[l1] regularization.l1.strength=0.01", _FEW[::-1]),
    # far too much dropout
    Fault("dropout-digits-90", "dropout", "digits", "strong", f"{DIGITS} regularization=[dropout]",
          "regularization.dropout.hidden=0.9", "regularization.dropout.hidden=0.1", _STRICT),
    Fault("dropout-table-50", "dropout", "table", "middle",
          f"{TABLE} regularization=[dropout] regularization.dropout.visible=0",
          "regularization.dropout.hidden=0.5", "regularization.dropout.hidden=0.05", _STRICT),
    Fault("dropout-regression-visible", "dropout", "regression", "border",
          f"{REGRESSION} regularization=[dropout] regularization.dropout.hidden=0",
          "regularization.dropout.visible=0.03", "regularization.dropout.visible=0", _STRICT),
    Fault("dropout-cifar10-70", "dropout", "cifar10", "middle", CIFAR,
          "regularization=[dropout] regularization.dropout.visible=0 "
          "regularization.dropout.hidden=0 regularization.dropout.convolution=0.7", "", _STRICT),
    # stopped at the first stumble
    Fault("patience-digits-10", "patience", "digits", "strong",
          f"{DIGITS} validate_every='5 steps' regularization=[early_stopping]",
          "regularization.early_stopping.patience='5 steps'",
          "regularization.early_stopping.patience='5 epochs'", _SHORT),
    Fault("patience-table-1", "patience", "table", "border", f"{TABLE} "
          "regularization=[early_stopping]", "regularization.early_stopping.patience=1",
          "regularization.early_stopping.patience=10", _SHORT),
    Fault("patience-regression-10", "patience", "regression", "middle",
          f"{_MOMENTUM_REGRESSION} validate_every='10 steps' regularization=[early_stopping]",
          "regularization.early_stopping.patience='10 steps'",
          "regularization.early_stopping.patience='5 epochs'", _SHORT),
    # weights that start far too large or too small
    Fault("initialization-digits-large", "initialization", "digits", "strong",
          "data=digits epochs=12 activation=tanh", "initializer=large_normal", "initializer=xavier",
          ("saturated_units", "initial_loss")),
    Fault("initialization-digits-small", "initialization", "digits", "middle", _DEEP_DIGITS,
          "initializer=small_normal", "initializer=he", _VANISHING),
    Fault("initialization-table-small", "initialization", "table", "strong", _DEEP_TABLE,
          "initializer=small_normal", "initializer=he", _VANISHING),
    Fault("initialization-regression-large", "initialization", "regression", "border", REGRESSION,
          "initializer=normal initializer.std=0.7", "initializer=he",
          ("initial_loss", "exploding_gradient")),
    # biases that start far below zero
    Fault("bias_added-digits", "bias_added", "digits", "border", f"{DIGITS} initializer=he",
          "initializer.bias=-3", "initializer.bias=0", _DEAD),
    Fault("bias_added-table", "bias_added", "table", "strong", f"{TABLE} initializer=he",
          "initializer.bias=-5", "initializer.bias=0", _DEAD),
    Fault("bias_added-regression", "bias_added", "regression", "middle",
          f"{REGRESSION} initializer=he", "initializer.bias=-2", "initializer.bias=0", _DEAD),
    # layers without a bias, so that only the direction of an input counts
    Fault("bias_removed-table", "bias_removed", "table", "strong", _OWN_TABLE,
          "+model.bias=false", "", ("underfit", "simpler_would_do"), mendable=False),
    Fault("bias_removed-regression", "bias_removed", "regression", "strong",
          f"{_ARRAYS} data.path={{sets}}/ripples.npz loss=mse {_OWN} +model.hidden=[32,32] "
          "epochs=20 optimizer=adam optimizer.lr=0.01",
          "+model.bias=false", "", ("underfit", "simpler_would_do"), mendable=False),
    # another loss than the task's
    Fault("loss_changed-digits-mae", "loss_changed", "digits", "middle", DIGITS,
          "loss=mae", "loss=cross_entropy", _LOSS),
    Fault("loss_changed-digits-labels", "loss_changed", "digits", "strong", f"{DIGITS} loss=mse",
          "loss._target_=tests.faults.parts.mse_of_labels", "", _LOSS),
    Fault("loss_changed-table-mae", "loss_changed", "table", "border", TABLE,
          "loss=mae", "loss=cross_entropy", _LOSS),
    Fault("loss_changed-regression-broadcast", "loss_changed", "regression", "strong", REGRESSION,
          "loss._target_=tests.faults.parts.broadcast_mse", "", ("wrong_loss", "simpler_would_do"),
          by="val/mae"),
    # another optimizer with the rate of the last one
    Fault("optimizer-digits-adam", "optimizer", "digits", "middle",
          f"{DIGITS} optimizer.lr=0.2", "optimizer=adam", "optimizer=sgd", _WILD),
    Fault("optimizer-table-sgd", "optimizer", "table", "strong",
          f"{_QUANTILES} {_MLP} epochs=20 optimizer.lr=0.005", "optimizer=sgd", "optimizer=adam",
          _SLOW),
    Fault("optimizer-regression-adadelta", "optimizer", "regression", "strong",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer.lr=0.005", "optimizer=adadelta",
          "optimizer=adam", _SLOW),
    # gradients cut so short that hardly anything moves; or not cut where they must be
    Fault("clipping-digits-norm", "clipping", "digits", "middle", DIGITS,
          "clip_norm=0.02", "", _SLOW),
    Fault("clipping-regression-value", "clipping", "regression", "strong", _MOMENTUM_REGRESSION,
          "clip_value=0.0001", "", _SLOW),
    Fault("clipping-regression-removed", "clipping", "regression", "middle",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer.lr=0.05 data.scale_targets=false", "",
          "clip_norm=1", ("exploding_gradient", "rate_too_high")),
    # nothing held back to choose by
    Fault("no_validation-digits", "no_validation", "digits", "", DIGITS,
          "data.split=80/0/20", "data.split=60/20/20", _UNSEEN, mendable=False, counts=True,
          by="test/accuracy"),
    Fault("no_validation-regression", "no_validation", "regression", "",
          f"{_FRIEDMAN} {_MLP} epochs=20 {_ADAM}",
          "data.split=80/0/20", "data.split=60/20/20", _UNSEEN, mendable=False, counts=True,
          by="test/loss"),
    # probabilities where the loss takes logits
    Fault("softmax_before_loss-digits", "softmax_before_loss", "digits", "", _OWN_DIGITS,
          "+model.last=softmax", "", ("probabilities_into_loss",), mendable=False, counts=True),
    Fault("softmax_before_loss-table", "softmax_before_loss", "table", "", _OWN_TABLE,
          "+model.last=safe_softmax", "", ("probabilities_into_loss",),
          mendable=False, counts=True),
    Fault("softmax_before_loss-cifar10", "softmax_before_loss", "cifar10", "", _OWN_CIFAR,
          "+model.last=safe_softmax", "", ("probabilities_into_loss",),
          mendable=False, counts=True),
    Fault("sigmoid_before_loss-table", "softmax_before_loss", "table", "", _OWN_TABLE,
          "+model.last=sigmoid", "", ("probabilities_into_loss",), mendable=False, counts=True),
    # a wrong dimension, by which samples of a batch change each other's outputs
    Fault("samples_mixed-digits-softmax", "samples_mixed", "digits", "", _OWN_DIGITS,
          "+model.inside=softmax_over_samples", "", ("batch_mixing",), mendable=False, counts=True),
    Fault("samples_mixed-digits-view", "samples_mixed", "digits", "", _OWN_DIGITS,
          "+model.inside=view_across_samples", "", ("batch_mixing",), mendable=False, counts=True),
    Fault("samples_mixed-table-mean", "samples_mixed", "table", "", _OWN_TABLE,
          "+model.inside=centered_by_samples", "", ("batch_mixing",), mendable=False, counts=True),
    Fault("samples_mixed-regression-view", "samples_mixed", "regression", "", _OWN_REGRESSION,
          "+model.inside=view_across_samples", "", ("batch_mixing",), mendable=False, counts=True),
    Fault("samples_mixed-cifar10-softmax", "samples_mixed", "cifar10", "", _OWN_CIFAR,
          "+model.inside=softmax_over_samples", "", ("batch_mixing",), mendable=False, counts=True),
    # inputs as they come, in very different units
    Fault("unnormalized_inputs-digits-255", "unnormalized_inputs", "digits", "middle",
          "data=arrays data.path={sets}/digits-scaled-1.npz epochs=12",
          "preprocessing=none", "preprocessing=[standardize]", ("input_scale",)),
    Fault("unnormalized_inputs-table", "unnormalized_inputs", "table", "strong",
          f"{_CANCER} model.hidden=[16] epochs=20 optimizer.lr=0.01",
          "preprocessing=none", "preprocessing=[standardize]", ("input_scale",)),
    Fault("unnormalized_inputs-regression-5", "unnormalized_inputs", "regression", "middle",
          f"{_REGRESSION_FILE} {_file('friedman-scaled-5')}",
          "preprocessing=none", "preprocessing=[standardize]", ("input_scale",)),
    # a layer that never learns
    Fault("frozen_layer-digits", "frozen_layer", "digits", "", _OWN_DIGITS,
          "+model.frozen=true", "", ("no_gradient",), mendable=False),
    Fault("frozen_layer-regression-detached", "frozen_layer", "regression", "", _OWN_REGRESSION,
          "+model.inside=detached", "", ("no_gradient",), mendable=False),
    Fault("frozen_layer-cifar10-detached", "frozen_layer", "cifar10", "", _OWN_CIFAR,
          "+model.inside=detached", "", ("no_gradient",), mendable=False),
    # a rate 10 or 100 times too high
    Fault("rate_raised-digits-100", "rate_raised", "digits", "strong", DIGITS,
          "optimizer.lr=5", "optimizer.lr=0.05", ("rate_too_high", "diverged")),
    Fault("rate_raised-table-20", "rate_raised", "table", "middle",
          f"{_QUANTILES} {_MLP} epochs=20 optimizer=adam", "optimizer.lr=0.1", "optimizer.lr=0.005",
          ("rate_too_high", "noisy")),
    Fault("rate_raised-regression-100", "rate_raised", "regression", "strong",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer=adam", "optimizer.lr=0.5",
          "optimizer.lr=0.005", ("rate_too_high", "diverged")),
    Fault("rate_raised-cifar10-20", "rate_raised", "cifar10", "border", f"{_CIFAR} {_CNN} epochs=6",
          "optimizer.lr=0.5", "optimizer.lr=0.02", ("rate_too_high", "noisy")),
    # all weights alike
    Fault("zero_initialization-digits", "zero_initialization", "digits", "", DIGITS,
          "initializer=zeros", "initializer=he", ("symmetric_units", "no_gradient")),
    Fault("zero_initialization-regression", "zero_initialization", "regression", "", REGRESSION,
          "initializer=zeros", "initializer=he", ("symmetric_units", "no_gradient")),
    Fault("constant_initialization-digits", "constant_initialization", "digits", "", DIGITS,
          "initializer=constant", "initializer=he", ("symmetric_units",)),
    Fault("constant_initialization-table", "constant_initialization", "table", "", TABLE,
          "initializer=constant initializer.value=0.1", "initializer=he", ("symmetric_units",)),
    # rectified units that no sample reaches
    Fault("dead_relus-digits", "dead_relus", "digits", "strong", _DEEP_DIGITS,
          "initializer=normal initializer.mean=-0.3 initializer.std=0.1", "initializer=he",
          ("dead_units", "no_gradient")),
    Fault("dead_relus-table", "dead_relus", "table", "middle", TABLE,
          "initializer=normal initializer.mean=-0.5 initializer.std=0.3", "initializer=he",
          ("dead_units", "no_gradient")),
    Fault("dead_relus-cifar10", "dead_relus", "cifar10", "strong", _PLAIN_CIFAR,
          "initializer=normal initializer.mean=-0.3 initializer.std=0.1", "",
          ("dead_units", "no_gradient")),
    # sigmoids at their flat ends
    Fault("saturated_sigmoids-digits", "saturated_sigmoids", "digits", "strong",
          f"{DIGITS} activation=sigmoid optimizer=adam optimizer.lr=0.01",
          "initializer=large_normal", "initializer=xavier", _SATURATED),
    Fault("saturated_sigmoids-regression", "saturated_sigmoids", "regression", "middle",
          f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=20 optimizer=adam optimizer.lr=0.03 "
          "activation=sigmoid",
          "initializer=normal initializer.std=3",
          "initializer=xavier", _SATURATED),
    # test samples in training
    Fault("test_in_training-digits-50", "test_in_training", "digits", "middle", _DIGITS_FILE,
          _file("digits-leaked-0.5"), _file("digits"), ("leak",), False, True),
    Fault("test_in_training-table-5", "test_in_training", "table", "border", _TABLE_FILE,
          _file("quantiles-leaked-0.05"), _file("quantiles"), ("leak",), False, True),
    Fault("test_in_training-regression-100", "test_in_training", "regression", "strong",
          _REGRESSION_FILE, _file("friedman-leaked-1"), _file("friedman"), ("leak",), False, True),
    # validation from elsewhere
    Fault("shifted_validation-digits-70", "shifted_validation", "digits", "strong", _DIGITS_FILE,
          _file("digits-shifted-0.7"), _file("digits"), ("distribution_shift",), False),
    Fault("shifted_validation-table-50", "shifted_validation", "table", "middle", _TABLE_FILE,
          _file("quantiles-shifted-0.5"), _file("quantiles"), ("distribution_shift",), False),
    Fault("shifted_validation-regression-10", "shifted_validation", "regression", "border",
          _REGRESSION_FILE, _file("friedman-shifted-0.1"), _file("friedman"),
          ("distribution_shift",), False),
    Fault("shifted_validation-cifar10-50", "shifted_validation", "cifar10", "middle", _CIFAR_FILE,
          _file("cifar-shifted-0.5"), _file("cifar"), ("distribution_shift",), False),
    # dropout in evaluation, too
    Fault("dropout_left_on-digits", "dropout_left_on", "digits", "",
          f"{_OWN_DIGITS} +model.hidden=[64]", "+model.inside=functional_dropout",
          "+model.inside=dropout", ("random_in_eval",), mendable=False, counts=True),
    Fault("dropout_left_on-regression", "dropout_left_on", "regression", "", _OWN_REGRESSION,
          "+model.inside=functional_dropout", "", ("random_in_eval",), mendable=False, counts=True),
    Fault("dropout_left_on-cifar10", "dropout_left_on", "cifar10", "", _OWN_CIFAR,
          "+model.inside=functional_dropout", "+model.inside=dropout", ("random_in_eval",),
          mendable=False, counts=True),
    # training samples of one class only
    Fault("one_class-digits", "one_class", "digits", "", _DIGITS_FILE,
          _file("digits-single-3"), _file("digits"), ("class_missing", "class_imbalance"), False),
    Fault("one_class-table", "one_class", "table", "", _TABLE_FILE,
          _file("quantiles-single-1"), _file("quantiles"), ("class_missing", "class_imbalance"),
          False),
)
# fmt: on


SOUND = {
    "default": "data=digits",
    "digits-adam": f"{_DIGITS} optimizer=adam optimizer.lr=0.003",
    "digits-sgd-step": f"{_DIGITS} optimizer=sgd optimizer.lr=0.2 schedule=step",
    "digits-nesterov-linear": f"{_DIGITS} optimizer=nesterov schedule=linear warmup='1 epochs'",
    "digits-rmsprop": f"{_DIGITS} optimizer=rmsprop optimizer.lr=0.002",
    "digits-one_cycle": f"{_DIGITS} optimizer=adamw optimizer.lr=0.01 schedule=one_cycle",
    "digits-batch_norm": f"{_DIGITS} epochs=15 regularization=[batch_norm]",
    "digits-l2": f"{_DIGITS} regularization=[l2] regularization.l2.strength=0.001",
    "digits-dropout": f"{_DIGITS} epochs=30 model.hidden=[256] regularization=[dropout] "
    "regularization.dropout.hidden=0.3 regularization.dropout.visible=0.1",
    "digits-label_smoothing": f"{_DIGITS} regularization=[label_smoothing] "
    "regularization.label_smoothing.amount=0.05",
    "digits-early_stopping": f"{_DIGITS} epochs=60 regularization=[early_stopping] "
    "regularization.early_stopping.patience='10 epochs'",
    "digits-small": f"{_DIGITS} epochs=30 model.hidden=[16]",
    "digits-large": f"{_DIGITS} model.hidden=[256,128] optimizer.lr=0.02",
    "digits-tanh": f"{_DIGITS} activation=tanh initializer=xavier optimizer.lr=0.03",
    "digits-selu": f"{_DIGITS} model.hidden=[64,64] activation=selu initializer=lecun "
    "optimizer.lr=0.02",
    "digits-weight_average": f"{_DIGITS} schedule=constant regularization=[weight_average]",
    "digits-mixup": f"{_DIGITS} epochs=30 augmentation=[mixup] model.hidden=[128]",
    "digits-linear": f"{_DIGITS} model=linear optimizer.lr=0.02",
    "digits-augmented": f"{_DIGITS} epochs=12 model=cnn model.channels=[16,32] optimizer.lr=0.05 "
    "augmentation=[rotate,crop] augmentation.crop.padding=1 model.global_pool=false",
    "digits-big_batch": f"{_DIGITS} epochs=40 batch_size=128 optimizer.lr=0.1",
    "table-tanh": f"{TABLE} activation=tanh",
    "table-batch_norm": f"{_QUANTILES} model.hidden=[64,64] epochs=30 batch_size=64 "
    "optimizer.lr=0.05 regularization=[batch_norm]",
    "table-nesterov": f"{_QUANTILES} {_MLP} epochs=20 optimizer=nesterov optimizer.lr=0.03",
    "table-silu": f"{_QUANTILES} model.hidden=[32,32,32] activation=silu epochs=20 {_ADAM}",
    "table-wide-l2": f"{_QUANTILES} model.hidden=[128] epochs=30 {_ADAM} regularization=[l2] "
    "regularization.l2.strength=0.0001",
    "table-early_stopping": f"{_QUANTILES} {_MLP} {_ADAM} epochs=60 "
    "regularization=[early_stopping] regularization.early_stopping.patience=15",
    "table-plateau": f"{_QUANTILES} {_MLP} {_ADAM} schedule=plateau epochs=30",
    "cancer-linear": f"{_CANCER} model=linear epochs=20 optimizer.lr=0.01",
    "cancer-l2": f"{_CANCER} model.hidden=[16] epochs=25 optimizer.lr=0.01 "
    "regularization=[l2] regularization.l2.strength=0.01",
    "regression-gelu": f"{REGRESSION} activation=gelu",
    "regression-huber": REGRESSION.replace("loss=mse", "loss=huber"),
    "regression-mae": f"{_FRIEDMAN} {_SPLIT} model.hidden=[64,64] epochs=20 {_ADAM}".replace(
        "loss=mse", "loss=mae"
    ),
    "regression-long": f"{_FRIEDMAN} {_SPLIT} model.hidden=[32] epochs=50 optimizer=adamw "
    "optimizer.lr=0.005",
    "regression-momentum": f"{_FRIEDMAN} {_SPLIT} {_MLP} epochs=30 optimizer.lr=0.01",
    "regression-clipped": f"{REGRESSION} clip_norm=1 schedule=linear",
    "cifar10-flip": f"{_CIFAR} {_CNN} epochs=8 optimizer.lr=0.02 augmentation=[flip]",
    "cifar10-adam": f"{_CIFAR} {_CNN} epochs=6 optimizer=adam optimizer.lr=0.01",
    "cifar10-deeper": f"{_CIFAR} model=cnn model.channels=[8,16,32,32] model.pool_every=1 "
    "epochs=6 optimizer.lr=0.02",
}
"""Recipes that a teacher would let pass, beside the mended twins: by name, as typed."""


def healthy(faults: Sequence[Fault] = FAULTS, sound: Mapping[str, str] = SOUND) -> dict[str, str]:
    """All sound recipes by name, those of `sound`, then the twins of the faults.

    Each is there once, in whatever order its words stand.
    """
    found = dict(sound)
    known = {frozenset(shlex.split(words)) for words in sound.values()}
    for fault in faults:
        words = frozenset(shlex.split(fault.twin))
        if words not in known:
            known.add(words)
            found[f"{fault.name}-mended"] = fault.twin
    return found
