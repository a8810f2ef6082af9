"""What a recipe comes to, where its words alone do not show it: lines before a training."""

from collections.abc import Collection, Iterator, Sequence
from math import sqrt
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import duration, shell
from dlrun.engine.run import LoopConfig, Run
from dlrun.optimizer import Averaging
from dlrun.recipe import instantiate, signature
from dlrun.recipe.view import Recipe
from dlrun.record import MANUAL

_BEFORE = (
    *("optimizer.start", "schedule.milestones", "schedule.table", "schedule.patience"),
    "unfreeze_at",
)
"""Begin with the step after so many: at the very end it is too late for them."""


_AVERAGE = "regularization.weight_average"
_NEEDS = {
    "base_batch_size": ("scale_lr", "none"),
    "layer_lr_power": ("layer_lr", None),
    "model.pool_every": ("model.pooling", "none"),
    "model.shortcut": ("model.skip", False),
    "optimizer.betas": ("optimizer.base", "momentum"),
    "optimizer.eta": ("optimizer.adaptive", False),
    "optimizer.momentum": ("optimizer.base", "adamw"),
    "optimizer.momentum_patience": ("optimizer.momentum_start", None),
    "optimizer.momentum_rise": ("optimizer.momentum_start", None),
    "optimizer.momentum_steps": ("optimizer.momentum_start", None),
    f"{_AVERAGE}.decay": (f"{_AVERAGE}.form", "swa"),
    f"{_AVERAGE}.period": (f"{_AVERAGE}.form", "ema"),
    f"{_AVERAGE}.start": (f"{_AVERAGE}.form", "ema"),
    f"{_AVERAGE}.warmup": (f"{_AVERAGE}.form", "swa"),
    "watch_every": ("watch", None),
}
"""Settings that only say more of another one, and the value with which that asks for nothing."""
_EVERY = ("validate_every", "log_every", "watch_every")
"""How often something is done, beside the end of the training."""


def notes(
    config: DictConfig,
    lengths: LoopConfig,
    averaging: Sequence[Averaging] = (),
    chosen: bool = False,
    typed: Collection[str] = (),
) -> list[str]:
    """The lines for a training of such lengths.

    averaging: what averages the weights. chosen: whether a procedure chose the lengths. typed: the
    keys that were typed.
    """
    replaced = _replaced(config) if "optimizer.lr" in typed else ()
    own = [*replaced, *_idle(config, typed)]
    own += [*_rate(config, lengths), *_decay(config), *_zeros(config, averaging)]
    return own if chosen else [*own, *_beyond(config, lengths, typed)]


def idle(config: DictConfig, run: Run, typed: Collection[str], splits: bool = True) -> list[str]:
    """A line for each setting that was typed for nothing, as this run shows.

    typed: the keys that were typed. splits: whether the recipe splits the samples; a procedure
    that does may leave one run without validation or test, and not another.
    """
    data, began = run.data, run.began or {}
    images = len(data.shape) == 3
    convolves = images and any(weight.dim() == 4 for weight in run.model.parameters())
    val, drawn = len(data.val), data.drawn or config.data.get("samples") is not None
    part = len(run.val) < val or not (val or splits)
    samples, size, several = len(run.train.rows), run.lengths.batch_size, config.accumulate
    reasons = {
        "accumulate": "" if samples > size or several == 1 else "an epoch has one mini-batch",
        "drop_last": "" if samples % size else "no mini-batch of an epoch is smaller",
        "data.split_seed": "" if drawn else "the set comes with its own splits",
        "channels_last": "" if convolves else "the model has no convolutions of images",
        "validate_on": "" if part else f"there are {val:,} validation samples",
        "test": "" if len(data.test) or not splits else "there are no test samples",
        "initializer": "" if began.get("anew", True) else f"weights={config.weights} has them all",
        **_of_layers(config, run),
        **_of_kinds(run),
    }
    return [
        f"{_said(config, key)}: has no effect, because {why}"
        for key, why in reasons.items()
        if why and key in typed and not _asks_nothing(key, OmegaConf.select(config, key))
    ]


def _of_layers(config: DictConfig, run: Run) -> dict[str, str]:
    """Why settings that act on layers of one kind do nothing; "" where they may do something."""
    weights = [weight.dim() for weight in run.model.parameters() if weight.dim() > 1]
    alone = "the model has one layer alone" if len(weights) == 1 else ""
    flat = "" if 2 in weights else "the model has no linear layers"
    wide = "" if max(weights, default=0) > 2 else "the model has no convolutions"
    own = not str(config.model["_target_"]).startswith("dlrun.")  # may end in an activation
    return {
        "activation": "" if own else alone,
        "regularization.dropconnect.convolution": wide,
        "regularization.dropconnect.linear": flat,
        "regularization.dropout.convolution": wide or alone,
        "regularization.dropout.hidden": flat or alone,
    }


def _of_kinds(run: Run) -> dict[str, str]:
    """The same for settings that act on one kind of images or targets."""
    grey = len(run.data.shape) == 3 and run.data.shape[0] == 1
    numbers = run.regression and not run.labels
    jitter, noise = "augmentation.color_jitter", "regularization.target_noise"
    colours = dict.fromkeys((f"{jitter}.saturation", f"{jitter}.hue"), "the images are grey")
    return {
        **(colours if grey else {}),
        f"{noise}.flip": "the targets are numbers" if numbers else "",
        f"{noise}.std": "" if numbers else "the targets are classes or labels",
    }


def _asks_nothing(key: str, value: Any) -> bool:
    """Whether a setting has the value that leaves all as it is; of a rate that is 0."""
    rate = key.startswith(("regularization.", "augmentation."))
    return value is None or value is False or (rate and value == 0)


def _said(config: DictConfig, key: str) -> str:
    """A setting with its value; of a group the key alone."""
    value = OmegaConf.select(config, key)
    return key if isinstance(value, DictConfig) else f"{key}={shell.spelled(value)}"


def of_rate(config: Recipe, lengths: LoopConfig) -> float:
    """By what `scale_lr` multiplies the rates."""
    times: float = lengths.step_samples / config.base_batch_size
    factors = {"none": 1.0, "linear": times, "sqrt": sqrt(times)}
    return factors[config.scale_lr]


def _rate(config: DictConfig, lengths: LoopConfig) -> Iterator[str]:
    factor, rate = of_rate(config, lengths), config.optimizer.get("lr")
    if factor == 1:
        return
    what, to = "the rate", f", to {rate * factor:.4g}," if isinstance(rate, int | float) else ""
    if table := _table(config):
        first, last = min(table)[1], max(table)[1]
        what = "the rates of schedule.table"
        to = f", to {first * factor:.4g} at first and {last * factor:.4g} at last,"
    yield (
        f"scale_lr={config.scale_lr}: multiplies {what} by {factor:.4g}{to} for steps of "
        f"{lengths.step_samples:,} samples in place of {config.base_batch_size:,}"
    )


def _table(config: DictConfig) -> list[tuple[float, float]]:
    """The epochs and rates of schedule=manual; empty with another schedule."""
    if config.schedule["_target_"] != MANUAL:
        return []
    table: list[tuple[float, float]] = instantiate.plain(config.schedule, "schedule", None)["table"]
    return table


def _replaced(config: DictConfig) -> Iterator[str]:
    """A rate that a table replaces: all its rates are numbers, and it begins at once."""
    schedule: Any = OmegaConf.to_container(config.schedule)
    table = schedule["table"] if schedule["_target_"] == MANUAL else []
    at_once = min((epoch for epoch, _ in table), default=1) == 0
    if at_once and "${optimizer.lr}" not in str(table):
        yield (
            f"optimizer.lr={config.optimizer.lr}: has no effect, because the rates are those of "
            "schedule.table"
        )


def _idle(config: DictConfig, typed: Collection[str]) -> Iterator[str]:
    """Settings that were typed for nothing, as what they are about was not asked for."""
    for key, (about, nothing) in _NEEDS.items():
        if key in typed and OmegaConf.select(config, about) == nothing:
            why = f"{about} is {shell.spelled(nothing)}"
            yield f"{_said(config, key)}: has no effect, because {why}"


def _decay(config: DictConfig) -> Iterator[str]:
    if config.decay != "all" and not config.optimizer.get("weight_decay"):
        none = "optimizer.weight_decay is 0"
        if "weight_decay" not in config.optimizer:
            none = "this optimizer has no weight decay"
        yield f"decay={config.decay}: has no effect, because {none}"


def _zeros(config: DictConfig, averaging: Sequence[Averaging]) -> Iterator[str]:
    rules = config.regularization or {}
    for name in rules if averaging else ():
        if rules[name].get("form") == "proximal":
            yield (
                f"regularization.{name}.form=proximal: the weights that are kept have no exact "
                f"zeros, because they are averages ({type(averaging[0]).__name__})"
            )


def _beyond(config: DictConfig, lengths: LoopConfig, typed: Collection[str]) -> Iterator[str]:
    """What the training is too short for, of which nothing else is said."""
    total = lengths.total_steps
    there = f"{total:,} steps ({total / lengths.steps_per_epoch:.4g} epochs)"
    for key, value, times in _durations(config, typed):
        steps = max((time.steps(lengths.steps_per_epoch, total) for time in times), default=0)
        waits = key.endswith(".patience")
        late = steps + lengths.validate_every * waits  # the first validation is the best by then
        if late < total or (late == total and key not in _BEFORE):
            continue
        said = f"warning: {key}={shell.spelled(value)} is"
        if key == "warmup":
            yield (
                f"{said} longer than the training of {there}: the rate rises to "
                f"{total / late:.2g} of its full value"
            )
        else:
            more = ", and patience begins with the first validation" if steps <= total else ""
            yield f"{said} never reached: the training has {there}{more if waits else ''}"


def _durations(
    config: DictConfig, typed: Collection[str]
) -> Iterator[tuple[str, Any, list[duration.Duration]]]:
    """The times at which something is to begin, change or end, by their keys."""
    yield "warmup", config.warmup, [duration.parse(config.warmup)]
    for key in _EVERY:
        if key in typed and (key != "watch_every" or config.watch):
            yield key, config[key], [duration.parse(config[key])]
    if config.unfreeze_at is not None:
        yield "unfreeze_at", config.unfreeze_at, [duration.parse(config.unfreeze_at)]
    options = {key: config[key] for key in ("optimizer", "schedule")}
    rules = config.regularization or {}
    options |= {f"regularization.{name}": rules[name] for name in rules}
    for key, option in options.items():
        values = instantiate.plain(option, key, None)
        for name in signature.durations(values["_target_"]):
            if values.get(name) is not None and _acts(name, values):
                at = f"{key}.{name}"
                yield at, values[name], instantiate.read_durations(at, values[name])
    if table := _table(config):
        yield "schedule.table", table, [duration.Duration(row[0], "epochs") for row in table]


def _acts(name: str, values: dict[str, Any]) -> bool:
    """Whether a time counts beside the other options: some are of one form alone."""
    if name == "momentum_steps":
        return values.get("momentum_start") is not None
    return values.get("form") != "ema" or name not in ("start", "period")
