"""What can be told of a run before it trains: each check says what it found.

Karpathy 2019, A Recipe for Training Neural Networks; Goodfellow et al. 2016, chapter 11.
"""

import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dlrun.engine import signal
from dlrun.engine.device import without_cudnn
from dlrun.engine.ending import AtLength
from dlrun.engine.evaluate import samples
from dlrun.engine.look import BATCH, Seen, deviate, rms, untouched
from dlrun.engine.loss_sense import loss_sense
from dlrun.engine.memory import OF_MODULES
from dlrun.engine.near_copies import near_copies
from dlrun.engine.noise_scale import noise_scale
from dlrun.engine.outlying import outlying_inputs, outlying_targets
from dlrun.engine.run import Run
from dlrun.engine.sentinel import sentinels
from dlrun.engine.target_leak import target_leak
from dlrun.errors import place, told
from dlrun.finding import FAIL, NOTE, WARN, Finding, shares_apart
from dlrun.loss import REARRANGES
from dlrun.model.order import evaluation
from dlrun.preprocessing.moments import covariance

_OPERATIONS = 1e10  # for the correlations of a table, at most
_BATCHES = 100  # of an epoch whose targets are compared
_MIXED = 8  # samples whose outputs must not depend on each other

CONFIDENT = {True: 4.0, False: 6.0}
"""How many times the loss of an undecided network may be, of classes (True) or of numbers.

He's initialization gives outputs the variance 2: a loss of about log C + 1, or of three times
the spread of the targets. More than twice that is out of proportion.
"""
SCALE = (0.01, 3.2)
"""Root mean squares of inputs between which the usual rates and initial weights are meant.

At 3.2 the curvature by the first weights is ten times what it is at 1; small inputs do less harm.
"""
DEPENDENT = 1000.0
"""The condition number of correlations from which inputs count as dependent (Belsley 1980)."""
ROUNDING = 1e-7
"""The share of its mean, or of the largest spread, that rounding alone gives a column as spread."""
NOTHING = 1e-9
"""The share of the largest variance that rounding alone leaves of a direction without any."""
LEAKED = 0.01
"""The share of a split that may stand in another one, or twice, as in most sets some samples do."""
RARE = 5.0
"""How many times as frequent as the rarest class the most frequent one may be."""
FEWEST = 5
"""Samples of which a fifth is one."""
CHANCE = 1e-3
"""How often splits at random would leave the shares of some class as far apart."""
SURE = 3.5
"""Standard errors by which a batch must be above the noise scale to be called beyond it."""
DEAD, SATURATED = 0.75, 0.5
"""Shares of dead units and of saturated values from which a layer is called so.

In a narrow layer that begins with small weights, biases alone keep half of the units at zero.
"""
VANISHING, EXPLODING = 1e-4, 1e3
"""Root mean squares of a layer's gradient, in terms of that of a sample's outputs."""
LARGE = 30.0
"""The root mean square of targets in terms of the 1 that outputs begin with: a thousand times the
loss, and at usual rates steps that throw the weights as far."""
UNUSED = 1 / 3
"""The share of the inputs of an image or a series that a network never uses, to be warned of."""
FADING = 0.005
"""The first layer's gradient in terms of the last one's: three sigmoids, at 1/4 or less each, and
their weights take so much away."""


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
            changes={**_scaling(seen), "data.scale_targets": True},
        )
    elif not math.isfinite(got):
        yield Finding("initial_loss", FAIL, f"The untrained network's loss is {got}.", numbers)
    elif run.began is None and got > CONFIDENT[not run.regression] * expected > 0:
        yield Finding(
            "initial_loss",
            WARN,
            f"The untrained network's loss is {got:.3g}, and guessing gives {expected:.3g}: its "
            "first outputs are far too large; scale the inputs, or begin with smaller weights.",
            numbers,
            changes={**_scaling(seen), "initializer": "default"},
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


def input_scale(seen: Seen) -> Iterator[Finding]:
    """Root mean square of all inputs, and of each column of a table."""
    x = seen.x.float()
    if _normalizes_first(seen.run.model):
        return
    columns = x if x.dim() == 2 else x.flatten(1).reshape(-1, 1)
    spread = columns.std(0, correction=0)
    sizes = columns.square().mean(0).sqrt()[spread > 0]
    if not len(sizes):
        return
    low, high = float(sizes.min()), float(sizes.max())
    if high > SCALE[1] or high < SCALE[0]:
        yield Finding(
            "input_scale",
            WARN,
            f"Inputs have a root mean square of {high:.3g}, but networks expect about 1: "
            "standardize them.",
            {"lowest": low, "highest": high},
            changes={"preprocessing": ["standardize"]},
        )


def _scaling(seen: Seen) -> dict[str, Any]:
    """What scales the inputs where they need it."""
    return {key: value for each in input_scale(seen) for key, value in each.changes.items()}


def dependent_inputs(seen: Seen) -> Iterator[Finding]:
    """The condition number of the correlations between the columns of a table."""
    if seen.x.dim() != 2:
        return
    rows, inputs = seen.run.train.rows, seen.x.shape[1]
    # Of a part of the rows columns that are rarely other than 0 would look alike.
    whole = len(rows) * inputs**2 <= _OPERATIONS
    few = len(rows) if whole else int(_OPERATIONS / inputs**2)
    part = replace(seen.run.train, rows=rows[:: math.ceil(len(rows) / max(few, 1))])
    if len(part) < 2 * inputs:
        return
    mean, spread = covariance(x for x, _ in samples(seen.run, part))
    spread = spread.cpu()
    deviation, mean = spread.diagonal().sqrt(), mean.cpu()
    varies = deviation > ROUNDING * torch.maximum(mean.abs(), deviation.max())
    if int(varies.sum()) < 2:
        return
    unit = deviation[varies]
    values = torch.linalg.eigvalsh(spread[varies][:, varies] / unit[:, None] / unit)
    there = values[values > NOTHING * values[-1]]  # elsewhere the gradient is 0, and slows nothing
    condition = float(values[-1] / there[0])
    exact = len(values) - len(there) if whole else 0
    reading = (seen.run.data.reading or {}).get("columns", ())
    # An input for each class of a word, or a flag for what is missing, is the table's reading.
    ours = sum(column["kind"] == "text" or bool(column.get("flag")) for column in reading)
    if condition > DEPENDENT:
        # What does not take them as one vector may go by their order, which whitening undoes.
        vector = bool(seen.layers) and seen.layers[0][1].shape[1:] == seen.x.shape[1:]
        cure = "; whitening removes this" if vector else ""
        yield Finding(
            "dependent_inputs",
            NOTE,
            "Some inputs are nearly a linear combination of others (condition number "
            f"{condition:.2g}), which slows gradient descent down{cure}.",
            {"condition": condition},
            changes={"preprocessing": ["standardize", "whiten"]} if vector else {},
        )
    elif exact > ours:
        yield Finding(
            "dependent_inputs",
            NOTE,
            f"Only {len(there)} of {inputs} inputs are independent; the rest are linear "
            "combinations of them, add nothing new, and can be left out.",
            {"inputs": float(inputs - len(there))},
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


def class_missing(seen: Seen) -> Iterator[Finding]:
    """Classes without a training or a validation sample."""
    if not seen.counts:
        return
    train, val = seen.counts
    if sum(map(bool, train)) == 1:
        yield Finding("class_missing", FAIL, "All training samples are of one class.")
        return
    names, splits = seen.run.data.classes, seen.held
    for where, counts, others in (("training", train, val), ("validation", val, train)):
        missing = [place for place, n in enumerate(counts) if not n and others[place]]
        if missing and sum(counts) >= len(counts):  # fewer samples than classes miss some
            some = ", ".join(names[place] for place in missing[:3])
            said = f"Class {some} has" if len(missing) == 1 else f"Classes {some} have"
            said = said.replace(" have", ", … have") if len(missing) > 3 else said
            helps = max(sum(split[place] for split in splits) for place in missing) >= len(splits)
            few = "" if helps else f"; {'it has' if len(missing) == 1 else 'they have'} too few"
            yield Finding(
                "class_missing",
                WARN,
                f"{said} no {where} sample{few and f'{few} for each split to have one'}.",
                {"classes": len(missing)},
                changes={"data.split": "60/20/20"} if helps else {},
            )


def class_imbalance(seen: Seen) -> Iterator[Finding]:
    """Classes that are rare in training, or whose share in validation differs beyond chance."""
    run = seen.run
    if not seen.counts or run.balanced:
        return
    train, val = seen.counts
    present = [count for count in train if count]
    if len(present) < 2:
        return
    most, rarest = max(present), min(present)
    if most > RARE * rarest:
        said = (
            f"Class {run.data.classes[train.index(rarest)]} has {rarest} training "
            f"sample{'s' * (rarest != 1)}, the most frequent one {most}: a network may ignore it "
            "and still be right most of the time."
        )
        numbers = {"rarest": float(rarest), "most": float(most)}
    else:
        # A class that one of them lacks is missing.
        pairs = [(n, m) if n and m else (0, 0) for n, m in zip(train, val, strict=True)]
        rarer = [shares_apart(n, sum(train), m, sum(val)) for n, m in pairs]
        # One class that is too frequent makes each of the others a little rarer.
        if max(map(abs, rarer)) < NormalDist().inv_cdf(1 - CHANCE / (2 * len(rarer))):
            return
        worst = max(range(len(rarer)), key=lambda place: abs(rarer[place]))
        here, there = train[worst] / sum(train), val[worst] / sum(val)
        said = (
            f"Class {run.data.classes[worst]} makes up {here:.1%} of training and {there:.1%} of "
            "validation, more than chance explains: a network learns to name it "
            f"{'less' if here < there else 'more'} often than validation has it."
        )
        numbers = {"train": here, "val": there}
    changes = {"sampling": "balanced"}
    yield Finding("class_imbalance", WARN, said, numbers, changes=changes)


def fixed_order(seen: Seen) -> Iterator[Finding]:
    """The same order in each epoch, in which mini-batches differ in their targets beyond chance."""
    run, y = seen.run, seen.run.train.y
    size = run.lengths.batch_size
    rows = run.order(0)
    if run.reconstructs or not torch.equal(rows, run.order(1)):
        return
    batches = min(len(rows) // size, _BATCHES)
    if batches < 2 or size < 2:
        return
    y = y[rows[: batches * size].to(y.device)].cpu()
    values = y.double().flatten(1).mean(1) if y.is_floating_point() else y
    sure = NormalDist().inv_cdf(1 - CHANCE)
    apart = _batches_differ(values.reshape(batches, size))
    if apart > sure:
        yield Finding(
            "not_shuffled",
            WARN,
            f"Each epoch has the same order, and its mini-batches differ in their targets by "
            f"{apart:.3g} standard errors, as where the data are sorted: a step learns one part "
            "and forgets another; shuffle them.",
            {"apart": apart},
            changes={"sampling": "shuffle"},
        )


def _batches_differ(values: torch.Tensor) -> float:
    """By how many standard errors mini-batches (batches, size) differ: χ² of classes, F of numbers.

    As normal deviates; of F by its χ² of many samples.
    """
    batches, size = values.shape
    if values.is_floating_point():
        within = float(values.var(1).mean())
        squares = size * float(values.mean(1).var()) * (batches - 1)
        squared, free = squares / max(within, 1e-12), batches - 1
    else:
        _, codes = values.unique(return_inverse=True)
        counts = torch.nn.functional.one_hot(codes).sum(1).double()
        expected = counts.mean(0)
        squared = float(((counts - expected) ** 2 / expected).sum())
        free = (batches - 1) * (counts.shape[1] - 1)
    return deviate(squared, free)


def no_validation(seen: Seen) -> Iterator[Finding]:
    """No sample to choose the best weights by, or to stop by."""
    by_length = any(isinstance(rule, AtLength) for rule in seen.run.stopping)
    data = seen.run.data
    if not len(data.val) and not by_length:
        samples = sum(map(len, data.splits.values()))
        few = f", and {samples} samples are too few for one" if samples < FEWEST else ""
        yield Finding(
            "no_validation",
            WARN,
            f"There is no validation split{few}: nothing shows overfitting, and the last weights "
            "are the result.",
            changes={} if few else {"data.split": "60/20/20"},
        )


def leak(seen: Seen) -> Iterator[Finding]:
    """Samples of val and test that are identical to samples of an earlier split."""
    data = seen.run.data
    if data.hashes is None:
        return
    known = data.hashes[data.train.rows]
    same = "targets included: if a pair is one case twice, " if data.columns else ""
    for name, where in (("val", "validation"), ("test", "test")):
        split = data.splits[name]
        hashes = data.hashes[split.rows]
        many = int(torch.isin(hashes, known).sum())
        if many:
            share = many / len(split)
            cure = "drop" if many < len(split) else ""
            cure = "together" if {"train", name} <= data.drawn else cure
            are = "sample ({}) is identical" if many == 1 else "samples ({}) are identical"
            yield Finding(
                "leak",
                WARN if share > LEAKED else NOTE,
                f"{many} {where} {are.format(f'{share:.1%}')} to others that train or "
                f"choose the network{', ' if same else ': '}{same}the result there is too good.",
                {"samples": many, "share": share},
                changes={"data.leaks": cure} if cure else {"procedure": "show_data"},
            )
        known = torch.cat((known, hashes))


def label_noise(seen: Seen) -> Iterator[Finding]:
    """Training samples that are identical and have different labels."""
    run, train = seen.run, seen.run.data.train
    if run.regression or run.data.hashes is None or train.y.is_floating_point():
        return
    y = train.y[train.rows]
    unique, place = run.data.hashes[train.rows].unique(return_inverse=True)
    ends = [
        torch.zeros_like(unique).scatter_reduce(0, place, y, how, include_self=False)
        for how in ("amin", "amax")
    ]
    many = int((ends[0] != ends[1])[place].sum())
    if many > LEAKED * len(y):
        yield Finding(
            "label_noise",
            WARN,
            f"{many} training samples ({many / len(y):.1%}) are identical to others that have "
            "another label: one of the two is wrong.",
            {"samples": many, "share": many / len(y)},
            changes={"procedure": "show_data"},
        )


def wrong_loss(seen: Seen) -> Iterator[Finding]:
    """A loss for numbers where there are classes."""
    loss = seen.run.loss
    if not seen.run.regression and loss.name in ("mae", "huber", "mse"):
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


def dead_units(seen: Seen) -> Iterator[Finding]:
    """Rectified units that are zero for the whole batch."""
    shares = [met.dead for met in seen.trained.activations]
    worst = max(shares, default=0.0)
    if worst >= DEAD:
        yield Finding(
            "dead_units",
            FAIL if worst == 1 else WARN,
            f"In hidden layer {shares.index(worst) + 1}, {worst:.0%} of the units are zero for "
            "every sample: no gradient passes them.",
            {"share": worst},
            changes={"initializer": "he"},
        )


def saturated_units(seen: Seen) -> Iterator[Finding]:
    """Values at the flat ends of tanh and sigmoid."""
    shares = [met.saturated for met in seen.trained.activations]
    worst = max(shares, default=0.0)
    if worst >= SATURATED:
        yield Finding(
            "saturated_units",
            WARN,
            f"In hidden layer {shares.index(worst) + 1}, {worst:.0%} of the values lie at the "
            "flat ends of the activation, where hardly any gradient passes.",
            {"share": worst},
            changes={"initializer": "xavier", **_scaling(seen)},
        )


def symmetric_units(seen: Seen) -> Iterator[Finding]:
    """Units of a hidden layer that are equal, and get the same gradient."""
    for name, weight in seen.layers[:-1]:
        gradient = seen.trained.gradients.get(name)
        if len(weight) > 1 and signal.distinct(weight, gradient) == 1:
            yield Finding(
                "symmetric_units",
                FAIL,
                f"All {len(weight)} units of {name} are equal and get the same gradient, so they "
                "stay equal: draw the weights at random.",
                {"units": len(weight), "distinct": 1},
                changes={"initializer": "default"},
            )
            return


def gradients(seen: Seen) -> Iterator[Finding]:
    """The gradient of each layer's weights in terms of that of the outputs of a sample."""
    passed = seen.trained
    sizes = [rms(passed.gradients[name]) for name, _ in seen.layers if name in passed.gradients]
    if len(sizes) < 2 or not all(sizes) or not passed.at_output:
        return
    least, most = min(sizes) / passed.at_output, max(sizes) / passed.at_output
    first = sizes[0] / sizes[-1]
    numbers = {"least": least, "most": most, "first": first}
    if least < VANISHING or first < FADING:
        layer = 1 + sizes.index(min(sizes))
        what = f"{least:.1g} times that at the output"
        if least >= VANISHING:
            layer, what = 1, f"{first:.1g} times that of the last one"
        yield Finding(
            "vanishing_gradient",
            WARN,
            f"The gradient of layer {layer}'s weights is {what}: the layer will hardly learn; "
            "relu with initializer=he lets more through.",
            numbers,
            changes={"activation": "relu", "initializer": "he"},
        )
    elif most > EXPLODING and not _scaling(seen):  # large inputs make large gradients
        layer = 1 + sizes.index(max(sizes))
        yield Finding(
            "exploding_gradient",
            WARN,
            f"The gradient of layer {layer}'s weights is {most:.1g} times that at the output: it "
            "is large where the values that reach the layer are.",
            numbers,
            changes={"initializer": "default", "clip_norm": 1.0},
        )


def linear_network(seen: Seen) -> Iterator[Finding]:
    """Whether the middle between two samples gives the middle of their outputs."""
    if len(seen.layers) < 2 or len(seen.x) < 2 or not seen.x.is_floating_point():
        return
    half = min(len(seen.x), BATCH) // 2
    a, b = seen.x[:half], seen.x[half : 2 * half]
    middle = (seen.evaluated(a) + seen.evaluated(b)) / 2
    bend = float((seen.evaluated((a + b) / 2) - middle).abs().max())
    spread = float((seen.outputs - seen.outputs.mean(0)).abs().max())
    if spread > 0 and bend < 1e-4 * spread:
        met = sorted(
            {each.kind.removesuffix("Backward0").lower() for each in seen.trained.activations}
        )
        why = (
            f"no sample reaches a bend of its {' and '.join(met)}"
            if met
            else "there is no activation between them"
        )
        yield Finding(
            "linear_network",
            WARN,
            f"The network has {len(seen.layers)} layers but is still linear: {why}, so it can do "
            "no more than a single layer.",
            {"layers": len(seen.layers), "bend": bend / spread},
            changes={"activation": "relu"},
        )


def linear_scaling(seen: Seen) -> Iterator[Finding]:
    """A rate that grows with the batch where the first weights have less noise than that needs."""
    lengths = seen.run.lengths
    batch, base = lengths.step_samples, lengths.linear_from
    if not base or batch <= base:
        return
    noise = noise_scale(seen.run)
    usual = 5 * lengths.steps_per_epoch <= lengths.total_steps / 2
    if batch > noise.scale + SURE * noise.error:
        yield Finding(
            "linear_scaling",
            WARN,
            f"scale_lr=linear multiplies the rate by {batch / base:.3g} for steps of {batch:,} "
            f"samples, but the gradient noise scale of the first weights is {noise.scale:,.0f}, by "
            f"which the best rate grows only {noise.best(batch, base):.3g}-fold. This scale rises "
            "while the loss falls, so begin with a warm-up, or take scale_lr=sqrt.",
            {"noise_scale": noise.scale, "error": noise.error, "batch": float(batch)},
            changes={"warmup": "5 epochs" if usual else "10%"},
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


def _normalizes_first(model: nn.Module) -> bool:
    """Whether the first layer with parameters or statistics normalizes its input."""
    leaves = (module for module in model.modules() if not list(module.children()))
    first = next((leaf for leaf in leaves if [*leaf.parameters(), *leaf.buffers()]), None)
    return isinstance(first, _NormBase | nn.LayerNorm | nn.GroupNorm)
