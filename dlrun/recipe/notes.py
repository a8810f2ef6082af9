"""What a recipe comes to, where its words alone do not show it: lines before a training."""

from collections.abc import Iterator
from math import sqrt

from omegaconf import DictConfig

from dlrun.engine.run import LoopConfig


def notes(config: DictConfig, lengths: LoopConfig) -> list[str]:
    """The lines for a training of such lengths."""
    return list(_rate(config, lengths))


def of_rate(config: DictConfig, lengths: LoopConfig) -> float:
    """By what `scale_lr` multiplies the rates."""
    times: float = lengths.step_samples / config.base_batch_size
    factors = {"none": 1.0, "linear": times, "sqrt": sqrt(times)}
    return factors[config.scale_lr]


def _rate(config: DictConfig, lengths: LoopConfig) -> Iterator[str]:
    factor, rate = of_rate(config, lengths), config.optimizer.get("lr")
    if factor != 1:
        to = f", to {rate * factor:.4g}," if isinstance(rate, int | float) else ""
        yield (
            f"scale_lr={config.scale_lr}: multiplies the rate by {factor:.4g}{to} for steps of "
            f"{lengths.step_samples:,} samples in place of {config.base_batch_size:,}"
        )
