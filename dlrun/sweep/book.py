"""What a sweep has written down: its points, which of them are open, which are the best."""

import math
from dataclasses import replace
from pathlib import Path

from dlrun import record
from dlrun.sweep import ledger
from dlrun.sweep.ledger import Attempt, Point


class Book:
    """The points of a sweep in memory and in its ledger, which always say the same."""

    def __init__(self, directory: Path, repeats: int, retries: int, highest: bool) -> None:
        """highest: whether more of the objective is better."""
        self.points: dict[int, Point] = {}
        self._directory, self._repeats, self._retries = directory, repeats, retries
        self._worth = 1.0 if highest else -1.0

    def open(self) -> list[Point]:
        """The points that are not done with, by their numbers."""
        left = [point for point in self.points.values() if self._todo(point)]
        return sorted(left, key=lambda point: point.trial)

    def twin(self, point: Point) -> Point | None:
        """The first point with the same recipe, where it is another: searches draw some twice."""
        same = [one for one in self.points.values() if one.hash == point.hash]
        first = min(same, key=lambda one: one.trial, default=point)
        return first if first.trial < point.trial else None

    def different(self) -> int:
        """How many points have a recipe of their own."""
        return len({point.hash for point in self.points.values()})

    def done(self) -> int:
        """How many points have nothing left to train."""
        return sum(self._trained(point) for point in self.points.values())

    def is_open(self, attempt: Attempt) -> bool:
        """Whether a run is to be trained, or trained again."""
        if attempt.status == record.FAILED:
            return attempt.tries <= self._retries
        return attempt.status not in (record.FINISHED, record.PRUNED)

    def keep(self, point: Point) -> None:
        """Write a point down."""
        self.points[point.trial] = point
        ledger.append(self._directory, point)

    def ran(self, trial: int, attempt: Attempt) -> None:
        """Write down what came of a run; its point is RUNNING until all runs are in."""
        point = self.points[trial]
        before = next((run for run in point.runs if run.seed == attempt.seed), None)
        again = before is not None and before.status == record.FAILED
        if before is not None and again:
            attempt = replace(attempt, tries=before.tries + 1)
        runs = [run for run in point.runs if run.seed != attempt.seed] + [attempt]
        status = record.KILLED if attempt.status == record.KILLED else record.RUNNING
        self.keep(replace(point, runs=sorted(runs, key=lambda run: run.seed), status=status))

    def end(self, trial: int) -> bool:
        """Write down what came of a point whose runs are in; False where they are not."""
        point = self.points[trial]
        states = {attempt.status for attempt in point.runs}
        if record.KILLED in states or not states:
            return False
        order = (record.FAILED, record.PRUNED, record.FINISHED)
        self.keep(replace(point, status=next(one for one in order if one in states)))
        return True

    def best(self, count: int) -> list[Point]:
        """The best finished points, the best first; of equal ones that of the least val/loss."""
        done = [point for point in self.points.values() if point.status == record.FINISHED]
        rated = [
            (-self._worth * point.value, point.loss, point)
            for point in done
            if point.value is not None
        ]
        rated.sort(key=lambda one: one[:2])
        return [point for *_, point in rated[:count]]

    def best_run(self) -> tuple[Point, Attempt] | None:
        """The best run of the best point."""
        for point in self.best(1):
            rated = [
                (-self._worth * run.value, math.inf if run.loss is None else run.loss, run)
                for run in point.runs
                if run.value is not None and run.directory
            ]
            if rated:
                return point, min(rated, key=lambda one: one[:2])[2]
        return None

    def _trained(self, point: Point) -> bool:
        closed = [run.status for run in point.runs if not self.is_open(run)]
        enough = len(closed) >= self._repeats
        return enough or record.PRUNED in closed or not self._todo(point)

    def _todo(self, point: Point) -> bool:
        """Whether runs of a point are left to train, or its end to be written down."""
        if point.status == record.PRUNED:
            return False
        if point.status == record.FAILED:
            return any(self.is_open(attempt) for attempt in point.runs)
        return point.status != record.FINISHED or len(point.runs) < self._repeats
