"""Rates of each weight's own, in the forms of torch and of the board.

torch's optimizers add ε outside of the root, g/(√s + ε), and Adam corrects its means for having
begun at 0. The textbooks' other forms are here; the usual ones are torch's own.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from dlrun.errors import below_one, not_negative
from dlrun.optimizer import rules
from dlrun.optimizer.replay import evaluated

FORMS = ("outside", "inside")


def adagrad(
    parameters: ParamsT,
    lr: float = 0.02,
    lr_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    eps_form: str = "outside",
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """AdaGrad (Duchi, Hazan, Singer 2011); eps_form: outside, √s + ε, or inside, √(s + ε)."""
    if _outside(eps_form):
        return torch.optim.Adagrad(
            parameters, lr, lr_decay, weight_decay, initial_accumulator_value, eps
        )
    not_negative(lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value)
    return Scaled(
        parameters,
        lr=lr,
        eps=eps,
        sums=True,
        lr_decay=lr_decay,
        first=initial_accumulator_value,
        weight_decay=weight_decay,
    )


def rmsprop(
    parameters: ParamsT,
    lr: float = 0.001,
    alpha: float = 0.99,
    momentum: float = 0.0,
    centered: bool = False,
    eps: float = 1e-8,
    eps_form: str = "outside",
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """RMSprop (Tieleman, Hinton 2012; Graves 2013); eps_form as in `adagrad`."""
    below_one(alpha=alpha, momentum=momentum)
    if _outside(eps_form):
        return torch.optim.RMSprop(parameters, lr, alpha, eps, weight_decay, momentum, centered)
    return Scaled(
        parameters,
        lr=lr,
        eps=eps,
        rho=alpha,
        momentum=momentum,
        centered=centered,
        weight_decay=weight_decay,
    )


def adam(
    parameters: ParamsT,
    lr: float = 0.001,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_form: str = "outside",
    bias_correction: bool = True,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma, Ba 2015); eps_form as in `adagrad`.

    bias_correction: m/(1 − β₁ᵗ) and v/(1 − β₂ᵗ); without, m and v as they are.
    amsgrad: the largest v so far in place of v (Reddi, Kale, Kumar 2018).
    """
    below_one(betas=betas)
    if _outside(eps_form) and bias_correction:
        return torch.optim.Adam(parameters, lr, betas, eps, weight_decay, amsgrad)
    if amsgrad:
        raise ValueError("amsgrad is for eps_form=outside with bias_correction")
    return Scaled(
        parameters,
        lr=lr,
        eps=eps,
        inside=eps_form == "inside",
        beta=betas[0],
        rho=betas[1],
        corrected=bias_correction,
        weight_decay=weight_decay,
    )


def adadelta(
    parameters: ParamsT,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    window: int | None = None,
    numerator: bool = True,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """AdaDelta (Zeiler 2012); its ε is inside of the roots.

    window: s and u are means over so many steps, as section 3.1 begins, not running ones.
    numerator: √(u + ε) in the step; without, θ ← θ − α·g/√(s + ε).
    """
    below_one(rho=rho)
    if window is None and numerator:
        return torch.optim.Adadelta(parameters, lr, rho, eps, weight_decay)
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 step, got {window}")
    return AdaDelta(parameters, lr, rho, eps, window, numerator, weight_decay)


def rprop(
    parameters: ParamsT,
    lr: float = 0.01,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
) -> torch.optim.Optimizer:
    """torch.optim.Rprop (Riedmiller, Braun 1993), with steps in a range that there is."""
    (down, up), (least, most) = etas, step_sizes
    if not 0 < down < 1 < up:
        raise ValueError(f"etas must be one between 0 and 1 and one above 1, got {list(etas)}")
    if not 0 <= least <= most:
        raise ValueError(
            f"step_sizes must be the smallest step, at least 0, and the largest, got "
            f"{list(step_sizes)}"
        )
    return torch.optim.Rprop(parameters, lr, etas, step_sizes)


class Scaled(torch.optim.Optimizer):
    """θ ← θ − α·m̂/√(ŝ + ε), in all forms that torch's optimizers do not have.

    sums: s ← s + g²; else s ← ρs + (1−ρ)g². m ← βm + (1−β)g. corrected: m̂ = m/(1−βᵗ) and
    ŝ = s/(1−ρᵗ), else m and s. inside: √(ŝ + ε), else √ŝ + ε. centered: less the square of the
    running mean of g. momentum: of the steps. lr_decay: η in α/(1 + ηt). first: s at first.
    """

    def __init__(
        self,
        parameters: ParamsT,
        lr: float,
        eps: float,
        weight_decay: float,
        inside: bool = True,
        sums: bool = False,
        beta: float = 0.0,
        rho: float = 0.0,
        corrected: bool = False,
        momentum: float = 0.0,
        centered: bool = False,
        lr_decay: float = 0.0,
        first: float = 0.0,
    ) -> None:
        not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        options = {
            **{"lr": lr, "eps": eps, "weight_decay": weight_decay, "inside": inside},
            **{"sums": sums, "beta": beta, "rho": rho, "corrected": corrected},
            **{"momentum": momentum, "centered": centered, "lr_decay": lr_decay, "first": first},
        }
        super().__init__(parameters, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients."""
        loss = evaluated(closure)
        for group in self.param_groups:
            acting = ways(group)
            for p in group["params"]:
                if p.grad is None:
                    continue
                memory = self.state[p]
                if not memory:
                    memory |= {"step": 0, "square": torch.full_like(p, group["first"])}
                    memory |= {name: torch.zeros_like(p) for name in kept(group)}
                memory["step"] += 1
                rules.scaled(p, p.grad, memory, group, acting, memory["step"])
        return loss


def kept(group: Mapping[str, Any]) -> list[str]:
    """What a `Scaled` remembers of a weight, beside its squares."""
    asked = {"momentum": "beta", "velocity": "momentum", "mean": "centered"}
    return [name for name, option in asked.items() if group[option]]


def ways(group: Mapping[str, Any]) -> frozenset[str]:
    """The parts of `rules.scaled` that act in a `Scaled`."""
    asked = [name for name in ("inside", "sums", "corrected") if group[name]]
    return frozenset(["clamped", "lr_decay", "square", *asked, *kept(group)])


class AdaDelta(torch.optim.Optimizer):
    """AdaDelta over a window of steps, or without its numerator; see `adadelta`."""

    def __init__(
        self,
        parameters: ParamsT,
        lr: float,
        rho: float,
        eps: float,
        window: int | None,
        numerator: bool,
        weight_decay: float,
    ) -> None:
        not_negative(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, options | {"window": window, "numerator": numerator})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.add(p, alpha=group["weight_decay"])
                memory = self.state[p]
                memory["step"] = memory.get("step", 0) + 1
                before = self._mean(memory, "moves", p, None, group)
                scale = (self._mean(memory, "squares", p, grad, group) + group["eps"]).sqrt()
                move = grad / scale
                if group["numerator"]:
                    move *= (before + group["eps"]).sqrt()
                    self._mean(memory, "moves", p, move, group)
                p.add_(move, alpha=-group["lr"])
        return loss

    def _mean(
        self,
        memory: dict[str, Any],
        name: str,
        p: Tensor,
        new: Tensor | None,
        group: dict[str, Any],
    ) -> Tensor:
        """The mean square of what has come so far, of the last ones where there is a window.

        new: one more.
        """
        window = group["window"]
        if name not in memory:
            memory[name] = torch.zeros_like(p) if window is None else p.new_zeros(window, *p.shape)
        kept, step = cast(Tensor, memory[name]), memory["step"]
        if window is None:
            if new is not None:
                kept.mul_(group["rho"]).addcmul_(new, new, value=1 - group["rho"])
            return kept
        if new is not None:
            kept[(step - 1) % window] = new * new
        count = step if new is not None else step - 1
        return cast(Tensor, kept.sum(0) / max(1, min(count, window)))


def _outside(form: str) -> bool:
    if form not in FORMS:
        raise ValueError(f"eps_form must be {' or '.join(FORMS)}, got {form}")
    return form == "outside"
