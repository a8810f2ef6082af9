"""The commands that need a composed recipe: train, sweep, resume, --cfg, --info."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from dlrun.command import catalogue, compose, mistakes, resume
from dlrun.command.flags import Flags
from dlrun.command.nearest import Place
from dlrun.command.outcome import report
from dlrun.command.resume import Previous
from dlrun.errors import Failure, Interrupted, Mistake


class _Stop(BaseException):
    """Carries an Interrupted past Hydra, which would go on with the next job."""

    def __init__(self, cause: Interrupted) -> None:
        self.cause = cause


def run(asked: Flags, command: Sequence[str]) -> int:
    """Do what the flags ask for; the exit code."""
    with _warnings():
        previous = resume.find(asked.words)
        if previous and asked.multirun:
            raise Mistake("resume goes on with one run; leave out -m")
        directories = asked.directories() or (previous.config_dirs if previous else [])
        with compose.hydra(directories) as hydra:
            place = Place(hydra, [*directories, catalogue.packaged()], asked.multirun)
            words = list(asked.words)
            if previous:
                mistakes.words(place, words)
                words = previous.merge(hydra, words)
            mistakes.words(place, words)
            with mistakes.explained(place, words):
                in_sweep, results = _do(asked, place, words, previous, list(command))
    return _outcome(in_sweep, results)


def _do(
    asked: Flags, place: Place, words: list[str], previous: Previous | None, command: list[str]
) -> tuple[bool, list[Any]]:
    if asked.cfg:
        place.hydra.show_cfg(compose.PRIMARY, words, asked.cfg, asked.package, asked.resolve)
        return False, []
    if asked.info:
        with _root_logging():
            place.hydra.show_info(asked.info, compose.PRIMARY, words)
        return False, []
    job = _job(place, words, previous, command)
    try:
        return compose.launch(place.hydra, words, asked.multirun, job)
    except _Stop as stop:
        raise stop.cause from None


def _job(
    place: Place, words: list[str], previous: Previous | None, command: list[str]
) -> Callable[[DictConfig], Any]:
    """The function Hydra calls with each recipe.

    An error is returned, not raised: it then reaches us through any launcher, and the
    other jobs of a sweep go on.
    """

    def job(recipe: DictConfig) -> Any:
        overrides, choices, in_sweep = compose.job()
        recipe = compose.without_sweep(recipe)
        try:
            if previous:
                recipe = previous.restore(place.hydra, recipe, words)
            mistakes.check(recipe, choices, place.directories)
            from dlrun import job as jobs

            with mistakes.resolved():
                return jobs.run(recipe, jobs.Asked(overrides, command, choices))
        except Interrupted as interrupted:
            raise _Stop(interrupted) from None
        except Exception as error:
            if in_sweep:
                report(error, job=" ".join(overrides))
            return error

    return job


def _outcome(in_sweep: bool, results: Sequence[Any]) -> int:
    errors = [result for result in results if isinstance(result, Exception)]
    if errors and not in_sweep:
        raise errors[0]
    if errors:
        raise Failure(f"{len(errors)} of {len(results)} jobs failed")
    return 0


@contextmanager
def _warnings() -> Iterator[None]:
    """Show what the logger `dlrun` says, on stderr, for as long as the command runs."""
    logger = logging.getLogger("dlrun")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain())
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


@contextmanager
def _root_logging() -> Iterator[None]:
    """Take back what Hydra's --info does to the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
