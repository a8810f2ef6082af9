"""The ledger of a running sweep: its points, and every change written down at once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from dlrun import record, shell
from dlrun.errors import Mistake
from dlrun.record import FAILED, FINISHED, KILLED, PRUNED, RUNNING, points
from dlrun.record.sweep import ENDED, LEDGER, SWEEP, Point, RunResult, Sweep, lines

_log = logging.getLogger("dlrun")


class Ledger:
    """The points of a sweep, the same in memory and on disk.

    A run that has failed is tried again up to `retries` times.
    """

    def __init__(self, directory: Path, sweep: Sweep, retries: int) -> None:
        """Writes `sweep.json`. Raises Failure on a full disk."""
        self.points: dict[int, Point] = {}
        self._directory, self._sweep, self._retries = directory, sweep, retries
        record.write_json(directory / SWEEP, sweep.described())

    def sweep(self) -> Sweep:
        """The sweep as it stands, with each recipe once and its seeds as repeats."""
        points = tuple(self.points[trial] for trial in sorted(self.points))
        return replace(self._sweep, points=points).merged()

    def left(self) -> list[Point]:
        """The points that are not complete, in order."""
        return [self.points[trial] for trial in sorted(self.points) if self._is_left(trial)]

    def end_stages(self) -> None:
        """Say in `sweep.json` that no stage follows any more."""
        self._sweep = replace(self._sweep, later=())
        record.write_json(self._directory / SWEEP, self._sweep.described())

    def twin(self, point: Point) -> Point | None:
        """An earlier point with the same recipe, if there is one: searches draw some twice."""
        same = (one for one in self.points.values() if one.hash == point.hash)
        first = min(same, key=lambda one: one.trial, default=point)
        return first if first.trial < point.trial else None

    def done(self, many: int) -> int:
        """How many of the first `many` points need no more training."""
        return sum(trial < many and self._is_trained(trial) for trial in self.points)

    def is_open(self, run: RunResult) -> bool:
        """Whether a run still needs training, or may be tried again."""
        return run.tries <= self._retries if run.status == FAILED else run.status not in ENDED

    def keep(self, point: Point) -> None:
        """Add or change a point."""
        self.points[point.trial] = point
        _append(self._directory / LEDGER, point)

    def ran(self, trial: int, run: RunResult) -> None:
        """Record the result of a run; its point stays RUNNING until `end`."""
        point = self.points[trial]
        others = [one for one in point.runs if one.seed != run.seed]
        failed = [one for one in point.runs if one.seed == run.seed and one.status == FAILED]
        if failed:
            run = replace(run, tries=failed[0].tries + 1)
        status = KILLED if run.status == KILLED else RUNNING
        runs = sorted([*others, run], key=lambda one: one.seed)
        self.keep(replace(point, runs=runs, status=status))

    def end(self, trial: int) -> bool:
        """Record how a point has ended; False if it was killed or has no runs."""
        states = {run.status for run in self.points[trial].runs}
        if KILLED in states or not states:
            return False
        status = next(one for one in (FAILED, PRUNED, FINISHED) if one in states)
        self.keep(replace(self.points[trial], status=status))
        return True

    def _is_trained(self, trial: int) -> bool:
        closed = [run.status for run in self.points[trial].runs if not self.is_open(run)]
        enough = len(closed) >= self._sweep.repeats or PRUNED in closed
        return enough or not self._is_left(trial)

    def _is_left(self, trial: int) -> bool:
        point = self.points[trial]
        if point.status == FAILED:
            return any(map(self.is_open, point.runs))
        return point.status != PRUNED and (
            point.status != FINISHED or len(point.runs) < self._sweep.repeats
        )


def repaired(directory: Path, fits: Callable[[Point], bool]) -> list[Point]:
    """All lines, oldest first; damaged ones are removed from the file, with a warning.

    fits: whether a point belongs to the sweep. A lost run is found on disk or trained again.
    """
    found = lines(directory)
    good = [p for p in found if p is not None and p.trial <= len(found) and fits(p)]
    if len(good) < len(found):
        path, lost = directory / LEDGER, len(found) - len(good)
        said = "1 line is" if lost == 1 else f"{lost} lines are"
        _log.warning(f"{path}: {said} damaged and left out; what it said is taken from the runs")
        record.write(path, "".join(map(_written, good)))
    return good


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Inside, no other process drives the sweep. Raises Mistake where one does."""
    with ExitStack() as stack:
        with record.guard(directory, Mistake):
            if not stack.enter_context(record.held(directory / "lock", timeout=0.5)):
                raise Mistake(
                    f"sweep {directory.name} is being run by another process; type the command "
                    "again when that has ended"
                )
        yield


def _append(path: Path, point: Point) -> None:
    """Add a line; a half-written one before it is cut off. Raises Failure on a full disk."""
    with record.guard(path), path.open("ab") as file:
        points.cut(path)
        file.write(_written(point).encode())


def _written(point: Point) -> str:
    return record.text(shell.redacted_values(point.line())) + "\n"
