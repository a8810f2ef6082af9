"""The loop that somebody would write by hand for one recipe: no record, no resume, no choices.

It does the arithmetic that dlrun does for the same recipe: the same order of samples, the
rate of a cosine schedule, loss and hits of the training batches, a validation every epoch.
"""

from collections.abc import Callable
from math import cos, pi
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    order: Callable[[int], Tensor],
    epochs: int,
    batch_size: int,
    prepare: Callable[[Tensor], Tensor] | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Train for `epochs` epochs; the seconds of one.

    order: the rows of an epoch by its number.
    prepare: preprocessing, where the samples are not preprocessed yet; then augment is
    what is done to a raw batch before.
    """
    x_train, y_train = train
    x_val, y_val = val
    rate = optimizer.param_groups[0]["lr"]
    step, total = 0, epochs * -(-len(order(0)) // batch_size)
    begin = perf_counter()
    for epoch in range(epochs):
        model.train()
        order_now = order(epoch)
        loss_sum, hits = 0.0, 0
        for start in range(0, len(order_now), batch_size):
            rows = order_now[start : start + batch_size]
            x, y = x_train[rows], y_train[rows]
            if augment is not None:
                x = augment(x)
            if prepare is not None:
                x = prepare(x)
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + cos(pi * step / total))
            logits = model(x)
            loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(y)
            hits += (logits.argmax(1) == y).sum().item()
            step += 1
        model.eval()
        val_loss, val_hits = 0.0, 0
        with torch.no_grad():
            for x, y in zip(x_val.split(1024), y_val.split(1024), strict=True):
                logits = model(x)
                val_loss += cross_entropy(logits, y).item() * len(y)
                val_hits += (logits.argmax(1) == y).sum().item()
    return (perf_counter() - begin) / epochs
