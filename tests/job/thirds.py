"""A procedure that trains a recipe on three disjoint sets of rows."""

import os
import signal

import numpy as np

from dlrun.data.split import folds
from dlrun.finding import NOTE, Finding
from dlrun.procedure import Outcome, Training


def parts(labels):
    """The rows of each split of each run: every third row, and of these every fifth."""
    for third in range(3):
        rows = list(range(third, len(labels), 3))
        val, test = rows[::5], rows[1::5]
        train = [row for row in rows if row not in {*val, *test}]
        yield {"train": train, "val": val, "test": test}


def train_thirds(lab, kill_in=None):
    """kill_in: the number of the run in whose second validation the process kills itself."""
    trainings = [
        Training(name=f"third {number}", rows=rows, settings={"seed": number})
        for number, rows in enumerate(parts(lab.data().train.y))
    ]
    if kill_in is not None and not os.environ.get("SPARED"):
        die_in(kill_in)
    runs = lab.train(trainings)
    value = sum(run.value for run in runs) / 3
    numbers = {run.directory.name: run.value for run in runs}
    return Outcome(value, runs, [Finding("good_fit", NOTE, "All thirds fit.", numbers)])


def hold_out(lab):
    """One run, with a fifth of its rows kept away as `fold`."""
    data = lab.data()
    fold, *others = folds(data.train.y[data.train.rows], 5, seed=0)
    rows = {"train": np.concatenate(others[1:]), "val": others[0], "fold": fold}
    rows = {name: data.train.rows.numpy()[places].tolist() for name, places in rows.items()}
    runs = lab.train([Training(rows=rows)])
    return Outcome(runs[0].value, runs)


def die_in(kill_in):
    """Kill this process in the second measuring of validation of the run of this number."""
    from dlrun.engine import train
    from dlrun.engine.step import SingleStep

    measure, seen = SingleStep.measure, []

    def dying(step):
        seen.append(step.run)
        again = [run for run in seen if run is step.run]
        if len({id(run) for run in seen}) == kill_in + 1 and len(again) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(step)

    assert train
    SingleStep.measure = dying
