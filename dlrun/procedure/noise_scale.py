"""Measure the gradient noise scale before and after a training: how far a rate can be scaled."""

from math import inf

from dlrun.engine.noise_scale import FEWEST_SAMPLES, Noise, noise_scale
from dlrun.engine.signal_checks import SURE
from dlrun.errors import Mistake
from dlrun.finding import NOTE, WARN, Finding
from dlrun.procedure import Lab, Outcome, Training, procedure


@procedure(judged=False)
def measured(lab: Lab) -> Outcome:
    """The procedure `noise_scale`: trains the recipe, and measures with first and best weights.

    Raises Mistake where there are too few training samples.
    """
    run = lab.untrained()
    if (samples := len(run.order(0))) < FEWEST_SAMPLES:
        raise Mistake(
            f"procedure=noise_scale: needs at least {FEWEST_SAMPLES} training samples; there are "
            f"{samples}"
        )
    batch = run.lengths.step_samples
    base = int(lab.recipe["base_batch_size"])
    first = noise_scale(run)
    [trained] = lab.train([Training()])
    last = noise_scale(lab.trained(trained))
    table = [
        {
            "weights": name,
            "noise scale": f"{noise.scale:,.0f}" if noise.error < inf else "unknown",
            "±": f"{noise.error:,.0f}" if noise.error < inf else "",
            "linear": f"× {batch / base:.3g}",
            "sqrt": f"× {(batch / base) ** 0.5:.3g}",
            "by the noise": f"× {noise.best(batch, base):.3g}" if noise.error < inf else "unknown",
        }
        for name, noise in (("first", first), ("best", last))
    ]
    values = {"rate/linear": batch / base}
    for name, noise in (("first", first), ("best", last)):
        if noise.error < inf:
            values |= {f"noise_scale/{name}": noise.scale, f"rate/{name}": noise.best(batch, base)}
    return Outcome(
        runs=[trained],
        findings=[_finding(lab, first, last, batch, base)],
        values=values,
        table=table,
    )


def _finding(lab: Lab, first: Noise, last: Noise, batch: int, base: int) -> Finding:
    """Whether the batch is beyond the noise scale of the trained weights; else of the first ones.

    These decide where the gradient of the trained ones is so small that noise hides it.
    """
    lost = (
        "With its {} weights no gradient is seen through the noise, so the gradient noise scale "
        "is unknown"
    )
    if first.error == last.error == inf:
        text = lost.format("first and its best") + ": how far the rate can grow is unknown, too."
        return Finding("linear_scaling", NOTE, text, {"batch": float(batch)})
    noise, which = (last, "best") if last.error < inf else (first, "first")
    numbers = {"noise_scale": noise.scale, "error": noise.error, "batch": float(batch)}
    said = (
        f"With its {which} weights the gradient noise scale is {noise.scale:,.0f} ± "
        f"{noise.error:,.0f} samples"
    )
    if noise is first:
        said = f"{lost.format('best')}. {said}"
    beyond = batch - noise.scale > SURE * noise.error
    if beyond and batch != base:
        command = lab.advice({"scale_lr": "sqrt"}) if lab.recipe["scale_lr"] == "linear" else ""
        text = (
            f"{said}, and a step has {batch:,}: from batch {base:,} to {batch:,} the best rate "
            f"changes by a factor of {noise.best(batch, base):.3g}; in proportion to the batch it "
            f"would be {batch / base:.3g}."
        )
        return Finding("linear_scaling", WARN, text, numbers, command)
    rest = (
        "is beyond it, so a larger batch hardly allows a larger rate"
        if beyond
        else "is not beyond it, and up to it a rate grows with the batch"
    )
    return Finding("linear_scaling", NOTE, f"{said}: a step of {batch:,} {rest}.", numbers)
