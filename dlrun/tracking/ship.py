"""The shipping process: `python -m dlrun.tracking.ship <settings> <pid of the trainer>`.

Commands come in as lines of JSON, `{"do": "ship" | "finish", "directory": ...}`; the
end of the input without a `finish` means that the trainer has died. Events go out as
lines of JSON: progress (and how long the next may take), failing, run, warning.
"""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from dlrun import record, shell
from dlrun.tracking import cursor

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dlrun.tracking.delivery import Delivery

EVERY = 2.0
"""Seconds between two deliveries."""
GRACE = 3.0
"""Seconds of failure after which the process ends once nothing more comes in."""
LONGEST_WAIT = 30.0
"""Seconds between two tries while a server is down."""


class Ship:
    """All runs under way to one store."""

    def __init__(self, settings: dict[str, Any], parent: int, events: IO[str]) -> None:
        """Nothing is imported or sent yet."""
        self._settings = settings
        self._parent = parent
        self._events = events
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._runs: dict[Path, Delivery | None] = {}
        self._finished: set[Path] = set()
        self._ended = False
        self._ended_at = 0.0
        self._orphaned_at = 0.0
        self._warned = False
        self._least = 60 if settings["uri"].startswith("sqlite:") else 0  # a busy disk is no outage

    def serve(self, commands: "queue.Queue[dict[str, str] | None]") -> int:
        """Deliver until the input has ended and all is done, or nothing can be; the exit code."""
        failing: float | None = None  # since when
        wait = 0.0
        while True:
            self._take(commands, wait)
            if self._ended and not self._runs:
                return 0
            try:
                self._advance()
                failing, wait = None, EVERY
            except Exception as error:  # whatever it is, it must not end the delivery
                failing = failing or monotonic()
                wait = min(max(2 * wait, 1), LONGEST_WAIT)
                self._fail(error)
            if self._ended:
                wait = 0.5 if self._runs else 0
                if failing is not None:
                    failing = max(failing, self._ended_at)
                    if monotonic() - failing > GRACE:
                        return 3

    def disconnect(self) -> None:
        """Close the connections to the store, if there are any."""
        if self._client is not None:
            from dlrun.tracking import store

            with suppress(Exception):
                store.disconnect(self._settings["uri"])

    def _take(self, commands: "queue.Queue[dict[str, str] | None]", wait: float) -> None:
        """Wait for commands, and take all there are."""
        with suppress(queue.Empty):
            command = commands.get(timeout=wait) if wait else commands.get_nowait()
            while True:
                if command is None:
                    self._end()
                elif command["do"] == "ship":
                    path = Path(command["directory"])
                    self._finished.discard(path)
                    self._runs.setdefault(path, None)
                else:
                    self._finished.add(Path(command["directory"]))
                command = commands.get_nowait()
        if os.getppid() != self._parent:  # but a child of the trainer may hold the pipe open
            self._orphaned_at = self._orphaned_at or monotonic()
            if monotonic() - self._orphaned_at > GRACE:
                self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended, self._ended_at = True, monotonic()

    def _advance(self) -> None:
        if self._client is None:
            from dlrun.tracking import store

            self._progress(5)
            self._client, self._experiment = store.connect(
                self._settings["uri"], self._settings["experiment"]
            )
            self._progress(5)
        failed: Exception | None = None
        for path in list(self._runs):
            try:
                self._deliver(path)
            except Exception as error:  # one run must not keep back the others
                failed = failed or error
        if failed is not None:
            raise failed

    def _deliver(self, path: Path) -> None:
        if not path.is_dir():  # thrown away by the user
            del self._runs[path]
            return
        delivery = self._runs[path] or self._open(path)
        final = path in self._finished or self._ended
        if not delivery.hold():
            return
        if not cursor.fits(path, self._settings):  # another process had it when training began
            cursor.settle(path, self._settings)
        delivery.begin(live=not self._ended)
        self._tell("run", directory=str(path), run_id=delivery.run_id)
        delivery.points()
        if final:
            if path not in self._finished:
                record.mark_killed(path)
            delivery.finish()
            self._tell("run", directory=str(path), run_id=delivery.run_id)  # maybe another
            delivery.close()
            del self._runs[path]
            self._finished.discard(path)

    def _open(self, path: Path) -> "Delivery":
        from dlrun.tracking.delivery import Delivery

        assert self._client is not None
        delivery = Delivery(self._client, self._experiment, path, self._progress)
        self._runs[path] = delivery
        return delivery

    def _progress(self, patience: float) -> None:
        self._tell("progress", patience=max(patience, self._least))

    def _fail(self, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        print(shell.clean(trace), file=sys.stderr)  # seen with DLRUN_DEBUG=1
        self._tell("failing")
        if not self._warned:
            self._warned = True
            self._tell(
                "warning",
                text=f"nothing reaches {self._settings['uri']} for now ({reason(error)}); training "
                "goes on, the record is kept on disk, and what is missing is delivered later",
            )

    def _tell(self, event: str, **more: Any) -> None:
        with suppress(OSError):  # nobody listens any more
            self._events.write(json.dumps({"event": event} | more) + "\n")
            self._events.flush()


def reason(error: BaseException) -> str:
    """The innermost cause of a failed request in a few words."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    for known in ("Connection refused", "timed out", "Name or service not known"):
        if known in str(error):
            return known
    return shell.redacted(first)[:200]


def main() -> int:
    """Serve the trainer that started this process."""
    with suppress(OSError, AttributeError):
        os.nice(5)  # training comes first
    events = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # whatever MLflow prints is no event
    commands: queue.Queue[dict[str, str] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        commands.put(None)

    threading.Thread(target=listen, daemon=True).start()
    ship = Ship(json.loads(sys.argv[1]), int(sys.argv[2]), events)
    from dlrun.tracking import deadline

    with deadline.every_request():
        code = ship.serve(commands)
    ship.disconnect()
    gc.freeze()  # else Python's last collection of MLflow's objects takes most of a second
    return code


if __name__ == "__main__":
    sys.exit(main())
