"""The groups and the root settings of a recipe, and the checks of their values.

The groups are open here: what an option takes is the signature of its `_target_`.
Imports nothing heavy: `dlrun --help` reads it too.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Any, get_args

from dlrun import duration
from dlrun.errors import Mistake
from dlrun.format import is_number
from dlrun.shell import shown, spelled

SEVERAL = ("preprocessing", "augmentation", "metric", "regularization")
"""The groups that take several options at once; each option lies under its own name."""

SPLITTING = ("split", "val", "split_seed", "leaks", "train_dev", "samples", "classes")
"""The settings of `data` that split it, whatever the source."""

OF_MODEL = ("weights", "freeze", "unfreeze_at", "lr_of", "layer_decay")
"""The settings that mean the parameters of one model: another one has others."""

CHOICES = {
    "precision": ("float32", "bf16", "fp16"),
    "sampling": ("shuffle", "fixed", "replacement", "balanced", "stratified"),
    "class_weights": ("none", "balanced"),
    "scale_lr": ("none", "linear", "sqrt"),
    "decay": ("all", "weights"),
    "on_divergence": ("stop", "backoff"),
    "preflight": ("off", "quick", "strict"),
}
"""The words that some root settings take."""
DIVERGENCES = ("not_finite", "explosion", "oscillation")
"""What `divergence` takes, one or several."""
WATCHED = ("layers", "sharpness")
"""What `watch` takes, one or several."""
MONITORS = ("auto", "val/accuracy", "val/mae", "val/loss", "train/loss")
"""What `monitor` takes, beside val/<name> of the chosen metrics."""

LOSS_OF_TASK = "dlrun.loss.auto"
"""The target of `loss=auto`, in whose place the loss of the task comes once the data are read."""

MISSING: Any = "???"
"""OmegaConf's sign for a value that a recipe must give."""
MOST = {
    "seed": 2**63 - 1,  # torch's generators keep it in 64 bits
    "batch_size": 2**31 - 1,
    "accumulate": 2**31 - 1,
    "base_batch_size": 2**31 - 1,
    "threads": 1024,  # OpenMP ends the process where it cannot start so many
}

_ABOVE_0 = (
    *("accumulate", "base_batch_size", "clip_norm", "clip_value", "threads", "validate_on"),
)
LENGTHS = {
    "epochs": ("epochs", "steps"),
    "warmup": ("epochs", "steps", "%"),
    "validate_every": ("epochs", "steps", "%"),
    "log_every": ("epochs", "steps", "%"),
    "checkpoint_every": ("seconds", "epochs", "steps", "%"),
    "watch_every": ("epochs", "steps", "%"),
    "unfreeze_at": ("epochs", "steps", "%"),
    "stop_after": ("seconds",),
}
"""The settings that are durations, and their units."""
_FORMS = {
    "epochs": "'5 epochs'",
    "steps": "'200 steps'",
    "%": "10%",
    "seconds": "'30 seconds', '2 hours'",
}
_OPTIONAL = ("unfreeze_at", "stop_after")
"""Durations that may be null."""


@dataclass
class Facts:
    """What the data tell the model; see the end of `conf/config.yaml`."""

    shape: list[int] = MISSING
    outputs: int = MISSING


@dataclass
class Pruning:
    """When a pruner may stop a run; see `conf/sweep/`."""

    startup: int = 5
    warmup: int = 1
    factor: int = 3


@dataclass
class Sweep:
    """How recipes are searched, with `-m`; see `conf/sweep/`. No part of a recipe."""

    sampler: Any = None
    trials: int | None = None
    repeats: int | None = None
    retries: int = 1
    fail_fast: bool = False
    dry_run: bool = False
    seed: int = 0
    objective: str | None = None
    pruner: str = "none"
    pruning: Pruning = field(default_factory=Pruning)
    parallel: int | None = None
    stack: Any = "auto"
    export: str = "best"
    zip: list[Any] = field(default_factory=list)
    stages: list[Any] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class Settings:
    """The root of a recipe; `conf/config.yaml` says what each key means."""

    data: Any = MISSING
    preprocessing: Any = None
    augmentation: Any = None
    model: Any = MISSING
    activation: Any = MISSING
    initializer: Any = MISSING
    loss: Any = MISSING
    metric: Any = None
    optimizer: Any = MISSING
    schedule: Any = MISSING
    regularization: Any = None
    test_augmentation: Any = None
    procedure: Any = MISSING
    tracking: Any = None
    sweep: Sweep = field(default_factory=Sweep)

    seed: int = 0
    weights: str | None = None
    freeze: Any = None
    unfreeze_at: Any = None
    lr_of: Any = None
    layer_decay: float | None = None
    layer_lr: str | None = None
    layer_lr_power: float = 0.5
    epochs: Any = 20
    batch_size: Any = 32
    accumulate: int = 1
    drop_last: bool = False
    sampling: str = "shuffle"
    class_weights: str = "none"
    warmup: Any = 0
    scale_lr: str = "none"
    base_batch_size: int = 32
    decay: str = "all"
    divergence: Any = "not_finite"
    on_divergence: str = "stop"
    clip_norm: float | None = None
    clip_value: float | None = None

    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    threads: int | None = None

    validate_every: Any = 1
    log_every: Any = 1
    checkpoint_every: Any = "30 seconds"
    stop_after: Any = None
    monitor: str = "auto"
    validate_on: int | None = None
    train_eval: bool = False
    test: bool = True
    preflight: str = "quick"
    watch: Any = None
    watch_every: Any = "1 epochs"
    target_error: Any = None
    expect: Any = None
    short: Any = None

    name: str | None = None
    outputs: str = "outputs"
    resume: str | None = None
    facts: Facts = field(default_factory=Facts)


AUTO, OFF = "auto", "off"
"""What `sweep.stack` may be besides a number."""


def stack_of(value: Any) -> int | str:
    """How many runs train at once, as `sweep.stack` says. Raises Mistake."""
    if value is False:  # YAML's word for off
        return OFF
    counts = isinstance(value, int) and value is not True and value > 1
    if value not in (AUTO, OFF) and not counts:
        raise Mistake(
            f"sweep.stack={shown(value)}: must be auto, off, or how many train at once, from 2"
        )
    asked: int | str = value
    return asked


ROOT: dict[str, Any] = {each.name: each.type for each in fields(Settings)}
"""The types of all settings on top of a recipe, its groups among them."""
GROUPS = tuple(takewhile(lambda name: name != "sweep", ROOT))
"""Each is a folder of `conf/` and a room of `dlrun/`; in the order in which they are shown."""
NEEDED = tuple(f.name for f in fields(Settings) if f.default == MISSING)
"""The groups that every recipe has an option of."""


def as_words(value: Any) -> tuple[str, ...]:
    """What `watch`, `divergence` or `freeze` asks for, each once: a word, a list, or null."""
    if value is None:
        return ()
    return tuple(dict.fromkeys(map(str, value if is_list(value) else [value])))


def is_list(value: Any) -> bool:
    """Whether it is a list, plain or of a recipe."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def _unfit_names(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings about parameters with an impossible value, each with what would be right."""
    words = values["freeze"] if is_list(values["freeze"]) else [values["freeze"]]
    if not all(each is None or isinstance(each, str | int) for each in words):
        yield "freeze", "write names or patterns of parameters: [stem,layer1.*]"
    if values["unfreeze_at"] is not None and not as_words(values["freeze"]):
        yield "unfreeze_at", "nothing is frozen; say what, with freeze=[backbone]"
    rates = {} if values["lr_of"] is None else values["lr_of"]
    if not isinstance(rates, Mapping) or not all(map(_is_factor, rates.values())):
        yield "lr_of", "write factors above 0 by names or patterns of parameters: {head: 10}"
    if values["layer_decay"] is not None and not 0 < values["layer_decay"] <= 1:
        yield "layer_decay", "must be above 0 and at most 1"
    if values["layer_lr"] not in (None, "fan_in"):
        yield "layer_lr", "must be fan_in, or null for one rate for all layers"
    if not -4 <= values["layer_lr_power"] <= 4:
        yield "layer_lr_power", "must be between -4 and 4"


def _is_factor(value: Any) -> bool:
    return is_number(value) and value > 0


def problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the values of the root settings, one message each."""
    for key, right in _unfit(values):
        value = values[key]  # -1 becomes -1.0 where a setting is of floats
        made = float in (ROOT[key], *get_args(ROOT[key]))
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        value = int(value) if made and whole else value
        yield f"{key}={spelled(value) if isinstance(value, dict) else shown(value)}: {right}"


def target_error(value: Any) -> float | None:
    """The error that a recipe aims at: a share such as 1% or 0.01, or a number of its metric.

    Raises ValueError where it is neither.
    """
    if value is None:
        return None
    text = str(value).strip()
    number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if isinstance(value, bool) or not 0 <= number < math.inf or (text.endswith("%") and number > 1):
        raise ValueError(text)
    return number


def _unfit_length(value: Any, units: Sequence[str], least_0: bool) -> str:
    """What is wrong with a duration in one of these units; least_0: whether it may be 0."""
    length = None
    with suppress(Mistake):
        length = duration.parse(value)
    forms = " or ".join(_FORMS[unit] for unit in units)
    if length is not None and length.unit in units and (length.amount or least_0):
        return duration.uncounted(length)
    if duration.below_0(value) or (length is not None and length.unit in units):
        return f"must be {'at least' if least_0 else 'above'} 0, such as {forms}"
    return f"write a duration as {forms}"


def _unfit(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The root settings with an impossible value, each with what would be right."""
    size = values["batch_size"]
    whole = isinstance(size, int) and not isinstance(size, bool) and size > 0
    if not whole and size != "full":
        yield "batch_size", "must be a whole number above 0, or full"
    if values["seed"] < 0:
        yield "seed", "must not be negative"
    for key in _ABOVE_0:
        if not (values[key] is None or values[key] > 0):  # which nan is not either
            yield key, "must be greater than 0"
    for key, units in LENGTHS.items():
        wrong = _unfit_length(values[key], units, least_0=key == "warmup")
        if wrong and not (key in _OPTIONAL and values[key] is None):
            yield key, wrong
    if not values["outputs"].strip():  # typed so it is refused earlier
        yield "outputs", "name a directory; . is this one"
    try:
        target_error(values["target_error"])
    except ValueError:
        yield "target_error", "write a share of errors such as 1%, or in regression a val/mae"
    yield from _unfit_names(values)
    if not set(as_words(values["divergence"])) <= set(DIVERGENCES):
        yield "divergence", f"must be one or several of {', '.join(DIVERGENCES)}"
    for key, most in MOST.items():
        if isinstance(values[key], int) and values[key] > most:
            yield key, f"must be at most {most}"
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            yield key, f"must be one of {', '.join(choices)}"
