"""The second process: follows records until they are final, then completes them.

    python -m dlrun.tracking.follow SETTINGS PARENT

SETTINGS are those of the store, as JSON, or null where nothing is delivered and figures alone
are drawn. A line in is `[directory, draw]`, a record to follow from then on; `draw` says that
its figures can be drawn now, and its page once it is final. No more come once the input ends or
the process PARENT is gone; what is still open then is finished. A line out is a number, the
seconds that the next step may take (0 while nothing gets through), or a text, a warning.

Nothing else is said: a record is final when no process holds it, and its own status tells how
it ended. So a trainer that is killed needs no farewell.
"""

import json
import os
import select
import shutil
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any

from dlrun import record, shell
from dlrun.errors import Failure, first_line
from dlrun.tracking import address, cursor, imports

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow import MlflowClient

    from dlrun.tracking.delivery import Delivery

EVERY = 2.0
"""Seconds between two deliveries of a record that grows, at least."""
SHARE = 0.1
"""Of a core that delivering what grows may take, where many records do at once."""
GRACE = 3.0
"""Seconds of failure after which the process ends once no more records come."""
_SLACK = 0.5  # seconds of patience that no line is worth
LONGEST_WAIT = 30.0
"""Seconds between two tries while a server is down."""
TOGETHER = 32
"""Records of which a database commits at once what is new: a third of a second of work."""


@dataclass
class _Followed:
    """A record that is not all delivered yet. lock: of its delivery, once this process has it.

    at: when it was delivered last, as far as it was.
    """

    lock: "BaseFileLock | None" = None
    delivery: "Delivery | None" = None
    at: float = -inf


class Follower:
    """The records that are followed, all on their way to one store."""

    def __init__(self, settings: dict[str, Any] | None, parent: int, out: IO[str]) -> None:
        """Nothing is imported or sent yet."""
        self._settings = settings
        self._parent = parent
        self._out = out
        self._store: tuple[MlflowClient, str] | None = None  # with the experiment's id
        self._to_draw: list[Path] = []
        self._pages: list[Path] = []  # of records that are not final yet
        self._records: dict[Path, _Followed] = {}
        self._half_line = b""
        self._ended_at = 0.0  # when no more records were to come; 0 before
        self._every = EVERY
        self._at_once = TOGETHER
        self._warned = False
        self._patience = 0.0  # until when the trainer waits
        local = settings is not None and settings["uri"].startswith("sqlite:")
        self._least = 60 if local else 0  # a busy disk is no outage

    def serve(self) -> int:
        """Follow until the input has ended and all is done, or nothing can be; the exit code."""
        if self._settings is None:
            from dlrun.report import curves

            with imports.quick():  # while there is time
                curves.warm()
        failing: float | None = None  # since when
        wait = 0.0
        while True:
            self._listen(wait)
            if self._ended_at and not (self._records or self._to_draw or self._pages):
                return 0
            try:
                self._advance()
                failing, wait = None, EVERY
            except Exception as error:  # no error must end the delivery
                failing = failing or monotonic()
                wait = min(max(2 * wait, 1), LONGEST_WAIT)
                self._fail(error)
            if self._ended_at:
                wait = 0.5
                if failing and monotonic() - max(failing, self._ended_at) > GRACE:
                    return 3

    def disconnect(self) -> None:
        """Close the connections to the store, if there are any."""
        if self._store is not None and self._settings is not None:
            from dlrun.tracking import store

            with suppress(Exception):
                store.disconnect(self._settings["uri"])

    def _listen(self, wait: float) -> None:
        """Wait for records, and take all there are."""
        if self._ended_at:
            sleep(wait if self._records or self._pages else 0)
            return
        ended = False
        while not ended and select.select([0], [], [], wait)[0]:
            chunk = os.read(0, 65536)
            *lines, self._half_line = (self._half_line + chunk).split(b"\n")
            for directory, draw in map(json.loads, lines):
                if draw:
                    self._to_draw.append(Path(directory))
                if self._settings is not None:
                    self._records.setdefault(Path(directory), _Followed())
            ended, wait = not chunk, 0.0
        if ended or os.getppid() != self._parent:  # a child of the trainer may hold the pipe open
            self._ended_at = monotonic()

    def _advance(self) -> None:
        """Do what can be done now. Raises the first error after all records had their turn."""
        while self._to_draw:
            self._draw(self._to_draw.pop())
        for path in list(self._pages):
            if self._ended_at or not record.is_running(path):
                self._page(path)
        if self._settings is None:
            return
        if self._store is None:
            with imports.quick():
                from dlrun.tracking import delivery, store  # noqa: F401

            self._say(5)
            self._store = store.connect(self._settings["uri"], self._settings["experiment"])
            self._say(5)
        due = [path for path, one in self._records.items() if not self._waits(path, one)]
        failed: list[Exception] = []
        began, size = monotonic(), self._at_once
        for start in range(0, len(due), size):
            failed += self._deliver_together(due[start : start + size], self._store, self._settings)
        if due:  # by some of them, as most may just be beginning
            every = len(self._records) * (monotonic() - began) / len(due) / SHARE
            self._every = min(max(EVERY, every), LONGEST_WAIT)
        if failed:
            raise failed[0]

    def _waits(self, path: Path, followed: _Followed) -> bool:
        """Whether a record that grows was delivered a moment ago: others may just have begun."""
        recent = monotonic() - followed.at < self._every and not self._ended_at
        return recent and record.is_running(path)

    def _deliver_together(
        self, paths: list[Path], where: "tuple[MlflowClient, str]", settings: dict[str, Any]
    ) -> list[Exception]:
        """Deliver what some records have; what went wrong with any of them."""
        from dlrun.tracking import bulk

        failed: list[Exception] = []
        done: set[Path] = set()

        def deliver(path: Path) -> None:
            try:
                thrown_away = not path.is_dir()
                if thrown_away or self._deliver(path, self._records[path], where, settings):
                    done.add(path)
            except Exception as error:
                failed.append(error)

        try:
            with bulk.together(where[0]):
                for path in paths:
                    deliver(path)
        except Exception as error:  # none of it is in the store
            for path in paths:
                self._records[path].delivery = None  # the next one asks what there is
            self._at_once = 1
            return [error]
        for path in paths:
            try:
                self._note(path, path in done)
            except Exception as error:
                failed.append(error)
        return failed

    def _note(self, path: Path, done: bool) -> None:
        """Write down what the store has of a record; done: whether it is let go."""
        followed = self._records[path]
        if followed.delivery is not None and path.is_dir():
            followed.delivery.write_cursor()
        if done:
            del self._records[path]
            if followed.lock is not None:
                followed.lock.release()

    def _draw(self, path: Path) -> None:
        from dlrun.report import figures

        self._say(30)
        try:
            figures.draw(path)
        except Failure as failure:  # of the disk: a part of them would pass for all
            shutil.rmtree(path / "figures", ignore_errors=True)
            again = f"`{shell.resume(path)}` draws them"
            self._tell(f"the figures of run {path.name} were not drawn: {failure}; {again}")
        except Exception as error:
            self._tell(f"the figures of run {path.name} were not drawn: {error}")
        self._pages.append(path)

    def _page(self, path: Path) -> None:
        """Write the page of a record that is final."""
        from dlrun.report import run_page

        self._pages = [each for each in self._pages if each != path]
        try:
            if path.is_dir():  # not thrown away
                record.mark_killed(path)
                run_page.write(path)
        except Failure as failure:
            again = f"`{shell.resume(path)}` writes it"
            self._tell(f"the page of run {path.name} was not written: {failure}; {again}")
        except Exception as error:
            self._tell(f"the page of run {path.name} was not written: {error}")

    def _deliver(
        self,
        path: Path,
        followed: _Followed,
        where: "tuple[MlflowClient, str]",
        settings: dict[str, Any],
    ) -> bool:
        """Deliver what a record has; whether this process is done with it."""
        if followed.lock is None:
            followed.lock = cursor.hold(path)
        if followed.lock is None:
            return False
        if followed.delivery is None:
            from dlrun.tracking.delivery import Delivery

            if not cursor.fits(path, settings):  # another process had it at first
                cursor.settle(path, settings)
            followed.delivery = Delivery(*where, path, self._say)
        live = record.is_running(path)
        if not live and path in self._pages:
            self._page(path)
        followed.delivery.deliver(live)
        followed.at = monotonic()
        # With the input at an end, another trainer holds the record, and has its own follower.
        return not live or bool(self._ended_at)

    def _fail(self, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        print(shell.clean(trace), file=sys.stderr)  # seen with DLRUN_DEBUG=1
        self._patience = 0.0
        self._tell(0)
        if not self._warned and self._settings is not None:
            self._warned = True
            uri = self._settings["uri"]
            if address.is_damaged(uri):
                how, later = "", "training goes on, and the record is kept on disk"
            else:
                later = "training goes on, the record is kept on disk, and what is missing is "
                how, later = " for now", f"{later}delivered later"
            self._tell(f"nothing reaches {uri}{how} ({reason(error)}); {later}")

    def _say(self, seconds: float) -> None:
        """Ask for patience, where what was asked for before does not last as long."""
        seconds = max(seconds, self._least)
        until = monotonic() + seconds
        if until > self._patience + _SLACK:
            self._patience = until
            self._tell(seconds)

    def _tell(self, line: float | str) -> None:
        with suppress(OSError):  # the trainer is gone
            print(json.dumps(line), file=self._out, flush=True)


def reason(error: BaseException) -> str:
    """The innermost cause of a failed request in a few words."""
    for known in ("Connection refused", "timed out", "Name or service not known"):
        if known in str(error):
            return known
    return shell.redacted(first_line(error))[:200]


def main() -> None:
    """Serve the trainer that started this process."""
    with suppress(OSError, AttributeError):
        os.nice(5)  # training comes first
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # nothing that MLflow prints is part of the protocol
    settings = json.loads(sys.argv[1])
    follower = Follower(settings, int(sys.argv[2]), out)
    if settings is None:
        code = follower.serve()
    else:
        with imports.quick():
            from dlrun.tracking import deadline

        with deadline.every_request():
            code = follower.serve()
        follower.disconnect()
    sys.stderr.flush()
    os._exit(code)  # all is written; an orderly exit would cost most of a second


if __name__ == "__main__":
    main()
