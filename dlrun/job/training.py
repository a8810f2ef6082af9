"""How a training that a procedure wants becomes a run, and how its record remembers it."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from dlrun import record
from dlrun.data.fingerprint import hash_rows
from dlrun.data.images.resize import halved
from dlrun.data.sample import stand_in
from dlrun.data.scale import rescaled, scale_of
from dlrun.errors import Mistake
from dlrun.job.recording import warn_of_change
from dlrun.metric import known, score
from dlrun.procedure import LENGTH, OBJECTIVE, RULES, Procedure, Training, of
from dlrun.recipe import build, compose, instantiate
from dlrun.recipe.once import once
from dlrun.regularization import Regularizer
from dlrun.schedule import Fixed, Replay, constant

if TYPE_CHECKING:
    from dlrun.engine.ending import AtObjective
    from dlrun.engine.run import Run
    from dlrun.job.session import Session

_log = logging.getLogger("dlrun")
_ROWS = "rows.npz"


def procedure_of(config: DictConfig) -> Procedure:
    """The procedure of a recipe, with its options. Raises Mistake."""
    values = instantiate.plain(config.procedure, "procedure", None)
    own = instantiate.ours(str(values.get("_target_")))
    return (_known if own else _made)("procedure", values)


def _made(key: str, values: Any) -> Procedure:
    return of(instantiate.made_of(key, values))


_known = once(_made)


def run_of(
    config: DictConfig,
    training: Training,
    session: "Session",
    rules: Sequence[Regularizer] = (),
    known: str | Path | None = None,
    begun: Path | None = None,
) -> "Run":
    """The run of a recipe, with what the training brings along.

    rules: that stop it, beside those of the recipe. known: the directory of its record, where it
    has one already. begun: the folder that keeps what the runs of a procedure begin with.
    """
    from dlrun.engine.ending import AtLength, AtObjective

    data = session.data(config, training.rows, _learned(known or training.preprocessing))
    if training.halved:
        data = halved(data)
    before = Path(training.preprocessing) if training.preprocessing else None
    scale = scale_of(record.read_json(before / "run.json").get("data")) if before else None
    data = rescaled(data, scale) if scale else data
    run = build.build(config, data, session.cores, begun=begun)
    lengths = run.lengths
    if training.length is not None:
        many = training.length * (lengths.steps_per_epoch if training.by_passes else 1)
        run.lengths = replace(lengths, total_steps=max(1, round(many)))
    if training.schedule_steps is not None:
        run.lengths = replace(run.lengths, schedule_steps=training.schedule_steps)
    _take(run, training, known)
    if training.rates is not None:
        run.schedule = _replayed(config, training, run)
    if training.ends != RULES:
        run.stopping = [AtObjective(run) if training.ends == OBJECTIVE else AtLength()]
    run.stopping.extend(rules)
    for key, value in training.until.items():
        if key.rpartition("/")[2] in run.measured:
            run.stopping.append(_Reached(key, run.score(key, value)))
    return run


def _take(run: "Run", training: Training, known: str | Path | None) -> None:
    """Take over what a training brings along from other runs, before any step of its own.

    Where those have lost their checkpoints, a run that has one of its own, in `known`, does with
    that: it holds all but the weights that the run has begun with, which only OBJECTIVE asks for.
    """
    from dlrun.engine import checkpoint
    from dlrun.engine.state import take_optimizer, take_preprocessing

    def kept(directory: str) -> dict[str, Any] | None:
        """The checkpoint of the other run; else the own one."""
        with suppress(Mistake) if known is not None else nullcontext():
            if found := checkpoint.of_trained(Path(directory) / "checkpoints"):
                return found
        return checkpoint.of_trained(Path(known) / "checkpoints") if known is not None else None

    if training.preprocessing is not None:
        fitted = kept(training.preprocessing)
        if fitted is None or not take_preprocessing(run, fitted["preprocessing"]):
            raise Mistake(f"{training.preprocessing}: has no preprocessing that fits")
    if training.optimizer is not None:
        saved = kept(training.optimizer)
        if saved is None or not take_optimizer(run, saved):
            raise Mistake(f"{training.optimizer}: has no state of an optimizer that fits")
        run.schedule = Fixed(constant)
        if run.frozen is not None and run.frozen.until is not None:
            run.frozen.until = 0  # what was to be trained later has been
    if training.weights is not None:
        file = Path(training.weights)
        if file.exists():
            run.model.load_state_dict(checkpoint.weights(file))
        elif training.ends == OBJECTIVE or kept(str(file.parents[1])) is None:
            raise Mistake(f"{file}: is lost, and this training begins with it; start a new one")


def trained(config: DictConfig, directory: Path, session: "Session") -> tuple["Run", int] | None:
    """A run that has been trained, with the weights that count, and the step they are of.

    config: its recipe. None where its checkpoints are lost; says where they are damaged.
    """
    from dlrun.engine import checkpoint, device
    from dlrun.engine.state import load_best_weights, restore

    try:
        saved = checkpoint.of_trained(directory / "checkpoints")
    except Mistake as damaged:
        _log.warning(str(damaged))
        return None
    if saved is None:
        return None
    asked = remembered(directory) or Training()
    if asked.ends == OBJECTIVE:
        asked = replace(asked, ends=LENGTH)  # it has ended, and its target may be lost
    weights, config.weights = config.weights, None  # which are behind it
    try:
        run = run_of(config, asked, session, known=directory)
    finally:
        config.weights = weights
    info = record.read_json(directory / "run.json")
    warn_of_change(directory.name, info.get("data") or {}, run.data.digest)
    device.keep_threads(info.get("threads"), typed=False)
    state = restore(run, saved)
    return run, load_best_weights(run, state.counters, state.runs[0])


def deployed(config: DictConfig, directory: Path, session: "Session") -> "Run | None":
    """A run that has been trained, with the weights that count, without the data it came from.

    config: its recipe. Its splits are a few random samples of the same shape. Where weights
    are averaged, batch norm needs the training split, which is read then. None where its
    checkpoints are lost. Raises Mistake where they are damaged.
    """
    from dlrun.engine import checkpoint, memory
    from dlrun.engine.state import keeps_last, restore_model

    saved = checkpoint.of_trained(directory / "checkpoints")
    if saved is None:
        return None
    about = record.read_json(directory / "run.json")["data"]
    recipe = compose.copied(config)
    recipe.class_weights, recipe.train_eval, recipe.validate_on = "none", False, None
    recipe.weights, recipe.monitor = None, "auto"  # there is no validation split
    known = build.Known(saved["preprocessing"], about["samples"]["train"])
    run = build.build(recipe, stand_in(about), session.cores, known)
    if run.averaging or run.modes is not None:
        found = trained(config, directory, session)
        return found and found[0]
    asked = _asked(directory)
    last = keeps_last(run) or (asked is not None and asked.keeps_last)
    best = None if last else saved["best"]
    restore_model(run, saved["model"] if best is None else best)
    memory.put_back(run, saved.get("own", {}))
    return run


class _Reached(Regularizer):
    """Ends a run, with its last weights, once a metric is as good as asked."""

    restore_best = False

    def __init__(self, metric: str, score: float) -> None:
        self.metric, self._score = metric, score

    def should_stop(self, score: float, step: int) -> bool:
        """After every point that has the metric."""
        return score >= self._score


def targeted(run: "Run") -> list["AtObjective"]:
    """The rules of a run that end it by an objective."""
    from dlrun.engine.ending import AtObjective

    return [rule for rule in run.stopping if isinstance(rule, AtObjective)]


def _replayed(config: DictConfig, training: Training, run: "Run") -> Replay:
    """The learning rates of a run before, by its recipe, its length and its validations."""
    before = Path(str(training.rates))
    info, points = record.read_json(before / "run.json"), record.read_points(before)
    lengths = build.lengths_of(config, info["data"]["samples"]["train"], elements=1)
    found = [(p["step"], p["values"]) for p in points if "time/elapsed" in p["values"]]
    key, metrics = info["monitor"], known(info.get("metrics"))
    scores = [(step, score(key, some[key], metrics)) for step, some in found if key in some]
    every = Fraction(lengths.steps_per_epoch, run.lengths.steps_per_epoch)
    return Replay(
        build.schedule_of(config, lengths),
        lengths.total_steps,
        lengths.steps_per_epoch,
        scores,
        every if training.by_passes else Fraction(1),
    )


def _learned(directory: str | Path | None) -> dict[str, Any] | None:
    """What a run has learned of its table; None where its data are none."""
    info = record.read_json(Path(directory) / "run.json") if directory else {}
    reading: dict[str, Any] = (info.get("data") or {}).get("reading") or {}
    return reading if "columns" in reading else None


def plain(training: Training) -> dict[str, Any]:
    """A training as plain values; of its rows, of which there are many, the hashes."""
    values = asdict(replace(training, rows=None))
    if training.rows is not None:
        rows = {name: np.asarray(some, np.int64) for name, some in training.rows.items()}
        values["rows"] = {name: hash_rows(some) for name, some in rows.items()}
    return values


def keep_rows(directory: Path, training: Training) -> None:
    """Write the rows of a run beside its recipe, so that it can be resumed by itself."""
    if training.rows is not None and not (directory / _ROWS).exists():
        rows = {name: np.asarray(some, np.int64) for name, some in training.rows.items()}
        record.write_arrays(directory / _ROWS, **rows)


def remembered(directory: Path) -> Training | None:
    """What a run of a procedure was asked to be; None for a run of its own.

    Raises Mistake where its rows are lost.
    """
    asked = _asked(directory)
    if asked is None or asked.rows is None:
        return asked
    rows = record.the_arrays(directory / _ROWS)
    return replace(asked, rows={name: some.tolist() for name, some in rows.items()})


def _asked(directory: Path) -> Training | None:
    """The same, with no rows in the place of its own."""
    asked = record.read_json(directory / "run.json").get("training")
    if not asked:
        return None
    known = {name: value for name, value in asked.items() if name != "hash"}
    return Training(**known | {"rows": {} if asked["rows"] else None})
