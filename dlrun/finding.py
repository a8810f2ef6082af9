"""Findings: what checks, diagnoses and critics have to say, each by a name from one closed list.

A finding never stops a training. In a record it stands under `findings`, as `plain` gives it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from math import ceil, inf, sqrt
from statistics import median
from typing import Any

FAIL, WARN, NOTE = "fail", "warn", "note"
LEVELS = (FAIL, WARN, NOTE)
"""From what needs mending to what is good to know."""
MOST_TIMES = 1000
"""How many times as many samples are worth naming as a number that would decide."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    name: one of NAMES. level: one of LEVELS. numbers: what it was concluded from, by name.
    text: one sentence. command: what to type next, complete; "" where nothing is to be typed.
    changes: the settings that this command changes, for those who don't know what was typed.
    """

    name: str
    level: str
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.name in NAMES, self.name
        assert self.level in LEVELS, self.level

    def plain(self) -> dict[str, Any]:
        """As plain values for a record."""
        kept = asdict(self) | {"numbers": dict(self.numbers)}
        return {key: value for key, value in kept.items() if key != "changes"}

    def completed(self, command: Callable[[Mapping[str, Any]], str]) -> "Finding":
        """With the command that makes its changes."""
        return replace(self, command=command(self.changes)) if self.changes else self


def of(plain: Mapping[str, Any]) -> Finding:
    """The finding that a record holds."""
    return Finding(**plain)


def undecided(said: str, gain: float, error: float, samples: int) -> Finding:
    """That a difference lies within two standard errors, and how many samples would decide.

    A gain of next to nothing, such as what rounding leaves of 0, asks for more than anybody has.
    said: the beginning of the sentence, with the difference. samples: there are now.
    """
    numbers, told = {"gain": gain, "standard_error": error}, f"{said}, which is too little to tell"
    times = (2 * error / gain) ** 2 if gain else inf
    if times <= MOST_TIMES:
        needed = numbers["samples_needed"] = ceil(samples * times)
        told += f"; about {needed:,} samples would be enough, there are {samples:,} now"
    return Finding("inconclusive", NOTE, f"{told}.", numbers)


def share_error(share: float, samples: float) -> float:
    """The standard error of a share of so many samples, by Laplace's rule of succession.

    As if one more of each kind had been seen: of few samples none may be wrong, or all.
    """
    kept = (share * samples + 1) / (samples + 2)
    return sqrt(kept * (1 - kept) / samples)


def shares_apart(here: float, all_here: float, there: float, all_there: float) -> float:
    """By how many standard errors a share is smaller here than there, both counted in all."""
    if not all_there:
        return 0.0
    both = (here + there) / (all_here + all_there)
    error = sqrt(both * (1 - both) * (1 / all_here + 1 / all_there))
    return (there / all_there - here / all_here) / error if error else 0.0


EXPLODED = 1.5
"""Times the undecided loss from which a network is worse than if it said nothing."""
JUMP = 0.1
"""The share of the validation loss by which it must jump to be called noisy."""


def exploded(loss: float, undecided: float) -> bool:
    """Whether a loss is far above that of a network that says nothing."""
    return loss > EXPLODED * undecided


def jump(losses: Sequence[float]) -> float | None:
    """By how much a loss jumps from point to point in the second half of its points.

    None where these are fewer than five, or where it gets better by more than it jumps.
    """
    late = losses[len(losses) // 2 :]
    if len(late) < 5:
        return None
    found = median(abs(after - before) for before, after in pairwise(late))
    return found if found > max(JUMP * min(late), abs(late[0] - late[-1]) / 2) else None


def text(findings: Sequence[Finding]) -> str:
    """Findings for a text file, each with its command below it."""
    parts = []
    for finding in findings:
        command = f"\n    {finding.command}" if finding.command else ""
        parts.append(f"{finding.level}  {finding.name}\n    {finding.text}{command}\n")
    return "\n".join(parts)


def by_level(findings: Sequence[Finding]) -> list[Finding]:
    """Failures first, then warnings, then notes; in their order otherwise."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


NAMES: dict[str, tuple[str, str]] = {
    # of the set-up
    "initial_loss": (
        "the untrained network's loss is far above that of guessing",
        "log C for C classes, the targets' spread for numbers; Karpathy 2019",
    ),
    "probabilities_into_loss": (
        "the loss takes logits and is given probabilities: softmax or sigmoid acts twice",
        "Humbatova et al. 2021",
    ),
    "batch_mixing": (
        "the output for one sample depends on another: a wrong dimension in softmax, mean or view",
        "the gradient of one output by another sample; Karpathy 2019",
    ),
    "no_gradient": ("a parameter gets no gradient, or one that is not finite", "Karpathy 2019"),
    "ignores_input": (
        "the network gives the same output for real inputs as for zeros, or never uses some",
        "the input-independent baseline of Karpathy 2019",
    ),
    "random_in_eval": (
        "two passes in evaluation mode differ: dropout or noise is left on",
        "Humbatova et al. 2021",
    ),
    "input_scale": (
        "inputs are far from zero mean and unit variance, or some numbers far from all others",
        "LeCun et al. 1998",
    ),
    "dependent_inputs": (
        "some inputs are nearly a linear combination of others",
        "the condition number of their correlations; Belsley et al. 1980",
    ),
    "label_range": ("targets lie outside what loss and outputs can give", "Zhang et al. 2018"),
    "class_missing": ("a class has no training or no validation sample", "He and Garcia 2009"),
    "class_imbalance": ("some classes are much rarer than others", "He and Garcia 2009"),
    "not_shuffled": (
        "mini-batches come in the order of the data and differ in their targets",
        "χ² of classes, F of numbers; Bottou 2012, Stochastic Gradient Descent Tricks",
    ),
    "leak": (
        "samples of one split also occur in another, or an input gives the answer away",
        "Kaufman et al. 2012",
    ),
    "cannot_overfit": ("a few samples cannot be memorized", "Goodfellow et al. 2016, 11.5"),
    "no_validation": (
        "there is no validation split to choose weights by, or when to stop",
        "Humbatova et al. 2021",
    ),
    "memorized": ("a few samples are memorized, as they should be", "Goodfellow et al. 2016, 11.5"),
    "wrong_loss": ("the loss does not suit the task", "Humbatova et al. 2021"),
    # of the signal
    "dead_units": ("rectified units are zero for every sample", "Lu et al. 2020"),
    "saturated_units": (
        "units stay at the flat ends of their activation",
        "Glorot and Bengio 2010",
    ),
    "symmetric_units": ("units of a layer are equal and stay equal", "Goodfellow et al. 2016, 8.4"),
    "vanishing_gradient": ("early layers get hardly any gradient", "Glorot and Bengio 2010"),
    "exploding_gradient": ("gradients grow without bound", "Pascanu et al. 2013"),
    "linear_network": (
        "the network is linear: there is no activation between its layers",
        "Goodfellow et al. 2016, 6.1",
    ),
    # of the rate and the length
    "rate_too_high": (
        "the loss jumps, rises or settles far too high",
        "Goodfellow et al. 2016, 11.4",
    ),
    "linear_scaling": (
        "how far a step is from the batch beyond which the rate can no longer grow with it",
        "McCandlish et al. 2018",
    ),
    "rate_too_low": ("the loss falls far too slowly", "Goodfellow et al. 2016, 11.4"),
    "best_rate": (
        "the learning rate at which the loss has fallen most in a short trial",
        "Smith 2017",
    ),
    "diverged": ("the loss is no longer finite, or far above where it began", "Smith 2017"),
    "plateau": ("training has stopped getting better well before it ended", "Prechelt 1998"),
    "noisy": ("validation jumps from point to point more than it changes", "Prechelt 1998"),
    "still_improving": ("validation was still getting better at the end", "Prechelt 1998"),
    "not_reached": (
        "training went on for its whole length without reaching what would have ended it",
        "Goodfellow et al. 2016, 7.8",
    ),
    "first_recipe": (
        "the recipe to continue with, from short runs over rate and decay",
        "Karpathy 2019; CS231n, Neural Networks Part 3",
    ),
    # of the speed
    "slow_step": ("a step takes too long to try things out", "half a second a step"),
    "faster": ("a setting trains faster on this machine", "rounds in turn, 3.5 standard errors"),
    # of the fit
    "good_fit": (
        "training and validation are close, and both are good",
        "Goodfellow et al. 2016, 5.2",
    ),
    "underfit": ("the training error itself is large", "Ng 2018"),
    "overfit": ("validation is much worse than training", "Ng 2018"),
    "too_much_regularization": (
        "penalties or noise keep the network from fitting the training data",
        "Goodfellow et al. 2016, 7",
    ),
    "label_noise": (
        "labels contradict what the network learns elsewhere, or lie far from all others",
        "Zhang et al. 2017",
    ),
    "too_little_data": ("more training data would help most", "Ng 2018"),
    "enough_data": ("more training data would hardly help", "Hestness et al. 2017"),
    "validation_easier": ("validation is clearly better than training", "Ng 2018"),
    "train_mode_differs": (
        "training and evaluation mode disagree on the same samples",
        "Ioffe 2017",
    ),
    "distribution_shift": (
        "validation or test data come from another distribution than training data, or were drawn "
        "unluckily",
        "Ng 2018",
    ),
    "same_distribution": (
        "a classifier cannot tell training inputs from validation inputs",
        "Lopez-Paz and Oquab 2017",
    ),
    "validation_overused": (
        "the test result is much worse than that of validation, which was used to choose",
        "Ng 2018",
    ),
    "simpler_would_do": (
        "a linear model or the majority class is as good",
        "Goodfellow et al. 2016, 11.2",
    ),
    "baseline": (
        "what any network must beat: the majority class or the mean, a linear model, a shallow "
        "network",
        "Goodfellow et al. 2016, 11.2",
    ),
    "inconclusive": ("there are too few data to decide", "two standard errors"),
    # of a sweep
    "points_failed": ("points of the sweep failed", "Bergstra and Bengio 2012"),
    "no_effect": ("what was changed had no effect at all", "Bergstra and Bengio 2012"),
    "hardly_matters": ("a hyperparameter hardly matters", "Bergstra and Bengio 2012"),
    "too_few_points": ("there are too few points to say what matters", "Bergstra and Bengio 2012"),
    "better_without": ("the recipe is better without one of its ingredients", "Meyes et al. 2019"),
    "at_the_edge": ("the best value lies at the end of its range", "Bergstra and Bengio 2012"),
}
"""What each finding means, and where it comes from."""
