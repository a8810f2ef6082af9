"""Train one recipe, then measure it once on the test split with its best weights."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dlrun.data import Data
from dlrun.data.depth import FromDepth, raw_example
from dlrun.data.scale import Unscale
from dlrun.engine.evaluate import measure, predictions
from dlrun.engine.feed import prepare
from dlrun.engine.look import untouched
from dlrun.engine.run import Run
from dlrun.engine.state import State, keeps_last
from dlrun.engine.train import train as loop
from dlrun.procedure import BuiltRun, Lab, Outcome, Training, procedure
from dlrun.record import PREDICTIONS, VALIDATION, Record, test_set, write_arrays
from dlrun.test_augmentation import left_out


@procedure(single=True)
def train(lab: Lab) -> Outcome:
    """The procedure `train`; its value is the best of what the recipe monitors."""
    runs = lab.train([Training()])
    return Outcome(runs[0].value, runs)


@dataclass(frozen=True)
class Ending:
    """What is done when a run has been trained.

    test: whether the test split is measured. draw: begins to draw the curves of what is
    recorded so far. export: whether the best weights become a model that others can load.
    predict: a split whose predictions are kept. values: more of the last point.
    """

    test: bool = True
    draw: Callable[[], None] | None = None
    export: bool = False
    predict: str = ""
    values: Callable[[], Mapping[str, float]] = dict


def train_built(built: BuiltRun, ending: Ending) -> None:
    """Train a built run to its end."""
    loop(built.run, built.state, built.record, built.show)
    conclude(built, ending)


def conclude(built: BuiltRun, ending: Ending) -> None:
    """The last points, the figures and the model of a trained run."""
    run, record, now = built.run, built.record, built.state.counters.step
    standing = built.state.runs[0]
    never = standing.best is None  # no validation gave a number to choose by
    best = math.nan if never else run.score(run.monitor, standing.best_score)
    best_step = now if never else standing.best_step
    values = {f"best/{run.monitor.replace('/', '_')}": best}
    if len(run.val) < len(run.data.val):  # what was validated on is a part
        with untouched(run):
            if keeps_last(run) and standing.best is not None:
                run.model.load_state_dict(standing.best)
            whole = measured(run, "val")
        values |= {key.replace("val/", "best/val_", 1): value for key, value in whole.items()}
    values["best/epoch"] = best_step / run.lengths.steps_per_epoch
    tested = ending.test and len(run.data.test) > 0
    if tested:
        values |= measured(run, "test")
    for name in run.data.extra:
        values |= measured(run, name)
    values |= ending.values()
    if ending.predict:
        keep_predictions(run, ending.predict, record)
    epoch = now / run.lengths.steps_per_epoch
    step = now if keeps_last(run) else best_step
    why = why_stopped(run, built.state)
    about = {"result_step": step, "stopped": why, "ended_by_rule": standing.stopped}
    wanted = {"figures": ending.draw, "model": ending.export}
    closing = [name for name, brought in wanted.items() if brought]
    record.update(monitor=run.monitor, **about, closing=closing)
    if tested:
        test_set.note(record, record.info["data"])
    record.append(now, epoch, values)
    built.show.point(now, epoch, values)
    if ending.draw is not None:
        keep_validation(run, record.directory)
        ending.draw()
    if ending.export:
        export(run, record, step)


def why_stopped(run: Run, state: State) -> dict[str, Any] | None:
    """What has not improved since which step, where a rule ended a run before its length."""
    step = state.counters.step
    early = state.runs[0].stopped and step < run.lengths.total_steps
    for rule in run.stopping if early else ():
        if rule.patience is not None and step - rule.best_step >= rule.patience:
            return {"metric": rule.metric or run.monitor, "since": rule.best_step}
    return None


def measured(run: Run, name: str) -> dict[str, float]:
    """The loss and the metrics on a split that nothing before has looked at.

    On the test split as `test_augmentation` says, on others as on val, to be compared with it.
    """
    feed = prepare(run.data.splits[name], run.evaluation, run.device, fixed=False)
    views = run.views if name == "test" else None
    return {f"{name}/{key}": value for key, value in measure(run, feed, views).items()}


def keep_predictions(run: Run, name: str, record: Record) -> None:
    """Write what the model says of a split into the record, as predictions.npz.

    row: (n,) of the data set; y: its target; output: as the metrics take it.
    """
    split = run.data.splits[name]
    output, y = predictions(run, prepare(split, run.evaluation, run.device, fixed=False))
    write_arrays(
        record.directory / PREDICTIONS, row=split.rows.numpy(), y=y.numpy(), output=output.numpy()
    )


def keep_validation(run: Run, directory: Path, data: Data | None = None) -> None:
    """Write what the run says of the validation split, for figures, as validation.npz.

    data: whose split it is, where the run has a stand-in.
    """
    from dlrun.engine.answers import answers  # once training has ended

    found = answers(run, data or run.data, "val")
    if found:
        write_arrays(directory / VALIDATION, **found)


def add_test(run: Run, record: Record) -> None:
    """Measure the test split for a run that has ended without, as its last point."""
    last, values = record.points()[-1], measured(run, "test")
    test_set.note(record, record.info["data"])  # first: values without it would be left so
    record.append(last["step"], last["epoch"], values)


def export(run: Run, record: Record, step: int) -> None:
    """Save the model of a trained run, whose weights are those of `step`."""
    from dlrun.tracking.model import save_model

    folder = record.directory / "model"
    data = run.data
    tables = [data.reading] if "columns" in data.reading else []
    reading = None if tables else data.reading
    example = raw_example(data)
    views = "" if run.reconstructs else left_out(run.views, run.evaluation, example)
    if not save_model(deployable(run), example, folder, step, run.classes, reading, tables, views):
        record.brings("model", False)


def deployable(run: Run) -> nn.Module:
    """Preprocessing and model in one module on the CPU: raw samples in, logits out.

    Images of more than 8 bits go in with the values of their files. In regression it gives
    predictions in the units of the data.
    """
    parts = [run.evaluation, run.model]
    if run.data.depth is not None:
        parts.insert(0, FromDepth(run.data.depth))
    if run.scale is not None:
        parts.append(Unscale(run.scale))
    module = copy.deepcopy(nn.Sequential(*parts)).cpu().eval()
    for value in (*module.parameters(), *module.buffers()):
        value.data = value.data.contiguous()
    return module
