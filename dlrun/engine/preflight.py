"""What can be told of a run before it trains: each check says what it found.

Those of the loss and of the network as a whole are here.

Karpathy 2019, A Recipe for Training Neural Networks; Goodfellow et al. 2016, chapter 11.
"""

import math
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from dlrun.engine import signal
from dlrun.engine.data_checks import (
    class_imbalance,
    class_missing,
    dependent_inputs,
    fixed_order,
    input_scale,
    label_noise,
    leak,
    no_validation,
    scaling,
)
from dlrun.engine.device import without_cudnn
from dlrun.engine.look import BATCH, Seen, rms, untouched
from dlrun.engine.loss_sense import loss_sense
from dlrun.engine.memory import OF_MODULES
from dlrun.engine.near_copies import near_copies
from dlrun.engine.outlying import outlying_inputs, outlying_targets
from dlrun.engine.run import Run
from dlrun.engine.sentinel import sentinels
from dlrun.engine.signal_checks import (
    DEAD,
    dead_units,
    gradients,
    linear_network,
    linear_scaling,
    saturated_units,
    symmetric_units,
)
from dlrun.engine.target_leak import target_leak
from dlrun.errors import place, told
from dlrun.finding import FAIL, NOTE, WARN, Finding
from dlrun.loss import REARRANGES
from dlrun.model.order import evaluation

_OF_NUMBERS = ("mae", "huber", "mse")
_MIXED = 8  # samples whose outputs must not depend on each other

CONFIDENT = {True: 4.0, False: 6.0}
"""How many times the loss of an undecided network may be, of classes (True) or of numbers.

He's initialization gives outputs the variance 2: a loss of about log C + 1, or of three times
the spread of the targets. More than twice that is out of proportion.
"""
LARGE = 30.0
"""The root mean square of targets in terms of the 1 that outputs begin with: a thousand times the
loss, and at usual rates steps that throw the weights as far."""
UNUSED = 1 / 3
"""The share of the inputs of an image or a series that a network never uses, to be warned of."""


def preflight(run: Run) -> list[Finding]:
    """Every finding of the set-up and of the signal of a run that has not been trained.

    A check is left out, which is said, where the model or the user's own loss raises an error in
    it: it may take batches of some sizes alone.
    """
    found: list[Finding] = []
    left_out: dict[str, Exception] = {}
    with untouched(run):
        seen = Seen(run)
        for check in CHECKS:
            try:
                found += check(seen)
            except Exception as error:
                if not raised_by(run.model, error):
                    raise
                left_out[check.__name__] = error
    return [*found, *_incomplete(left_out)]


def raised_by(model: nn.Module, error: BaseException) -> bool:
    """Whether an error has come out of a model, or of the user's own code.

    What a module of dlrun raises is dlrun's mistake, unless a module of the user has called it.
    """
    package = {id(module): type(module).__module__.partition(".")[0] for module in model.modules()}
    frames = traceback.walk_tb(error.__traceback__)
    met = [package.get(id(frame.f_locals.get("self")), "") for frame, _ in frames]
    passed = [each for each in met if each]
    theirs = not {"dlrun", "torch"}.issuperset(passed) or passed[-1:] == ["torch"]
    return theirs or place(error) is not None


def _incomplete(left_out: Mapping[str, Exception]) -> Iterator[Finding]:
    """Which checks could not be made, and why."""
    if left_out:
        error = next(iter(left_out.values()))
        yield Finding(
            "inconclusive",
            NOTE,
            f"The model or its loss does not take the batches of some checks, which are left out "
            f"({', '.join(left_out)}): {told(error).rstrip('.')}.",
            {"checks": len(left_out)},
        )


def initial_loss(seen: Seen) -> Iterator[Finding]:
    """The loss against that of a network that has no opinion: equal logits, or the mean."""
    run, outputs = seen.run, seen.begun
    if run.regression:
        undecided = seen.y.mean(0, keepdim=True).expand_as(seen.y).reshape(outputs.shape)
        undecided = torch.logit(undecided, eps=1e-6) if run.loss.link == "sigmoid" else undecided
        # Targets that are not standardized are far from 0, where networks begin.
        expected = max(float(run.objective(each, seen.y)) for each in (undecided, 0 * undecided))
    else:
        expected = float(run.objective(torch.zeros_like(outputs), seen.y))
    # By a loss of numbers classes are mostly 0, and networks begin with outputs of about 1.
    numeric = not run.regression and run.loss.name in _OF_NUMBERS
    usual = float(run.objective(torch.ones_like(outputs), seen.y)) if numeric else expected
    got = float(run.objective(outputs, seen.y))
    numbers = {"loss": got, "undecided": expected}
    size = rms(seen.y.float()) if run.regression and not run.reconstructs else 0.0
    if size > LARGE and run.scale is None and run.began is None:
        mean, spread = float(seen.y.mean()), float(seen.y.std(correction=0))
        yield Finding(
            "initial_loss",
            WARN,
            f"Targets have a mean of {mean:.3g} and a standard deviation of {spread:.3g}, and a "
            f"network begins with outputs of about 1, so that its loss is {got:.3g}: standardize "
            "them.",
            numbers | {"size": size},
            changes={**scaling(seen), "data.scale_targets": True},
        )
    elif not math.isfinite(got):
        yield Finding("initial_loss", FAIL, f"The untrained network's loss is {got}.", numbers)
    elif run.began is None and got > CONFIDENT[not run.regression] * max(expected, usual) > 0:
        yield Finding(
            "initial_loss",
            WARN,
            f"The untrained network's loss is {got:.3g}, and guessing gives {expected:.3g}: its "
            "first outputs are far too large; scale the inputs, or begin with smaller weights.",
            numbers,
            changes={**scaling(seen), "initializer": "default"},
        )


def probabilities_into_loss(seen: Seen) -> Iterator[Finding]:
    """Outputs that are probabilities already, for a loss that takes logits."""
    out, loss = seen.outputs, seen.run.loss
    if not loss.takes_logits or out.dim() != 2:
        return
    sums = out.sum(1)
    softmax = bool((out >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    if softmax or last_function(seen) == "SigmoidBackward0":
        yield Finding(
            "probabilities_into_loss",
            FAIL,
            f"The model ends in a {'softmax' if softmax else 'sigmoid'}, but loss={loss.name} "
            "takes logits and applies it itself; leave the model's out.",
            {"lowest": float(out.min()), "highest": float(out.max())},
            changes={"loss": "mse"},
        )


def batch_mixing(seen: Seen) -> Iterator[Finding]:
    """The gradient of some samples' outputs by the others, in evaluation mode; then the reverse.

    Which are some: those whose number has an odd sum of binary digits (Thue, Morse). No period
    and no reversal of the batch keeps them apart from the others.
    """
    x = seen.x[:_MIXED].clone()
    if len(x) < 2 or not x.is_floating_point():
        return
    some = torch.tensor([place.bit_count() % 2 == 1 for place in range(len(x))], device=x.device)
    model = seen.run.model
    with evaluation(model), torch.enable_grad(), without_cudnn(model):
        outputs = seen.run.uncompiled(x.requires_grad_()).flatten(1)
        if len(outputs) != len(x) or not outputs.requires_grad:
            return
        # Unequal weights: a softmax sums to 1 whatever its input.
        weights = torch.linspace(1, 2, outputs.shape[1], device=x.device, dtype=outputs.dtype)
        sums = [(outputs[part] * weights).sum() for part in (some, ~some)]
        [one] = torch.autograd.grad(sums[0], x, retain_graph=True, allow_unused=True)
        [other] = torch.autograd.grad(sums[1], x, allow_unused=True)
    if one is None or other is None:
        return
    by_others = max(float(one[~some].abs().max()), float(other[some].abs().max()))
    if by_others > 0:
        itself = max(float(one[some].abs().max()), float(other[~some].abs().max()))
        yield Finding(
            "batch_mixing",
            FAIL,
            "The output for one sample depends on the other samples of its batch: look for a "
            "softmax, mean, sum, norm, shift or view over axis 0 in the model, or a recurrent "
            "layer without batch_first.",
            {"gradient_by_others": by_others, "gradient_by_itself": itself},
            changes={"model": "mlp"},
        )


def no_gradient(seen: Seen) -> Iterator[Finding]:
    """Parameters that are not trained, and those whose gradient is missing or not finite."""
    model, gradients = seen.run.model, seen.trained.gradients
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    asked = seen.run.frozen.names if seen.run.frozen else ()
    named = [name for name, _ in model.named_parameters() if name not in asked]
    frozen = [name for name in named if name not in trained]
    missing = [name for name in trained if name not in gradients]
    wild = [name for name, value in gradients.items() if not value.isfinite().all()]
    zero = {name for name, value in gradients.items() if value.dim() > 1 and not value.any()}
    if zero and not wild:
        with seen.after_a_step():
            after = seen.backward().gradients
        zero = {name for name in zero if name not in after or not after[name].any()}
    for names, level, one, many in (
        (
            missing,
            FAIL,
            "gets no gradient: the loss does not depend on it",
            "get no gradient: the loss does not depend on them",
        ),
        (wild, FAIL, "gets a gradient that is not finite", "get gradients that are not finite"),
        (sorted(zero), WARN, "gets a gradient of exactly zero", "get gradients of exactly zero"),
        (frozen, WARN, "is frozen: requires_grad is False", "are frozen: requires_grad is False"),
    ):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            numbers = {"parameters": len(names)}
            command = {"procedure": "probe"}
            what = many if len(names) > 1 else one
            yield Finding("no_gradient", level, f"{some} {what}.", numbers, changes=command)


def unregistered(seen: Seen) -> Iterator[Finding]:
    """Weights that the output depends on and that are not among the model's parameters."""
    model = seen.run.model
    with torch.enable_grad(), evaluation(model):
        outputs = seen.run.uncompiled(seen.x[:_MIXED])
    ours = {id(weight) for weight in model.parameters()}
    met = [getattr(node, "variable", None) for node in signal.behind(outputs.grad_fn)]
    strange = [weight for weight in met if weight is not None and id(weight) not in ours]
    if strange:
        count = sum(weight.numel() for weight in strange)
        places = sorted({p for w in strange if (p := _place(model, w))})
        where = f" ({', '.join(places[:3])}{', …' if places[3:] else ''})" if places else ""
        yield Finding(
            "no_gradient",
            FAIL,
            f"The output depends on {count:,} weights that model.parameters() does not list"
            f"{where}, so they are never trained: keep layers in an nn.ModuleList, nn.ModuleDict "
            "or as attributes, and make them in __init__.",
            {"weights": count},
            changes={"model": "mlp"},
        )


def _place(model: nn.Module, weight: torch.Tensor) -> str:
    """The attribute of a module of the model that holds a weight, in whatever lists; "": none."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in OF_MODULES and _holds(value, weight):
                return f"{path}.{name}".lstrip(".")
    return ""


def _holds(value: Any, weight: torch.Tensor) -> bool:
    if isinstance(value, nn.Module):
        return any(each is weight for each in value.parameters())
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return any(_holds(each, weight) for each in value)
    return value is weight


def ignores_input(seen: Seen) -> Iterator[Finding]:
    """Outputs for real inputs against those for zeros."""
    blank = seen.evaluated(torch.zeros_like(seen.x[:_MIXED]))[:1]
    spread = float((seen.outputs - blank).abs().max())
    if max((met.dead for met in seen.trained.activations), default=0.0) >= DEAD:
        return  # which explains it
    if spread <= 1e-6 * float(blank.abs().max()):
        yield Finding(
            "ignores_input",
            FAIL,
            "The network gives the same output for every sample and for zeros: the input does not "
            "reach its output.",
            {"difference": spread},
            changes={"initializer": "default"},
        )


def unused_inputs(seen: Seen) -> Iterator[Finding]:
    """Inputs that vary and that the outputs do not depend on.

    Of images and series a part is often cut off: a crop of 224×224 leaves 23% of 256×256, strides
    that do not fit leave the last rows. They are warned of from UNUSED on.
    """
    x, run = seen.x, seen.run
    if len(x) < BATCH // 4 or not x.is_floating_point() or run.reconstructs:
        return
    if max((met.dead for met in seen.trained.activations), default=0.0) >= DEAD:
        return  # which explains it
    varies = x.flatten(1).std(0) > 0
    unused = _untouched_by(seen, varies)
    if bool(unused.any()) and seen.trained.gradients:
        with seen.after_a_step():  # sparse weights at first reach some inputs by no path
            unused &= _untouched_by(seen, unused)
    many, all_inputs = int(unused.sum()), int(varies.sum())
    if not many or many == all_inputs or (x.dim() > 2 and many < UNUSED * all_inputs):
        return
    names = run.data.columns if len(run.data.columns) == len(unused) else ()
    some = [names[place] for place in unused.nonzero().flatten().tolist()[:3]] if names else []
    told = f" ({', '.join(some)}{', …' if many > 3 else ''})" if some else ""
    yield Finding(
        "ignores_input",
        WARN,
        f"{many:,} of {all_inputs:,} inputs that vary{told} never reach the output: look for a "
        "wrong slice, crop, mask or stride in the model.",
        {"unused": float(many), "inputs": float(all_inputs)},
        changes={"model": "mlp"},
    )


def _untouched_by(seen: Seen, asked: torch.Tensor) -> torch.Tensor:
    """(inputs,) Which of the asked inputs have no gradient at any sample, nor change any output.

    What is rounded, compared or looked up has no gradient, and changes outputs.
    """
    model, call = seen.run.model, seen.run.uncompiled
    met = torch.zeros_like(asked)
    with evaluation(model), torch.enable_grad(), without_cudnn(model):
        for part in seen.x.split(BATCH):
            x = part.clone().requires_grad_()
            outputs = call(x).flatten(1)
            weights = torch.linspace(1, 2, outputs.shape[1], device=x.device, dtype=outputs.dtype)
            if not outputs.requires_grad:
                return torch.zeros_like(asked)
            [gradient] = torch.autograd.grad((outputs * weights).sum(), x, allow_unused=True)
            if gradient is None:
                return torch.zeros_like(asked)
            met |= (gradient != 0).flatten(1).any(0)
    unused = asked & ~met
    flat = seen.x[:BATCH].flatten(1)
    changed = torch.where(unused, flat.roll(1, 0), flat).reshape(seen.x[:BATCH].shape)
    same = torch.equal(seen.evaluated(changed), seen.evaluated(seen.x[:BATCH]))
    return unused if same else torch.zeros_like(unused)


def random_in_eval(seen: Seen) -> Iterator[Finding]:
    """Two passes in evaluation mode."""
    x = seen.x[:BATCH]
    difference = float((seen.evaluated(x) - seen.evaluated(x)).abs().max())
    if difference > 1e-4 * max(1.0, float(seen.outputs.abs().max())):
        yield Finding(
            "random_in_eval",
            FAIL,
            "Two passes in evaluation mode over the same samples differ: dropout or noise stays "
            "on; give it `self.training`, or use nn.Dropout.",
            {"difference": difference},
            changes={"model": "mlp"},
        )


def label_range(seen: Seen) -> Iterator[Finding]:
    """Targets that the last function of the model can never give, or that are all the same."""
    if not seen.run.regression:
        return
    if len(seen.y) > 1 and bool((seen.y == seen.y[:1]).all()):
        said = "All training samples have the same target: there is nothing to learn from them."
        yield Finding("label_range", WARN, said, changes={"procedure": "show_data"})
    kind = last_function(seen)
    ends = {**signal.SATURATES, "ReluBackward0": (0.0, float("inf"))}.get(kind)
    low, high = float(seen.y.min()), float(seen.y.max())
    if ends and (low < ends[0] - 1e-3 or high > ends[1] + 1e-3):
        yield Finding(
            "label_range",
            FAIL,
            f"Targets go from {low:.3g} to {high:.3g}, but the model ends in a "
            f"{kind.removesuffix('Backward0').lower()} and can give only {ends[0]:g} "
            f"to {ends[1]:g}; leave it out.",
            {"lowest": low, "highest": high},
            changes={"model": "mlp"},
        )


def cut_off(seen: Seen) -> Iterator[Finding]:
    """Logits that pass a rectifier, which cuts half of what they can say."""
    if not seen.run.regression and last_function(seen) == "ReluBackward0":
        yield Finding(
            "dead_units",
            WARN,
            "The model ends in a relu: no output is below 0, and where one is 0 no gradient "
            "passes; leave it out.",
            {"zeros": float((seen.outputs == 0).float().mean())},
            changes={"model": "mlp"},
        )


def wrong_loss(seen: Seen) -> Iterator[Finding]:
    """A loss for numbers where there are classes."""
    loss = seen.run.loss
    if not seen.run.regression and loss.name in _OF_NUMBERS:
        settles = " and may settle at outputs of 0 for every class" if loss.name == "mae" else ""
        yield Finding(
            "wrong_loss",
            NOTE if loss.name == "mse" else WARN,
            f"loss={loss.name} is meant for regression{settles}; classes are learnt faster with "
            "cross entropy.",
            changes={"loss": "cross_entropy"},
        )


def not_a_mean(seen: Seen) -> Iterator[Finding]:
    """A loss of numbers that is not the mean of its samples' losses, as when shapes broadcast."""
    loss, out, y = seen.run.loss, seen.outputs[:_MIXED], seen.y[:_MIXED]
    if not seen.run.regression or len(y) < 2:
        return
    each = [float(loss(out[n : n + 1], y[n : n + 1])) for n in range(len(y))]
    mean, got = sum(each) / len(each), float(loss(out, y))
    whole = len(each) * mean  # a sum is a choice
    if min(abs(got - mean), abs(got - whole)) > 1e-3 * abs(mean):
        yield Finding(
            "wrong_loss",
            WARN,
            f"The loss of {len(each)} samples together is {got:.4g}, but the mean of their single "
            f"losses is {mean:.4g}: it compares outputs with the targets of other samples, as when "
            "(n, 1) meets (n,).",
            {"loss": got, "mean": mean},
            changes={"loss": "mse"},
        )


def wrong_answers(seen: Seen) -> Iterator[Finding]:
    """A loss that compares the wrong samples, or else one that teaches wrong answers."""
    yield from list(not_a_mean(seen)) or loss_sense(seen)


def competing_labels(seen: Seen) -> Iterator[Finding]:
    """Labels that may hold at once, with probabilities that sum to 1."""
    if not seen.run.labels:
        return
    sums = seen.run.loss.predicted(seen.outputs).sum(1)
    if torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        yield Finding(
            "wrong_loss",
            WARN,
            "The probabilities of a sample's labels sum to 1, as a softmax makes them, so no two "
            "are likely together; several labels may hold at once: give each a sigmoid.",
            {"sum": float(sums.mean())},
            changes={"model": "mlp"},
        )


CHECKS = (  # what causes others comes first
    *(probabilities_into_loss, competing_labels, wrong_answers, batch_mixing),
    *(label_range, cut_off),
    *(unregistered, symmetric_units, random_in_eval),
    *(leak, near_copies, target_leak, label_noise, class_missing, class_imbalance, fixed_order),
    *(no_validation, outlying_targets, sentinels, outlying_inputs, input_scale),
    *(dead_units, saturated_units, initial_loss, gradients, linear_scaling),
    *(no_gradient, linear_network, wrong_loss, dependent_inputs, ignores_input, unused_inputs),
)


def last_function(seen: Seen) -> str:
    """What autograd calls the last function of the model that changes values."""
    with torch.enable_grad(), evaluation(seen.run.model):
        out = seen.run.uncompiled(seen.x[:_MIXED])
    names = (node.name() for node in signal.behind(out.grad_fn))
    return next((n for n in names if not any(part in n for part in REARRANGES)), "")
