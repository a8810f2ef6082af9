"""One sweep under way.

The ledger says what is done; a run on disk that the ledger does not know of yet counts as
well. What is left: points that had begun, failed ones with tries left, then new ones.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from dlrun import job, record, screen
from dlrun.command.nearest import Place
from dlrun.command.outcome import report
from dlrun.errors import Failure, Interrupted
from dlrun.interrupt import raised
from dlrun.shared import Shared
from dlrun.sweep import ledger
from dlrun.sweep.book import Book
from dlrun.sweep.first_look import first_look
from dlrun.sweep.launchers import Jobs, Watch
from dlrun.sweep.ledger import Attempt, Point
from dlrun.sweep.plan import Plan
from dlrun.sweep.search import Grid, Pruner, Sampled, Search
from dlrun.sweep.space import Values
from dlrun.sweep.task import TRAIN, Known, Task, ended, found, perform, resumable


class Sweep:
    """A sweep; one process at a time drives it."""

    def __init__(self, plan: Plan, place: Place) -> None:
        """Nothing is read or trained yet. Raises Mistake where a point cannot be composed."""
        plan.check()
        self.plan, self.settings, self.total = plan, plan.settings, plan.total()
        self.directory = plan.directory
        self.jobs = Jobs(plan.composed, place.hydra, self.directory / "jobs")
        self.shared = Shared(brief=True)
        self.console = screen.console()
        self.failures = 0
        self.stopped = False  # at the first failure, where that is asked for
        self.objective = ""
        self.book: Book
        self.search: Search
        self.known = Known()
        self._checked: set[tuple[str, ...]] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process drives the sweep; at the end all is delivered."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with ledger.alone(self.directory):
            try:
                with raised():
                    yield
            except Interrupted:
                self.console.print("the same command, typed again, goes on from here")
                raise
            finally:
                self.jobs.close()
                self._clear()
                self.shared.close()

    def run(self) -> int:
        """Train what is left to train; the number of points that have failed."""
        self._prepare()
        self._go()
        self._export()
        return sum(point.status == record.FAILED for point in self.book.points.values())

    def deliver(self) -> None:
        """Bring the summary, which holds the report, to where the runs are delivered."""
        from dlrun.tracking import summary  # imports what plots need

        summary.prepare(self.directory)
        shipper = self.shared.shipper(self.plan.base)
        if shipper is not None:
            shipper.ship(self.directory)
            shipper.finish(self.directory)

    def proposed(self) -> list[Values]:
        """The values of all points, as far as they don't depend on what comes of others."""
        search = self._search(None)
        asked = (search.ask(trial) for trial in range(self.total))
        return [values for values in asked if values is not None]

    def _prepare(self) -> None:
        """The search and the ledger, brought to where the last command left them."""
        before = record.read_json(self.directory / "sweep.json")
        self.objective = before.get("objective") or first_look(
            self.plan, self.shared, self.jobs.local
        )
        searched = {
            "objective": self.objective,
            "direction": "maximize" if self._highest else "minimize",
            "trials": self.total,
        }
        record.write_json(self.directory / "sweep.json", self.plan.described(before) | searched)
        self.book = Book(
            self.directory, self.settings.repeats, self.settings.retries, self._highest
        )
        storage = None
        if self.settings.pruner != "none" and not self.jobs.local:
            self._clear()
            storage = self.directory / "journal.log"
        self.search = self._search(storage)
        for entry in ledger.lines(self.directory):
            point = ledger.point(entry)
            if point.trial not in self.book.points:
                self.search.ask(point.trial)
            self.book.points[point.trial] = point
            if point.status in (record.FINISHED, record.PRUNED, record.FAILED):
                self._replay(point)
        self.known = Known.scan(self.plan.outputs, self.plan.id)

    @property
    def _highest(self) -> bool:
        return self.objective.endswith("accuracy")

    def _search(self, storage: Path | None) -> Search:
        pruner, make_sampler = self.plan.make_pruner(), self.plan.make_sampler()
        if make_sampler is None and pruner is None:
            return Grid(self.plan.space)
        return Sampled(self.plan.space, make_sampler, pruner, self.objective, self.plan.id, storage)

    def _clear(self) -> None:
        for path in self.directory.glob("journal.log*"):
            path.unlink(missing_ok=True)

    def _replay(self, point: Point) -> None:
        """Tell the search again; its pruner first sees the run's validations again."""
        judge = self.search.pruner(point.trial)
        directory = point.runs[0].directory if point.runs else None
        if judge is not None and directory is not None:
            self._show(judge, self.plan.outputs / directory)
        self.search.tell(point)

    def _show(self, judge: Pruner, directory: Path) -> None:
        """Show a pruner the validations that a run has behind it."""
        sign = 1.0 if self._highest else -1.0
        for at in record.read_points(directory):
            value = at["values"].get(self.objective)
            if value is not None and "time/elapsed" in at["values"]:
                judge.should_stop(sign * value, at["step"])

    def _go(self) -> None:
        begun = self.book.open()
        done = self.book.done()
        runs = f", {self.settings.repeats} runs each" if self.settings.repeats > 1 else ""
        left = f"  ·  {done} done already" if done else ""
        what = f"sweep {self.plan.id}  ·  {self.total} points{runs}"
        self.console.print(f"{what}  ·  {self.objective}{left}", markup=False)
        at_once = self.settings.parallel or self.jobs.at_once
        if self.jobs.queues and not self.jobs.local and self.plan.independent:
            at_once = self.total
        while not self.stopped and (batch := self._batch(begun, at_once)):
            self._train(batch)

    def _batch(self, begun: list[Point], size: int) -> list[Point]:
        """The next points: those that had begun, then new ones."""
        batch = [begun.pop(0) for _ in range(min(size, len(begun)))]
        while len(batch) < size and (trial := len(self.book.points)) < self.total:
            values = self.search.ask(trial)
            if values is None:
                break
            overrides = self.plan.space.overrides(values)
            point = Point(trial, self.plan.composer.recipe(overrides).digest, values, overrides)
            self.book.keep(point)
            batch.append(point)
        return batch

    def _train(self, batch: Sequence[Point]) -> None:
        """Train the open runs of some points, here or elsewhere, and write down what came of it."""
        if self.jobs.local:
            for point in batch:
                for task in self._tasks(point):
                    if self._here(task).status in (record.PRUNED, record.FAILED):
                        break  # that tells enough of the point
        else:
            tasks = {task.hash: task for point in batch for task in self._tasks(point)}
            if tasks:
                self.jobs.run(list(tasks.values()), self._done, self._watch(batch))
            for point in batch:
                self._tasks(self.book.points[point.trial])  # takes over runs of the same recipe
        for point in batch:
            if self.book.end(point.trial):
                self.search.tell(self.book.points[point.trial])
        self.stopped = bool(self.settings.fail_fast and self.failures)

    def _here(self, task: Task) -> Attempt:
        made = self.plan.composer.recipe(task.changed)
        judge = self.search.pruner(task.trial) if task.first else None
        if judge is not None and task.resume:
            self._show(judge, Path(task.resume))
        stopping = [judge] if judge is not None else []
        try:
            attempt = perform(task, made.recipe, made.choices, self.shared, stopping)
        except Interrupted:
            attempt = Attempt(task.seed, task.hash)
            if self.shared.records:
                attempt = found(attempt, self.shared.records[-1], task.objective)
            self.book.ran(task.trial, replace(attempt, status=record.KILLED))
            raise
        if attempt.status != record.FAILED:
            self._checked.add(made.family)
        self._done(task, attempt)
        return attempt

    def _watch(self, batch: Sequence[Point]) -> Watch | None:
        pruner = self.plan.make_pruner()
        if pruner is None or not isinstance(self.search, Sampled):
            return None
        trials = {point.trial: self.search.id(point.trial) for point in batch}
        return Watch(self.directory / "journal.log", self.plan.id, pruner, trials)

    def _tasks(self, point: Point) -> list[Task]:
        """The runs of a point that are to be trained; those on disk that ended are taken over."""
        first = int(self.plan.composer.recipe(point.overrides).recipe.seed)
        tasks = []
        for seed in range(first, first + self.settings.repeats):
            before = next((run for run in point.runs if run.seed == seed), None)
            if before is not None and not self.book.is_open(before):
                continue
            changed = [*point.overrides, *([] if seed == first else [f"seed={seed}"])]
            made = self.plan.composer.recipe(changed)
            directory = self.known.runs.get(made.digest)
            if directory is not None and made.recipe.procedure.get("_target_") == TRAIN:
                self._wait(directory)
                if ended(directory):
                    attempt = found(Attempt(seed, made.digest), directory, self.objective)
                    self.book.ran(point.trial, attempt)
                    continue
            task = Task(
                sweep=self.plan.id,
                trial=point.trial,
                seed=seed,
                first=seed == first,
                hash=made.digest,
                objective=self.objective,
                values=point.values,
                overrides=[*self.plan.words, *changed],
                changed=changed,
                command=self.plan.command,
                directories=self.plan.directories,
                resume=str(directory) if directory and resumable(directory) else None,
                whole=self.settings.export == "all",
                check=made.family not in self._checked,
            )
            tasks.append(task)
        return tasks

    def _wait(self, directory: Path) -> None:
        """Until no other process trains a run, such as a job that outlived its sweep."""
        said = 0.0
        while record.is_running(directory):
            if monotonic() - said > 60:
                self.console.print(f"waiting for run {directory.name}, which another process holds")
                said = monotonic()
            sleep(0.2)

    def _done(self, task: Task, attempt: Attempt) -> None:
        """A run has ended."""
        if attempt.directory is not None:
            self.known.add(attempt.hash, self.plan.outputs / attempt.directory)
        self.book.ran(task.trial, attempt)
        if attempt.status == record.FAILED:
            self.failures += 1
            if not self.jobs.local:
                report(Failure(attempt.message), task.label(attempt.message))
                if self.settings.fail_fast:
                    self.jobs.stop()
        shown = "" if attempt.value is None else f"  {task.objective} {attempt.value:.4f}"
        state = "" if attempt.status == record.FINISHED else f"  {attempt.status.lower()}"
        place = f"{task.trial + 1}/{self.total}"
        self.console.print(f"{place:>8}  {task.name}{shown}{state}", markup=False, soft_wrap=True)

    def _export(self) -> None:
        """Figures and a model of the best run, where there are none yet."""
        best = self.book.best_run()
        if best is None or self.settings.export != "best":
            return
        point, run = best
        directory = self.plan.outputs / str(run.directory)
        if (directory / "figures").exists():
            return
        made = self.plan.composer.recipe([*point.overrides, f"seed={run.seed}"])
        if made.recipe.procedure.get("_target_") == TRAIN:
            job.export(copy.deepcopy(made.recipe), directory, self.shared)
