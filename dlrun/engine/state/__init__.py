"""The state of a run that changes while it trains, and how it is kept and put back.

kept.py       what changes, and all of it as tensors and plain values
restored.py   the same put back into a Run
"""

import logging
import math
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrun.engine import checkpoint
from dlrun.engine.run import Run
from dlrun.engine.state.kept import (
    Counters,
    Standing,
    State,
    Window,
    capture,
    keeps_last,
    load_best_weights,
    start,
    together,
)
from dlrun.engine.state.restored import restore, restore_model, take_optimizer, take_preprocessing
from dlrun.errors import Mistake
from dlrun.record import FINISHED, Record, points, read_status
from dlrun.regularization import acts

__all__ = ["Counters", "Standing", "State", "Window"]
__all__ += ["begin", "begin_together", "capture", "keeps_last", "start", "steps", "together"]
__all__ += ["load_best_weights", "restore", "restore_model", "take_optimizer", "take_preprocessing"]

_log = logging.getLogger("dlrun")
_PARTS: dict[str, type] = {"position": dict, "window": dict, "model": dict, "preprocessing": dict}
_PARTS |= {"optimizer": dict, "random": dict, "recorded": int}


def begin(run: Run, record: Record, changed: Collection[str] = (), at: int | None = None) -> State:
    """The state to train on from: that of the newest checkpoint in `record`, or the beginning.

    changed: of "preprocessing", "loss", "metric.<name>" and "val" (the validation split), what
    is no longer as it was. What has a memory that no longer applies begins anew, with one warning.
    at: the step that it is to stand at, 0 for the beginning, of a run that has begun before and
    has said what is wrong with its checkpoints; None for the newest.
    Points of the record after the checkpoint are cut off: they will come again. Raises
    Mistake, and leaves the record as it is, where the checkpoint does not fit the run.
    """
    folder = record.directory / "checkpoints"
    saved = checkpoint.load(
        folder,
        partial(_unfit, record.directory),
        lambda state: at is None or state["position"]["step"] == at,
        say=at is None,
    )
    state = State()
    if saved:
        state = restore(run, saved, changed)
        if (best := state.runs[0].best) is not None:
            checkpoint.mend_best(best, folder)
        forgotten = saved["position"]["best_step"] > state.runs[0].best_step
        finished = read_status(record.directory).get("status") == FINISHED
        _look_ahead(run, state, forgotten, finished)
    elif at is None and record.size and not checkpoint.is_kept(folder):
        _log.warning(f"{folder / 'last.pt'} is missing; going on from the beginning")
    record.truncate(saved["recorded"] if saved else 0)
    return state


def begin_together(runs: Sequence[Run], records: Sequence[Record]) -> State:
    """The state from which runs train on together: the newest that all have a checkpoint of.

    A kill may come between the checkpoints of two runs. Raises Mistake as `begin` does.
    """
    at = max(set.intersection(*(steps(record.directory) for record in records)))
    return together([begin(*pair, at=at) for pair in zip(runs, records, strict=True)])


def steps(directory: Path) -> set[int]:
    """The steps from which the run of a record can go on, 0 among them. Says nothing."""
    return checkpoint.steps(directory / "checkpoints", partial(_unfit, directory))


def _look_ahead(run: Run, state: State, forgotten: bool, finished: bool) -> None:
    """Make sure that a resumed run has something to do, or say why not.

    forgotten: the best so far no longer counts, so that another one must be found.
    finished: the run has come to its end before.
    """
    step, total, standing = state.counters.step, run.lengths.total_steps, state.runs[0]
    epoch = f"{step / run.lengths.steps_per_epoch:.4g}"
    if step > total:
        asked = f"{total / run.lengths.steps_per_epoch:.4g}"
        raise Mistake(
            f"epochs={asked}: the run is at epoch {epoch} already; epochs= counts from its "
            "beginning, so write more"
        )
    if step >= total and forgotten:
        raise Mistake(
            f"monitor={run.monitor}: the run has ended at epoch {epoch}, and nothing after it "
            f"would be judged by {run.monitor}; let it train for longer, with epochs="
        )
    rules = {key: r for key, r in run.regularizers.items() if acts(r, "should_stop")}
    own = list(rules.values())
    foreign = any(rule not in own for rule in run.stopping)  # a sweep's, which knows better
    if not standing.stopped or step >= total or foreign:
        return
    holding = [key for key, rule in rules.items() if rule.should_stop(math.nan, step)]
    standing.stopped = bool(holding)
    if holding:
        others = [key.partition(".")[2] for key in run.regularizers if key not in holding]
        without = f"[{','.join(others)}]" if others else "none"
        twice = math.ceil(2 * step / run.lengths.steps_per_epoch)
        waits = rules[holding[0]].patience is not None
        more = f"{holding[0]}.patience='{twice} epochs' or " if waits else ""
        said = (
            f"{holding[0]} has ended the run at epoch {epoch}, so it trains no further; "
            f"it would with {more}regularization={without}"
        )
        if finished:
            raise Mistake(said)
        _log.warning(said)  # its end is still to be measured


def _unfit(directory: Path, saved: Any) -> str:
    """Why a checkpoint of a record cannot be gone on from; nothing where it can."""
    whole = isinstance(saved, dict) and all(
        isinstance(saved.get(name), kind) for name, kind in _PARTS.items()
    )
    if not whole:
        raise ValueError("it is not the state of a run")
    held = points.holds(directory, saved["recorded"])
    return "" if held else "points of metrics.jsonl are lost"
