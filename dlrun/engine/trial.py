"""A short trial after a training: would more fitting help on validation?

From the weights that are the result, a few steps go down the gradient of the plain loss, in
evaluation mode and without penalties. Where validation gets better by that, beyond chance,
training was too short, too slow, or kept from fitting; where it does not, it was long enough.
Kept from fitting it was where the same steps with all that restrained the training, or on augmented
samples, gain far less.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dlrun.data.sample import sample
from dlrun.engine.batches import Batch
from dlrun.engine.device import without_cudnn
from dlrun.engine.look import error_of_mean, output_of, rms
from dlrun.engine.restraint import Restraint, augmented, restrained
from dlrun.engine.run import Run
from dlrun.regularization import acting

SHARE, LEAST, MOST = 0.05, 10, 30
"""The trial takes this share of the training's samples, but so many steps at least and at most.

Where penalties or noise restrain the model, MOST steps: these act on long ways.
"""
_LENGTH = 0.1  # of the whole way, in terms of a parameter's root mean square, if it were random
_SMALL, _LARGE = 64, 512  # samples of a step: the larger, the less is left to chance
_CHEAP, _DEAR = 2e8, 2e9
"""Operations of a trial: up to the first it may take large batches, however short the training
was; beyond the second it keeps to its share.
"""
_DECAYS = (0.9, 0.99)  # of the means of gradients and of their squares (Kingma, Ba 2015)
_SEEN = 2.0  # standard errors of a gain from which on it is asked what the restraints leave of it
_CHUNKS = 100  # parts of a split whose losses give the standard error
_TEMPERATURES = torch.logspace(-1, 1, 41).tolist()
Drawn = Callable[[Tensor], Batch]
"""The samples of some rows, as the model sees them."""


def improved(run: Run, train: Batch, val: Batch, trained: int) -> dict[str, float]:
    """By how much the loss on validation changes; {} where nothing was tried.

    trained: how many samples the training has seen, repeats included. Call it with evaluation
    weights, inside `untouched`. Where the training changes its samples or targets, or has batch
    norm, the losses are those at their best temperature (Guo et al. 2017): it makes less sure.
    trial/before, trial/after: the losses of trial/samples. trial/error: the standard error of their
    difference. trial/steps: how many were taken.
    trial/tempered: 1 where they are those at their best temperature, else 0. trial/held: the loss
    after the same steps with the penalties, noise and decay of the recipe, where it has any and
    those without have gained; trial/held_error: the standard error of trial/held − trial/after.
    trial/augmented, trial/augmented_error: so on samples as the recipe augments them.
    """
    steps, batch = _lengths(run, trained)
    weights = run.weights
    if not steps or not weights or len(val[1]) < 2:
        return {}
    run.model.eval()
    before, start = _losses(run, val), [weight.detach().clone() for weight in weights]
    known, count = partial(_taken, *train), len(train[1])
    if not _descend(run, known, count, steps, batch):
        return {}
    after = _losses(run, val)
    if not after.isfinite().all():
        return {}
    found = {
        "trial/before": float(before.mean()),
        "trial/after": float(after.mean()),
        "trial/error": error_of_mean(after - before),
        "trial/steps": float(steps),
        "trial/samples": float(len(val[1])),
        "trial/tempered": float(_unsure(run)),
    }
    if found["trial/before"] - found["trial/after"] <= _SEEN * found["trial/error"]:
        return found

    def again(name: str, drawn: Drawn, restraint: Restraint | None = None) -> dict[str, float]:
        torch._foreach_copy_([weight.detach() for weight in weights], start)
        _descend(run, drawn, count, steps, batch, restraint)
        run.model.eval()
        losses = _losses(run, val).nan_to_num(nan=math.inf)
        return {
            f"trial/{name}": float(losses.mean()),
            f"trial/{name}_error": error_of_mean(losses - after),
        }

    if run.augmentation is not None:
        rows = sample(run.data.train, count, seed=0)  # the same as those of the trial
        found |= again("augmented", partial(augmented, run, rows))
    if run.regularizers or restrained(run):
        found |= again("held", known, Restraint(run, weights))
    return found


def _taken(x: Tensor, y: Tensor, rows: Tensor) -> Batch:
    rows = rows.to(y.device)
    return x.index_select(0, rows), y.index_select(0, rows)


def _lengths(run: Run, trained: int) -> tuple[int, int]:
    """Steps and the samples of each, so that the trial costs next to nothing beside training."""
    least = MOST if restrained(run) else LEAST
    each = 3 * max(run.flops, 1)
    samples = max(SHARE * trained, min(_CHEAP / each, _LARGE * least))
    if each * _SMALL * least < _DEAR:
        samples = max(samples, _SMALL * least)
    steps = min(MOST, max(least, int(samples / _LARGE)), int(samples / _SMALL))
    return steps, int(min(_LARGE, samples / max(steps, 1)))


def _descend(
    run: Run, drawn: Drawn, count: int, steps: int, batch: int, restraint: Restraint | None = None
) -> bool:
    """Steps whose length falls to 0 by a cosine, as in Adam, in terms of each parameter's size.

    drawn: gives the samples of rows among `count`. False where the loss has no gradient.
    """
    weights = run.weights
    generator = torch.Generator().manual_seed(0)
    length = _LENGTH / math.sqrt(steps)
    sizes = [length * max(rms(weight.detach()), 1e-3) for weight in weights]
    counts = torch.tensor([weight.numel() for weight in weights])
    lengths = torch.tensor(sizes).repeat_interleave(counts).to(run.device)
    means = [torch.zeros_like(lengths) for _ in _DECAYS]
    for step in range(steps):
        some = drawn(torch.randint(count, (min(batch, count),), generator=generator))
        gradients = _gradients(run, *(restraint.batch(*some) if restraint else some), weights)
        if gradients is None:
            return False
        if restraint:
            gradients = restraint.gradients(gradients)
        factor = (1 + math.cos(math.pi * step / steps)) / 2
        _step(weights, [*gradients], means, lengths, step + 1, factor)
        if restraint:
            restraint.shrink([factor * size for size in sizes])
    return True


@torch.no_grad()
def _step(
    weights: Sequence[nn.Parameter],
    gradients: Sequence[Tensor | None],
    means: Sequence[Tensor],
    lengths: Tensor,
    count: int,
    factor: float,
) -> None:
    """The step of this number, from 1, of so many times these lengths.

    means: of the gradients and of their squares. They and the lengths have a place for each number
    of all weights: many small tensors would take far longer than one.
    """
    pairs = zip(weights, gradients, strict=True)
    slope = torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for w, g in pairs])
    first, second = means
    first.lerp_(slope, 1 - _DECAYS[0])
    second.lerp_(slope.square(), 1 - _DECAYS[1])
    corrected = [1 - decay**count for decay in _DECAYS]
    scale = (second / corrected[1]).sqrt_().add_(1e-12)
    steps = (first * lengths).div_(scale).split([weight.numel() for weight in weights])
    for weight, step in zip(weights, steps, strict=True):
        weight.sub_(step.view_as(weight), alpha=factor / corrected[0])


def _gradients(
    run: Run, x: Tensor, y: Tensor, weights: Sequence[nn.Parameter]
) -> Sequence[Tensor | None] | None:
    with torch.enable_grad(), without_cudnn(run.model):
        loss = run.loss(run.uncompiled(x).float(), y)
        return torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else None


@torch.no_grad()
def _losses(run: Run, split: Batch) -> Tensor:
    """The mean losses of parts of a split, (parts,)."""
    x, y = split
    said = output_of(run, x)
    if _unsure(run):
        said = said * min(_TEMPERATURES, key=lambda t: float(run.loss(said * t, y)))
    return run.loss.parts(said, y, max(1, len(y) // _CHUNKS))


def _unsure(run: Run) -> bool:
    """Whether training is on other samples or targets than evaluation, which makes less sure."""
    if not run.loss.link:
        return False
    rules = list(run.regularizers.values())
    normalized = any(isinstance(module, _NormBase) for module in run.model.modules())
    changed = run.augmentation is not None or bool(run.change_batch)
    return normalized or changed or bool(acting(rules, "change_loss"))
