"""Look into the untrained network: what passes through each layer, both ways."""

from dlrun.engine.layers import layers
from dlrun.engine.preflight import preflight
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.report.chart import Chart


@procedure(judged=False, trains=False)
def probe(lab: Lab) -> Outcome:
    """The procedure `probe`: activations and gradients by layer, and what preflight finds."""
    with lab.built(Training(recorded=False)) as built:
        found = layers(built.run)
        findings = [each.completed(lab.advice) for each in preflight(built.run)]
    table = [
        {
            "layer": f"{each.name} {each.kind}",
            "units": each.units,
            "distinct": "" if each.distinct is None else each.distinct,
            "mean": each.mean,
            "std": each.std,
            "zeros": each.zeros,
            "gradient": each.gradient,
        }
        for each in found
    ]
    drawn = [each for each in found if each.acts and each.std is not None]
    chart = Chart(
        name="layers",
        x="layer",
        y="root mean square",
        at=list(range(len(drawn))),
        names=[f"{each.name} {each.kind}" for each in drawn],
        curves={
            "activations (standard deviation)": [each.std for each in drawn],
            "gradients of a sample": [each.gradient or None for each in drawn],
        },
    )
    return Outcome(findings=findings, table=table, chart=chart)
