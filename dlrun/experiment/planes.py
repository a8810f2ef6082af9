"""The loss on a plane around the trained weights of each variant, side by side."""

from math import log
from statistics import fmean
from typing import Any

from dlrun.engine.surface import surface
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.procedure.contrast import varied
from dlrun.report.chart import Chart, Ground


@procedure(judged=False)
def planes(lab: Lab, variants: dict[str, Any]) -> Outcome:
    """Train each variant, and draw the loss around its weights (Li et al. 2018).

    Values: `<variant> basin`, the share of the plane on which the loss is below log C, that of a
    guess among C classes; and what its run comes to.
    """
    guess = log(lab.data().outputs)
    runs, values, charts = [], {}, []
    for name, words in variants.items():
        other = varied(lab, name, words)
        [run] = other.train([Training(name, export=False)])
        found = surface(other.trained(run), lab.data(), int(lab.recipe["seed"]))
        basin = fmean(loss < guess for row in found.plane for loss in row)
        runs.append(run)
        values[f"{name} basin"] = basin
        values |= {f"{name} {key}": value for key, value in run.last.items()}
        charts.append(
            Chart(
                name="planes",
                x="first direction, in norms of each filter",
                y="second direction",
                ground=Ground(found.across, found.across, found.plane, level=guess),
                dots={"the trained weights": ([0.0], [0.0])},
                title=f"{name}: below log C, {guess:.2f}, on {basin:.0%}",
            )
        )
    rows = [{"variant": name, "basin": values[f"{name} basin"]} for name in variants]
    return Outcome(runs=runs, values=values, table=rows, chart=charts)
