"""One job of a command: from a composed recipe to its end, whatever that is.

Imports nothing heavy before the process that delivers is on its way, so that both start at once.
"""

import logging
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.console import summary
from dlrun.engine.interrupt import raised
from dlrun.errors import Failure, Mistake, refuse
from dlrun.job import recording
from dlrun.job.recording import Invocation
from dlrun.job.session import Session
from dlrun.recipe import expect, experiment, resume
from dlrun.record import Record, expected
from dlrun.tracking import imports

if TYPE_CHECKING:
    from dlrun.engine.run import Run
    from dlrun.job.lab import Lab
    from dlrun.regularization import Regularizer

_log = logging.getLogger("dlrun")


def run(config: DictConfig, invocation: Invocation) -> Path | None:
    """Do what a recipe says, alone; gives the directory of its record, where it has one."""
    session = Session()
    with raised():
        try:
            perform(config, invocation, session, whole=True)
            wrong = judge(config, invocation.overrides, session.records[-1:])
        finally:
            try:
                session.close()
            finally:  # a signal ends the waiting alone
                for directory in session.records:
                    summary.show(session.show.console, directory, session.uri)
    if wrong:
        raise Failure(wrong)
    return session.records[-1] if session.records else None


def judge(config: DictConfig, overrides: Sequence[str], directories: Sequence[Path]) -> str:
    """Set what a record came to beside what was expected, in the record.

    Gives what is to be said where it is not as expected; "" where it is, and where the command is
    another one than the expectations are of.
    """
    wanted, unjudged = experiment.expectations(config, overrides)
    for directory in directories:
        info = record.read_json(directory / "run.json")
        if not wanted or info.get("parent"):
            continue
        got = expected.reached(directory)
        rows = expected.compared(wanted, got)
        if unjudged and all(row["got"] is None for row in rows):
            return ""  # one run of what is expected of a sweep
        expected.keep(directory, rows, unjudged)
        return "" if unjudged else experiment.disagreement(rows, got)
    return ""


def perform(
    config: DictConfig,
    invocation: Invocation,
    session: Session,
    stopping: Sequence["Regularizer"] = (),
    whole: bool = False,
    measure_test: bool = True,
) -> float | None:
    """One job of maybe several; gives the value it is judged by.

    All else as in `lab_of`.
    """
    return lab_of(config, invocation, session, stopping, whole, measure_test).perform().value


def lab_of(
    config: DictConfig,
    invocation: Invocation,
    session: Session,
    stopping: Sequence["Regularizer"] = (),
    whole: bool = False,
    measure_test: bool = True,
) -> "Lab":
    """What does a job.

    stopping: rules beside those of the recipe; one that says `pruned` makes the run PRUNED.
    whole: with figures, and with a model where the recipe says so.
    measure_test: whether the recipe's `test` holds; in a sweep, `complete` measures instead.
    """
    session.prepare(config, draws=whole)
    with imports.quick():
        from dlrun.job.lab import Lab  # import torch: a second and more
        from dlrun.job.training import procedure_of
        from dlrun.recipe import build

    build.check(config, [shell.key(word) for word in invocation.overrides])
    invocation = replace(invocation, choices=session.settled(config, invocation.choices))
    made = procedure_of(config)
    stacking = next((w for w in invocation.overrides if shell.key(w) == "sweep.stack"), None)
    if stacking and made.single:
        raise Mistake(f"{stacking}: is about several runs, of a sweep (-m) or a procedure")
    if made.single and made.trains:
        refuse(expect.unmeasured(config))
    return Lab(
        config, invocation, session, made, stopping, whole, measure_test, stack=invocation.stack
    )


def complete(
    config: DictConfig, directory: Path, session: Session, measure_test: bool, export: bool
) -> None:
    """Add what is still missing to a run that has ended, and deliver it.

    measure_test: with its best weights, where the recipe says so and it has not been done.
    export: draw figures, say how well it fits, and save a model where the recipe says so.
    """
    from dlrun.job.training import trained
    from dlrun.procedure import train

    values = record.last_values(record.read_points(directory))
    tested = any(name.startswith("test/") for name in values)
    tests = measure_test and config.test and not tested
    exports = export and not record.has(directory, "figures")  # they are drawn last
    info = record.read_json(directory / "run.json")
    examines = export and config.preflight != "off" and "examined" not in info
    if not (tests or exports or examines):
        return
    session.prepare(config, draws=exports)
    with closing(record.open_existing(directory)) as kept:
        session.follow(directory)  # before anything changes, so that no kill leaves it behind
        saves = exports and config.tracking and config.tracking.get("model", False)
        found = trained(config, directory, session)
        if exports:
            kept.update(closing=["figures", *(["model"] if saves and found else [])])
        if found is not None:
            run, step = found
            if tests and len(run.data.test):
                train.add_test(run, kept)
            if saves:
                train.export(run, kept, step)
            if examines:
                _diagnose(run, kept, kept.points()[-1]["step"], config, session)
            if exports:
                train.keep_validation(run, directory)
        else:
            _log.warning(f"{directory}: has lost its checkpoints, and with them its best weights")
        if exports:
            session.draw(directory)


def examine(config: DictConfig, kept: Record, session: Session) -> bool:
    """Say of a run that has ended without a verdict how well it fits; gives whether it can be had.

    config: its recipe. A point of a sweep that is not exported, a fold, a bag, a member of an
    ensemble end without.
    """
    from dlrun.job.training import trained

    whole = record.read_status(kept.directory).get("status") == record.FINISHED
    if not whole or config.preflight == "off" or "examined" in kept.info:
        return False
    found = trained(config, kept.directory, session)
    if found is not None:
        _diagnose(found[0], kept, kept.points()[-1]["step"], config, session)
    return found is not None


def draw(config: DictConfig, directory: Path, session: Session) -> None:
    """Draw what is still to be drawn of a procedure's record and of its runs, and deliver it."""
    info = record.read_json(directory / "run.json")
    runs = [directory.with_name(name) for name in info.get("runs", ())]
    wanted = [*(run for run in runs if run.is_dir()), *([directory] if info.get("chart") else [])]
    left = [each for each in wanted if not record.has(each, "figures")]
    if left:
        session.prepare(config, draws=True)
    for each in left:
        with closing(record.open_existing(each)):
            session.follow(each)
            session.draw(each)


def measure(config: DictConfig, directory: Path, session: Session) -> None:
    """Measure the test split with a procedure that has ended without, as its command would do."""
    points, status = record.read_points(directory), record.read_status(directory).get("status")
    tested = any(name.startswith("test/") for name in record.last_values(points))
    if tested and status == record.FINISHED:  # else it was killed between the two
        return
    config.resume = str(directory)
    lab_of(config, _invocation(record.read_json(directory / "run.json")), session).perform()


def _invocation(info: Mapping[str, Any]) -> Invocation:
    """How a run has been typed, by its `run.json`."""
    cwd = Path(info.get("cwd", "."))
    command = resume.with_directories(["dlrun"], shlex.split(info["command"]), cwd)
    return Invocation(info["overrides"], command, info["choices"], cwd=cwd)


def _diagnose(run: "Run", kept: Record, steps: int, config: DictConfig, session: Session) -> None:
    """Say how well a run fits that has been trained before, for so many steps."""
    from dlrun.job import verdict
    from dlrun.job.lab import Lab
    from dlrun.job.training import procedure_of

    lab = Lab(config, _invocation(kept.info), session, procedure_of(config))
    verdict.diagnose(run, kept, steps, lab.recipe, lab.advice, lab.untrained)


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
