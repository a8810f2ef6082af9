"""One job of a command: from a composed recipe to its end, whatever that is.

Imports nothing heavy before the process that delivers is on its way, so that both start at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from dlrun import imports, record, shell
from dlrun.engine.interrupt import raised
from dlrun.job import recording
from dlrun.job.recording import Invocation
from dlrun.job.session import Session

if TYPE_CHECKING:
    from dlrun.regularization import Regularizer


def run(config: DictConfig, invocation: Invocation) -> float | None:
    """Do what a recipe says, alone; gives the value it is judged by."""
    session = Session()
    with raised():
        try:
            return perform(config, invocation, session, whole=True)
        finally:
            try:
                session.close()
            finally:  # a signal ends the waiting alone
                for directory in session.records:
                    session.show.summary(directory, session.uri)


def perform(
    config: DictConfig,
    invocation: Invocation,
    session: Session,
    stopping: Sequence["Regularizer"] = (),
    whole: bool = False,
) -> float | None:
    """One job of maybe several; gives the value it is judged by.

    stopping: rules beside those of the recipe; one that says `pruned` makes the run PRUNED.
    whole: with figures, and with a model where the recipe says so.
    """
    session.prepare(config, draws=whole)
    with imports.quick():
        from dlrun import procedure  # import torch: a second and more
        from dlrun.job.lab import Lab
        from dlrun.recipe import build, instantiate

    build.check(config, [shell.key(word) for word in invocation.overrides])
    made = procedure.of(instantiate.part(config, "procedure"))
    return Lab(config, invocation, session, made, stopping, whole).perform().value


def export(config: DictConfig, directory: Path, session: Session) -> None:
    """Add figures, and a model where the recipe says so, to a run that has ended without."""
    from dlrun.engine import checkpoint
    from dlrun.procedure.train import deployable
    from dlrun.recipe import build

    session.prepare(config, draws=True)
    saved = checkpoint.load(directory / "checkpoints")
    if config.tracking and config.tracking.get("model", False) and saved:
        from dlrun.data.depth import raw_example
        from dlrun.engine.state import load_best_weights, restore
        from dlrun.tracking.model import save_model

        data = session.data(config)
        run = build.build(config, data, session.cores)
        state = restore(run, saved)
        step = load_best_weights(run, state.counters, state.runs[0])
        example = raw_example(data)
        save_model(deployable(run), example, directory / "model", step, run.classes, data.reading)
    session.draw(directory)
    session.follow(directory)


def refused(config: DictConfig, invocation: Invocation, session: Session, message: str) -> None:
    """Record a job that has failed before it began, so that it is found where the others are."""
    if session.records:
        return
    text = OmegaConf.to_yaml(config, resolve=False)
    if config.resume:
        kept = record.open_existing(config.resume)
    else:
        name, info = recording.named(config, invocation), recording.info(config, invocation)
        kept = record.create(config.outputs, name, info, text)
    kept.set_status(record.FAILED, message)
    kept.close()
    session.records.append(kept.directory)
    session.prepare(config)
    session.follow(kept.directory)
