"""Deliver on request what a tracking store has missed: `dlrun sync [run ...]`."""

import os
from pathlib import Path

from dlrun import record, shell
from dlrun.errors import Failure, Mistake
from dlrun.record import named
from dlrun.tracking import ENVIRONMENT, address, cursor, resolve_uri


def sync(outputs: str | Path, which: list[str], uri: str | None = None) -> int:
    """Deliver the named runs, or all that were ever tracked; prints a line for each.

    which: as `record.find` takes them, or sweeps, for their summaries; what was
    recorded with `tracking=none` must be named. What somebody has deleted in MLflow comes
    back where it is named.
    uri: another store than the one a run was tracked in. Returns the exit code, 1 where
    something could not be delivered. Raises Mistake where there is no such run, and where
    `uri` is of no kind that MLflow takes.
    """
    outputs = shell.path(outputs, "outputs")
    if outputs.exists() and not outputs.is_dir():
        raise Mistake(f"outputs={outputs}: is a file; write the directory that runs/ is in")
    summaries = sorted((outputs.absolute() / "sweeps").glob("*/run.json"))
    sweeps = {file.parent.name: file.parent for file in summaries}
    if which:
        runs = [sweeps.get(each) or _named(outputs, each) for each in which]
    else:
        unread = [run for run in record.damaged(outputs) if record.lost(run, ("run.json",))]
        recorded = [*unread, *record.all_runs(outputs), *sweeps.values()]
        runs = [run for run in recorded if (run / cursor.NAME).exists()]
    if uri:
        resolve_uri(uri, outputs)
    if not runs:
        _say(f"no tracked runs in {outputs / 'runs'}")
        return 0
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    return _each(runs, outputs, uri, bool(which))


def _named(outputs: Path, which: str) -> Path:
    """The directory of a run or a sweep. Raises Mistake where the word fits none, or several."""
    sweep = named.sweep_folder(outputs, which) if which != "last" else None
    if sweep is None:
        return record.find(outputs, which)
    if not (sweep / "run.json").exists():
        raise Mistake(f"{which}: the sweep {sweep.name} has no summary yet; it gets one as it ends")
    return sweep


def _each(runs: list[Path], outputs: Path, uri: str | None, asked: bool) -> int:
    """Deliver one run after another; the exit code. asked: whether these were named."""
    from dlrun.tracking import deadline  # imports MLflow, which takes a second
    from dlrun.tracking.catch_up import CatchUp, Elsewhere
    from dlrun.tracking.follow import reason

    failed: dict[Path, str] = {}  # and the store of each
    left = False
    with deadline.every_request():
        catching_up = CatchUp(outputs, uri, asked, _say)
        for run in runs:
            summary = run.parent.name == "sweeps"  # it has no recipe, and points only of its best
            if lost := record.lost(run, ("run.json",) if summary else record.FILES):
                _say(f"{run.name}  not delivered: {shell.near(run)}/{lost}")
                left = True
                continue
            target = catching_up.settings(run)["uri"]
            try:
                _say(f"{run.name}  {catching_up.deliver(run)}")
            except Elsewhere as other:
                _say(f"{run.name}  not delivered to {target}: {other}")
                left = True
            except Failure as refused:  # by the disk that the run is on: no other store helps
                _say(f"{run.name}  not delivered: {refused}")
                left = True
            except Exception as error:  # one run that fails must not keep back the others
                _say(f"{run.name}  not delivered to {target}: {reason(error)}")
                failed[run] = target
        catching_up.close()
    if failed:
        where = address.another(outputs, failed.values())
        _say(f"to another server or database: {shell.sync(*failed)} {where}")
    return 1 if failed or left else 0


def _say(line: str) -> None:
    print(shell.clean(line), flush=True)
