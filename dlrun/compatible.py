"""What does not fit together in a recipe, said before training."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dlrun import loss as losses
from dlrun import parts
from dlrun.data import Data
from dlrun.errors import Mistake
from dlrun.model.count import parameters
from dlrun.run import Lengths


def check_activation(config: DictConfig, chosen: bool) -> None:
    """An activation that was asked for must be one that the model asks for in turn."""
    model = OmegaConf.to_container(config.model, resolve=False)
    if chosen and "${activation}" not in str(model):
        name = str(config.model._target_).rpartition(".")[2]
        raise Mistake(
            f"activation: changes nothing, because model={name} brings its own activations; "
            "leave it out, or choose a model such as mlp, cnn or resnet"
        )


def check_classes(key: str, data: Data, model: nn.Module) -> None:
    """Raise Mistake where what `key` changes about classes finds none."""
    if not data.classes or getattr(model, "reconstructs", False):
        raise Mistake(f"{key}: needs classes, and this task has none; leave it out")


def check_size(config: DictConfig, model: nn.Module, at_most: int | None) -> None:
    """Raise Mistake for a model with nothing to train, or with more than `max_parameters`."""
    count = parameters(model)
    if at_most is not None and (not isinstance(at_most, int) or at_most < 1):
        raise Mistake(f"model.max_parameters={at_most}: must be a whole number above 0")
    if not count:
        raise Mistake(f"model={config.model._target_}: has nothing to train, no parameters")
    if at_most is not None and count > at_most:
        raise Mistake(f"model.max_parameters={at_most:,}: this model has {count:,} parameters")


def check_forward(
    config: DictConfig,
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    data: Data,
) -> None:
    """One forward pass and one loss on a few samples: shapes, and logits where logits are due."""
    x, y = x[:2], y[:2]
    name, shape = str(config.model._target_).rpartition(".")[2], tuple(x.shape[1:])
    model.eval()
    try:
        with torch.no_grad():
            logits = model(x)
        reconstructs = getattr(model, "reconstructs", False)
        _check_outputs(name, logits, x if reconstructs else y, data, reconstructs)
        if not data.classes and getattr(loss, "func", loss) is cross_entropy:
            raise Mistake(
                f"loss=cross_entropy: compares classes, but the targets of data={data.name} are "
                "numbers; use loss=mse, mae or huber"
            )
        if reconstructs:
            losses.require_reconstruction(loss)
        losses.refuse_probabilities(loss, model, x)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        message = f"model={name}: does not take samples of shape {shape} from data={data.name}"
        raise Mistake(f"{message}: {reason}") from error
    finally:
        model.train()
    with parts.explained("loss", config.loss):
        value = loss(logits, x if reconstructs else y)
    if not isinstance(value, Tensor) or value.dim():
        raise Mistake(f"loss={config.loss._target_}: must give one number for a batch")


def check_batch_norm(model: nn.Module, samples: int, lengths: Lengths) -> None:
    """A batch of one sample has no variance; a last batch of one would stop a run after hours."""
    if not any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        return
    if lengths.batch_size == 1:
        raise Mistake("batch_size=1: batch norm needs at least 2 samples in a mini-batch")
    if samples % lengths.batch_size == 1 and not lengths.drop_last:
        raise Mistake(
            f"batch_size={lengths.batch_size}: leaves a last mini-batch of 1 of {samples} samples, "
            "too few for batch norm; set drop_last=true"
        )


def monitored(name: str, data: Data, regression: bool) -> str:
    """The value that decides which weights are best; `auto` is what suits the task."""
    if name == "auto":
        if not len(data.val):
            return "train/loss"
        return "val/loss" if regression else "val/accuracy"
    if name.startswith("val/") and not len(data.val):
        raise Mistake(f"monitor={name}: there is no validation split; use monitor=train/loss")
    if name == "val/accuracy" and regression:
        raise Mistake("monitor=val/accuracy: there are no classes; use monitor=val/loss")
    return name


def _check_outputs(name: str, logits: Any, target: Tensor, data: Data, reconstructs: bool) -> None:
    count = len(target)
    expected = tuple(target.shape) if reconstructs else (count, data.outputs)
    given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if given == expected:
        return
    wanted = "one number a class" if data.classes else "one number a target"
    if reconstructs:
        wanted = "the shape of its input"
    size = f" ({prod(expected[1:]):,} numbers a sample)" if reconstructs else ""
    raise Mistake(
        f"model={name}: gives {given} for {count} samples of data={data.name}; "
        f"it must give {expected}, {wanted}{size}"
    )
