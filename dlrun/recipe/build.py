"""From a composed recipe to a Run: the only place that instantiates.

Everything that can be wrong is said here, before a run exists: `check` looks at every
setting and every argument before any data are read, `build` at what depends on the data.
"""

import copy
import inspect
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from dlrun import duration, metric, preprocessing, shell
from dlrun import loss as losses
from dlrun.augmentation import clamps, compose
from dlrun.data import Data, Report, Source, Split, blame, custom
from dlrun.data import split as splits
from dlrun.data.sample import sample
from dlrun.engine import device as devices
from dlrun.engine import sampling, shared, transfer
from dlrun.engine.count import flops
from dlrun.engine.eager import eager
from dlrun.engine.feed import PreparedSplit
from dlrun.engine.freezing import Frozen
from dlrun.engine.run import Augment, LoopConfig, Run, Weights
from dlrun.engine.transfer import Start
from dlrun.errors import Mistake, refuse
from dlrun.loss import Loss
from dlrun.metric import Metric
from dlrun.model import roles
from dlrun.model.pretrained import expected
from dlrun.optimizer import takes_closure
from dlrun.recipe import checks, expect, named, notes, schema, signature, suggest, task, view
from dlrun.recipe import instantiate as ingredients
from dlrun.recipe import start as starts
from dlrun.recipe.instantiate import as_a, explained, ours, part, plain, several, users
from dlrun.recipe.once import once
from dlrun.recipe.view import Recipe, View
from dlrun.regularization import Regularizer, acts
from dlrun.schedule import Fixed, Schedule, warmup
from dlrun.test_augmentation import CenterCrop, has_size

_log = logging.getLogger("dlrun")
TRAIN_EVAL = 2000  # of the training split, at most, that are measured as validation is
SAMPLES = 64  # of the training split, for whatever looks at data before training
_FITTED = 2**29  # elements of the training split that preprocessing is fitted to, at most
_PASS = 2**22  # elements of the training split that are preprocessed at once
_TRIED = (
    *("preprocessing", "augmentation", "model", "activation", "initializer", "loss"),
    *("regularization", "batch_size", "drop_last", "sampling", "class_weights", "preflight"),
)
"""What decides whether a first step is sound."""
_operations: dict[tuple[str, torch.Size, int], int] = {}
"""Of a model for a sample: by its part of the recipe, the sample's shape, and its outputs."""


def check(config: DictConfig, chosen: Sequence[str] = ()) -> None:
    """Raise one Mistake that names all wrong settings and arguments of a recipe.

    chosen: the groups whose option was asked for rather than left at its default.
    """
    written = view.as_written(config)
    apart = {"data": schema.SPLITTING, "model": ("max_parameters",)}
    if not ours(str(written["data"].get("_target_"))):
        apart["data"] = (*schema.SPLITTING, *custom.OWN)
    settings = _settings(config, written)
    wrong = [*schema.problems(settings), *_wrong_splitting(config)]
    for group in schema.GROUPS:
        wrong += ingredients.problems(config, written, group, apart.get(group, ()))
    if "activation" in chosen:
        wrong += checks.idle_activation(config)
    metrics = list(written["metric"] or ())
    monitored = suggest.watched("monitor", settings["monitor"], schema.MONITORS, metrics)
    wrong += filter(None, (monitored, suggest.looked_at(settings["watch"])))
    wrong += expect.problems(config)
    refuse(wrong)
    devices.choose(settings["device"])


def _settings(config: DictConfig, written: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the settings on top of a recipe."""
    some = {key: each for key, each in written.items() if key not in schema.GROUPS}
    return {key: config[key] if "${" in str(each) else each for key, each in some.items()}


def read_data(config: DictConfig, report: Report | None = None, partly: bool = False) -> Source:
    """All samples of the recipe's data; `report(done, total)` is called while decoding.

    partly: whether classes may be without samples, where nothing is trained on these.
    """
    values = plain(config.data, "data", None)
    values = {key: value for key, value in values.items() if key not in schema.SPLITTING}
    target = values["_target_"]
    with explained("data", values):
        if not ours(target):
            with blame(f"data._target_={target}"):
                return _custom(values, report)
        more = _given(values, report=report, partly=partly)
        source: Source = instantiate(values, _convert_="all", **more)
    return source


def _given(values: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """Those of `ours` that the data's function takes. Raises Mistake where one was typed."""
    takes = signature.parameters(signature.find(values["_target_"], "data")) or {}
    given = {key: value for key, value in ours.items() if key in takes}
    typed = {key: values[key] for key in given if key in values}
    refuse(
        f"data.{key}={shell.shown(value)}: is no setting, dlrun gives it itself; leave it out"
        for key, value in typed.items()
    )
    return given


def _custom(values: dict[str, Any], report: Report | None) -> Source:
    """What a user's own function gives, which takes `report` and `cache` where it wants to."""
    function = signature.find(values["_target_"], "data")
    takes = signature.parameters(function) or {}
    own = {key: values[key] for key in custom.OWN if key in values and key not in takes}
    given = {key: value for key, value in values.items() if key not in own}
    made = instantiate(given | {"_partial_": True}, _convert_="all", **_given(given, report=report))
    code = [signature.find(target, "data") for target in signature.targets(given)]
    return custom.custom(made, given, code, **own, report=report)


def split_data(
    config: Recipe,
    source: Source,
    rows: Mapping[str, Sequence[int]] | None = None,
    fitted: Mapping[str, Any] | None = None,
) -> Data:
    """The splits of samples that are read, as the recipe or `rows` says.

    fitted: what another run has learned of a table, its `Data.reading`.
    """
    values = plain(config.data, "data", None)
    splitting = {key: value for key, value in values.items() if key in schema.SPLITTING}
    with explained("data", splitting):
        data = splits.make(source, **splitting, rows=rows, fitted=fitted)
    if not len(data.train):
        raise Mistake(f"data.split={splitting.get('split')}: leaves no sample to train on")
    return data


class Known(NamedTuple):
    """What is known of a training split that is not read again.

    fitted: what the preprocessing has learned from it.
    """

    fitted: Weights
    samples: int


def build(
    config: DictConfig,
    data: Data,
    cores: int | None = None,
    known: Known | None = None,
    begun: Path | None = None,
) -> Run:
    """The Run of a recipe on these data; the same recipe gives the same Run.

    cores: how many threads it may use where the recipe does not say; None for all.
    known: of the data that the recipe was trained on, where these only stand in for them.
    begun: the folder that keeps what the runs of a procedure begin with; see `start.of`.
    Raises Mistake for what does not fit together. Fills in `config.facts`, and the loss of the
    task where the recipe leaves it to that.
    """
    task.settle_loss(config, data)
    recipe, start, most = View(config), starts.of(config, begun), cores or devices.CORES
    device = _device(recipe, most)
    seen = _see(recipe, data, device, start, known)
    recipe.learn(shape=list(seen.x.shape[1:]), outputs=data.outputs)
    lengths = lengths_of(recipe, known.samples if known else len(data.train), seen.x[0].numel())
    learner = _learner(recipe, data, seen, lengths)
    began = _started(recipe, learner.model, start)
    layout = devices.lay_out(learner.model, recipe.channels_last and seen.x.dim() == 4)
    optimizer, frozen = _trained(recipe, learner, seen.x[: learner.tried], lengths)
    operations = _counted(recipe, data, learner.model, seen.x[: learner.tried])
    _take_threads(recipe, min(lengths.batch_size, len(data.train)) * operations, most)
    feeds = _prepared(recipe, data, seen, start is None and known is None)
    run = Run(
        data=data,
        train=feeds.train,
        val=feeds.val,
        preprocessing=seen.chain,
        evaluation=seen.evaluation,
        augmentation=seen.augmentation,
        model=learner.model,
        forward=devices.caller(learner.model, recipe.precision, device, recipe.compile),
        uncompiled=devices.caller(learner.model, recipe.precision, device, compiled=False),
        loss=learner.loss,
        objective=learner.objective,
        order=_order(recipe, feeds.train, lengths),
        balanced="balanced" in (recipe.sampling, recipe.class_weights),
        optimizer=optimizer,
        schedule=schedule_of(recipe, lengths),
        lengths=lengths,
        device=device,
        generator=torch.Generator(device).manual_seed(recipe.seed + 2),
        monitor=checks.monitored(recipe.monitor, data, learner.reconstructs or not data.classes),
        clip_norm=recipe.clip_norm,
        clip_value=recipe.clip_value,
        layout=layout,
        scaler=_scaler(recipe, optimizer, device),
        flops=operations,
        views=_views(recipe, data, seen, learner.model),
        backoff=recipe.on_divergence == "backoff",
        divergence=schema.as_words(recipe.divergence),
        reconstructs=learner.reconstructs,
        regularizers=learner.regularizers,
        metrics=metrics(recipe),
        labels=checks.are_labels(learner.loss, data, learner.reconstructs),
        watch=schema.as_words(recipe.watch),
        began=began,
        frozen=frozen,
        train_eval=feeds.train_eval,
    )
    checks.check_run(recipe, run, seen.x, seen.y)
    _seed(recipe.seed + 1)  # the noise of training, whatever else has drawn from it
    return run


def _device(config: Recipe, most: int) -> torch.device:
    """The device of a recipe, with torch set up for it."""
    devices.set_up(config.threads or most, config.deterministic)
    return devices.choose(config.device)


def _take_threads(config: Recipe, operations: int, most: int) -> None:
    """Use as many threads as the operations of a mini-batch are worth, where none are asked for."""
    if config.threads is None:
        torch.set_num_threads(devices.worthwhile(operations, most))


def _order(config: Recipe, train: PreparedSplit, lengths: LoopConfig) -> Callable[[int], Tensor]:
    """The rows of each epoch, in their order."""
    size = lengths.batch_size
    return sampling.by_epoch(
        config.sampling, train.rows, train.y, config.seed, size, config.drop_last
    )


def _trained(
    config: Recipe, learner: "_Learner", x: Tensor, lengths: LoopConfig
) -> tuple[torch.optim.Optimizer, Frozen | None]:
    """The optimizer of what is trained, and what is not, or not from the beginning."""
    model = learner.model
    if not named.asked(config):
        return optimizer_of(config, model, learner.loss, lengths, {}), None
    names = named.Names(model, x)
    frozen = named.frozen(config, model, names, lengths)
    if frozen is not None and frozen.until is None:
        frozen.at(0)
    optimizer = optimizer_of(config, model, learner.loss, lengths, named.factors(config, names))
    if frozen is not None:
        frozen.at(0)  # what joins later has its place in the optimizer
    return optimizer, frozen


def metrics(config: Recipe) -> dict[str, Metric]:
    """The metrics that a recipe asks for, by name. Raises Mistake."""
    made = several(config, "metric")
    return {name: metric.of(made[f"metric.{name}"], str(name)) for name in config.metric or ()}


def _part(split: Split, count: int) -> Split:
    """So many samples of a split, each class with its share, or all where it has fewer."""
    return replace(split, rows=sample(split, count, seed=0).sort().values)


class _Feeds(NamedTuple):
    """The splits as the model sees them.

    train_eval: a fixed part of the training split, as evaluation sees it; None where nobody asks.
    """

    train: PreparedSplit
    val: PreparedSplit
    train_eval: PreparedSplit | None


def _prepared(config: Recipe, data: Data, seen: "_Seen", follows: bool) -> _Feeds:
    """The splits, which other runs have too where they see the same.

    follows: whether what the preprocessing has learned follows from the recipe and the data.
    """
    key = _known_by(config, seen.chain) if follows else ""
    cut = key and f"{key} {tuple(seen.x.shape[1:])}"
    most = config.validate_on
    val = data.val if most is None or most >= len(data.val) else _part(data.val, most)

    def feed(name: str, split: Split, chain: nn.Sequential, fixed: bool = True) -> PreparedSplit:
        return shared.of(data).feed(cut, name, split, chain, seen.x.device, fixed)

    return _Feeds(
        feed("train", data.train, seen.chain, fixed=seen.augmentation is None),
        feed("val", val, seen.evaluation),
        feed("train_eval", _part(data.train, TRAIN_EVAL), seen.evaluation)
        if config.train_eval
        else None,
    )


def _known_by(config: Recipe, chain: nn.Sequential) -> str:
    """The key of a preprocessing; "" where not all of its steps are dlrun's own."""
    own = all(type(step).__module__.startswith("dlrun.preprocessing") for step in chain)
    said = ingredients.said(config, "preprocessing") if own else ""
    return said and f"{said} {_FITTED}"


def _counted(config: Recipe, data: Data, model: nn.Module, x: Tensor) -> int:
    """The operations of the model for a sample; counted once for models that are built alike."""
    key = ingredients.said(config, "model", "regularization"), x.shape, data.outputs
    if not key[0]:
        return flops(model, x)
    if key not in _operations:
        _operations[key] = flops(model, x)
    return _operations[key]


class _Seen(NamedTuple):
    """What the model will see.

    evaluation: the preprocessing there; where augmentation changes the size of images,
        validation and test take the middle of each.
    x, y, aim: a drawn batch: x as the model sees it in training, y as the data give it, aim as
        augmentation makes it.
    """

    augmentation: Augment | None
    chain: nn.Sequential
    evaluation: nn.Sequential
    x: Tensor
    y: Tensor
    aim: Tensor


class _Learner(NamedTuple):
    """The model with its first weights, and what it is to make small."""

    model: nn.Module
    loss: Loss
    objective: Loss
    regularizers: dict[str, Regularizer]
    reconstructs: bool
    tried: int  # samples of a batch that the model takes


def _see(
    config: Recipe, data: Data, device: torch.device, start: Start | None, known: Known | None
) -> _Seen:
    augmentation = augmentation_of(config, data, device)
    chain = _fitted(config, data, device, known.fitted if known else None)
    if config.threads is None:
        torch.set_num_threads(1)  # from here on for few samples; other processes may be at work
    if start is not None and not config.resume:  # which was told when it began
        starts.warn_of_seen(start.facts, data)
    if start is not None and start.preprocessing is not None:
        kept = _take_fitted(chain, start.preprocessing)
        start.facts["preprocessing"] = "kept" if kept else "fitted anew"
    rows = sample(data.train, SAMPLES, config.seed)
    x, y = data.train.x[rows].to(device), data.train.y[rows].to(device)
    before, aim, evaluation = x.shape, y, chain
    if augmentation is not None:
        x, aim = augmentation(x, y, torch.Generator(device).manual_seed(0))
    if x.shape != before:
        evaluation = nn.Sequential(CenterCrop(list(x.shape[2:])), *chain)
    told = explained("preprocessing", config.preprocessing or {})
    with torch.no_grad(), told, users(config, Mistake):
        for step in chain:
            x = preprocessing.passed(step, x)
    return _Seen(augmentation, chain, evaluation, x, y, aim)


def _learner(config: View, data: Data, seen: _Seen, lengths: LoopConfig) -> _Learner:
    """The model, the loss, what the regularizers make of them, and the weights to start from."""
    _seed(config.seed)
    device = seen.x.device
    given = part(config, "loss")
    checks.refuse_parameters("loss", config.loss._target_, given)
    loss = losses.of(given)
    model = _model(config, loss, data).to(device)
    starts.offer(config.config, expected(model))
    key, sound = _tried_by(config), shared.of(data).tried
    tried = sound.get(key) or checks.check_forward(
        config, model, loss, seen.x, seen.y, data, lengths.batch_size
    )
    reconstructs = checks.reconstructs(model)
    if reconstructs:
        checks.check_reconstruction(loss, map(seen.chain, _raw(data, device)))
    rules = several(config, "regularization", lengths)
    for key, rule in rules.items():
        target = config.regularization[key.partition(".")[2]]._target_
        checks.refuse_parameters(key, target, rule)
        checks.check_rule(key, target, rule)
    regularizers = {key: as_a(Regularizer, rule) for key, rule in rules.items()}
    for rule in regularizers.values():
        rule.regression = reconstructs or not data.classes
        rule.labels = checks.are_labels(loss, data, reconstructs)
    model, objective = _regularized(config, regularizers, model, loss, seen.x, data)
    objective = _weighted(config, objective, data, device)
    checks.check_size(config, model, config.model.get("max_parameters"))
    initialize = part(config, "initializer")
    with torch.no_grad(), explained("initializer", config.initializer):
        initialize(model, seen.x)
    if key not in sound:
        checks.check_step(config, model, objective, seen.x, seen.aim, data, lengths, tried)
        sound |= {key: tried} if key and not checks.gets_copies(model) else {}
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for key, rule in regularizers.items():
        if acts(rule, "penalty"):
            option = config.regularization[key.partition(".")[2]]
            with explained(key, option):
                checks.check_penalty(key, option._target_, rule.penalty(weights))
    # Averages are taken last, of weights that every other rule has had its say about.
    ordered = sorted(regularizers.items(), key=lambda item: acts(item[1], "averages"))
    return _Learner(model, loss, objective, dict(ordered), reconstructs, tried)


def _tried_by(config: View) -> str:
    """The key of a network whose first step does as that of any seed; "" of a user's own."""
    return ingredients.said(config, *_TRIED) if ingredients.ours(config.model._target_) else ""


def _model(config: View, loss: Loss, data: Data) -> nn.Module:
    """The model as its class gives it; one logit becomes two where the loss wants that."""
    if loss.one_logit:
        if len(data.classes) != 2:
            there = f"{len(data.classes)} classes" if data.classes else "no classes"
            right = "loss=cross_entropy" if data.classes else "loss=bce without it"
            raise Mistake(
                f"loss.one_logit=true: is for two classes, and data={data.name} has {there}; "
                f"use {right}"
            )
        config.learn(outputs=1)
    checks.check_activation(config)
    made = part(config, "model", apart=("max_parameters",))
    model = checks.check_module("model", config.model, made)
    if loss.one_logit:
        model.register_forward_hook(losses.beside_zero)
    return model


def _views(
    config: Recipe, data: Data, seen: _Seen, model: nn.Module
) -> Callable[[Tensor], list[Tensor]] | None:
    """Of a raw batch, for the test split; None where the recipe asks for none."""
    if not config.test_augmentation:
        return None
    views: Callable[[Tensor], list[Tensor]] = part(config, "test_augmentation")
    raw = data.train.x[data.train.rows[:2]].to(seen.x.device)  # for their shape and type alone
    before = seen.chain if has_size(views) else seen.evaluation
    checks.check_views(config, views, before, model, raw, data.outputs)
    return views


def _scaler(
    config: Recipe, optimizer: torch.optim.Optimizer, device: torch.device
) -> torch.amp.GradScaler | None:
    if config.precision != "fp16":
        return None
    if takes_closure(optimizer):
        raise Mistake("precision=fp16: this optimizer evaluates the loss itself; use bf16")
    return torch.amp.GradScaler(device.type)


def _regularized(
    config: Recipe,
    regularizers: dict[str, Regularizer],
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    data: Data,
) -> tuple[nn.Module, Loss]:
    """The model and what is minimized, as the regularizers change them."""
    objective = loss
    for key, rule in regularizers.items():
        option = config.regularization[key.partition(".")[2]]
        checks.check_outputs(key, option, config.facts.outputs)
        with explained(key, option):
            model = rule.change_model(model, x)
            if acts(rule, "change_loss"):
                checks.check_classes(key, data, model)
                objective = rule.change_loss(objective, data.outputs)
    return model, objective


def _wrong_splitting(config: DictConfig) -> list[str]:
    data = view.plain(config.data).items()
    given = {str(key): value for key, value in data if key in schema.SPLITTING}
    return _wrong_splits("data", given)


@once
def _wrong_splits(key: str, given: dict[str, Any]) -> list[str]:
    wrong = signature.problems("dlrun.data.split.check", given, key)
    try:
        if not wrong:
            with explained(key, given):
                splits.check(**given)
    except Mistake as mistake:
        return [str(mistake)]
    return wrong


def _seed(seed: int) -> None:
    """Seed every global source of random numbers: the user's own code may draw from any."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if devices.choose("auto").type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)  # where it waits for a GPU, it takes longer than a small model


def augmentation_of(config: Recipe, data: Data, device: torch.device) -> Augment | None:
    """All augmentations as one; each is told, or learns from the data, what it asks for."""
    steps = []
    for key, step in several(config, "augmentation").items():
        target = config.augmentation[key.partition(".")[2]]._target_
        checks.refuse_parameters(key, target, step)
        asks = "classes" in inspect.signature(step).parameters
        if asks and not data.classes and not losses.are_labels(data.train.y, data.labels):
            raise Mistake(f"{key}: mixes classes, and data={data.name} is a regression")
        if clamps(step) and data.train.x.is_floating_point():
            checks.check_range(key, data.name, _raw(data, device))
        made = partial(step, classes=data.outputs) if asks else step
        with explained(key, config.augmentation[key.partition(".")[2]]):
            if hasattr(step, "fit"):
                step.fit(_raw(data, device, _FITTED))
            rows = data.train.rows[:2]  # for their shape and type alone
            given = made(data.train.x[rows], data.train.y[rows], torch.Generator().manual_seed(0))
            checks.check_augmented(key, given, len(rows))
        steps.append(made)
    return compose(steps) if steps else None


def _fitted(
    config: Recipe, data: Data, device: torch.device, known: Weights | None = None
) -> nn.Sequential:
    """The preprocessing, fitted on the training split alone, or with what is known."""
    steps = several(config, "preprocessing")
    for key, step in steps.items():
        checks.check_module(key, config.preprocessing[key.partition(".")[2]], step)
    chain = preprocessing.chain(list(steps.values())).to(device)
    key, common = _known_by(config, chain), shared.of(data)
    known = common.recall(key, device) if known is None else known
    if known is not None:
        preprocessing.recall(chain, known)
        return chain.eval()
    if config.threads is None:
        work = len(data.train) * data.train.x[0].numel()
        torch.set_num_threads(devices.worthwhile(work, torch.get_num_threads()))
    with explained("preprocessing", config.preprocessing or {}), users(config, Mistake):
        preprocessing.fit(chain, partial(_raw, data, device, _FITTED))
    common.learned(key, device, chain.state_dict())
    return chain.eval()


def _take_fitted(chain: nn.Sequential, fitted: Mapping[str, Tensor]) -> bool:
    """Take over preprocessing that was fitted to other data; whether its shapes are the same."""
    own = chain.state_dict()
    shapes = [{name: value.shape for name, value in each.items()} for each in (own, fitted)]
    if shapes[0] != shapes[1]:
        return False
    chain.load_state_dict(dict(fitted))
    return True


def _started(config: Recipe, model: nn.Module, start: Start | None) -> dict[str, Any] | None:
    """Put the weights to start from into the model; what became of them, for the record."""
    if start is None:
        return None
    try:
        found = transfer.put(model, start.tensors)
    except ValueError as error:
        if config.resume:
            raise Mistake(
                f"resume={Path(config.resume).name}: a run keeps its model, and the weights that "
                f"it began with are of another: {error}; start a new one for another model"
            ) from None
        model_of = start.facts.get("choices", {}).get("model")
        right = f"; its run has model={model_of}" if model_of else ""
        raise Mistake(f"weights={config.weights}: {error}{right}") from None
    return dict(start.facts) | ({} if start.whole else found)


def _raw(data: Data, device: torch.device, most: int | None = None) -> Iterator[Tensor]:
    """The training split as it is, in large batches.

    most: of its elements; of a larger split a sample is drawn, which is said.
    """
    elements, seen = max(data.train.x[0].numel(), 1), data.train.rows
    if most is not None and len(seen) * elements > most:
        seen = sample(data.train, max(most // elements, SAMPLES), seed=0).sort().values
        _log.warning(
            f"what is learned of inputs, such as mean and spread, is learned of {len(seen):,} "
            f"of {len(data.train):,} training samples, drawn at random: all would take too long"
        )
    for rows in seen.split(max(1, _PASS // elements)):
        yield data.train.x.index_select(0, rows).to(device)


def lengths_of(config: Recipe, samples: int, elements: int) -> LoopConfig:
    """How long a recipe trains on so many samples, each of so many elements, and how often."""
    size = samples if config.batch_size == "full" else int(config.batch_size)
    if size > samples and config.drop_last:
        raise Mistake(f"batch_size={size}: drop_last leaves nothing of {samples} samples")
    batches = samples // size if config.drop_last else -(-samples // size)
    steps_per_epoch = -(-batches // config.accumulate)
    total = duration.parse(config.epochs).steps(steps_per_epoch)

    def steps(key: str) -> int:
        return max(1, duration.parse(config[key]).steps(steps_per_epoch, total))

    rise = duration.parse(config.warmup).amount
    checkpoint_every = duration.parse(config.checkpoint_every)
    if checkpoint_every.unit != "seconds":
        checkpoint_every = duration.Duration(steps("checkpoint_every"), "steps")
    return LoopConfig(
        batch_size=size,
        accumulate=config.accumulate,
        step_samples=min(size * config.accumulate, batches * size, samples),
        drop_last=config.drop_last,
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        schedule_steps=total,
        validate_every=steps("validate_every"),
        log_every=steps("log_every"),
        checkpoint_every=checkpoint_every,
        watch_every=steps("watch_every") if config.watch else 0,
        linear_from=config.base_batch_size if config.scale_lr == "linear" and not rise else 0,
        evaluation_batch=max(min(size, 1024), min(4096, 2**20 // max(elements, 1))),
    )


def _weighted(config: Recipe, loss: Loss, data: Data, device: torch.device) -> Loss:
    """The loss, each class by its weight where that is asked for."""
    if config.class_weights == "none":
        return loss
    if "weight" not in loss.options or not data.classes:
        raise Mistake(f"class_weights={config.class_weights}: needs classes and loss=cross_entropy")
    weights = sampling.class_weights(data.train.y[data.train.rows], data.outputs)
    return loss.weighted(weights.to(device))


def descent_of(
    config: DictConfig, model: nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, Schedule]:
    """The optimizer and the schedule of a recipe for another model, without data.

    A step counts as an epoch of one sample. Raises Mistake.
    """
    config.epochs, config.batch_size, config.accumulate = f"{steps} steps", "full", 1
    config.scale_lr, config.drop_last = "none", False
    lengths = lengths_of(config, samples=1, elements=1)
    optimizer = optimizer_of(config, model, losses.LOSSES["mse"], lengths, {})
    return optimizer, schedule_of(config, lengths)


def schedule_of(config: Recipe, lengths: LoopConfig) -> Schedule:
    """The schedule, after its warm-up; tried in its first and its last step."""
    made = part(config, "schedule", lengths)
    plain = inspect.isroutine(made) or isinstance(made, partial)
    schedule = Fixed(made) if plain else as_a(Schedule, made)
    rise = duration.parse(config.warmup).steps(lengths.steps_per_epoch, lengths.total_steps)
    with explained("schedule", config.schedule):
        tried = _as_it_is(schedule)
        total = max(1, lengths.total_steps - (rise if schedule.shifts else 0))
        for step in (0, total - 1):
            factor = tried(step, total, lengths.steps_per_epoch)
            checks.check_factor(config, factor, step)
        schedule = warmup(schedule, rise)
        _as_it_is(schedule)(0, lengths.total_steps, lengths.steps_per_epoch)
    return schedule


def _as_it_is(schedule: Schedule) -> Schedule:
    """A copy to be tried: an object of the user's own may count its calls."""
    try:
        return copy.deepcopy(schedule)
    except Exception:  # what it holds cannot be copied
        return schedule


def optimizer_of(
    config: Recipe,
    model: nn.Module,
    loss: Loss,
    lengths: LoopConfig,
    factors: Mapping[str, float],
) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters, its rate scaled with the batch if asked.

    factors: of the rates of some, by their names.
    """
    make = part(config, "optimizer", lengths)
    _refuse_no_eps(config.optimizer)
    given: Any = _groups(config, model, factors)
    asks = inspect.signature(make).parameters
    if "groups" in asks:
        make = partial(make, groups=given)
    elif next(iter(asks)) == "model":
        _refuse_apart(config)
    if next(iter(asks)) == "model":
        given = model
    if "matrices" in asks:
        make = partial(make, matrices=roles.matrices(model))
    if "trained" in asks:
        make = partial(make, trained=loss)

    def made(given: Any) -> torch.optim.Optimizer:
        return checks.check_optimizer(config, make(given))

    with explained("optimizer", config.optimizer):
        optimizer = made(given) if config.compile else eager(made, given)
    factor = notes.of_rate(config, lengths)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor * group.get("factor", 1.0)
    return optimizer


def _refuse_no_eps(options: Recipe) -> None:
    """Raise Mistake where a weight whose gradients have all been 0 would be moved by 0/0."""
    target = str(options._target_)
    known = ingredients.ours(target) or target.startswith("torch.")
    if known and options.get("eps") == 0 and not options.get("initial_accumulator_value"):
        raise Mistake(
            f"optimizer.eps={options.eps}: must be above 0, such as 1e-8: a weight whose "
            "gradient is 0 would become 0/0, which is nan"
        )


def _refuse_apart(config: Recipe) -> None:
    """Raise Mistake where weights are to be trained apart that the optimizer trains alike."""
    asked = [key for key in named.APART if config[key] is not None]
    if asked:
        target = str(config.optimizer._target_)
        name = target.split(".")[2] if ingredients.ours(target) else target
        raise Mistake(
            f"{', '.join(asked)}: optimizer={name} trains all weights at one rate, from the "
            "first step on; choose another optimizer, such as adamw, or leave "
            f"{'it' if len(asked) == 1 else 'them'} out"
        )


def _groups(config: Recipe, model: nn.Module, factors: Mapping[str, float]) -> Any:
    """The trainable parameters, or groups of them where they differ in rate or decay.

    Those at the rate of the recipe come first: it is the one that is shown.
    """
    decaying = None if config.decay == "all" else set(roles.decaying(model))
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            kind = factors.get(name, 1.0), decaying is None or weight in decaying
            found.setdefault(kind, []).append(weight)
    if decaying is None and not factors:
        return found[1.0, True]
    groups = []
    for factor, decays in sorted(found, key=lambda kind: (kind[0] != 1, not kind[1])):
        options = {"factor": factor} if factors else {}
        options |= {} if decays else {"weight_decay": 0.0}
        groups.append({"params": found[factor, decays], **options})
    return groups
