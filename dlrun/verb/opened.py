"""A run made anew from its record, and data to put through it.

The run is built on random samples in place of its data, which may have gone; its own data, or
others, are read when they are asked for.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.console import screen
from dlrun.errors import Mistake
from dlrun.recipe import compose, mistakes, resume
from dlrun.record import named, test_set
from dlrun.verb.asked import Asked

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.data import Data
    from dlrun.engine.run import Run
    from dlrun.job.session import Session

_log = logging.getLogger("dlrun")
HERE = ("device", "threads", "batch_size")
"""Settings that may be typed for any verb that calls the model."""


@dataclass
class Opened:
    """A run that has been trained.

    info: what run.json says. config: its recipe with what is typed now, other data among it.
    recorded: its recipe as it was trained, with paths as they are meant here. typed: the keys of
    what is typed now.
    """

    directory: Path
    info: dict[str, Any]
    config: DictConfig
    recorded: DictConfig
    session: "Session"
    typed: tuple[str, ...]

    @property
    def other_data(self) -> bool:
        """Whether other data than the run's are typed."""
        return any(key.partition(".")[0] == "data" for key in self.typed)

    def targets(self, count: int) -> list[str]:
        """What the numbers or labels that are predicted are called; numbers where nothing says."""
        named = self.info["data"].get("targets") or self.recorded.data.get("target")
        names = [named] if isinstance(named, str) else list(named or ())
        return names if len(names) == count else [str(place + 1) for place in range(count)]

    @cached_property
    def run(self) -> "Run":
        """The run with the weights that count, on the chosen device; its splits stand in.

        Its metrics are those that were recorded, and those that are typed.
        """
        from dlrun.job.training import deployed

        config = compose.copied(self.recorded)
        for key in HERE:
            config[key] = self.config[key]
        metrics = {**(self.recorded.metric or {}), **(self.config.metric or {})}
        OmegaConf.update(config, "metric", metrics or None, merge=False)
        found = deployed(config, self.directory, self.session)
        if found is None:
            raise Mistake(f"{shell.near(self.directory)}: has lost its checkpoints")
        return found

    @cached_property
    def data(self) -> "Data":
        """The run's own data, split as they were when it was trained, on the run's scale.

        Where they have changed since, that is said.
        """
        from dlrun.data.scale import rescaled, scale_of
        from dlrun.job.recording import warn_of_change
        from dlrun.job.training import remembered

        training = remembered(self.directory)
        with _told_before():
            data = self.session.data(self.recorded, training.rows if training else None)
        warn_of_change(self.directory.name, self.info["data"], data.digest)
        scale = scale_of(self.info["data"])
        return rescaled(data, scale) if scale else data

    @property
    def changed(self) -> bool:
        """Whether the run's data are no longer those that it was trained on."""
        return bool(self.data.digest != self.info["data"]["digest"])


def refuse_alone(made: Opened, x: "Tensor") -> None:
    """Raise Mistake where x, raw, is one sample and the run's model answers none without others."""
    from dlrun.engine.evaluate import alone

    if len(x) == 1 and (why := alone(made.run, x)):
        raise Mistake(
            f"{made.directory.name}: the model answers no sample alone ({why}), and this is only "
            "one; name two or more at once"
        )


@contextmanager
def noting_test(made: Opened) -> Iterator[Callable[[], int]]:
    """Inside, the record is held; what is given says in it that its test split is measured now.

    And gives how many recipes have been by then. Of a record that may not be written only the
    terminal is told.
    """
    if why := record.unwritable(made.directory):
        _log.warning(
            f"cannot write {shell.near(made.directory)}: {why}; the run does not say that its test "
            "split has been measured once more"
        )
        yield lambda: len(test_set.known(made.directory, made.info))
    else:
        with closing(record.open_existing(made.directory)) as kept:
            yield lambda: len(test_set.note(kept, made.info["data"]))


@contextmanager
def _told_before() -> Iterator[None]:
    """Inside, nothing is said of data: the training has said it."""
    log = logging.getLogger("dlrun")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def opened(asked: Asked, which: str = "last") -> Iterator[Opened]:
    """Inside, a run that has been trained, with the settings that are typed.

    Raises Mistake where there is none, and for settings that don't fit.
    """
    directory = named.find(asked.outputs, which)
    info = named.finished(directory)
    typed = [compose.readable(word) for word in asked.those(*HERE, "data", "metric")]
    before = resume.of(directory)
    own = resume.directories(before.command, before.cwd)
    with compose.composer(own) as composer:
        mistakes.words(composer, typed)
        words = before.merge(composer, typed)
        with mistakes.explained(composer, words):
            composed = composer.full(words)
            config = before.restore(composer, compose.without_hydra(composed), words)
    mistakes.check(config, compose.choices(composed), own)
    recorded = resume.placed(before.recipe, before.cwd)
    for one in (config, recorded):
        one.compile, one.preflight = False, "off"
    if str(before.cwd) not in sys.path:
        sys.path.insert(-1, str(before.cwd))  # the user's own modules

    from dlrun.console.progress import Progress
    from dlrun.engine.interrupt import raised
    from dlrun.job.session import Session

    session = Session(show=Progress(screen.console("stderr")))
    with raised(), mistakes.resolved():
        from dlrun.recipe import build  # imports torch

        build.check(config)
        try:
            yield Opened(directory, info, config, recorded, session, tuple(asked.words))
        finally:
            session.close()


def trained_record(asked: Asked) -> Path:
    """The record of the one run that a command names, `last` without any."""
    if len(asked.names) > 1:
        raise Mistake(f"{asked.verb} takes one run, not {len(asked.names)}")
    directory = chosen(asked, *asked.names)
    record.mark_killed(directory)
    return directory


def chosen(asked: Asked, which: str = "last") -> Path:
    """The record of one run; says which, where the word names a sweep or a procedure."""
    directory, why = named.found(asked.outputs, which)
    if why:
        screen.say(screen.console("stderr"), why, style="dim")
    return directory
