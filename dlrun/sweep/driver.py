"""One running sweep: asks the search for points, trains them, and records the results.

The ledger says what is done; runs on disk count too, even if the ledger does not know them.
What is left to train: points that had begun, failed ones with tries left, then new ones.
"""

import logging
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlrun import format, metric, record, shell
from dlrun.console import screen
from dlrun.console.outcome import report
from dlrun.engine.interrupt import raised
from dlrun.errors import Failure, Interrupted, Mistake
from dlrun.job import factory
from dlrun.job.session import Checked, Session
from dlrun.recipe import compose, identity, mistakes, view
from dlrun.recipe.schema import AUTO, OFF
from dlrun.record.named import children
from dlrun.record.sweep import ENDED, SWEEP, Point, RunResult
from dlrun.sweep import claims, objective, samplers, summary
from dlrun.sweep.launchers import Jobs, Watch
from dlrun.sweep.ledger import Ledger, alone, repaired
from dlrun.sweep.plan import OBJECTIVES, Plan
from dlrun.sweep.runs import Runs, ended, outcome, replay, resumable, wait_for
from dlrun.sweep.search import Search
from dlrun.sweep.space import Values
from dlrun.sweep.task import Task, judged, perform, stride, trains
from dlrun.tracking import cursor

_STACKED = 256  # points that are looked at at once for those that can train together
_log = logging.getLogger("dlrun")
_LOOKS = ("preflight", "target_error", "watch", "watch_every")
"""Settings that only say more of a run, while or after it trains."""
_NO_MORE = (record.PRUNED, record.FAILED)


class Driver:
    """A sweep; one process at a time drives it.

    stopped: at the first failure, with sweep.fail_fast. earlier: runs that were trained by other
    commands.
    """

    def __init__(self, plan: Plan) -> None:
        """Reads and trains nothing yet. Raises Mistake if a point cannot be composed."""
        with mistakes.explained(plan.composer, plan.asked):
            plan.check()
        self.plan, self.settings, self.total = plan, plan.settings, plan.total()
        self.directory = plan.directory
        self.session = Session(brief=True)
        began = self.session.began
        self.jobs = Jobs(plan.composed, plan.composer, self.directory / "jobs", began)
        self.console = screen.console()
        self.stopped = False
        self.objective = ""
        self.metrics: Mapping[str, Any] = {}  # what a run says of the metrics
        self.ledger: Ledger
        self.search: Search
        self.runs = Runs(plan, self.session)
        self.earlier: list[Path] = []
        self._monitor = ""  # what chooses the weights of a run, where one was built
        self._failures = 0  # of runs, now
        self._asked = 0
        self._checked: set[tuple[str, ...]] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process drives the sweep. At the end everything is delivered."""
        record.check_outputs(self.plan.base.outputs)
        with record.guard(self.plan.outputs, Mistake, f"outputs={self.plan.base.outputs}"):
            self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.callback(self.session.close)  # the summary is final once nobody holds the sweep
            stack.enter_context(alone(self.directory))
            stack.callback(self._leave_nothing)
            stack.callback(self._clear)
            stack.callback(self.jobs.close)
            try:
                with raised():
                    yield
            except Interrupted:
                self.console.print("the same command, typed again, goes on from here")
                raise

    def run(self) -> None:
        """Train what is left."""
        self._prepare()
        left = self.ledger.left()
        if left or self._asked < self.total:
            self._go_on()
        self._say_begin()
        at_once = self.settings.parallel or self.jobs.at_once
        if self.plan.independent and self.jobs.queues and not self.jobs.local:
            at_once = self.total
        elif self.plan.independent and not self.unstacked:
            at_once = min(self.total, _STACKED)
        while not self.stopped and (batch := self._batch(left, at_once)):
            self._train(batch)
            known = self.ledger.points.values()
            if not self.jobs.local and any(point.status not in ENDED for point in known):
                self.session.check_time(self.plan.base)  # here, each training sees to it
        points = self.ledger.points.values()
        different = len({point.recipe for point in points})
        if different < len(points):
            self.console.print(f"{len(points)} points, {different} of them different", markup=False)

    @property
    def unstacked(self) -> str:
        """Which setting makes every run train alone, with what would be right; "" for none."""
        if self.settings.stack == OFF:
            return "sweep.stack=off"
        if not self.jobs.local:
            return "a launcher gives each a process of its own"
        if self.settings.fail_fast:
            return "sweep.fail_fast=true wants to know of each before the next"
        if not self.plan.independent and (self.settings.parallel or 1) < 2:
            return f"each depends on those before; sweep.parallel=8 asks {self._who} for 8 at once"
        return ""

    @property
    def _who(self) -> str:
        pruner = str(self.settings.pruner)
        return f"sweep={self.plan.sampler}" if pruner == "none" else f"sweep.pruner={pruner}"

    def complete_best(self, measure_test: bool) -> None:
        """Add figures, a diagnosis and a model to the best run, and measure the test split with it.

        Of a procedure of several runs, the figures of each. What is there already is not made
        again, whichever sweep has made it.
        """
        sweep, directory = self.ledger.sweep(), self.best_run()
        run = sweep.best_run
        if run is None or directory is None:
            return
        made = self.plan.recipes.of([*sweep.ranked[0].overrides, f"seed={run.seed}"])
        recipe, export = compose.copied(made.recipe), self.settings.export == "best"
        if not trains(made.recipe):
            if measure_test:
                factory.measure(compose.copied(recipe), directory, self.session)
            if export:
                factory.draw(recipe, directory, self.session)
            return
        wait_for(directory, self.console)
        what = f"run {directory.name}, which another sweep completes"
        with claims.held(self.plan.outputs, run.hash, what, self.console):
            factory.complete(recipe, directory, self.session, measure_test, export)

    @property
    def only_diverged(self) -> bool:
        """Whether all that has failed are losses that diverged."""
        runs = [run for point in self.ledger.points.values() for run in point.runs]
        failed = [run.directory for run in runs if run.status == record.FAILED]
        found = [record.findings_of(self.plan.outputs / str(where)) for where in failed]
        return all("diverged" in [each.name for each in some] for some in found)

    def best_run(self) -> Path | None:
        """The directory of the best run; None where there is none."""
        run = self.ledger.sweep().best_run
        directory = self.plan.outputs / str(run.directory) if run else None
        return directory if directory is not None and directory.exists() else None

    def deliver(self) -> None:
        """Deliver the summary, which holds the report, to where the runs go.

        Runs of earlier commands that the store lacks, and those of procedures, are delivered too.
        """
        summary.prepare(self.directory)
        follower = self.session.prepare(self.plan.base)
        if follower is None or follower.settings is None:
            return
        parts = [part for directory in self.earlier for part in children(directory)]
        for directory in dict.fromkeys([*self.earlier, *parts]):
            if cursor.missing(directory, follower.settings):
                self.session.follow(directory)
        self.session.follow(self.directory)

    def proposals(self) -> Iterator[Values]:
        """The values of all points, as far as they do not depend on results."""
        search = self._search(None)
        asked = (search.ask(trial) for trial in range(self.total))
        return (values for values in asked if values is not None)

    def _prepare(self) -> None:
        """Bring the search and the ledger to where the last command left them."""
        before = record.read_json(self.directory / SWEEP)
        name, known = before.get("objective"), metric.known(before.get("metrics"))
        if isinstance(name, str) and name.rpartition("/")[2] in known:
            self.objective, self.metrics = name, before.get("metrics", {})
            if self.plan.space.points:  # as many of an ablation as could be built then
                names = [name for one in before["dimensions"] for name in one["choices"]]
                self.plan = self.plan.only(names)
                self.total = self.plan.total()
        else:
            if self.jobs.local:  # gets ready while torch is imported
                self.session.prepare(self.plan.base)
            self.objective, self.metrics = self.find_objective()
        sweep = self.plan.sweep(self.objective, self.metrics, before.get("started"))
        with record.guard(self.directory, Mistake):  # nothing has been trained
            self.ledger = Ledger(self.directory, sweep, self.settings.retries)
        storage = None
        self._clear()
        if self.settings.pruner != "none" and not self.jobs.local:
            storage = self.directory / "journal.log"
        self.search = self._search(storage)
        self.runs.scan()
        self._recall(repaired(self.directory, self.plan.holds))
        self._miss()

    def _go_on(self) -> None:
        """Take back that the sweep has ended, where it has before it was asked for more."""
        status = self.directory / "status.json"
        if status.exists():
            record.write_json(status, {"status": record.RUNNING, "pid": os.getpid()})

    def find_objective(self) -> tuple[str, Mapping[str, Any]]:
        """What the points are judged by, and what a run says of its metrics. Raises Mistake.

        Leaves out the points of an ablation that can't be built.
        """
        found = objective.find(self.plan, self.proposals(), self.session, self.console)
        self.plan, self.total, self._monitor = found.plan, found.plan.total(), found.monitor
        return found.name, found.metrics

    def _recall(self, lines: Sequence[Point]) -> None:
        """Repeat to the search what the ledger says, in the same order."""
        written = {point.trial: point for point in lines}
        for point in lines:
            while self._asked <= point.trial:
                self._ask(written)
            now = self.ledger.points[point.trial] = self.runs.current(point)
            if now is point:
                self._replay(point)
        points = self.ledger.points
        self.runs.warn([last for trial, last in written.items() if points[trial] is not last])
        runs = [run for point in points.values() for run in point.runs]
        closed = [run for run in runs if run.directory and not self.ledger.is_open(run)]
        self.earlier += [self.plan.outputs / str(run.directory) for run in closed]

    def _miss(self) -> None:
        """Say that runs are gone, whose values count still; the best one is trained again."""
        runs = {run.directory for point in self.ledger.points.values() for run in point.runs}
        gone = {name for name in runs if name and not (self.plan.outputs / name).exists()}
        if not gone:
            return
        best = self.ledger.sweep().best_run
        again = best.directory if best is not None and best.directory in gone else None
        said = "1 run of the sweep is" if len(gone) == 1 else f"{len(gone)} runs of the sweep are"
        more = "; the best is trained again" if again else ""
        _log.warning(
            f"{said} gone from {self.plan.outputs / 'runs'}: what they came to counts{more}"
        )
        for point in list(self.ledger.points.values()) if again else ():
            kept = [run for run in point.runs if run.directory != again]
            if len(kept) < len(point.runs):
                self.ledger.keep(replace(point, runs=kept, status=record.RUNNING))

    def _replay(self, point: Point) -> None:
        """Repeat the validations of a point's first run to its pruner, and its end to the search.

        Each in its place: some pruners begin to judge only once a point has ended.
        """
        over, run = point.status in ENDED, point.runs[0] if point.runs else None
        if run is not None and run.directory and (over or not self.ledger.is_open(run)):
            self._show(point.trial, self.plan.outputs / run.directory)
        if over:
            self.search.tell(point)

    def _show(self, trial: int, directory: Path) -> None:
        """Show the pruner the validations of a run as far as it has not judged them."""
        judge = self.search.pruner(trial)
        if judge is not None:
            replay(judge, directory, self.objective)

    def _ask(self, written: Container[int] = ()) -> Point | None:
        """The next point of the search; None if there is none, or the ledger has it."""
        trial, self._asked = self._asked, self._asked + 1
        values = self.search.ask(trial)
        if values is None or trial in written:
            return None
        overrides = self.plan.space.overrides(values)
        point = Point(trial, self.plan.recipe(values).digest, values, overrides)
        self.ledger.keep(point)
        return point

    def _search(self, storage: Path | None) -> Search:
        pruner, make_sampler = samplers.pruner(self.settings), samplers.sampler(self.settings)
        name = self.objective or OBJECTIVES[0]  # any will do where nothing is told
        maximize = metric.metric_of(name, metric.known(self.metrics)).higher_is_better
        space, id = self.plan.space, self.plan.id
        return Search(space, make_sampler, pruner, name, id, storage, maximize)

    def _clear(self) -> None:
        """Take away what the processes of one command tell each other."""
        Checked(self.directory / "jobs").clear()
        for path in self.directory.glob("journal.log*"):
            path.unlink(missing_ok=True)

    def _leave_nothing(self) -> None:
        """Take away the directory of a sweep that was refused before it was described."""
        if not (self.directory / SWEEP).exists():
            with suppress(OSError):  # where there is more in one of them
                (self.directory / "lock").unlink()
                for folder in (self.directory, self.directory.parent, self.plan.outputs):
                    folder.rmdir()

    def _batch(self, left: list[Point], size: int) -> list[Point]:
        """The next points: those that had begun, then new ones.

        Those end where a whole batch would: a search that learns is asked for the same at once.
        """
        batch = [left.pop(0) for _ in range(min(size, len(left)))]
        while len(batch) < size and self._asked < self.total:
            whole = batch and self._asked % size == 0
            point = None if whole else self._ask()
            if point is None:
                break
            batch.append(point)
        return batch

    def _train(self, batch: Sequence[Point]) -> None:
        """Train the open runs of some points, here or elsewhere, and record the results."""
        once = [point for point in batch if self.ledger.twin(point) is None]
        if self.jobs.local:
            self._train_here(once)
        else:
            tasks = [task for point in once for task in self._tasks(point)]
            if tasks:
                self.jobs.run(tasks, self._done, self._watch(once))
        for point in batch:
            twin = self.ledger.twin(point)
            if twin is None:
                if self.ledger.end(point.trial):
                    self.search.tell(self.ledger.points[point.trial])
            elif self._take_over(point, twin):
                self._replay(self.ledger.points[point.trial])
        self.stopped = bool(self.settings.fail_fast and self._failures)

    def _train_here(self, points: Sequence[Point]) -> None:
        """Train at once what is faster so, and the rest one after another."""
        tasks = {point.trial: self._tasks(point) for point in points}
        done = self._at_once([task for some in tasks.values() for task in some])
        for some in tasks.values():
            for task in some:
                if self.settings.fail_fast and self._failures:
                    return
                if task.id not in done and self._here(task).status in _NO_MORE:
                    break  # the point needs no more runs

    def _at_once(self, tasks: Sequence[Task]) -> set[str]:
        """Train what is faster at once; gives the ids of what has been trained."""
        if self.unstacked or len(tasks) < 2:
            return set()
        from dlrun.job import stacked  # import torch
        from dlrun.sweep import stacks

        asked = [
            stacks.Asked(task, self.plan.recipes.of(task.changed), self._judge(task))
            for task in tasks
        ]
        done = set()
        decided = stacked.Stacks(self.settings.stack, self.directory / stacked.KEPT)
        for task, run in stacks.train(asked, self.session, decided):
            done.add(task.id)
            if run.status == record.KILLED:  # which is said once, of the sweep
                self.ledger.ran(task.trial, run)
            else:
                self._done(task, run)
        return done

    def _judge(self, task: Task) -> Any | None:
        return self.search.pruner(task.trial) if task.first else None

    def _take_over(self, point: Point, twin: Point) -> bool:
        """Use the result of a point with the same recipe; False if it has none yet."""
        if twin.status not in ENDED:
            return False
        self.ledger.keep(replace(point, runs=twin.runs, status=twin.status))
        self._say(
            point.trial, " ".join(self.plan.named(point.values)), f"as point {twin.trial + 1}"
        )
        return True

    def _tasks(self, point: Point) -> list[Task]:
        """The runs of a point to train; finished runs on disk are taken over."""
        recipe = self.plan.recipes.of(point.overrides).recipe
        first, many = int(recipe.seed), self.settings.repeats
        step = stride(recipe) if many > 1 else 1
        runs = {run.seed: run for run in point.runs}
        tasks = []
        for seed in range(first, first + many * step, step):
            if seed in runs and not self.ledger.is_open(runs[seed]):
                continue
            more = [] if seed == first else [f"seed={seed}"]
            changed = [*point.overrides, *more]
            named = [*self.plan.named(point.values), *more]
            made = self.plan.recipes.of(changed)
            directory = self.runs.find(made.digest, made.recipe)
            if directory is not None and trains(made.recipe):
                wait_for(directory, self.console)
                if ended(directory):
                    run = outcome(RunResult(seed, made.digest), directory, self.objective)
                    self.ledger.ran(point.trial, run)
                    self.earlier.append(directory)
                    if seed == first:
                        self._show(point.trial, directory)
                    self._say(point.trial, " ".join(named), f"as run {directory.name}")
                    continue
            task = Task(
                sweep=self.plan.id,
                trial=point.trial,
                seed=seed,
                first=seed == first,
                hash=made.digest,
                objective=self.objective,
                values=point.values,
                overrides=[*self.plan.as_one_run, *changed],
                changed=changed,
                named=named,
                command=self.plan.command,
                directories=self.plan.composer.catalogue.own,
                resume=str(directory) if directory and resumable(directory) else None,
                whole=self.settings.export == "all",
                check=made.family not in self._checked,
                stack=self.settings.stack,
            )
            if task.first and task.resume and self.jobs.local:  # a job shows its pruner itself
                self._show(point.trial, Path(task.resume))
            tasks.append(task)
        return tasks

    def _here(self, task: Task) -> RunResult:
        """Train a run in this process."""
        made = self.plan.recipes.of(task.changed)
        task = replace(task, check=made.family not in self._checked)
        judge = self._judge(task)
        try:
            run = perform(task, made, self.session, [judge] if judge is not None else [])
        except Interrupted:
            run = RunResult(task.seed, task.hash)
            if self.session.records:
                run = outcome(run, self.session.records[-1], task.objective)
            self.ledger.ran(task.trial, replace(run, status=record.KILLED))
            raise
        if run.status != record.FAILED:
            self._checked.add(made.family)
        self._done(task, run)
        return run

    def _watch(self, batch: Sequence[Point]) -> Watch | None:
        """How jobs in other processes reach the pruner; None if nothing is to be pruned."""
        pruner = samplers.pruner(self.settings)
        if pruner is None:
            return None
        trials = {point.trial: self.search.id(point.trial) for point in batch}
        return Watch(self.directory / "journal.log", self.plan.id, pruner, trials)

    def _done(self, task: Task, run: RunResult) -> None:
        """Record a run that has ended, wherever it was trained."""
        directory = self.plan.outputs / run.directory if run.directory else None
        if directory is not None:
            for hash in {run.hash, task.hash}:
                self.runs.add(hash, directory)
        self.ledger.ran(task.trial, run)
        if run.status == record.FAILED:
            self._failures += 1
            if not self.jobs.local:
                report(Failure(run.message), task.label(run.message))
                if self.settings.fail_fast:
                    self.jobs.stop()
        told = record.read_json(directory / "run.json").get("sweep") if directory else None
        if directory is not None and isinstance(told, dict) and told.get("id") != self.plan.id:
            self.earlier.append(directory)  # another sweep has trained it meanwhile
            if task.first:
                self._show(task.trial, directory)
            self._say(task.trial, task.name, f"as run {directory.name}")
            return
        value = f"no {task.objective}" if run.status == record.FINISHED and run.epochs else ""
        if run.value is not None:
            value = f"{task.objective} {format.cell(run.value)}"
        said = record.said({"status": run.status, "message": run.message})
        state = "" if run.status == record.FINISHED else said
        self._say(task.trial, task.name, value, state)

    def _say_begin(self) -> None:
        done, points = self.ledger.done(self.total), self.ledger.points
        runs = f", {self.settings.repeats} runs each" if self.settings.repeats > 1 else ""
        more = f"  ·  {done} done already" if done else ""
        what = f"sweep {self.plan.id}  ·  {shell.counted(self.total, 'point')}{runs}"
        valued = any(judged(self.plan.recipe(values).recipe) for values in self.plan.listed())
        goes_by = f"  ·  {self.objective}" if valued else ""
        self.console.print(f"{what}{goes_by}{more}", markup=False)
        if self._monitor not in ("", self.objective):
            line = (
                f"ranked by each run's best {self.objective}; its weights are those with the best "
                f"{self._monitor}; monitor={self.objective} chooses both by it"
            )
            screen.say(self.console, line)
        self._say_kept_apart()
        self._say_lowered("sweep.trials", max(points, default=0) + 1, self.total)
        repeats = max((len(point.runs) for point in points.values()), default=0)
        self._say_lowered("sweep.repeats", repeats, int(self.settings.repeats))
        if self.settings.stack not in (AUTO, OFF) and self.unstacked:
            line = f"sweep.stack={self.settings.stack}: none at once: {self.unstacked}"
            screen.say(self.console, line)

    def _say_kept_apart(self) -> None:
        """Say which settings, by which no run is told from another, earlier runs do not have."""
        typed = {word: shell.key(word) for word in self.plan.words if shell.key(word) in _LOOKS}
        some = self.earlier[:1] + self.earlier[-1:]  # to read all takes long
        for word, key in typed.items():
            now = identity.by_value(view.plain(self.plan.base[key]))
            if any(_recorded(run, key, now) != now for run in some):
                line = f"{word}: leaves the runs that are done already as they were recorded"
                screen.say(self.console, line)

    def _say_lowered(self, key: str, before: int, now: int) -> None:
        """Say that what a sweep has from before, when it was larger, stays a part of it."""
        if before > now:
            line = f"{key}={now}: was {before} before, and what was trained then counts too"
            screen.say(self.console, line)

    def _say(self, trial: int, name: str, *more: str) -> None:
        place = f"{trial + 1}/{self.total}"
        line = "  ".join(filter(None, (f"{place:>8}", shell.name(name or "default"), *more)))
        screen.say(self.console, line)


def _recorded(run: Path, key: str, otherwise: Any) -> Any:
    """The value that a setting of the root had in a run."""
    with suppress(Mistake):
        return identity.by_value(record.recipe(run).get(key))
    return otherwise
