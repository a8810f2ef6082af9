"""The loss before the first step: log C among C classes, as long as the network has no opinion."""

from collections.abc import Sequence
from math import log
from typing import Any

from dlrun.procedure import Lab, Outcome, Training, procedure
from dlrun.procedure.contrast import labs
from dlrun.procedure.probe import probed
from dlrun.report.chart import Chart


@procedure(judged=False, trains=False)
def first_loss(
    lab: Lab, variants: dict[str, Any], classes: Sequence[int] = (2, 5, 10, 30, 100)
) -> Outcome:
    """The first loss of untrained networks, with each number of classes, penalties included.

    Beside them log C, where the loss is the cross-entropy. Values: `<variant> <classes>`.
    """
    made = labs(lab, variants)
    losses = {name: [_loss(each, count) for count in classes] for name, each in made.items()}
    entropy = all(each.untrained().loss.link == "softmax" for each in made.values())
    drawn = ({"log C": [log(count) for count in classes]} if entropy else {}) | losses
    rows = [
        {"classes": count, **{name: drawn[name][k] for name in drawn}}
        for k, count in enumerate(classes)
    ]
    chart = Chart(
        name="first_loss",
        x="classes",
        y="loss before the first step",
        at=classes,
        curves=drawn,
        log=True,
        title="A network without an opinion has a loss of log C" if entropy else "The first loss",
    )
    values = {f"{name} {row['classes']}": float(row[name]) for row in rows for name in losses}
    return Outcome(values=values, table=rows, chart=chart)


def _loss(lab: Lab, classes: int) -> float:
    training = Training(settings={"data.n_classes": classes}, recorded=False)
    with lab.built(training) as built:
        found = probed(built.run)
    return found.loss + found.penalty
