"""Statistics of every layer for one mini-batch: what comes out of it, what gradient comes back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine import signal
from dlrun.engine.preflight import Seen, untouched
from dlrun.engine.run import Run


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    name, kind: its place in the model and its class. units: its outputs, the channels of a
    convolution. mean, std, zeros: of its output; zeros: the share of exact zeros. gradient: the
    root mean square of a sample's gradient by the output. distinct: how many units differ by their
    weights, None where it has none.
    """

    name: str
    kind: str
    units: int
    mean: float
    std: float
    zeros: float
    gradient: float
    distinct: int | None


def layers(run: Run) -> list[Layer]:
    """Every layer, in the order in which they run; nothing of the run is changed."""
    seen = Seen(run)
    met: dict[nn.Module, Tensor] = {}

    def meet(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.is_floating_point() and module not in met:
            if out.requires_grad:
                out.retain_grad()
            met[module] = out

    leaves = [module for module in run.model.modules() if not list(module.children())]
    handles = [module.register_forward_hook(meet) for module in leaves]
    try:
        with untouched(run), torch.enable_grad():
            run.model.train()
            outputs = run.uncompiled(seen.x)
            run.objective(outputs, seen.y).backward()
    finally:
        for handle in handles:
            handle.remove()
    names = {module: name for name, module in run.model.named_modules()}
    return [_layer(names[module], module, out) for module, out in met.items()]


def _layer(name: str, module: nn.Module, out: Tensor) -> Layer:
    values = out.detach().float()
    weight: Any = getattr(module, "weight", None)
    mixes = isinstance(weight, Tensor) and weight.dim() > 1
    gradient = 0.0 if out.grad is None else float(out.grad.float().square().mean().sqrt())
    return Layer(
        name=name or "model",
        kind=type(module).__name__,
        units=values.shape[1] if values.dim() > 1 else 1,
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        zeros=float((values == 0).float().mean()),
        gradient=gradient * len(values),
        distinct=signal.distinct(weight) if mixes else None,
    )
