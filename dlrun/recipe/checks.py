"""What does not fit together in a recipe, said before training."""

import inspect
import logging
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dlrun import loss as losses
from dlrun import shell
from dlrun.data import Data
from dlrun.engine.count import parameters, size
from dlrun.engine.evaluate import Tally, alone, number
from dlrun.engine.layers import RECORDED, Parts
from dlrun.engine.run import LoopConfig, Run
from dlrun.errors import Failure, Mistake, brief, kind_of, refuse, told
from dlrun.loss import Loss
from dlrun.metric import CLASSES, LABELS, NUMBERS, Metric
from dlrun.optimizer import Averaging
from dlrun.recipe import schema, suggest
from dlrun.recipe.instantiate import explained, ours, part
from dlrun.recipe.view import Recipe
from dlrun.regularization import PLACES, Regularizer, acts

_log = logging.getLogger("dlrun")
_TELLING = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What torch raises where shapes and types do not fit: its words are good enough."""
_ROUNDING = 1e-3
"""How far values may lie outside the range they are meant for."""
_SPLITS = ("train", "val", "train_eval", "test")
_LOOKED_AT = {"layer": "layers", "sharpness": "sharpness"}
"""What `watch` has to say, by what the names of its values begin with."""
_NAMED = 9  # layers in a message
_TARGETS = {CLASSES: "classes", LABELS: "several labels at once", NUMBERS: "numbers"}


def idle_activation(config: DictConfig) -> Iterator[str]:
    """What is wrong with an activation that was asked for where the model asks for none."""
    model = OmegaConf.to_container(config.model, resolve=False)
    if "${activation}" not in str(model):
        yield (
            f"activation: changes nothing, because model={_name(config, 'model')} brings its own "
            "activations; leave it out, or choose a model such as mlp, cnn or resnet"
        )


def reconstructs(model: nn.Module) -> bool:
    """Whether a model says of itself that it is to give its input back."""
    return bool(getattr(model, "reconstructs", False))


def check_classes(key: str, data: Data, model: nn.Module) -> None:
    """Raise Mistake where what `key` changes about classes finds none."""
    if not data.classes or reconstructs(model):
        raise Mistake(f"{key}: needs classes, and this task has none; leave it out")


def check_outputs(key: str, option: Recipe, known: int) -> None:
    """Raise Mistake for a number of classes that the data have not."""
    outputs = option.get("outputs", known)
    if outputs != known:
        raise Mistake(f"{key}.outputs={outputs}: the data have {known}; leave it out")


def check_range(key: str, name: str, batches: Iterable[Tensor]) -> None:
    """Raise Mistake where an augmentation would cut off what float images have beyond [0, 1]."""
    ends = [torch.stack(x.aminmax()) for x in batches if x.is_floating_point() and x.dim() == 4]
    low, high = (float(end) for end in torch.stack(ends).aminmax()) if ends else (0.0, 1.0)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise Mistake(
            f"{key}: takes images with values from 0 to 1 and cuts off the rest, but those of "
            f"data={name} go from {low:g} to {high:g}; rescale them to 0..1 in the file, or save "
            "them as bytes (uint8)"
        )


def check_augmented(key: str, made: Any, samples: int) -> None:
    """Raise Mistake where an augmentation has not made (x, y) of as many samples."""
    if not (isinstance(made, tuple | list) and len(made) == 2):
        raise Mistake(f"{key}: gives {kind_of(made)}; it must give (x, y)")
    for name, given in zip("xy", made, strict=True):
        if not isinstance(given, Tensor) or not given.dim():
            raise Mistake(
                f"{key}: gives {kind_of(given)} for {name}; it must give (x, y) as tensors"
            )
        if len(given) != samples:
            raise Mistake(
                f"{key}: gives {len(given)} {name} for {shell.counted(samples, 'sample')}; it must "
                "give as many"
            )


def refuse_parameters(key: str, target: str, made: Any) -> None:
    """Raise Mistake where a part beside the model has parameters, which no optimizer would have."""
    of = made.named_parameters() if isinstance(made, nn.Module) else ()
    if names := [name for name, weight in of if weight.requires_grad]:
        raise Mistake(
            f"{key}._target_={target}: has parameters of its own ({', '.join(names[:3])}), which "
            "nothing would train; put them into the model, or set their requires_grad to False"
        )


def check_rule(key: str, target: str, rule: Any) -> None:
    """Raise Mistake for what is no regularizer, or acts nowhere."""
    where = f"{key}._target_={target}"
    for place in filter(partial(acts, rule), (*PLACES, "penalty")):
        asked = list(inspect.signature(getattr(Regularizer, place)).parameters)[1:]
        try:
            inspect.signature(getattr(rule, place)).bind(*asked)
        except TypeError:
            called = f"it is called as {place}({', '.join(asked)})"
            raise Mistake(f"{where}: its {place}() takes other arguments; {called}") from None
    if any(acts(rule, place) for place in PLACES):
        return
    if acts(rule, "penalty"):
        raise Mistake(
            f"{where}: has a penalty, which is only recorded; add its gradient to the .grad of the "
            "weights in add_gradient(self, weights)"
        )
    raise Mistake(
        f"{where}: gives {kind_of(rule)}, which does nothing; it must give an object with at least "
        f"one of the methods {', '.join(PLACES)}"
    )


def check_penalty(key: str, target: str, value: Any) -> None:
    """Raise Mistake where a penalty is no scalar, or would keep the graph of every step."""
    where = f"{key}._target_={target}: penalty()"
    if not isinstance(value, Tensor) or value.dim():
        given = _given(value)
        raise Mistake(f"{where} gives {given}; it must give a tensor with one number")
    if value.requires_grad:
        raise Mistake(
            f"{where} gives what has a gradient, but add_gradient() adds that; write "
            "@torch.no_grad() above it"
        )


def _given(value: Any) -> str:
    shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return shape or kind_of(value)


def check_factor(config: Recipe, factor: Any, step: int) -> None:
    """Raise Mistake where what a schedule gives in a step is no number."""
    single = isinstance(factor, Tensor) and factor.numel() == 1
    number = single or (isinstance(factor, Real) and not isinstance(factor, bool))
    if not number or not 0 <= factor < math.inf:
        given = f"{float(factor):g}" if number else kind_of(factor)
        where = f"schedule._target_={config.schedule._target_}"
        raise Mistake(f"{where}: gives {given} in step {step}; it must give a number of at least 0")


def check_optimizer(config: Recipe, optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer, which must have a step and a rate of each group."""
    where = f"optimizer._target_={config.optimizer._target_}"
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise Mistake(f"{where}: gives {kind_of(optimizer)}, no torch.optim.Optimizer")
    # torch wraps the step of a class when it makes the first object of it.
    if inspect.unwrap(type(optimizer).step) is inspect.unwrap(torch.optim.Optimizer.step):
        raise Mistake(f"{where}: has no step(); write step(self, closure=None)")
    if any("lr" not in group for group in optimizer.param_groups):
        raise Mistake(
            f"{where}: its groups have no lr, which the schedule sets in each step; take a "
            "parameter lr and hand dict(lr=lr) to super().__init__"
        )
    return optimizer


def check_size(config: Recipe, model: nn.Module, at_most: int | None) -> None:
    """Raise Mistake for a model with nothing to train, or with more than `max_parameters`.

    And for complex weights, of which norms, rates and checks make no sense here.
    """
    count = parameters(model)
    if at_most is not None and (not isinstance(at_most, int) or at_most < 1):
        raise Mistake(f"model.max_parameters={at_most}: must be a whole number above 0")
    where = f"model._target_={config.model._target_}"
    if not count:
        frozen = f"all {size(model):,} are frozen: requires_grad is False"
        why = frozen if size(model) else "no parameters"
        raise Mistake(f"{where}: has nothing to train, {why}", "no_gradient")
    for name, weight in model.named_parameters():
        if weight.is_complex():
            raise Mistake(
                f"{where}: {name} is complex ({weight.dtype}), and weights must be real; keep its "
                "parts, torch.view_as_real(w), and make w of them in forward with "
                "torch.view_as_complex"
            )
    if at_most is not None and count > at_most:
        raise Mistake(f"model.max_parameters={at_most:,}: this model has {count:,} parameters")


def check_activation(config: Recipe) -> None:
    """Raise Mistake where the activation does not make a module for each place."""
    made = part(config, "activation")
    where = f"activation._target_={config.activation._target_}"
    if isinstance(made, nn.Module):
        raise Mistake(f"{where}: each place needs one of its own; write _partial_: true beside it")
    with explained("activation", config.activation), torch.random.fork_rng(devices=[]):
        check_module("activation", config.activation, made())


def check_module(key: str, option: Mapping[str, Any], made: Any) -> nn.Module:
    """What an option makes, which must be a module that can be called."""
    where = f"{key}._target_={option['_target_']}"
    if not isinstance(made, nn.Module):
        raise Mistake(f"{where}: gives {kind_of(made)}, no torch.nn.Module")
    if "_modules" not in vars(made):
        raise Mistake(f"{where}: its __init__ must begin with super().__init__()")
    if getattr(made.forward, "__func__", None) is nn.Module.forward:
        raise Mistake(f"{where}: has no forward(self, x)")
    return made


def check_forward(
    config: Recipe, model: nn.Module, loss: Loss, x: Tensor, y: Tensor, data: Data, batch: int
) -> int:
    """One forward pass and one loss on a few samples: shapes, and logits where logits are due.

    Gives how many samples the model takes: two, or a mini-batch where it takes nothing smaller.
    """

    def attempt(many: int) -> None:
        _try_forward(config, model, loss, x[:many], y[:many], data)

    return _enough(attempt, 2, min(batch, len(x)))


def _enough(attempt: Callable[[int], None], few: int, batch: int) -> int:
    """How many samples do for an attempt: a few, or a mini-batch if the model takes no less.

    Raises the Mistake of the attempt with most.
    """
    try:
        attempt(few)
    except Mistake as mistake:
        if mistake.__cause__ is None or batch <= few:
            raise
        attempt(batch)
        return batch
    return few


def _try_forward(
    config: Recipe, model: nn.Module, loss: Loss, x: Tensor, y: Tensor, data: Data
) -> None:
    name, shape = _name(config, "model"), tuple(x.shape[1:])
    model.eval()
    try:
        with torch.no_grad(), _users(config, "model"):
            logits = _passed(config, model, x)
        gives_back = reconstructs(model)
        _check_logits(name, logits, x if gives_back else y, data, gives_back)
        _require_units(name, model)
        if gives_back:
            losses.require_numbers(loss, "the model gives its input back", "mse, mae, huber or bce")
        else:
            if not data.classes:
                labels = losses.are_labels(data.train.y, data.labels)
                kind, right = ("labels", "bce") if labels else ("numbers", "mse, mae or huber")
                losses.require_numbers(loss, f"the targets of data={data.name} are {kind}", right)
            numbers = data.train.y[data.train.rows]
            losses.require_unit_targets(loss, numbers, "loss=mse, mae or huber")
        if config.preflight != "off":
            losses.refuse_probabilities(loss, model, x)
    except _TELLING as error:
        with explained("activation", config.activation):
            if _in_activation(config, error):
                raise
        message = f"model={name}: does not take samples of shape {shape} from data={data.name}"
        raise Mistake(f"{message}: {brief(error)}") from error
    finally:
        model.train()
    target = (x if gives_back else y).clone()
    before = target._version
    with explained("loss", config.loss), _users(config, "loss"):
        value = loss(logits, target)
    if target._version != before:
        raise Mistake(f"loss={config.loss._target_}: changes its targets; work on y.clone()")
    if not isinstance(value, Tensor) or value.dim():
        right = "it must give a tensor with one number, the mean over the batch"
        raise Mistake(f"loss={config.loss._target_}: gives {_given(value)}; {right}")


def _passed(config: Recipe, model: nn.Module, x: Tensor) -> Any:
    """What a model gives for x, which stays as it is.

    A model that changes its input gets a copy from now on: checks, measures and optimizers give
    it the same batch several times, and the target of an autoencoder is its input.
    """
    given = x.clone()
    before = given._version
    outputs = model(given)
    if given._version != before:
        model.register_forward_pre_hook(_copied)
        _log.warning(
            f"model={_name(config, 'model')}: changes its input in place, so it gets a copy of "
            "each batch, which takes time and memory; write x = 2 * x rather than x.mul_(2)"
        )
    return outputs


def _copied(model: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].clone(),)


def gets_copies(model: nn.Module) -> bool:
    """Whether it has turned out that a model, or one inside it, changes its input."""
    return any(_copied in each._forward_pre_hooks.values() for each in model.modules())


def _in_activation(config: Recipe, error: BaseException) -> bool:
    """Whether the recipe's activation has raised an error, and no layer before it."""
    kind = type(part(config, "activation")())
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [owner for owner in owners if isinstance(owner, nn.Module)]
    return bool(modules) and type(modules[-1]) is kind


def check_reconstruction(loss: Loss, batches: Iterable[Tensor]) -> None:
    """Raise Mistake where bce is to give back values beyond [0, 1]; of the whole split."""
    if loss.link == "sigmoid":
        ends = torch.stack([torch.stack(x.aminmax()) for x in batches])
        right = "preprocessing=none where the data are images, or loss=mse"
        losses.require_unit_targets(loss, ends, right)


def check_step(
    config: Recipe,
    model: nn.Module,
    objective: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    data: Data,
    lengths: LoopConfig,
    tried: int,
) -> None:
    """One forward and backward pass in training mode; the model stays as it is.

    What fails there alone would stop a run after hours. x and y are as training has them, y
    maybe mixed. Of the smallest mini-batch: one sample gives batch norm no variance.
    tried: how many samples the model takes in evaluation mode.
    """
    batch = lengths.smallest(len(data.train))

    def attempt(many: int) -> None:
        _try_step(config, model, objective, x[:many], y[:many], data, batch)

    _enough(attempt, min(batch, tried), batch)


def _try_step(
    config: Recipe,
    model: nn.Module,
    objective: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    data: Data,
    batch: int,
) -> None:
    mixed = bool(data.classes) and y.is_floating_point()
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    name = _name(config, "model")
    model.train()
    try:
        with _users(config, "model"):
            logits = _passed(config, model, x)
        target = x if reconstructs(model) else y
        with explained("loss", config.loss), _told_of(mixed, config), _users(config, "loss"):
            value = objective(logits, target)
        if not value.requires_grad:
            where = f"model={name}" if not logits.requires_grad else f"loss={config.loss._target_}"
            message = f"{where}: its result has no gradient, so nothing would be trained"
            raise Mistake(message, "no_gradient")
        value.backward()
    except _TELLING as error:
        if "more than 1 value per channel" in str(error):
            raise Mistake(_too_few(config, batch)) from None
        raise Mistake(f"model={name}: fails in a step of training: {brief(error)}") from error
    finally:
        with torch.no_grad():
            for key, before in buffers.items():
                model.get_buffer(key).copy_(before)
        model.zero_grad(set_to_none=True)


def check_views(
    config: Recipe,
    views: Callable[[Tensor], list[Tensor]],
    preprocessing: nn.Module,
    model: nn.Module,
    x: Tensor,
    outputs: int,
) -> None:
    """Views of two raw samples x must be such as the model takes; they are used after training."""
    name = _name(config, "test_augmentation")
    with explained("test_augmentation", config.test_augmentation):
        seen = views(x)
    model.eval()
    for view in seen:
        shape = tuple(view.shape[1:])
        try:
            with torch.no_grad():
                given = tuple(model(preprocessing(view)).shape)
        except (RuntimeError, ValueError) as error:
            message = f"test_augmentation={name}: the model does not take views of shape {shape}"
            raise Mistake(f"{message}: {brief(error)}") from error
        finally:
            model.train()
        if given != (len(x), outputs):
            raise Mistake(f"test_augmentation={name}: needs one prediction a class, not {given}")


def check_recorded(key: str, value: str, run: Run) -> None:
    """Raise Mistake where a setting names a value that no point of this run will have."""
    if value.rpartition("/")[2] not in run.measured:
        there = "there are no classes" if run.regression else "there are classes"
        right = f"{key}=val/loss or val/{run.metric.name}"
        raise Mistake(f"{key}={value}: is not measured, because {there}; use {right}")
    if value.startswith("val/") and not len(run.val):
        message = f"{key}={value}: there is no validation split; use {key}=train/loss"
        raise Mistake(message, "no_validation")


def unrecorded(name: str, run: Run) -> str:
    """Why the training of a run records no value of this name; empty where it does, or may.

    What a look says of a layer that there is, and what is measured at the end, may be recorded.
    """
    split, _, measured = name.rpartition("/")
    trained = ["loss", run.metric.name, "objective"]
    trained += [type(rule).__name__.lower() for rule in run.penalties]
    known = ["lr", "grad/norm", *(f"train/{each}" for each in trained)]
    known += [f"val/{each}" for each in run.measured if len(run.val)]
    if split == "train_eval" and run.train_eval is None:
        return "is not measured; add train_eval=true"
    if looked := _LOOKED_AT.get(name.partition("/")[0]):
        if looked not in run.watch:
            return f"is not recorded; add watch={looked}"
        return _not_looked_at(name, run) if looked == "layers" else ""
    if split in _SPLITS[1:] and measured not in run.measured:
        right = suggest.measure(split, measured, [*run.measured], [*run.metrics])
        return f"is not measured{right or _among(known)}"
    if name in known or split in _SPLITS[2:]:
        return ""
    near = suggest.nearest(name, known)
    return f"is not recorded{near or _among(known)}" if near or split in ("", *_SPLITS) else ""


def _not_looked_at(name: str, run: Run) -> str:
    """What is wrong with a value's name, `layer/<layer>/<statistic>`; empty where nothing is."""
    layer, _, measured = name.removeprefix("layer/").rpartition("/")
    known = [*Parts(run.model).looked.values()]
    if not any(f"{layer}.".startswith(f"{each}.") for each in known):  # fc1.relu is of fc1
        near = suggest.nearest(layer, known, f"layer/{{}}/{measured}")
        some = [*known[:_NAMED], *(["…"] if len(known) > _NAMED else [])]
        return f"is not recorded{near or '; the layers are ' + ', '.join(some)}"
    if measured not in RECORDED:
        near = suggest.nearest(measured, RECORDED, f"layer/{layer}/{{}}")
        return f"is not recorded{near or _among(RECORDED)}"
    return ""


def _among(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names)}"


def monitored(name: str, data: Data, regression: bool) -> str:
    """The value that decides which weights are best; `auto` is what suits the task."""
    if name != "auto":
        return name
    if not len(data.val):
        return "train/loss"
    return "val/loss" if regression else "val/accuracy"


def are_labels(loss: Loss, data: Data, reconstructs: bool) -> bool:
    """Whether the targets are several labels at once: each 0 or 1, and the loss has a sigmoid."""
    return not reconstructs and loss.link == "sigmoid" and _are_binary(data)


def _are_binary(data: Data) -> bool:
    y = data.train.y
    return not data.classes and bool(((y == 0) | (y == 1)).all())


def check_run(config: Recipe, run: Run, x: Tensor, y: Tensor) -> None:
    """Raise Mistake for what a model cannot measure, and what does not fit the task.

    Two averages, an error to aim at, metrics, and a split of one sample.
    """
    _check_alone(config, run)
    _check_averages(run)
    _check_target(config, run)
    _check_metrics(config, run, x, y)


def _check_alone(config: Recipe, run: Run) -> None:
    """Raise Mistake where a split is one sample, and the model answers none without others."""
    measured = {name: split.rows for name, split in run.data.splits.items() if name != "train"}
    for name, rows in (measured | {"val": run.val.rows}).items():
        if len(rows) == 1 and (why := alone(run, run.data.train.x[rows])):
            raise Mistake(
                f"model={_name(config, 'model')}: answers no sample alone ({why}), and the "
                f"{name} split has one; give it two with data.split, or let norms keep running "
                "statistics"
            )


def _check_averages(run: Run) -> None:
    """Raise Mistake where two say which weights stand in for those that are trained."""
    found = [key for key, rule in run.regularizers.items() if acts(rule, "averages")]
    if isinstance(run.optimizer, Averaging):
        found.insert(0, f"optimizer ({type(run.optimizer).__name__})")
    if len(found) > 1:
        raise Mistake(
            f"{' and '.join(found)}: each has weights of its own to validate and keep in "
            "place of the trained ones; choose one of them"
        )


def _check_target(config: Recipe, run: Run) -> None:
    """Raise Mistake for a share where a mean absolute error is due, or a share above 1."""
    target, said = schema.target_error(config.target_error), f"target_error={config.target_error}"
    if target is None:
        return
    if run.metric.name == "accuracy":
        if target > 1:
            raise Mistake(f"{said}: must be a share of errors, such as 1% or 0.01")
    elif said.endswith("%"):
        raise Mistake(f"{said}: must be a val/{run.metric.name}, such as 0.5, and no share")


def _check_metrics(config: Recipe, run: Run, x: Tensor, y: Tensor) -> None:
    """Raise Mistake for what cannot be monitored, and for metrics that don't fit the task.

    x, y: some of the training split, x as the model sees it; the metrics are tried on them.
    """
    check_recorded("monitor", run.monitor, run)
    if not run.metrics:
        return
    refuse(filter(None, (_unfit(run, one) for one in run.metrics.values())))
    was_training = run.model.training
    run.model.eval()
    with torch.no_grad():
        answers = run.answers(run.uncompiled(x), (x if run.reconstructs else y).clone())
        before = [each._version for each in answers]
        for name, metric in run.metrics.items():
            with explained(f"metric.{name}", config.metric[name]):
                value = metric(*answers)
                value = value if metric.of_sums is None else metric.of_sums(value, len(y))
            if [each._version for each in answers] != before:
                raise Mistake(
                    f"metric.{name}: changes what it is given, which others see too; work on a "
                    "clone() of it"
                )
            try:
                number(name, value)
            except Failure as failure:
                raise Mistake(str(failure)) from None
    run.model.train(was_training)
    _check_monitored(config, run)


def _check_monitored(config: Recipe, run: Run) -> None:
    """Raise Mistake where the metric that is monitored can be no number on the val split.

    As for the area under the ROC curve of one class; tried with predictions drawn at random.
    """
    name = run.monitor.rpartition("/")[2]
    own = name in run.metrics and not ours(str(config.metric[name]._target_))
    numbers = run.regression and not run.labels  # of which dlrun's own always have a value
    if name not in run.metrics or run.reconstructs or (numbers and not own):
        return
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randn((len(run.val), run.data.outputs), generator=draw).to(run.device)
    tally = Tally({name: run.metrics[name]})
    tally.add(*run.answers(drawn, run.val.y[run.val.rows].to(run.device)))
    if math.isnan(tally.values(len(drawn))[name]):
        why = (
            "has no value on the val split, which has too few classes or samples for it; "
            "choose another, or a larger split with data.split"
        )
        if own:
            why = f"metric.{name} gives nan for predictions drawn at random; let it give a number"
        raise Mistake(f"monitor={run.monitor}: {why}")


def _unfit(run: Run, metric: Metric) -> str:
    """Why a metric cannot be had of this task; empty where it can."""
    kinds = (CLASSES,) if not run.regression else (LABELS, NUMBERS) if run.labels else (NUMBERS,)
    if not set(kinds) & set(metric.takes):
        there = f"those of data={run.data.name} are {_TARGETS[kinds[0]]}"
        if run.reconstructs:
            there = "the model gives its input back"
        meant = " or ".join(_TARGETS[kind] for kind in metric.takes)
        right = "leave it out"
        if LABELS in metric.takes and _are_binary(run.data) and not run.reconstructs:
            right = "for labels, each 0 or 1, there is loss=bce"
        return f"metric={metric.name}: is for targets that are {meant}, and {there}; {right}"
    if metric.probabilities and not run.loss.link:
        name = run.loss.name
        own = "" if name in losses.LOSSES else ", or a dlrun.loss.Loss that says its link"
        return (
            f"metric={metric.name}: needs probabilities, and loss={name} gives none; "
            f"use loss=cross_entropy or bce{own}"
        )
    return ""


@contextmanager
def _users(config: Recipe, group: str) -> Iterator[None]:
    """Inside, whatever the user's own class raises is a Mistake that says where."""
    target = str(config[group]._target_)
    try:
        yield
    except (Exception, SystemExit) as error:
        if ours(target) or isinstance(error, _TELLING):
            raise
        raise Mistake(f"{group}._target_={target}: {told(error)}") from error


@contextmanager
def _told_of(mixed: bool, config: Recipe) -> Iterator[None]:
    """Inside, a loss that fails on mixed labels is a Mistake that says what has mixed them."""
    try:
        yield
    except (Mistake, *_TELLING) as error:
        if not mixed:
            raise
        raise Mistake(
            f"augmentation=[{','.join(config.augmentation)}]: mixes labels into probabilities, and "
            f"loss={_name(config, 'loss')} takes whole labels only; use loss=cross_entropy, bce "
            "or mse, or an augmentation without mixup and cutmix",
            "wrong_loss",
        ) from error


def _name(config: Recipe, group: str) -> str:
    """The function or class that a group's option names, without its module."""
    return str(config[group]._target_).rpartition(".")[2]


def _too_few(config: Recipe, batch: int) -> str:
    """Batch norm without a variance: each channel has one value in a mini-batch."""
    if config.batch_size == batch:
        return f"batch_size={batch}: batch norm needs more than one value of each channel"
    return (
        f"batch_size={config.batch_size}: leaves a last mini-batch of {batch}, too few for batch "
        "norm; set drop_last=true"
    )


def _require_units(name: str, model: nn.Module) -> None:
    """Raise Mistake for a layer of no units, as of a width of 0: nothing passes through it."""
    for key, weight in model.named_parameters():
        if not is_lazy(weight) and weight.dim() > 1 and not weight.numel():
            shape = tuple(weight.shape)
            raise Mistake(f"model={name}: {key} has the shape {shape}; a layer needs a unit")


def _check_logits(name: str, logits: Any, target: Tensor, data: Data, reconstructs: bool) -> None:
    count = len(target)
    expected = tuple(target.shape) if reconstructs else (count, data.outputs)
    given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if given == expected and logits.is_floating_point():
        return
    if given == expected:
        raise Mistake(f"model={name}: gives {logits.dtype}; it must give floating-point numbers")
    wanted = "one number a class" if data.classes else "one number a target"
    if reconstructs:
        wanted = "the shape of its input"
    size = f" ({math.prod(expected[1:]):,} numbers a sample)" if reconstructs else ""
    raise Mistake(
        f"model={name}: gives {given} for {count} samples of data={data.name}; "
        f"it must give {expected}, {wanted}{size}"
    )
