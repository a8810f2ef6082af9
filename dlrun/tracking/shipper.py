"""The trainer's end of the shipping process: never waits for a server, except in `close`."""

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
from time import monotonic
from typing import IO, Any

from filelock import Timeout

from dlrun import record, shell
from dlrun.tracking import address, cursor

PATIENCE = 5.0
"""Seconds without progress after which `close` gives up."""
_NAMED = 2  # runs that were not delivered and are named, each in a warning of its own

_log = logging.getLogger("dlrun")


class Shipper:
    """Delivers any number of runs to one tracking store, from a process of its own."""

    def __init__(self, settings: dict[str, Any], environment: Mapping[str, str]) -> None:
        """Start the process; returns at once."""
        self.settings = settings
        self.run_ids: dict[str, str] = {}
        self._runs: list[Path] = []
        self._closed = False
        self._quiet_until = monotonic() + 60  # MLflow's import, on a busy machine
        debug = bool(environment.get("DLRUN_DEBUG"))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits it
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "dlrun.tracking.ship"),
                *(json.dumps(settings), str(os.getpid())),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,
            env=dict(environment),
            text=True,
            start_new_session=True,  # neither Ctrl-C nor the trainer's death reaches it
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def uri(self) -> str:
        """The tracking store's URI, as MLflow's own commands take it."""
        return address.engine_uri(str(self.settings["uri"]))

    def ship(self, directory: str | Path) -> None:
        """Deliver the run in `directory` from now on; call it after any truncation."""
        path = Path(directory).absolute()
        self._runs.append(path)
        with suppress(Timeout), cursor.lock(path):  # else the shipping process does, when it can
            cursor.settle(path, self.settings)
        self._tell("ship", path)

    def finish(self, directory: str | Path) -> None:
        """Say that nothing more comes from a run whose final status is on disk."""
        self._tell("finish", Path(directory).absolute())

    def run_id(self, directory: str | Path) -> str | None:
        """MLflow's id of a run, once there is one."""
        return self.run_ids.get(str(Path(directory).absolute()))

    def close(self, patience: float = PATIENCE) -> None:
        """Wait while the rest is delivered, `patience` seconds without progress at most.

        Leaves no process behind; says in one line what could not be delivered.
        """
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            self._stdin.close()
        give_up = monotonic() + patience
        try:
            while (
                self._runs
                and self._process.poll() is None
                and monotonic() < max(give_up, self._quiet_until)
            ):
                self._process.send_signal(signal.SIGCONT)  # who stopped it waits for it in vain
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.1)
        finally:
            self._stop()
            self._report()

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, do: str, directory: Path) -> None:
        with suppress(OSError, ValueError):  # a dead process is reported by the listener
            self._stdin.write(json.dumps({"do": do, "directory": str(directory)}) + "\n")
            self._stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "progress":
                self._quiet_until = monotonic() + event["patience"]
            elif event["event"] == "failing":
                self._quiet_until = 0.0
            elif event["event"] == "run":
                self.run_ids[event["directory"]] = event["run_id"]
            elif event["event"] == "warning":
                _log.warning(event["text"])
        if not self._closed:
            _log.warning(
                "the process that delivers to MLflow has ended; the record is kept on disk, "
                f"and `{shell.sync(*self._runs[-1:])}` delivers it"
            )

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

    def _report(self) -> None:
        missing: dict[Path, str] = {}
        for run in dict.fromkeys(run for run in self._runs if run.is_dir()):
            known = cursor.read(run) if cursor.fits(run, self.settings) else {}
            left = len(record.read_points(run)) - known.get("delivered", 0)
            if left > 0 or not known.get("done"):
                missing[run] = f"{left} points" if left > 0 else "the end"
        if len(missing) > _NAMED:
            command = shell.line(["dlrun", "sync", *shell.outputs(next(iter(missing)))])
            _log.warning(
                f"something of {len(missing)} runs did not reach {self.uri} and stays on disk; "
                f"`{command}` delivers it"
            )
            return
        for run, what in missing.items():
            _log.warning(
                f"{what} of run {run.name} did not reach {self.uri} and stay on disk; "
                f"`{shell.sync(run)}` delivers them"
            )
