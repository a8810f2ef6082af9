"""What can be told before a training of what passes through the network, forward and back."""

from collections.abc import Iterator

from dlrun.engine import signal
from dlrun.engine.data_checks import scaling
from dlrun.engine.look import BATCH, Seen, rms
from dlrun.engine.noise_scale import noise_scale
from dlrun.finding import FAIL, WARN, Finding

SURE = 3.5
"""Standard errors by which a batch must be above the noise scale to be called beyond it."""
DEAD, SATURATED = 0.75, 0.5
"""Shares of dead units and of saturated values from which a layer is called so.

In a narrow layer that begins with small weights, biases alone keep half of the units at zero.
"""
VANISHING, EXPLODING = 1e-4, 1e3
"""Root mean squares of a layer's gradient, in terms of that of a sample's outputs."""
FADING = 0.005
"""The first layer's gradient in terms of the last one's: three sigmoids, at 1/4 or less each, and
their weights take so much away."""


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
            changes={"initializer": "xavier", **scaling(seen)},
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
    elif most > EXPLODING and not scaling(seen):  # large inputs make large gradients
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
