"""What the jobs of one process share: the data, and the process that follows their records.

Imports nothing heavy: the second process is started before torch is imported.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from dlrun import duration, finding, record
from dlrun.console.outcome import unless_mistaken
from dlrun.console.progress import Progress
from dlrun.errors import OutOfTime, refuse
from dlrun.finding import Finding
from dlrun.recipe import signature, view
from dlrun.recipe.schema import LOSS_OF_TASK
from dlrun.tracking import cursor, default_experiment
from dlrun.tracking.follower import Follower

if TYPE_CHECKING:
    from dlrun.data import Data, Source

_log = logging.getLogger("dlrun")


class Checked:
    """What preflight has found of each structure of a recipe, in all processes of a command."""

    def __init__(self, folder: Path | None = None) -> None:
        """folder: where the processes tell each other; None for one alone."""
        self._folder = folder
        self._found: dict[str, list[Finding]] = {}

    def find(self, structure: str) -> list[Finding] | None:
        """What was found of a structure; None where nobody has looked."""
        if structure not in self._found and self._folder is not None:
            kept = record.read_json(self._file(structure))
            if kept:
                self._found[structure] = list(map(finding.of, kept["findings"]))
        return self._found.get(structure)

    def keep(self, structure: str, found: list[Finding]) -> bool:
        """Let the others know; whether these are the first, who say it."""
        self._found[structure] = found
        if self._folder is None:
            return True
        file = self._file(structure)
        try:
            os.close(os.open(file.with_suffix(".first"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        record.write_json(file, {"findings": [each.plain() for each in found]})
        return True

    def clear(self) -> None:
        """Forget what the processes of a command before have found."""
        for file in self._folder.glob("checked-*") if self._folder else ():
            file.unlink(missing_ok=True)

    def _file(self, structure: str) -> Path:
        return (self._folder or Path()) / f"checked-{structure}.found"


class Session:
    """What the jobs of one process share: the data, and the process that follows their records.

    records: the runs of the last job, the first begun first.
    """

    def __init__(
        self,
        brief: bool = False,
        cores: int | None = None,
        checked: Path | None = None,
        show: Progress | None = None,
        began: float | None = None,
    ) -> None:
        """brief: show little more than progress, for a run among many. show: another way to.

        cores: how many threads a job may use where its recipe does not say; None for all.
        began: when the command did, by the clock; None for now.
        checked: a folder in which processes tell each other what preflight has found.
        """
        if began is None:  # a command begins
            record.provenance.cache_clear()
        self.cores = cores
        self.began = time() if began is None else began
        self._is_first = began is None  # the next training is the first of the command
        self._first: str | None = None  # the stack that was
        self.show = show or Progress(brief=brief)
        self.records: list[Path] = []
        self.checked = Checked(checked)
        self._followers: dict[str, Follower] = {}
        self._follower: Follower | None = None  # of the last job
        self._source: tuple[Any, Source] | None = None  # what was read last, by its settings
        self._data: Data | None = None  # as its recipe splits it
        self._said = ""  # the digest of the data whose labels were said last
        self._table = ""  # how a table is read, as it was said last

    def new(self, table: str) -> str:
        """How a table is read, where that was not the last thing said of one; else ""."""
        before, self._table = self._table, table
        return "" if table == before else table

    def prepare(self, config: DictConfig, draws: bool = False) -> Follower | None:
        """Start the process that follows the records of a recipe, so that it gets ready meanwhile.

        draws: whether curves will be drawn. Gives None where there is nothing to do.
        """
        key = ""
        if config.tracking:
            tracking: Any = view.plain(config.tracking)
            if config.resume and tracking.get("experiment") is None:  # a run stays where it is
                known = record.read_json(Path(config.resume) / "tracking.json").get("experiment")
                if known not in (None, default_experiment()):  # else one process would be two
                    tracking["experiment"] = known
            key = repr(tracking)
        if key not in self._followers and (key or draws):
            if not config.resume:  # else the record lies where it was, and not always there
                record.check_outputs(config.outputs)
            self._followers[key] = _deliverer(tracking) if key else Follower(None, os.environ)
        self._follower = self._followers.get(key)
        return self._follower

    def stop_at(self, config: DictConfig, stack: str | None) -> float:
        """When the command is to end, by the clock. Raises OutOfTime where that is over.

        The first training begins in any case, so that there is something to go on with.
        stack: the id of those that it trains with, which begin as one.
        """
        end = self._end(config)
        over = time() >= end
        if self._is_first:
            self._is_first, self._first = False, stack
        elif over and (stack is None or stack != self._first):
            raise OutOfTime("by stop_after, before the next training")
        return end

    def check_time(self, config: DictConfig) -> None:
        """Raise OutOfTime where the time of the command is over."""
        if time() >= self._end(config):
            raise OutOfTime

    def _end(self, config: DictConfig) -> float:
        asked = config.stop_after
        return inf if asked is None else self.began + duration.parse(asked).amount

    def follow(self, directory: Path) -> None:
        """Deliver a record from now on to where the recipe of the last `prepare` says.

        Call it once the record exists and says where it goes on from; its end is noticed.
        """
        if self._follower is not None:
            self._follower.follow(directory)

    def catch_up(self, directory: Path) -> None:
        """Deliver a record that has ended, where the store lacks some of it after a kill."""
        settings = self._follower.settings if self._follower is not None else None
        if settings is not None and cursor.missing(directory, settings):
            self.follow(directory)

    def draw(self, directory: Path) -> None:
        """Draw the curves of a record now, while this process goes on."""
        if self._follower is not None:
            self._follower.draw(directory)

    @property
    def uri(self) -> str | None:
        """The tracking store of the last job; None where nothing is delivered."""
        return self._follower.uri if self._follower is not None else None

    def data(
        self,
        config: DictConfig,
        rows: Mapping[str, Sequence[int]] | None = None,
        fitted: Mapping[str, Any] | None = None,
    ) -> "Data":
        """The recipe's data; those of the last job where they are the same.

        rows: of each split, where the recipe is not to decide. fitted: what another run has
        learned of a table.
        """
        from dlrun.recipe import build

        key = view.plain(config.data)
        with unless_mistaken():
            if self._source is None or self._source[0] != key:
                self._data = None
                self._source = key, build.read_data(config, self.show.loading)
            if rows is not None or fitted is not None:
                return build.split_data(config, self._source[1], rows, fitted)
            if self._data is None:
                self._data = build.split_data(config, self._source[1])
        return self._data

    def settled(self, config: DictConfig, choices: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the loss of the task where a recipe leaves it to that; gives the choices so.

        choices: the option of every group.
        """
        if config.loss.get("_target_") != LOSS_OF_TASK:
            return choices
        from dlrun import loss
        from dlrun.recipe import task

        data = self.data(config)
        kind = task.settle_loss(config, data)
        if kind == "labels" and data.labels is None and self._said != data.digest:
            self._said = data.digest
            single = bool((data.train.y.sum(1) == 1).all())
            for_classes = "; of one class out of several save the number, y.argmax(1)"
            _log.warning(
                f"y has {data.outputs} columns of only 0 and 1, taken for as many labels at once; "
                f"data.task=regression takes them for numbers{for_classes if single else ''}"
            )
        return {**choices, "loss": loss.USUAL[kind]}

    def close(self) -> None:
        """Wait until all is drawn and delivered, or that makes no progress any more."""
        self.show.end()
        for follower in self._followers.values():
            follower.close()


def _deliverer(tracking: dict[Any, Any]) -> Follower:
    """The process that delivers to a tracking store, getting ready."""
    values = {str(key): value for key, value in tracking.items() if key != "_target_"}
    refuse(signature.problems(tracking["_target_"], values, "tracking"))
    try:
        follower: Follower = instantiate(tracking)
    except Exception as error:
        raise error.__cause__ or error from None
    return follower
