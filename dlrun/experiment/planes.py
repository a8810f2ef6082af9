"""The loss on a plane around the trained weights of each variant, side by side."""

from statistics import fmean
from typing import Any

from dlrun.engine.examine import constants, without_network
from dlrun.engine.run import Run
from dlrun.engine.surface import surface
from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.procedure.contrast import varied
from dlrun.report.chart import Chart, Ground


@procedure(judged=False)
def planes(lab: Lab, variants: dict[str, Any]) -> Outcome:
    """Train each variant, and draw the loss around its weights (Li et al. 2018).

    Values: `<variant> basin`, the share of the plane on which the loss is below that of a guess,
    log C for cross-entropy and C classes; and what its run comes to.
    """
    runs, values, charts = [], {}, []
    for name, words in variants.items():
        other = varied(lab, name, words)
        [recorded] = other.train([Training(name, export=False)])
        run = other.trained(recorded)
        found = surface(run, run.data, int(other.recipe["seed"]))
        guess = undecided(run)
        basin = fmean(loss < guess for row in found.plane for loss in row)
        runs.append(recorded)
        values[f"{name} basin"] = basin
        values |= {f"{name} {key}": value for key, value in recorded.last.items()}
        charts.append(
            Chart(
                name="planes",
                x="first direction, in norms of each filter",
                y="second direction",
                ground=Ground(found.across, found.across, found.plane, level=guess),
                dots={"the trained weights": ([0.0], [0.0])},
                title=f"{name}: below {guess:.2f}, that of a guess, on {basin:.0%}",
            )
        )
    rows = [{"variant": name, "basin": values[f"{name} basin"]} for name in variants]
    return Outcome(runs=runs, values=values, table=rows, chart=charts)


def undecided(run: Run) -> float:
    """The loss of the best constant answer; of classes, of one that takes all for as likely."""
    found = without_network(run, constants(run))
    return found.get("undecided/equal", found["undecided"])
