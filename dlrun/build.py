"""From a composed recipe to a Run: the only place that instantiates.

Everything that can be wrong is said here, before a run exists: `check` looks at every
setting and every argument before any data are read, `build` at what depends on the data.
"""

import random
from functools import partial
from typing import Any

import numpy
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from dlrun import config as settings
from dlrun import device as devices
from dlrun import arguments, duration, parts, preprocessing
from dlrun.data import Data, Report
from dlrun.data import split as splits
from dlrun.errors import Mistake
from dlrun.feed import prepare
from dlrun.run import Lengths, Run
from dlrun.schedule import warmup
from dlrun.train import takes_closure

SPLITTING = ("split", "val", "split_seed", "leaks")
_PASS = 2**22  # elements of the training split that are preprocessed at once


def check(config: DictConfig) -> None:
    """Raise one Mistake that names all wrong settings and arguments of a recipe."""
    checks = [partial(settings.check, config)]
    checks += [
        partial(parts.check, config, group, apart=SPLITTING if group == "data" else ())
        for group in settings.GROUPS
    ]
    checks.append(partial(_check_splitting, config))
    wrong = []
    for look in checks:
        try:
            look()
        except Mistake as mistake:
            wrong.append(str(mistake))
    if wrong:
        raise Mistake("\n".join(wrong))
    devices.choose(config.device)


def load_data(config: DictConfig, report: Report | None = None) -> Data:
    """The splits of the recipe's data; `report(done, total)` is called while decoding."""
    values = parts.plain(config.data, "data", None)
    splitting = {key: values.pop(key) for key in SPLITTING if key in values}
    with parts.explained("data", values | splitting):
        source = instantiate(values, report=report, _convert_="all")
        data = splits.make(source, **splitting)
    if not len(data.train):
        raise Mistake(f"data.split={splitting.get('split')}: leaves no sample to train on")
    return data


def _check_splitting(config: DictConfig) -> None:
    given = {str(key): value for key, value in config.data.items() if key in SPLITTING}
    wrong = arguments.problems("dlrun.data.split.make", given, "data")
    if wrong:
        raise Mistake("\n".join(wrong))


def build(config: DictConfig, data: Data) -> Run:
    """The Run of a recipe on these data; the same recipe gives the same Run.

    Raises Mistake for what does not fit together. Fills in `config.facts`.
    """
    devices.set_up(config.threads, config.deterministic)
    device = devices.choose(config.device)
    augmentation = parts.several(config, "augmentation")
    chain = _fitted(config, data, device)
    x, y = _example(data, augmentation, chain, device)
    config.facts.shape = list(x.shape[1:])
    config.facts.outputs = data.outputs
    lengths = _lengths(config, len(data.train), x[0].numel())

    _seed(config.seed)
    model = parts.part(config, "model").to(device)
    loss = parts.part(config, "loss")
    _try(config, model, loss, x, y, data)
    regularizers = parts.several(config, "regularization", lengths)
    for key, rule in regularizers.items():
        if hasattr(rule, "change_model"):
            with parts.explained(key, config.regularization):
                model = rule.change_model(model, x)
    initialize = parts.part(config, "initializer")
    with torch.no_grad(), parts.explained("initializer", config.initializer):
        initialize(model, x)
    model, layout = _laid_out(model, config.channels_last and x.dim() == 4)
    _check_batch_norm(config, model, len(data.train), lengths)

    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights:
        raise Mistake(f"model={config.model._target_}: has nothing to train, no parameters")
    make_optimizer = parts.part(config, "optimizer")
    with parts.explained("optimizer", config.optimizer):
        optimizer = make_optimizer(weights)
    scaler = torch.amp.GradScaler(device.type) if config.precision == "fp16" else None
    if scaler is not None and takes_closure(optimizer):
        raise Mistake("precision=fp16: this optimizer evaluates the loss itself; use bf16")
    schedule = parts.part(config, "schedule", lengths=lengths)
    with parts.explained("schedule", config.schedule):
        schedule(0, lengths.total_steps, lengths.steps_per_epoch)
    rise = duration.parse(config.warmup).steps(lengths.steps_per_epoch, lengths.total_steps)

    # The noise of training is the same whatever the initializer has drawn.
    _seed(config.seed + 1)
    return Run(
        data=data,
        train=prepare(data.train, chain, device, fixed=not augmentation),
        val=prepare(data.val, chain, device, fixed=True),
        preprocessing=chain,
        augmentation=list(augmentation.values()),
        model=model,
        forward=devices.caller(model, config.precision, device, config.compile),
        loss=loss,
        optimizer=optimizer,
        schedule=warmup(schedule, rise),
        lengths=lengths,
        device=device,
        generator=torch.Generator(device).manual_seed(config.seed + 2),
        monitor=_monitor(config, data),
        seed=config.seed,
        clip_norm=config.clip_norm,
        clip_value=config.clip_value,
        layout=layout,
        scaler=scaler,
        regularizers=list(regularizers.values()),
    )


def _seed(seed: int) -> None:
    """Seed every global source of random numbers: the user's own code may draw from any."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _fitted(config: DictConfig, data: Data, device: torch.device) -> nn.Sequential:
    """The preprocessing, fitted on the training split alone."""
    chain = preprocessing.chain(list(parts.several(config, "preprocessing").values())).to(device)
    x, rows = data.train.x, data.train.rows
    chunk = max(1, _PASS // max(x[0].numel(), 1))

    def passes() -> Any:
        for some in rows.split(chunk):
            yield x.index_select(0, some).to(device)

    with parts.explained("preprocessing", config.preprocessing or {}):
        preprocessing.fit(chain, passes)
    return chain.eval()


def _example(
    data: Data, augmentation: dict[str, Any], chain: nn.Sequential, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A small batch as the model sees it in training."""
    rows = data.train.rows[:64]
    x, y = data.train.x[rows].to(device), data.train.y[rows].to(device)
    generator = torch.Generator(device).manual_seed(0)
    for key, augment in augmentation.items():
        with parts.explained(key, {}):
            x, y = augment(x, y, generator)
    with torch.no_grad(), parts.explained("preprocessing", {}):
        return chain(x), y


def _lengths(config: DictConfig, samples: int, elements: int) -> Lengths:
    size = samples if config.batch_size == "full" else int(config.batch_size)
    if size > samples and config.drop_last:
        raise Mistake(f"batch_size={size}: drop_last leaves nothing of {samples} samples")
    batches = samples // size if config.drop_last else -(-samples // size)
    steps_per_epoch = -(-batches // config.accumulate)
    total = duration.parse(config.epochs).steps(steps_per_epoch)

    def steps(key: str) -> int:
        return max(1, duration.parse(config[key]).steps(steps_per_epoch, total))

    checkpoint_every = duration.parse(config.checkpoint_every)
    if checkpoint_every.unit != "seconds":
        checkpoint_every = duration.Duration(steps("checkpoint_every"), "steps")
    return Lengths(
        batch_size=size,
        accumulate=config.accumulate,
        drop_last=config.drop_last,
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        validate_every=steps("validate_every"),
        log_every=steps("log_every"),
        checkpoint_every=checkpoint_every,
        evaluation_batch=max(min(size, 1024), min(4096, 2**20 // max(elements, 1))),
    )


def _try(config: DictConfig, model: nn.Module, loss: Any, x: Tensor, y: Tensor, data: Data) -> None:
    """One forward pass and one loss, to say before training what does not fit."""
    name, shape = str(config.model._target_).rpartition(".")[2], tuple(x.shape[1:])
    model.eval()
    try:
        with torch.no_grad():
            logits = model(x[:2])
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        message = f"model={name}: does not take samples of shape {shape} from data={data.name}"
        raise Mistake(f"{message}: {reason}") from error
    finally:
        model.train()
    expected = (len(x[:2]), data.outputs)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        wanted = "one number a class" if data.classes else "one number a target"
        raise Mistake(
            f"model={name}: gives {given} for {len(x[:2])} samples of data={data.name}; "
            f"it must give {expected}, {wanted}"
        )
    with parts.explained("loss", config.loss):
        value = loss(logits, y[:2])
    if not isinstance(value, Tensor) or value.dim():
        raise Mistake(f"loss={config.loss._target_}: must give one number for a batch")


def _laid_out(model: nn.Module, last: bool) -> tuple[nn.Module, torch.memory_format]:
    if not last:
        return model, torch.contiguous_format
    for parameter in (*model.parameters(), *model.buffers()):
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model, torch.channels_last


def _check_batch_norm(config: DictConfig, model: nn.Module, samples: int, lengths: Lengths) -> None:
    """A batch of one sample has no variance; a last batch of one stops a run after hours."""
    if not any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        return
    if lengths.batch_size == 1:
        raise Mistake("batch_size=1: batch norm needs at least 2 samples in a mini-batch")
    if samples % lengths.batch_size == 1 and not lengths.drop_last:
        raise Mistake(
            f"batch_size={config.batch_size}: leaves a last mini-batch of 1 of {samples} samples, "
            "too few for batch norm; set drop_last=true"
        )


def _monitor(config: DictConfig, data: Data) -> str:
    """The name of the value that decides which weights are best."""
    monitor = str(config.monitor)
    if monitor == "auto":
        if not len(data.val):
            return "train/loss"
        return "val/accuracy" if data.classes else "val/loss"
    if monitor.startswith("val/") and not len(data.val):
        raise Mistake(f"monitor={monitor}: there is no validation split; use monitor=train/loss")
    if monitor == "val/accuracy" and not data.classes:
        raise Mistake("monitor=val/accuracy: this is a regression; use monitor=val/loss")
    return monitor


def resolved(config: DictConfig) -> str:
    """The whole recipe as YAML, with every reference replaced by its value."""
    return OmegaConf.to_yaml(config, resolve=True)
