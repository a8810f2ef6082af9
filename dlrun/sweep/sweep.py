"""One sweep under way.

The ledger says what is done; a run on disk that the ledger does not know of yet counts as
well. What is left: points that had begun, failed ones with tries left, then new ones.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from dlrun import record, shell
from dlrun.console import screen
from dlrun.console.outcome import report
from dlrun.engine.interrupt import raised
from dlrun.errors import Failure, Interrupted, Mistake
from dlrun.job.session import Session
from dlrun.metric import metric_of
from dlrun.recipe import mistakes
from dlrun.recipe.compose import Composer
from dlrun.sweep import delivery, ledger
from dlrun.sweep.book import Book
from dlrun.sweep.first_look import first_look
from dlrun.sweep.launchers import Jobs, Watch
from dlrun.sweep.ledger import Attempt, Point
from dlrun.sweep.plan import OBJECTIVES, Plan
from dlrun.sweep.present import Present
from dlrun.sweep.search import Grid, Sampled, Search
from dlrun.sweep.space import Values
from dlrun.sweep.task import TRAIN, Known, Task, ended, found, perform, resumable, show, wait_for


class Sweep:
    """A sweep; one process at a time drives it."""

    def __init__(self, plan: Plan, composer: Composer) -> None:
        """Nothing is read or trained yet. Raises Mistake where a point cannot be composed."""
        with mistakes.explained(composer, plan.asked):
            plan.check()
        self.plan, self.settings, self.total = plan, plan.settings, plan.total()
        self.directory = plan.directory
        self.jobs = Jobs(plan.composed, composer, self.directory / "jobs")
        self.shared = Session(brief=True)
        self.console = screen.console()
        self.failures = 0
        self.stopped = False  # at the first failure, where that is asked for
        self.objective = ""
        self.book: Book
        self.search: Search
        self.known = Known()
        self.present = Present(plan, self.shared)
        self.earlier: list[Path] = []  # runs that were trained by other commands
        self._asked = 0
        self._checked: set[tuple[str, ...]] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process drives the sweep; at the end all is delivered."""
        with record.guard(self.plan.outputs, Mistake, f"outputs={self.plan.base.outputs}"):
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
        delivery.export(self.plan, self.book, self.shared)
        return sum(point.status == record.FAILED for point in self.book.points.values())

    def deliver(self) -> None:
        """Bring what the sweep has found to where its runs are delivered."""
        delivery.deliver(self.plan, self.shared, self.earlier)

    def proposed(self) -> list[Values]:
        """The values of all points, as far as they don't depend on what comes of others."""
        return list(self._proposals())

    def _proposals(self) -> Iterator[Values]:
        search = self._search(None)
        asked = (search.ask(trial) for trial in range(self.total))
        return (values for values in asked if values is not None)

    def _prepare(self) -> None:
        """The search and the ledger, brought to where the last command left them."""
        before = record.read_json(self.directory / "sweep.json")
        known = before.get("objective")
        self.objective = known if known in OBJECTIVES else self._first_look()
        searched = {
            "objective": self.objective,
            "direction": "maximize" if metric_of(self.objective).higher_is_better else "minimize",
            "trials": self.total,
        }
        record.write_json(self.directory / "sweep.json", self.plan.described(before) | searched)
        highest = metric_of(self.objective).higher_is_better
        self.book = Book(self.directory, self.settings.repeats, self.settings.retries, highest)
        storage = None
        if self.settings.pruner != "none" and not self.jobs.local:
            self._clear()
            storage = self.directory / "journal.log"
        self.search = self._search(storage)
        self.known = Known.scan(self.plan.outputs, self.plan.id)
        self._recall(ledger.repaired(self.directory, self.plan.holds))

    def _first_look(self) -> str:
        return first_look(self.plan, self._proposals(), self.shared, local=self.jobs.local)

    def _recall(self, lines: Sequence[Point]) -> None:
        """Ask and tell the search again what the ledger says, in the same order."""
        written = {point.trial for point in lines}
        for point in lines:
            while self._asked <= point.trial:
                self._ask(written)
            now = self.present.point(point)
            self.book.points[point.trial] = now
            if now is point and point.status in (record.FINISHED, record.PRUNED, record.FAILED):
                self._replay(point)
        last = {point.trial: point for point in lines}
        self.present.warn([p for p in last.values() if self.book.points[p.trial] is not p])
        runs = [run for point in self.book.points.values() for run in point.runs]
        ended = [run for run in runs if run.directory and not self.book.is_open(run)]
        self.earlier += [self.plan.outputs / str(run.directory) for run in ended]

    def _ask(self, written: Container[int] = ()) -> Point | None:
        """The next point of the search; None where there is none, or the ledger has it."""
        trial, self._asked = self._asked, self._asked + 1
        values = self.search.ask(trial)
        if values is None or trial in written:
            return None
        overrides = self.plan.space.overrides(values)
        point = Point(trial, self.plan.composer.recipe(overrides).digest, values, overrides)
        self.book.keep(point)
        return point

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
            show(judge, self.plan.outputs / directory, self.objective)
        self.search.tell(point)

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
        many, different = len(self.book.points), self.book.different()
        if different < many:
            self.console.print(f"{many} points, {different} of them different", markup=False)

    def _batch(self, begun: list[Point], size: int) -> list[Point]:
        """The next points: those that had begun, then new ones."""
        batch = [begun.pop(0) for _ in range(min(size, len(begun)))]
        while len(batch) < size and self._asked < self.total:
            point = self._ask()
            if point is None:
                break
            batch.append(point)
        return batch

    def _train(self, batch: Sequence[Point]) -> None:
        """Train the open runs of some points, here or elsewhere, and write down what came of it."""
        once = [point for point in batch if self.book.twin(point) is None]
        if self.jobs.local:
            for point in once:
                for task in self._tasks(point):
                    if self._here(task).status in (record.PRUNED, record.FAILED):
                        break  # that tells enough of the point
        else:
            tasks = [task for point in once for task in self._tasks(point)]
            if tasks:
                self.jobs.run(tasks, self._done, self._watch(once))
        for point in batch:
            twin = self.book.twin(point)
            if self.book.end(point.trial) if twin is None else self._take_over(point, twin):
                self.search.tell(self.book.points[point.trial])
        self.stopped = bool(self.settings.fail_fast and self.failures)

    def _take_over(self, point: Point, twin: Point) -> bool:
        """Let what came of a point count for one with the same recipe; False where it is open."""
        if twin.status not in (record.FINISHED, record.PRUNED, record.FAILED):
            return False
        self.book.keep(replace(point, runs=list(twin.runs), status=twin.status))
        self._say(point.trial, " ".join(point.overrides), f"as point {twin.trial + 1}")
        return True

    def _here(self, task: Task) -> Attempt:
        made = self.plan.composer.recipe(task.changed)
        judge = self.search.pruner(task.trial) if task.first else None
        if judge is not None and task.resume:
            show(judge, Path(task.resume), self.objective)
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
            directory = self.known.find(made.digest, partial(self.present.fits, recipe=made.recipe))
            if directory is not None and made.recipe.procedure.get("_target_") == TRAIN:
                wait_for(directory, self.console)
                if ended(directory):
                    attempt = found(Attempt(seed, made.digest), directory, self.objective)
                    self.book.ran(point.trial, attempt)
                    self.earlier.append(directory)
                    self._say(point.trial, " ".join(changed), f"as run {directory.name}")
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
        other = self._others(attempt)
        if other is not None:
            self.earlier.append(other)
            self._say(task.trial, task.name, f"as run {other.name}")
            return
        shown = "" if attempt.value is None else f"{task.objective} {attempt.value:.4f}"
        state = "" if attempt.status == record.FINISHED else attempt.status.lower()
        self._say(task.trial, task.name, shown, state)

    def _others(self, attempt: Attempt) -> Path | None:
        """The run that came of a task, where another sweep has trained it meanwhile."""
        if attempt.directory is None:
            return None
        directory = self.plan.outputs / attempt.directory
        told = record.read_json(directory / "run.json").get("sweep")
        return directory if isinstance(told, dict) and told.get("id") != self.plan.id else None

    def _say(self, trial: int, name: str, *more: str) -> None:
        place = f"{trial + 1}/{self.total}"
        line = "  ".join(filter(None, (f"{place:>8}", shell.name(name or "default"), *more)))
        self.console.print(line, markup=False, soft_wrap=True)
