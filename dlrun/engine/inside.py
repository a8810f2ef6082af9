"""What is in a trained network, as numbers: filters, weights, activations, and its inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlrun.data import Split
from dlrun.data.sample import sample
from dlrun.engine.batches import gather
from dlrun.engine.evaluate import averaged
from dlrun.engine.layers import Parts, acts, weights
from dlrun.engine.look import are_images, some, untouched
from dlrun.engine.run import Run
from dlrun.model.order import hooked

FILTERS = 64
"""Filters of the first layer, at most."""
LAYERS = 20
"""Layers with a histogram, at most: the first, the last, and others evenly between them."""
BINS = 60
BATCH = 256
"""Samples whose activations are counted."""
_VALUES = 2**20  # of a layer, that are counted at most
_DRAWS = 3  # augmented versions of each sample

Kernels = NDArray[np.float32]
"""(filters, channels, height, width)"""


@dataclass(frozen=True)
class Histogram:
    """How often values occur: counts (BINS,) between edges (BINS + 1,). zeros: the share of 0."""

    layer: str
    kind: str
    counts: Sequence[float]
    edges: Sequence[float]
    zeros: float


@dataclass(frozen=True)
class Distributions:
    """Of weights, and of activations for so many samples, the first layer first.

    left_out: how many layers have no histogram.
    """

    weights: Sequence[Histogram]
    activations: Sequence[Histogram]
    samples: int
    left_out: int


def filters(run: Run, split: Split) -> Kernels | None:
    """The filters of the first layer, as images; None where it sees no images.

    Kernels of a convolution, or the weights of each unit of a layer that sees whole images. More
    channels than three are averaged.
    """
    x, _ = some(run, split, 1)
    with averaged(run), untouched(run), torch.no_grad():
        first = _first(run, x)
        if first is None or x.dim() != 4:
            return None
        module, seen = first
        weight = module.weight.detach().float().cpu()
        if isinstance(module, nn.Conv2d):
            kernels = weight
        elif isinstance(module, nn.Linear) and seen[0].numel() == x[0].numel():
            kernels = weight.reshape(-1, *x.shape[1:])
        else:
            return None
    kernels = kernels[:FILTERS]
    if kernels.shape[1] not in (1, 3):
        kernels = kernels.mean(1, keepdim=True)
    return kernels.numpy() if kernels.shape[2] * kernels.shape[3] > 1 else None


def _first(run: Run, x: Tensor) -> tuple[Any, Tensor] | None:
    """The layer with weights that runs first, and what it takes in."""
    own = weights(run.model)
    met: list[tuple[Any, Tensor]] = []

    def meet(module: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor):
            met.append((module, args[0].detach()))

    modules = [module for name, module in run.model.named_modules() if (name or "model") in own]
    with hooked(module.register_forward_pre_hook(meet) for module in modules):
        run.model.eval()
        run.uncompiled(x)
    return met[0] if met and hasattr(met[0][0], "weight") else None


def distributions(run: Run, split: Split) -> Distributions:
    """How the weights of each layer, and its outputs for samples of a split, are distributed.

    In evaluation mode; nothing of the run is changed.
    """
    x, _ = some(run, split, BATCH)
    found: dict[str, Histogram] = {}
    with averaged(run), untouched(run), torch.no_grad():
        names = {module: name or "model" for name, module in run.model.named_modules()}
        own = weights(run.model)
        of_weights = [
            _histogram(name, _kind(run.model, name), torch.cat([w.flatten() for w in each]))
            for name, each in own.items()
        ]

        def meet(module: nn.Module, args: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.is_floating_point() and names[module] not in found:
                name, kind = names[module], type(module).__name__
                found[name] = _histogram(name, kind, out.detach().flatten())

        looked = [module for module in Parts(run.model).looked if acts(module)]
        with hooked(module.register_forward_hook(meet) for module in looked):
            run.model.eval()
            run.uncompiled(x)
    activations = [*found.values()]
    left = max(0, max(len(of_weights), len(activations)) - LAYERS)
    return Distributions(_spread(of_weights), _spread(activations), len(x), left)


def _histogram(layer: str, kind: str, values: Tensor) -> Histogram:
    values = values[:: -(-len(values) // _VALUES)].float()
    values = values[values.isfinite()].cpu()
    counts, edges = np.histogram(values.numpy(), BINS) if len(values) else np.histogram([], BINS)
    zeros = float((values == 0).float().mean()) if len(values) else 0.0
    return Histogram(layer, kind, counts.tolist(), edges.tolist(), zeros)


def _kind(model: nn.Module, name: str) -> str:
    module = model if name == "model" else model.get_submodule(name)
    kind = type(module).__name__
    return kind.removeprefix("Parametrized")


def _spread(found: list[Histogram]) -> list[Histogram]:
    """At most LAYERS of them, evenly chosen."""
    places = np.linspace(0, len(found) - 1, min(LAYERS, len(found))).round().astype(int)
    return [found[place] for place in places]


@dataclass(frozen=True)
class Inputs:
    """The same samples before and after augmentation, and as the network sees them.

    raw, seen: (n, channels, height, width); augmented: several draws of that shape, none without
    augmentation. raw and augmented have values from 0 to 1.
    """

    raw: Kernels
    augmented: Sequence[Kernels]
    seen: Kernels | None


def inputs(run: Run, split: Split, count: int) -> Inputs | None:
    """Samples of a split on their way into the network; None where they are no images.

    seen: of training samples, without augmentation; None where they are no images any more.
    """
    rows = sample(split, count, seed=0)
    raw, y = gather(split.x, split.y, rows.to(split.x.device))
    if not are_images(raw):
        return None
    raw, y = raw.to(run.device), y.to(run.device)
    augmented = []
    if run.augmentation is not None:
        for seed in range(_DRAWS):
            generator = torch.Generator(run.device).manual_seed(seed)
            augmented.append(_unit(run.augmentation(raw, y, generator)[0]))
    with torch.no_grad():
        x = run.preprocessing(raw)
    seen = x.float().cpu().numpy() if are_images(x) else None
    return Inputs(_unit(raw), augmented, seen)


def _unit(x: Tensor) -> Kernels:
    """Images with values from 0 to 1."""
    values = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    return np.asarray(values.cpu().numpy(), np.float32)
