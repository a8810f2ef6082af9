"""Which rule of `rules` an optimizer follows, and what it calls its memories."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from dlrun.optimizer import rules
from dlrun.optimizer.adaptive import Scaled, kept, ways
from dlrun.optimizer.lion import Lion
from dlrun.optimizer.muon import Muon


class Form(NamedTuple):
    """The rule of a group of an optimizer.

    names: of the memories, by what the rule calls them, as the optimizer's state has them; the
    count of steps is "step". first: what a memory holds before the first step, 0 where nothing
    is said. scalars: memories of which the state holds one number for each weight. counts: whether
    "step" is a plain number. shaped: whether the rule is told the `shapes` of the weights.
    """

    rule: Callable[..., None]
    numbers: dict[str, float]
    ways: frozenset[str] = frozenset()
    names: Mapping[str, str] = MappingProxyType({})
    first: Mapping[str, float] = MappingProxyType({})
    scalars: frozenset[str] = frozenset()
    counts: bool = False
    shaped: bool = False


def form(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> Form | None:
    """The rule of a group; None where none of these is."""
    if isinstance(optimizer, Muon):
        return _muon(optimizer, group)
    make = _FORMS.get(type(optimizer))
    plain = not (group.get("maximize") or group.get("dampening") or group.get("capturable"))
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return make(group) if make and plain and not hooks else None


def _sgd(group: Mapping[str, Any]) -> Form:
    numbers = {name: group[name] for name in ("momentum", "weight_decay")}
    if not group["momentum"]:
        return Form(rules.descent, numbers)
    ways = frozenset({"velocity"} | ({"nesterov"} if group["nesterov"] else set()))
    return Form(rules.descent, numbers, ways, {"velocity": "momentum_buffer"})


def _adagrad(group: Mapping[str, Any]) -> Form:
    numbers = {name: group[name] for name in ("lr_decay", "eps", "weight_decay")}
    first = {"square": group["initial_accumulator_value"]}
    names = {"step": "step", "square": "sum"}
    return Form(rules.scaled, numbers, frozenset({"sums", "lr_decay"}), names, first)


def _rmsprop(group: Mapping[str, Any]) -> Form:
    numbers = {"rho": group["alpha"], "momentum": group["momentum"]}
    numbers |= {name: group[name] for name in ("eps", "weight_decay")}
    names = {"step": "step", "square": "square_avg"}
    names |= {"velocity": "momentum_buffer"} if group["momentum"] > 0 else {}
    names |= {"mean": "grad_avg"} if group["centered"] else {}
    return Form(rules.scaled, numbers, frozenset(names) - {"step"}, names)


def _adam(group: Mapping[str, Any], decoupled: bool = False) -> Form:
    numbers = dict(zip(("beta", "rho"), group["betas"], strict=True))
    numbers |= {name: group[name] for name in ("eps", "weight_decay")}
    names = {"step": "step", "momentum": "exp_avg", "square": "exp_avg_sq"}
    names |= {"largest": "max_exp_avg_sq"} if group.get("amsgrad") else {}
    ways = {"corrected", *names} - {"step"}
    ways |= {"decoupled"} if decoupled or group.get("decoupled_weight_decay") else set()
    return Form(rules.scaled, numbers, frozenset(ways), names)


def _adamw(group: Mapping[str, Any]) -> Form:
    return _adam(group, decoupled=True)


def _nadam(group: Mapping[str, Any]) -> Form:
    plain = _adam(group)
    return plain._replace(
        numbers=plain.numbers | {"psi": group["momentum_decay"]},
        ways=plain.ways | {"nesterov"},
        names={**plain.names, "product": "mu_product"},
        first={"product": 1.0},
        scalars=frozenset({"product"}),
    )


def _scaled(group: Mapping[str, Any]) -> Form:
    numbers = {name: group[name] for name in ("eps", "weight_decay", "beta", "rho")}
    numbers |= {name: group[name] for name in ("momentum", "lr_decay")}
    names = {name: name for name in ("step", "square", *kept(group))}
    first = {"square": group["first"]}
    return Form(rules.scaled, numbers, ways(group), names, first, counts=True)


def _lion(group: Mapping[str, Any]) -> Form:
    numbers = dict(zip(("first", "second"), group["betas"], strict=True))
    numbers["weight_decay"] = group["weight_decay"]
    return Form(rules.lion, numbers, names={"momentum": "momentum"})


def _muon(optimizer: Muon, group: Mapping[str, Any]) -> Form:
    decay = {"weight_decay": group["weight_decay"]}
    if group["muon"]:
        ways = frozenset({"nesterov"} if optimizer.nesterov else ())
        rule = partial(rules.turned, iterations=optimizer.iterations)
        names = {"momentum": "momentum"}
        return Form(rule, {"momentum": optimizer.momentum, **decay}, ways, names, shaped=True)
    numbers = dict(zip(("beta", "rho"), optimizer.betas, strict=True)) | decay
    names = {"step": "step", "momentum": "mean", "square": "square"}
    ways = frozenset({"corrected", "decoupled", "momentum"})
    return Form(rules.scaled, numbers | {"eps": optimizer.eps}, ways, names)


_FORMS: dict[type, Any] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adagrad: _adagrad,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adamw,
    torch.optim.NAdam: _nadam,
    Scaled: _scaled,
    Lion: _lion,
}
