"""A look at a run that changes nothing of it: buffers, modes, gradients and every source of random
numbers are put back.

`untouched` is for any look; `Seen` is what most of them look at.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data import Split
from dlrun.data.sample import in_order, sample
from dlrun.engine import batch_statistics, checkpoint, signal
from dlrun.engine.batches import gather, sizes
from dlrun.engine.evaluate import ready
from dlrun.engine.memory import HOLDERS, OF_MODULES, overlaps, refill
from dlrun.engine.run import Run
from dlrun.model.order import evaluation

SAMPLES = 256
"""Training samples that are looked at."""
BATCH = 64
"""Rows of a batch that is trained on, at most."""
_OPERATIONS = 1e10  # of a pass over the samples; a large network sees fewer, 16 at least
_STEP = 1e-3  # the length of a small step, as a share of a parameter's


@contextmanager
def untouched(run: Run) -> Iterator[None]:
    """Inside, a run may go forward and backward; afterwards it is as it was."""
    modules = [*run.model.modules()]
    known = all(_is_known(part) for part in (run.objective.function, *_code(modules)))
    # No state_dict: it lacks some buffers, and what a module of the user keeps beside tensors.
    kept = [checkpoint.random_kept(run.generator, torch_alone=known), _held(modules)]
    for module in modules:
        if not (known and type(module).__module__.startswith("torch.")):
            kept.append(_remembered(module))
    modes = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        with torch.no_grad():
            for put_back in reversed(kept):
                put_back()
        for module, training in modes:
            if module.training != training:  # to set one takes long
                module.training = training


def _code(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """What runs in a pass through modules."""
    for module in modules:
        yield vars(module).get("forward", module)
        yield from (*module._forward_hooks.values(), *module._forward_pre_hooks.values())


def _is_known(part: Any) -> bool:
    """Whether it is of torch or dlrun, which draw from torch's random numbers alone."""
    return (getattr(part, "__module__", None) or "").partition(".")[0] in ("torch", "dlrun")


@torch.no_grad()
def _held(modules: Iterable[nn.Module]) -> Callable[[], None]:
    """What gives modules their parameters and buffers again, their values and their gradients."""
    holders: list[dict[str, Any]] = []
    for module in modules:
        holders += (module._parameters, module._buffers)
    before = [
        (tensors, name, tensor, tensor.clone(), tensor.grad if tensor.is_leaf else None)
        for tensors in holders
        for name, tensor in tensors.items()
        if tensor is not None
    ]

    def put_back() -> None:
        for tensors, name, tensor, value, gradient in before:
            tensors[name] = tensor
            if not overlaps(tensor):
                tensor.copy_(value)
            if tensor.is_leaf:
                tensor.grad = gradient

    return put_back


def _remembered(module: nn.Module) -> Callable[[], None]:
    """What gives a module its own attributes again, such as a counter or a list, as they are now.

    What else they hold, inside an object of another kind, is left as it is.
    """
    attributes = vars(module)
    before = {key: value for key, value in attributes.items() if key not in OF_MODULES}
    contents = [(value, copy.copy(value)) for value in before.values() if type(value) in HOLDERS]
    drawn = [(g, g.get_state()) for g in before.values() if isinstance(g, torch.Generator)]
    held = [t.detach() for t in before.values() if isinstance(t, Tensor) and not overlaps(t)]
    tensors = [(tensor, tensor.clone()) for tensor in held]

    def put_back() -> None:
        for key in attributes.keys() - OF_MODULES - before.keys():
            del attributes[key]
        attributes.update(before)
        for holder, content in contents:
            refill(holder, content)
        for generator, state in drawn:
            generator.set_state(state)
        for tensor, value in tensors:
            tensor.copy_(value)

    return put_back


@torch.no_grad()
def as_seen(run: Run, split: Split, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Samples as the model sees them in evaluation, and their targets. rows: of the data set."""
    x, y = gather(split.x, split.y, rows.to(split.x.device))
    x = ready(run, run.evaluation(x.to(run.device)))
    return x, x if run.reconstructs else y.to(run.device)


def some(run: Run, split: Split, count: int) -> tuple[Tensor, Tensor]:
    """So many samples of a split, drawn at random, in its order; as `as_seen` gives them."""
    return as_seen(run, split, in_order(split, count, seed=0))


class Seen:
    """What the checks look at; each thing is computed once, when the first check asks for it.

    x, y: samples of the training split as the model sees them in evaluation, and their targets.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        split = run.data.train
        most = min(SAMPLES, max(BATCH // 4, int(_OPERATIONS / max(run.flops, 1))))
        rows = sample(split, most, seed=0)
        self.x, self.y = as_seen(run, split, rows)

    @cached_property
    def outputs(self) -> Tensor:
        """Of the untrained network in evaluation mode."""
        return self.evaluated(self.x)

    @cached_property
    def begun(self) -> Tensor:
        """The same with batch norm's statistics of these samples, as training begins with."""
        if not batch_statistics.layers(self.run.model):
            return self.outputs
        with untouched(self.run):
            return as_begun(self.run, self.x)

    @cached_property
    def counts(self) -> tuple[list[int], list[int]] | None:
        """Samples of each class in training and validation; None where there are no classes."""
        data = self.run.data
        if self.run.regression or data.train.y.is_floating_point():
            return None
        return _counts(data.train, data.outputs), _counts(data.val, data.outputs)

    @property
    def held(self) -> list[list[int]]:
        """Samples of each class, in each split that has any."""
        data = self.run.data
        return [_counts(split, data.outputs) for split in data.splits.values() if len(split)]

    @cached_property
    def trained(self) -> "Backward":
        """A mini-batch forward and back, in training mode."""
        return self.backward()

    @cached_property
    def layers(self) -> list[tuple[str, nn.Parameter]]:
        """The weights that are trained and mix units, (units, ...), the first layer first."""
        named = self.run.model.named_parameters()
        return [(name, w) for name, w in named if w.dim() > 1 and w.requires_grad]

    @torch.no_grad()
    def evaluated(self, x: Tensor) -> Tensor:
        """Outputs in evaluation mode."""
        with evaluation(self.run.model):
            return output_of(self.run, x)

    @contextmanager
    def after_a_step(self) -> Iterator[None]:
        """Inside, the network has taken one small step down the gradient.

        A branch that begins at zero has no gradient before that, and has one then.
        """
        gradients = self.trained.gradients
        with untouched(self.run):
            with torch.no_grad():
                for name, weight in self.run.model.named_parameters():
                    if name in gradients:
                        size = gradients[name].norm().clamp(min=1e-12)
                        weight.sub_(gradients[name] * (_STEP * (1 + weight.norm()) / size))
            yield

    def backward(self) -> "Backward":
        model, size = self.run.model, min(BATCH, self.run.lengths.batch_size)
        with untouched(self.run), torch.enable_grad():
            model.train()
            model.zero_grad(set_to_none=True)
            outputs = self.run.uncompiled(self.x[:size])
            met = signal.activations(outputs)
            outputs.retain_grad()
            self.run.objective(outputs, self.y[:size]).backward()
            found = [(name, weight.grad) for name, weight in model.named_parameters()]
        at_output = 0.0 if outputs.grad is None else len(outputs) * rms(outputs.grad)
        return Backward(met, {name: grad for name, grad in found if grad is not None}, at_output)


@dataclass(frozen=True)
class Backward:
    """What a mini-batch gave in training mode: hidden activations, gradients by parameter.

    at_output: the root mean square of the gradient of a sample's loss by its outputs.
    """

    activations: list[signal.Activations]
    gradients: dict[str, Tensor]
    at_output: float


def output_of(run: Run, x: Tensor) -> Tensor:
    """(n, outputs) float32 What the model gives for samples as it sees them, in its mode."""
    parts = x.split(sizes(len(x), run.lengths.evaluation_batch))
    return torch.cat([run.uncompiled(part).float() for part in parts])


@torch.no_grad()
def as_begun(run: Run, x: Tensor) -> Tensor:
    """What `output_of` gives in evaluation mode, with batch norm's statistics of these samples.

    Those that an untrained network holds say nothing. Call it inside `untouched`.
    """
    if len(x) > 1:
        batch_statistics.estimate(run.model, run.uncompiled, x.tensor_split(-(-len(x) // SAMPLES)))
    with evaluation(run.model):
        return output_of(run, x)


def are_images(x: Tensor) -> bool:
    """Whether samples can be drawn: (n, channels, height, width) with one channel or three."""
    return x.dim() == 4 and x.shape[1] in (1, 3)


def rms(value: Tensor) -> float:
    """The root mean square."""
    return float(value.square().mean().sqrt())


def error_of_mean(values: Tensor) -> float:
    """The standard error of the mean of (n,) values."""
    return float(values.std() / math.sqrt(len(values)))


def deviate(squared: float, free: int) -> float:
    """A χ² with so many degrees of freedom as a normal deviate; 0 of none.

    By its cube root (Wilson and Hilferty 1931).
    """
    if free < 1:
        return 0.0
    part = 2 / (9 * free)
    return (math.cbrt(squared / free) - (1 - part)) / math.sqrt(part)


def _counts(split: Split, outputs: int) -> list[int]:
    counts: list[int] = torch.bincount(split.y[split.rows], minlength=outputs).tolist()
    return counts
