"""The trainer's end of the process that follows its records; only `close` ever waits."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import Any

from dlrun import shell
from dlrun.tracking import address, cursor

PATIENCE = 5.0
"""Seconds without progress after which `close` gives up."""
_NAMED = 2  # undelivered runs that get a warning of their own; more are counted in one

_log = logging.getLogger("dlrun")


class Follower:
    """Draws and delivers any number of records in a second process; see `dlrun.tracking.follow`."""

    def __init__(self, settings: dict[str, Any] | None, environment: Mapping[str, str]) -> None:
        """Start the process; returns at once. settings: of the store; None to draw curves alone."""
        self.settings = settings
        self._records: list[Path] = []
        self._closed = False
        self._began = time()
        self._quiet_until = monotonic() + 60  # its imports may take long on a busy machine
        debug = bool(environment.get("DLRUN_DEBUG"))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits it
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dlrun.tracking.follow"),
                    *(json.dumps(settings), str(os.getpid())),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if debug else subprocess.DEVNULL,
                env=dict(environment),
                text=True,
                start_new_session=True,  # neither Ctrl-C nor the trainer's death reaches it
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert self._process.stdin is not None
        self._in = self._process.stdin
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def uri(self) -> str | None:
        """The tracking store's URI, as MLflow's own commands take it.

        None where there is none, or where it is a file that MLflow cannot read.
        """
        uri = str(self.settings["uri"]) if self.settings else ""
        return address.engine_uri(uri) if uri and not address.is_damaged(uri) else None

    def follow(self, directory: str | Path) -> None:
        """Deliver a record from now on, until it is final; call it after any truncation."""
        path = Path(directory).absolute()
        if self.settings is None:
            return
        with cursor.held(path) as free:
            if free:  # else the second process does so, when it can
                cursor.settle(path, self.settings, self._began)
        self._tell(path, draw=False)

    def draw(self, directory: str | Path) -> None:
        """Draw the curves of a record now."""
        self._tell(Path(directory).absolute(), draw=True)

    def close(self, patience: float = PATIENCE) -> None:
        """Wait until all is done, at most `patience` seconds without progress.

        Leaves no process behind; names in one line what could not be delivered.
        """
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            self._in.close()
        give_up = monotonic() + patience
        try:
            while (
                self._records
                and self._process.poll() is None
                and monotonic() < max(give_up, self._quiet_until)
            ):
                self._process.send_signal(signal.SIGCONT)  # a stopped process would never end
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.1)
        finally:
            self._stop()
            if self.settings:
                self._report(self.settings)

    def _tell(self, path: Path, draw: bool) -> None:
        self._records.append(path)
        with suppress(OSError, ValueError):  # the listener reports a process that has died
            self._in.write(json.dumps([str(path), draw]) + "\n")
            self._in.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if isinstance(told, str):
                _log.warning(told)
            else:
                self._quiet_until = max(self._quiet_until, monotonic() + told) if told else 0.0
        if not self._closed:
            what = "delivers to MLflow" if self.settings else "draws the curves"
            later = shell.sync(*self._records[-1:])
            way = f", and `{later}` delivers it" if self.uri else ""
            _log.warning(f"the process that {what} has ended; the record is kept on disk{way}")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._listener.join(1)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _report(self, settings: dict[str, Any]) -> None:
        lacking = {run: cursor.missing(run, settings) for run in self._records}
        missing = {run: what for run, what in lacking.items() if what}
        where = address.engine_uri(str(settings["uri"]))
        other = ""
        if missing and address.is_damaged(str(settings["uri"])):
            outputs = next(iter(missing)).parents[1]
            other = f" {address.another(outputs, [settings['uri']])}"
            where += ", which is not a SQLite database,"
        if len(missing) > _NAMED:
            command = shell.line(["dlrun", "sync", *shell.outputs(next(iter(missing)))])
            _log.warning(
                f"something of {len(missing)} runs did not reach {where} and stays on disk; "
                f"`{command}{other}` delivers it"
            )
            return
        for run, what in missing.items():
            stay, them = ("stay", "them") if what.endswith("points") else ("stays", "it")
            _log.warning(
                f"{what} of run {run.name} did not reach {where} and {stay} on disk; "
                f"`{shell.sync(run)}{other}` delivers {them}"
            )
