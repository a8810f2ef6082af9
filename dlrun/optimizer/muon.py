"""Muon: momentum whose update of a weight matrix is made orthogonal; AdamW for the rest.

Jordan et al. 2024, Muon: An Optimizer for Hidden Layers in Neural Networks. torch.optim.Muon
takes only matrices and iterates only in bfloat16.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from dlrun.errors import below_one, not_negative
from dlrun.optimizer.replay import evaluated, moving

QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at 0: singular values end in about [0.7, 1.2]


class Muon(torch.optim.Optimizer):
    """Muon for the weight matrices, AdamW for all other parameters.

    A convolution's kernel counts as a matrix with a row for each output channel. The first and
    the last matrix, in the model's order, go to AdamW where asked. lr and momentum are Muon's;
    adamw_lr, betas and eps are AdamW's; the decay is decoupled in both.

    matrices: those among the parameters, in the model's order; None stands for all that have
    two axes or more.
    """

    def __init__(
        self,
        parameters: ParamsT,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        adamw_lr: float = 0.003,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adamw_first: bool = False,
        adamw_last: bool = True,
        matrices: Sequence[Tensor] | None = None,
    ) -> None:
        not_negative(lr=lr, adamw_lr=adamw_lr, weight_decay=weight_decay)
        below_one(momentum=momentum, betas=betas)
        if not 1 <= iterations <= 100:
            raise ValueError(f"iterations must be between 1 and 100, got {iterations}")
        given: list[Any] = list(parameters)
        if not isinstance(given[0], dict):
            given = [{"params": given}]
        if matrices is None:
            matrices = [p for group in given for p in group["params"] if p.dim() >= 2]
        own = set(matrices[int(adamw_first) : len(matrices) - int(adamw_last)])

        groups = []
        for group in given:
            parted = [p for p in group["params"] if p in own]
            others = [p for p in group["params"] if p not in own]
            groups += [group | {"params": parted, "muon": True}] if parted else []
            own_rate = {"muon": False, "lr": adamw_lr, "own_rate": True}
            groups += [group | {"params": others} | own_rate] if others else []
        groups.sort(key=lambda group: not group["muon"])  # the rate of the first is shown: Muon's
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.momentum, self.nesterov, self.iterations = momentum, nesterov, iterations
        self.betas, self.eps = betas, eps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        loss = evaluated(closure)
        for group, moved, grads in moving(self):
            step = self._step_matrices if group["muon"] else self._step_others
            step(moved, grads, group["lr"], group["weight_decay"])
        return loss

    def _step_matrices(
        self, weights: list[Tensor], grads: list[Tensor], lr: float, decay: float
    ) -> None:
        for p in weights:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        means = [self.state[p]["momentum"] for p in weights]
        torch._foreach_lerp_(means, grads, 1 - self.momentum)
        updates: Any = means
        if self.nesterov:
            updates = torch._foreach_lerp(grads, means, self.momentum)
        if decay:
            torch._foreach_mul_(weights, 1 - lr * decay)

        # Matrices of one shape are made orthogonal together.
        alike = defaultdict(list)
        for p, update in zip(weights, updates, strict=True):
            alike[len(p), p[0].numel()].append((p, update.flatten(1)))
        for (rows, columns), pairs in alike.items():
            turned = orthogonal(torch.stack([update for _, update in pairs]), self.iterations)
            size = lr * max(1, rows / columns) ** 0.5
            for (p, _), matrix in zip(pairs, turned, strict=True):
                p.sub_(matrix.view(p.shape), alpha=size)

    def _step_others(
        self, weights: list[Tensor], grads: list[Tensor], lr: float, decay: float
    ) -> None:
        for p in weights:
            if not self.state[p]:
                self.state[p] |= {
                    "step": torch.tensor(0.0),
                    "mean": torch.zeros_like(p),
                    "square": torch.zeros_like(p),
                }
        memories = [self.state[p] for p in weights]
        adamw(
            weights,
            grads,
            [memory["mean"] for memory in memories],
            [memory["square"] for memory in memories],
            [],
            [memory["step"] for memory in memories],
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=decay,
            eps=self.eps,
            maximize=False,
        )


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """UVᵀ of every matrix UΣVᵀ, nearly: a Newton–Schulz iteration, (n, rows, columns).

    The singular values come out around 1, not at 1: between 0.7 and 1.2 unless they
    began below a few thousandths of the matrix's norm.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    return x.mT if tall else x
