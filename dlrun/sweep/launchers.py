"""Where the runs of a sweep are trained: in this process, or in jobs of a Hydra launcher.

Jobs in other processes get their overrides; what came of each they leave as a file, which
this process reads while it waits, so that it hears of a failure at once.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import util
from pathlib import Path
from time import sleep
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.console.outcome import report
from dlrun.engine.interrupt import raised, within
from dlrun.errors import DlrunError, Failure, Interrupted, Mistake, first_line, refuse
from dlrun.job.session import Session
from dlrun.recipe import compose
from dlrun.recipe.catalogue import LAUNCHER, Catalogue
from dlrun.recipe.compose import Composer
from dlrun.recipe.signature import expected
from dlrun.record.sweep import RunResult
from dlrun.sweep.recipes import Composed
from dlrun.sweep.runs import replay
from dlrun.sweep.task import Task, perform

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "submitit",
    "hydra_ray_launcher": "ray",
}
_LOST = {
    *("BrokenProcessPool", "TimeoutError"),  # joblib
    "UncompletedJobError",  # submitit
    *("ConnectionError", "RayError"),
}
"""What launchers raise if a process has died, or the cluster cannot be reached."""
_EVERY = 0.3  # seconds between looks at what has come in
_STOP = "stop"  # a file, beside what comes in, after which no job begins

Done = Callable[[Task, RunResult], None]
"""Called with the result of each run, in the order in which they end."""


@dataclass(frozen=True)
class Watch:
    """How a job in another process reports to a pruner: the storage, the study, the trials' ids."""

    storage: Path
    study: str
    pruner: Any
    trials: dict[int, int]


@dataclass
class Remote:
    """What a launcher runs in another process; Hydra gives it the composed recipe."""

    tasks: list[Task]
    folder: Path
    cores: int | None
    gpus: bool
    watch: Watch | None = None
    began: float | None = None  # when the command did
    driver: int | None = None  # the parent process, without which there is nobody to train for

    def __call__(self, recipe: DictConfig) -> dict[str, Any]:
        """Train one run; returns its result, and leaves it as a file."""
        if self.driver not in (None, os.getpid()):  # itself, with n_jobs=1
            _end_with(self.driver)
        compose.register()
        about = compose.job()
        task = self.tasks[about.number]
        if (self.folder / _STOP).exists():
            return {}
        recipe = compose.without_hydra(recipe)
        session = Session(True, self.cores, self.folder, began=self.began)
        try:
            with raised(), own_gpu(recipe, self.folder, self.gpus, task.trial):
                stopping = self._stopping(task)
                result = perform(task, Composed(recipe, about.choices), session, stopping, _bug)
        except Interrupted as interrupted:
            result = RunResult(task.seed, task.hash, None, record.KILLED, message=str(interrupted))
        finally:
            session.close()
        told = asdict(result)
        record.write_json(self.folder / f"{task.id}.json", told)
        return told

    def _stopping(self, task: Task) -> list[Any]:
        if self.watch is None or not task.first:
            return []
        from dlrun.sweep import search

        trial = search.attached(
            self.watch.storage, self.watch.study, self.watch.trials[task.trial], self.watch.pruner
        )
        judge = search.Pruner(trial, task.objective)
        if task.resume:
            replay(judge, Path(task.resume), task.objective)
        return [judge]


@cache
def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone, by SIGKILL for one.

    Else it would begin what the next driver of the sweep, who does not know of it, begins too.
    What it has begun is resumed from its last checkpoint.
    """

    def watch() -> None:
        while os.getppid() == parent:
            sleep(_EVERY)
        os._exit(1)

    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()


def _bug(error: BaseException, name: str) -> None:
    """Print the traceback of an unforeseen error; the driver of the sweep prints the rest."""
    if not isinstance(error, DlrunError) or os.environ.get("DLRUN_DEBUG") == "1":
        report(error, name)


@contextmanager
def own_gpu(recipe: DictConfig, folder: Path, wanted: bool, number: int) -> Iterator[None]:
    """Give a job a GPU of its own, if there are any and the recipe does not choose one."""
    count = _gpus() if wanted and recipe.device in ("auto", "cuda") else 0
    for index in range(count):
        with record.held(folder / f"gpu-{index}.lock") as free:
            if free:
                recipe.device = f"cuda:{index}"
                yield
                return
    if count:  # more jobs than GPUs: they share
        recipe.device = f"cuda:{number % count}"
    yield


class Jobs:
    """A launcher of Hydra, with what dlrun knows about it.

    local: jobs run here, one after another; queues: it takes more jobs than it runs at once.
    """

    def __init__(
        self, composed: DictConfig, composer: Composer, folder: Path, began: float | None = None
    ) -> None:
        """composed: the config of the whole command; began: when it did, None for unknown.

        Raises Mistake if a plugin is missing.
        """
        self._config, self._composer, self._folder = composed, composer, folder
        self._began = began
        self._class = str(composed.hydra.launcher._target_)
        self.local = self._class == BASIC
        self._plugin = self._class.split(".")[1]
        self.queues = not self._class.endswith("submitit_launcher.LocalLauncher")
        self._typed = f"hydra/launcher={composed.hydra.runtime.choices['hydra/launcher']}"
        if not self.local and not compose.is_installed(self._class):
            extra = _EXTRAS.get(self._plugin, "")
            hint = f"; in dlrun's checkout: pip install -e '.[{extra}]'" if extra else ""
            raise Mistake(f"{self._typed}: its plugin is not installed{hint}")
        refuse(_wrong_settings(composed))
        if self._class.endswith("SlurmLauncher") and shutil.which("srun") is None:
            raise Mistake(
                f"{self._typed}: this machine has no srun; type the command on one of the "
                "cluster, or try it here with hydra/launcher=submitit_local"
            )

    @property
    def at_once(self) -> int:
        """How many jobs run at the same time, as far as known."""
        if self.local:
            return 1
        settings = self._config.hydra.launcher
        if settings.get("n_jobs") == -1 and (gpus := _gpus()):
            settings.n_jobs = gpus
        count = int(settings.get("n_jobs") or settings.get("array_parallelism") or _cpus())
        return count if count > 0 else max(1, _cpus() + 1 + count)

    def run(self, tasks: Sequence[Task], done: Done, watch: Watch | None = None) -> None:
        """Train all tasks, and return when the last has ended. Raises what the launcher raises."""
        self._folder.mkdir(exist_ok=True)
        for stale in self._folder.iterdir():
            if stale.suffix == ".json" or stale.name == _STOP:
                stale.unlink()
        shares = self._plugin == "hydra_joblib_launcher" or not self.queues  # this machine
        cores = max(1, _cpus() // min(self.at_once, len(tasks))) if shares else None
        driver = os.getpid() if self._plugin == "hydra_joblib_launcher" else None
        remote = Remote(list(tasks), self._folder, cores, shares, watch, self._began, driver)
        launcher = self._composer.launcher(self._config, remote)
        inbox = _Inbox(self._folder, tasks, done)
        inbox.start()
        try:
            returned = launcher.launch([list(task.overrides) for task in tasks], 0)
        except Exception as error:
            if (interrupted := within(error)) is not None:
                raise interrupted from None
            if not _LOST & {kind.__name__ for kind in type(error).__mro__}:
                raise
            raise Failure(f"{self._typed}: lost a job: {first_line(error)}") from error
        finally:
            inbox.stop()
        for task, result in zip(tasks, returned, strict=True):  # a shared disk may be slow
            inbox.take(task.id, result.return_value or {})

    def close(self) -> None:
        """End the processes that a launcher keeps for more jobs: they would outlive this one."""
        if self._plugin == "hydra_joblib_launcher":
            from joblib.executor import MemmappingExecutor

            kept, _ = MemmappingExecutor.get_reusable_executor(reuse=True)
            kept.shutdown(wait=True, kill_workers=True)
            if hasattr(kept, "_temp_folder_manager"):
                kept.terminate(kill_workers=True)  # the folder too, else it is warned of
            vars(util)["_run_finalizers"](0)  # nobody else does where the process ends at once
        elif self._plugin == "hydra_ray_launcher":
            import ray

            ray.shutdown()

    def stop(self) -> None:
        """Make jobs that have not begun end at once."""
        (self._folder / _STOP).touch()


class _Inbox(threading.Thread):
    """Collects the results of jobs in other processes, each once, as they end."""

    def __init__(self, folder: Path, tasks: Sequence[Task], done: Done) -> None:
        super().__init__(daemon=True)
        self._folder, self._done = folder, done
        self._waited_for = {task.id: task for task in tasks}
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._ended.wait(_EVERY):
                self._look()
        except Exception as error:  # of `done`, such as a full disk
            self._error = error
            (self._folder / _STOP).touch()

    def stop(self) -> None:
        """Raises what kept a result from being taken."""
        self._ended.set()
        self.join()
        if self._error is not None:
            raise self._error
        self._look()

    def take(self, id: str, told: Mapping[str, Any]) -> None:
        """told: the result of a task; empty if it has not begun."""
        with self._lock:
            task = self._waited_for.pop(id, None) if told else None
            if task is not None:
                self._done(task, RunResult(**told))

    def _look(self) -> None:
        for file in sorted(self._folder.glob("*-*.json"), key=lambda file: file.stat().st_mtime):
            if file.stem in self._waited_for:
                self.take(file.stem, record.read_json(file))


def _wrong_settings(composed: DictConfig) -> Iterator[str]:
    """What is wrong with the settings of a launcher, one message each."""
    option = Catalogue().options(LAUNCHER).get(str(composed.hydra.runtime.choices[LAUNCHER]))
    usual: Any = OmegaConf.to_container(OmegaConf.load(option.file)) if option else {}
    for key, value in composed.hydra.launcher.items():
        at = f"hydra.launcher.{key}={value}"
        kind = int if key in ("n_jobs", "array_parallelism") else type(usual.get(key))
        if kind in (int, bool) and value is not None and type(value) is not kind:
            yield f"{at}: expected {expected(kind)}"
        elif key == "n_jobs" and value == 0:
            yield f"{at}: must be above 0, or -1 for as many as there are cores"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _cpus() -> int:
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
