"""A run made anew from its record, and data to put through it.

The run is built on random samples in place of its data, which may have gone; its own data, or
others, are read when they are asked for.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.recipe import compose, flags, mistakes, resume
from dlrun.verb import named
from dlrun.verb.asked import Asked

if TYPE_CHECKING:
    from dlrun.data import Data, Source
    from dlrun.engine.run import Run
    from dlrun.job.session import Session

HERE = ("device", "threads", "batch_size")
"""Settings that may be typed for any verb that calls the model."""


@dataclass
class Opened:
    """A run that has been trained.

    info: what run.json says. config: its recipe with what is typed now, other data among it.
    recorded: its recipe as it was trained, with paths as they are meant here.
    """

    directory: Path
    info: dict[str, Any]
    config: DictConfig
    recorded: DictConfig
    session: "Session"
    other_data: bool

    @cached_property
    def run(self) -> "Run":
        """The run with the weights that count, on the chosen device; its splits stand in."""
        from dlrun.job.training import deployed

        config = self.recorded.copy()
        for key in HERE:
            config[key] = self.config[key]
        found = deployed(config, self.directory, self.session)
        if found is None:
            raise Mistake(f"{shell.near(self.directory)}: has lost its checkpoints")
        return found

    @cached_property
    def data(self) -> "Data":
        """The run's own data, split as they were when it was trained."""
        from dlrun.job.training import remembered

        training = remembered(self.directory)
        return self.session.data(self.recorded, training.rows if training else None)

    def source(self) -> "Source":
        """All samples of the data that are typed now."""
        from dlrun.recipe import build

        return build.read_data(self.config, self.session.show.loading)


@contextmanager
def opened(asked: Asked, which: str = "last") -> Iterator[Opened]:
    """Inside, a run that has been trained, with the settings that are typed.

    Raises Mistake where there is none, and for settings that don't fit.
    """
    directory = named.find(asked.outputs, which)
    info = named.finished(directory)
    typed = [compose.readable(word) for word in asked.those(*HERE, "data", "metric")]
    before = resume.find([f"resume={shell.quoted(str(directory))}"])
    assert before is not None
    own = flags.parse(before.command[1:]).directories(before.cwd)
    with compose.composer(own) as composer:
        mistakes.words(composer, typed)
        words = before.merge(composer, typed)
        with mistakes.explained(composer, words):
            config = before.restore(composer, composer.recipe(words), words)
    recorded = resume.placed(before.recipe, before.cwd)
    for one in (config, recorded):
        one.compile, one.preflight = False, "off"
    if str(before.cwd) not in sys.path:
        sys.path.insert(-1, str(before.cwd))  # the user's own modules

    from dlrun.engine.interrupt import raised
    from dlrun.job.session import Session

    session = Session()
    with raised(), mistakes.resolved():
        try:
            other = bool(asked.those("data"))
            yield Opened(directory, info, config, recorded, session, other)
        finally:
            session.close()


def trained_record(asked: Asked) -> Path:
    """The record of the one run that a command names, `last` without any."""
    if len(asked.names) > 1:
        raise Mistake(f"{asked.verb} takes one run, not {len(asked.names)}")
    directory = named.find(asked.outputs, *asked.names)
    record.mark_killed(directory)
    return directory
