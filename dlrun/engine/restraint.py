"""What restrained a training beside its loss, put upon steps of another kind.

Those of a trial, whose length is a share of a weight's size and no rate times a gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dlrun.engine.batches import Batch, gather
from dlrun.engine.run import Run
from dlrun.optimizer.asgd import ASGD
from dlrun.optimizer.lion import Lion
from dlrun.optimizer.momentum import Classical
from dlrun.optimizer.muon import Muon
from dlrun.optimizer.sam import SAM
from dlrun.regularization import Regularizer, acts, dropout
from dlrun.regularization.penalty import Decay


def restrained(run: Run) -> bool:
    """Whether penalties or noise keep the model from fitting as it could."""
    decay = any(group.get("weight_decay") for group in run.optimizer.param_groups)
    return bool(run.penalties or run.change_gradient or decay) or _drops(run.model)


@torch.no_grad()
def augmented(run: Run, known: Tensor, rows: Tensor) -> Batch:
    """Training samples as the recipe augments them, afresh each time.

    known: rows of the data set, of which `rows` are some.
    """
    assert run.augmentation is not None
    split = run.data.train
    x, y = gather(split.x, split.y, known[rows].to(split.x.device))
    x, y = run.augmentation(x.to(run.device), y.to(run.device), run.generator)
    x = run.preprocessing(x)
    return x, x if run.reconstructs else y


class Restraint:
    """All of the recipe that changes batches, the network, gradients and weights in training.

    Not augmentation, which `augmented` gives. Batch norm stays as in evaluation, and the loss is
    the plain one. weights: those of the steps.
    """

    def __init__(self, run: Run, weights: Sequence[nn.Parameter]) -> None:
        self._run, self._weights = run, weights
        groups = {p: group for group in run.optimizer.param_groups for p in group["params"]}
        self._decays = [float(groups.get(w, {}).get("weight_decay") or 0.0) for w in weights]
        self._apart = [_decoupled(run.optimizer, groups.get(weight, {})) for weight in weights]
        rules = [rule for rule in run.constraints if not _remembers(rule)]
        grows = _grows(run.optimizer)
        self._pulls = [rule for rule in rules if grows and isinstance(rule, Decay)]
        self._rules = [rule for rule in rules if rule not in self._pulls]
        run.model.train()
        for module in run.model.modules():
            if isinstance(module, _NormBase):
                module.eval()

    def batch(self, x: Tensor, y: Tensor) -> Batch:
        """A batch as the training changes it."""
        for change in self._run.change_batch:
            x, y = change.change_batch(x, y, self._run.generator)
        return x, y

    @torch.no_grad()
    def gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients with what penalties, noise and decay add to them."""
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        for rule in self._run.change_gradient:
            rule.add_gradient(self._weights)
        found = [weight.grad for weight in self._weights]
        decays = zip(self._weights, self._decays, self._apart, strict=True)
        pulls = [[decay * w if decay and not apart else None for w, decay, apart in decays]]
        pulls += [self._pull(rule) for rule in self._pulls]
        for each in pulls:
            for place, (gradient, pull) in enumerate(zip(found, each, strict=True)):
                if gradient is not None and pull is not None:
                    found[place] = gradient + pull
        return found

    @torch.no_grad()
    def shrink(self, lengths: Sequence[float]) -> None:
        """What shrinks weights after a step, by its length for a gradient of size 1."""
        for weight, decay, apart, length in zip(
            self._weights, self._decays, self._apart, lengths, strict=True
        ):
            if decay and apart:
                weight.mul_(1 - min(1.0, length * decay))
        for rule in self._rules:
            rule.constrain(self._run.model, self._groups(lengths))

    def _pull(self, rule: Decay) -> list[Tensor | None]:
        """By how much a step at a rate of 1 shrinks each weight: the gradient of a penalty."""
        before = [weight.detach().clone() for weight in self._weights]
        rule.constrain(self._run.model, self._groups([1.0] * len(before)))
        pulls = [was - weight for was, weight in zip(before, self._weights, strict=True)]
        torch._foreach_copy_(list(self._weights), before)
        return [*pulls]

    def _groups(self, rates: Sequence[float]) -> list[dict[str, Any]]:
        return [{"params": [w], "lr": r} for w, r in zip(self._weights, rates, strict=True)]


def _drops(model: nn.Module) -> bool:
    """Whether it drops values in training."""
    own = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules())
    return own or any(hook.rate > 0 for _, hook in dropout.places(model))


def _remembers(rule: Regularizer) -> bool:
    """Whether a rule keeps count of steps or weights of its own, as averages do."""
    return acts(rule, "averages") or bool(rule.state_dict())


def _decoupled(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether decay acts on the weights and not on the gradient (Loshchilov, Hutter 2019)."""
    said = any(group.get(key) for key in ("decoupled_weight_decay", "weight_decouple", "adam"))
    return said or isinstance(optimizer, Lion | Muon)


def _grows(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its steps are in proportion to the gradient."""
    group = optimizer.param_groups[0]
    plain = group.get("adam") is False  # of ScheduleFree
    plain = plain or (isinstance(optimizer, SAM) and "betas" not in group)
    return plain or isinstance(optimizer, torch.optim.SGD | Classical | ASGD)
