"""Look into the untrained network: what passes through each layer, both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Any

from dlrun.engine.layers import Layer, layers
from dlrun.engine.look import Seen, untouched
from dlrun.engine.preflight import preflight
from dlrun.engine.run import Run
from dlrun.finding import Finding
from dlrun.procedure import Lab, Outcome, Training, by_variant, procedure
from dlrun.procedure.contrast import varied
from dlrun.report.chart import Chart

_OF_OUTPUT = ("mean", "std", "zeros", "dead", "saturated")


@dataclass(frozen=True)
class Probed:
    """What was found in one untrained network.

    found: its layers. loss: of its outputs in evaluation mode. penalty: what is added to it.
    """

    found: Sequence[Layer]
    findings: Sequence[Finding]
    loss: float
    penalty: float

    @property
    def values(self) -> dict[str, float]:
        """`<statistic>/<k>` of the k-th layer, `loss`, `objective` and `finding/<name>`."""
        values = {"loss": self.loss, "objective": self.loss + self.penalty}
        values |= {f"finding/{each.name}": 1.0 for each in self.findings}
        for k, part in enumerate(parts(self.found), start=1):
            values |= {f"{name}/{k}": value for name, value in part.items()}
        return values


@procedure(judged=False, trains=False)
def probe(lab: Lab, variants: dict[str, Any] | None = None) -> Outcome:
    """The procedure `probe`: activations and gradients by layer, and what preflight finds.

    variants: overrides by the name of each; all are looked into, in one table and one figure.
    Raises Mistake that names the variant where one cannot be.
    """
    if not variants:
        one = _probed(lab)
        findings = [each.completed(lab.advice) for each in one.findings]
        table, chart = _table(one.found), _chart(one.found)
        return Outcome(values=one.values, findings=findings, table=table, chart=chart)
    several = {name: _probed(varied(lab, name, words)) for name, words in variants.items()}
    return Outcome(
        values=by_variant({name: each.values for name, each in several.items()}),
        table=_compared(several),
        chart=_charts(several),
    )


def parts(found: Sequence[Layer]) -> list[dict[str, float]]:
    """Of each layer with weights, and the norm and nonlinearity behind it, what it gives.

    mean, std, rms, zeros, dead and saturated of its output, the gradient by it, and how many of
    its units are distinct. A layer that does not run as a module gives nothing, and is left out.
    """
    begins = [place for place, each in enumerate(found) if each.rows and each.std is not None]
    made = []
    for begin, end in pairwise([*begins, len(found)]):
        last = [each for each in found[begin:end] if each.acts and each.std is not None][-1]
        values = {name: getattr(last, name) for name in _OF_OUTPUT}
        values["rms"] = hypot(last.mean or 0.0, last.std or 0.0)
        values |= {"gradient": last.gradient, "distinct": found[begin].distinct}
        made.append({name: float(value) for name, value in values.items() if value is not None})
    return made


def probed(run: Run) -> Probed:
    """What an untrained network is like; nothing of the run is changed."""
    with untouched(run):
        seen = Seen(run)
        loss = float(run.loss(seen.outputs, seen.y))
        penalty = sum(float(rule.penalty(run.weights)) for rule in run.penalties)
    return Probed(layers(run), preflight(run), loss, penalty)


def _probed(lab: Lab) -> Probed:
    with lab.built(Training(recorded=False)) as built:
        return probed(built.run)


def _table(found: Sequence[Layer]) -> list[dict[str, object]]:
    return [
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


def _chart(found: Sequence[Layer]) -> Chart:
    drawn = [each for each in found if each.acts and each.std is not None]
    return Chart(
        name="layers",
        x="layer",
        y="size over a batch",
        at=list(range(len(drawn))),
        names=[f"{each.name} {each.kind}" for each in drawn],
        curves={
            "activations (standard deviation)": [each.std for each in drawn],
            "gradients of a sample (root mean square)": [each.gradient or None for each in drawn],
        },
    )


def _compared(several: Mapping[str, Probed]) -> list[dict[str, object]]:
    """The root mean squares by layer, a column for each network; the first losses below."""
    by_name = {name: parts(each.found) for name, each in several.items()}
    rows: list[dict[str, object]] = [
        {"rms of layer": k + 1, **{name: _of(by_name[name], k, "rms") for name in by_name}}
        for k in range(max(map(len, by_name.values())))
    ]
    losses = {name: each.loss for name, each in several.items()}
    return [*rows, {"rms of layer": "first loss", **losses}]


def _charts(several: Mapping[str, Probed]) -> list[Chart]:
    """Activations and gradients of the layers, a curve for each network."""
    by_name = {name: parts(each.found) for name, each in several.items()}
    deepest = range(max(map(len, by_name.values())))
    return [
        Chart(
            name="layers",
            x="layer",
            y=said,
            at=[k + 1 for k in deepest],
            curves={
                name: [_of(by_name[name], k, statistic) or None for k in deepest]
                for name in by_name
            },
        )
        for statistic, said in (
            ("rms", "output, root mean square"),
            ("gradient", "gradient of a sample, root mean square"),
        )
    ]


def _of(layers: Sequence[Mapping[str, float]], k: int, statistic: str) -> float | None:
    return layers[k].get(statistic) if k < len(layers) else None
