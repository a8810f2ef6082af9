"""Batch norm undone by its own gain and bias: γ = √Var and β = E give the identity back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlrun.engine.look import Seen, untouched
from dlrun.engine.run import Run
from dlrun.errors import Mistake
from dlrun.model.order import hooked
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.report.chart import Chart
from dlrun.shell import spelled

_DRAWN = 300  # outputs


@procedure(judged=False, trains=False)
def undo_norm(lab: Lab) -> Outcome:
    """The recipe without batch norm, with it as it begins, and with gains and biases that undo it.

    Raises Mistake where the recipe has no batch norm to leave out, or the model keeps its own.
    Values: the largest difference of the outputs from those without, over their deviation.
    """
    rules = _others(lab)
    with lab.built(Training(settings={"regularization": rules}, recorded=False)) as built:
        plain = outputs(built.run)
    with lab.built(Training(recorded=False)) as built:
        several = {
            "γ = 1, β = 0": outputs(built.run),
            "γ = √Var, β = E": outputs(built.run, undone),
        }
    values = {
        f"{name} difference": float((out - plain).abs().max() / plain.std())
        for name, out in several.items()
    }
    across = plain.flatten()[:_DRAWN].tolist()
    ends = [min(across), max(across)]
    chart = Chart(
        name="undo_norm",
        x="output without batch norm",
        y="output with batch norm",
        paths={"equal": (ends, ends)},
        dots={name: (across, out.flatten()[:_DRAWN].tolist()) for name, out in several.items()},
        linear=True,
        title="Batch norm can give the identity",
    )
    rows = [{"batch norm": name, "difference": values[f"{name} difference"]} for name in several]
    return Outcome(values=values, table=rows, chart=chart)


def _others(lab: Lab) -> list[str]:
    """The regularizers but batch norm. Raises Mistake where it is none, or stays without it."""
    chosen = [*(lab.recipe["regularization"] or ())]
    rules = [name for name in chosen if name != "batch_norm"]
    if rules == chosen:
        raise Mistake(
            f"regularization={spelled(chosen) if chosen else 'none'}: has no batch norm to undo; "
            f"use regularization={spelled([*chosen, 'batch_norm'])}"
        )
    if norms(lab.variant([f"regularization={spelled(rules)}"]).untrained()):
        right = "model.norm=none" if "norm" in lab.recipe["model"] else "model=mlp"
        raise Mistake(
            f"model={lab.chosen['model']}: has batch norm of its own, which stays in the network "
            f"without it; use {right}"
        )
    return rules


def norms(run: Run) -> list[nn.Module]:
    """The batch norms of a run's model."""
    return [module for module in run.model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def outputs(run: Run, before: Callable[[nn.Module, Any], None] | None = None) -> Tensor:
    """Of the samples that preflight looks at, in training mode; (n, outputs).

    before: called before each batch norm with (module, its arguments).
    """
    with untouched(run):
        run.model.train()
        handles = [norm.register_forward_pre_hook(before) for norm in norms(run) if before]
        with hooked(handles):
            found: Tensor = run.model(Seen(run).x)
        return found


def undone(norm: nn.Module, args: Any) -> None:
    """Give a batch norm the gain and the bias with which it changes nothing of this batch."""
    assert isinstance(norm, _BatchNorm)
    (x,) = args
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
