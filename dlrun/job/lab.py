"""What a procedure works with: it trains the runs that the procedure describes, one by one.

Each run is checked, named, tagged with its parent and exactly resumable. A procedure of several
runs has a record of its own; typed again, it goes on with what is not finished.
"""

import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.data import Scale
from dlrun.data.fingerprint import hash_rows
from dlrun.data.scale import rescaled
from dlrun.errors import Failure, Mistake
from dlrun.finding import FAIL, NOTE, Finding
from dlrun.job import code, recording
from dlrun.job.recording import Invocation
from dlrun.job.session import Session
from dlrun.metric import known, score
from dlrun.procedure import (
    OBJECTIVE,
    RULES,
    BuiltRun,
    Outcome,
    Procedure,
    RecordedRun,
    Training,
)
from dlrun.procedure.train import Ending, train_built
from dlrun.recipe import build, compose, differences, identity
from dlrun.recipe.schema import GROUPS, SEVERAL
from dlrun.record import Record
from dlrun.record.bounds import read_yaml
from dlrun.regularization import Regularizer
from dlrun.report import diagnosis
from dlrun.schedule import Fixed, Replay, constant

if TYPE_CHECKING:
    from dlrun.data import Data
    from dlrun.engine.ending import AtObjective
    from dlrun.engine.run import Run
    from dlrun.engine.train import Show

_log = logging.getLogger("dlrun")
_TRAIN = {"_target_": "dlrun.procedure.train.train", "_partial_": True}
_ROWS = "rows.npz"
_APART = (*identity.NEUTRAL, "procedure", "test", "data.cache", "checkpoint_every")
"""Settings in which a run may differ that stands for another."""


@dataclass
class Lab:
    """One job: a recipe, what was typed, and the procedure that acts on the recipe.

    rules: that stop a run, beside those of the recipe; one that says `pruned` makes it PRUNED.
    whole: with figures, and with a model where the recipe says so.
    """

    config: DictConfig
    invocation: Invocation
    session: Session
    procedure: Procedure
    rules: Sequence[Regularizer] = ()
    whole: bool = False
    tests: bool = True
    _asked: int = field(default=0, init=False)
    _own: Record | None = field(default=None, init=False)
    _ends: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def directory(self) -> Path | None:
        """Of the procedure's own record."""
        return self.record.directory if self.record else None

    @property
    def record(self) -> Record | None:
        """The procedure's own, which begins now; None for a procedure of one run."""
        return None if self.procedure.single else self._begun()

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe's settings as plain values; what only the data know is left as written."""
        plain = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    @property
    def words(self) -> Sequence[str]:
        """The command that was typed."""
        return tuple(self.invocation.command)

    def command(self, changes: Mapping[str, Any]) -> str:
        """The command that was typed with other settings; None leaves a key out."""
        typed, own = self.invocation.overrides, ("procedure", "resume", "name")
        kept = [word for word in typed if shell.key(word).partition(".")[0] not in own]
        kept = [word for word in kept if not _lost(shell.key(word), changes)]
        words = {
            key: None if value is None else self._word(key, value) for key, value in changes.items()
        }
        where = shell.config_dirs(self.invocation.command)
        return shell.line(["dlrun", *where, *shell.replaced(kept, words)])

    def _word(self, key: str, value: Any) -> str:
        """The override that gives a key of the recipe this value."""
        word = f"{key}={shell.spelled(value)}"
        return word if key in compose.keys(self.config) else f"+{word}"

    def data(self) -> "Data":
        """The recipe's data."""
        return self.session.data(self.config)

    def perform(self) -> Outcome:
        """Do what the procedure says."""
        if self.procedure.single:
            return self.procedure(self)
        with self._ends:
            outcome = self.procedure(self)
            kept = self._begun()
            runs = [run.directory.name for run in outcome.runs if run.directory.exists()]
            chart = outcome.chart.plain() if outcome.chart else None
            table = [dict(row) for row in outcome.table]
            kept.update(value=outcome.value, runs=runs, text=outcome.text)
            kept.update(table=table, chart=chart)
            if outcome.values and not kept.points():
                kept.append(len(runs), float(len(runs)), dict(outcome.values))
            kept.keep_findings(outcome.findings)
            if chart:
                self.draw(kept.directory)
            if outcome.failure:
                raise Failure(outcome.failure)
        return outcome

    def _begun(self) -> Record:
        """The procedure's own record; how the procedure ends becomes its status."""
        if self._own is None:
            kept = self._own = self._own_record()
            self.session.records.append(kept.directory)
            self.session.follow(kept.directory)
            self._ends.callback(self._end, kept)
            self._ends.enter_context(recording.status_of(kept))
        return self._own

    def _end(self, kept: Record) -> None:
        self.session.records[:] = [kept.directory]
        kept.close()

    def find(self, which: str) -> RecordedRun:
        """A run that has been trained with this recipe on these data."""
        said = f"procedure.run={which}"
        try:
            directory = record.find(self.config.outputs, which)
        except Mistake as mistake:
            raise Mistake(f"{said}: {mistake}") from None
        if record.read_status(directory).get("status") != record.FINISHED:
            raise Mistake(f"{said}: has not ended; go on with it: {shell.resume(directory)}")
        info, data = record.read_json(directory / "run.json"), self.data()
        splits = (info.get("data") or {}).get("splits")
        if "result_step" not in info:
            raise Mistake(f"{said}: is no training")
        recorded = OmegaConf.create(read_yaml(directory / "recipe.yaml"))
        other = differences.keys(self.config, DictConfig(recorded), _APART)
        if other:
            raise Mistake(
                f"{said}: is of another recipe, by {', '.join(other)}; type its settings here too"
            )
        here = {name: hash_rows(split.rows.numpy()) for name, split in data.splits.items()}
        if info["data"].get("digest") != data.digest or splits != here:
            raise Mistake(f"{said}: was trained on other data, or on another split of them")
        return _recorded(directory)

    def train(self, trainings: Sequence[Training]) -> list[RecordedRun]:
        """Train what has not been trained yet, one after another; gives all of them."""
        return [self._train(training) for training in trainings]

    @contextmanager
    def built(self, training: Training) -> Iterator[BuiltRun]:
        """Inside, a built run that is being recorded and not trained."""
        resume = self.config.resume if self.directory is None else None
        with self._opened(training, resume) as built:
            built.record.update(trains=False)
            yield built

    def draw(self, directory: Path) -> None:
        """Draw the curves of a record."""
        if self.whole:
            self.session.draw(directory)

    def progress(self, said: str, done: int, total: int) -> None:
        """Show how far it is, where nothing that trains shows it."""
        self.session.show.busy(said, done, total)

    def _train(self, training: Training) -> RecordedRun:
        resume = self.config.resume
        if self.directory is not None:
            resume = self._known(training)
            if resume and record.read_status(resume).get("status") == record.FINISHED:
                self._asked += 1
                return _recorded(Path(resume))
        elif resume:
            training = _remembered(Path(resume)) or training
        with self._opened(training, resume) as built:
            directory = built.record.directory
            whole = self.whole and training.recorded
            ending = Ending(
                test=self.tests and training.test and bool(self.config.test),
                draw=partial(self.session.draw, directory) if whole else None,
                export=whole and bool((self.config.tracking or {}).get("model", False)),
                predict=training.predict,
                values=next((rule.values for rule in _targeted(built.run)), dict),
            )
            checks = training.settings.get("preflight", self.config.preflight)
            if training.recorded and not resume:
                self._preflight(built, checks)
            with self._verdict(built):
                train_built(built, ending)
                if whole and checks != "off":
                    self._diagnose(built)
            points = built.record.points()
        self._asked += 1
        return RecordedRun(directory, record.FINISHED, _best(points), points)

    @contextmanager
    def _verdict(self, built: BuiltRun) -> Iterator[None]:
        """Inside, a loss that is no longer finite becomes a finding, too."""
        from dlrun.engine.divergence import NotFinite

        try:
            yield
        except NotFinite as failure:
            first = str(failure).partition(";")[0]
            self._keep(built, [diagnosis.diverged(f"T{first[1:]}", self.recipe)])
            raise

    def _diagnose(self, built: BuiltRun) -> None:
        """Say of a trained run how it fits, and what to type next."""
        from dlrun.engine.examine import examined

        seen = examined(built.run)
        if all(map(isfinite, seen.values())):  # else there is nothing to compare
            built.record.update(examined=seen)
            self._keep(built, diagnosis.diagnose(seen, built.record.points(), self.recipe))

    def _keep(self, built: BuiltRun, found: Sequence[Finding]) -> None:
        """Add findings to those of the set-up, in place of an earlier diagnosis."""
        before = record.findings_of(built.record.directory)
        kept = [each for each in before if each.name not in diagnosis.NAMES]
        found = [each.completed(self.command) for each in found]
        built.record.keep_findings([*kept, *found])

    def _preflight(self, built: BuiltRun, how: str) -> None:
        """Check a new run, once for recipes that differ in numbers alone.

        Raises Failure under preflight=strict where something must fail.
        """
        from dlrun.engine.preflight import preflight

        structure = identity.structure(copy.deepcopy(self.config))
        if how == "off" or structure in self.session.checked:
            return
        self.session.checked.add(structure)
        found = [each.completed(self.command) for each in preflight(built.run)]
        if found:
            built.record.keep_findings(found)
        for each in found:
            if each.level != NOTE:
                _log.warning(f"{each.name}: {each.text}")
        failed = [each.name for each in found if each.level == FAIL]
        if failed and how == "strict":
            raise Failure(f"preflight=strict: {', '.join(failed)}")

    @contextmanager
    def _opened(self, training: Training, resume: str | None) -> Iterator[BuiltRun]:
        """Inside, a run of the recipe with its record; how it ends becomes its status."""
        config, invocation = self._of(training, resume)
        with ExitStack() as stack:
            if not training.recorded:
                folder = tempfile.TemporaryDirectory(prefix="dlrun-", ignore_cleanup_errors=True)
                config.outputs = stack.enter_context(folder)
            run = self._build(config, training)
            kept, state = recording.begin(config, run, invocation)
            stack.callback(kept.close)
            stack.callback(self.session.show.end)
            show: Show = recording.Silent()
            if self.directory is not None:
                _keep_rows(kept.directory, training)
            if training.recorded:
                if self.directory is None:
                    self.session.records.append(kept.directory)
                self.session.follow(kept.directory)
                show, lengths = self.session.show, run.lengths
                text = recording.summary(kept, state, lengths)
                show.begin(text, lengths.total_steps, lengths.steps_per_epoch)
            with recording.status_of(kept, self.rules, run.lengths.total_steps):
                yield BuiltRun(run, state, kept, show)

    def _build(self, config: DictConfig, training: Training) -> "Run":
        """The run, with what the training brings along."""
        from dlrun.engine import checkpoint
        from dlrun.engine.ending import AtLength, AtObjective
        from dlrun.engine.state import take_optimizer, take_preprocessing

        data = self.session.data(config, training.rows)
        scale = _scale_of(training.preprocessing)
        run = build.build(config, rescaled(data, scale) if scale else data, self.session.cores)
        lengths = run.lengths
        if training.length is not None:
            many = training.length * (lengths.steps_per_epoch if training.by_passes else 1)
            run.lengths = replace(lengths, total_steps=max(1, round(many)))
        if training.schedule_steps is not None:
            run.lengths = replace(run.lengths, schedule_steps=training.schedule_steps)
        if training.preprocessing is not None:
            fitted = checkpoint.load(Path(training.preprocessing) / "checkpoints")
            if fitted is None or not take_preprocessing(run, fitted["preprocessing"]):
                raise Mistake(f"{training.preprocessing}: has no preprocessing that fits")
        if training.optimizer is not None:
            saved = checkpoint.load(Path(training.optimizer) / "checkpoints")
            if saved is None or not take_optimizer(run, saved):
                raise Mistake(f"{training.optimizer}: has no state of an optimizer that fits")
            run.schedule = Fixed(constant)
        if training.weights is not None:
            run.model.load_state_dict(checkpoint.read(Path(training.weights)))
        if training.rates is not None:
            run.schedule = self._replayed(config, training, run)
        if training.ends != RULES:
            run.stopping = [AtObjective(run) if training.ends == OBJECTIVE else AtLength()]
        run.stopping.extend(self.rules)
        for key, value in training.until.items():
            if key.rpartition("/")[2] in run.measured:
                run.stopping.append(Reached(key, run.score(key, value)))
        return run

    def _replayed(self, config: DictConfig, training: Training, run: "Run") -> Replay:
        """The learning rates of a run before, by its recipe, its length and its validations."""
        before = Path(str(training.rates))
        info, points = record.read_json(before / "run.json"), record.read_points(before)
        lengths = build.lengths_of(config, info["data"]["samples"]["train"], elements=1)
        found = [(p["step"], p["values"]) for p in points if "time/elapsed" in p["values"]]
        key, metrics = info["monitor"], known(info.get("metrics"))
        scores = [(step, score(key, some[key], metrics)) for step, some in found if key in some]
        every = Fraction(lengths.steps_per_epoch, run.lengths.steps_per_epoch)
        return Replay(
            build.schedule_of(config, lengths),
            lengths.total_steps,
            lengths.steps_per_epoch,
            scores,
            every if training.by_passes else Fraction(1),
        )

    def _of(self, training: Training, resume: str | None) -> tuple[DictConfig, Invocation]:
        """The recipe of a run that the procedure wants, and how it would be typed."""
        config = copy.deepcopy(self.config)
        config.resume = resume
        for key, value in training.settings.items():
            chosen = self._chosen(key, value) if key in GROUPS else value
            OmegaConf.update(config, key, chosen, merge=False, force_add=True)
        if training.settings:
            build.check(config)
        if self.directory is None:
            return config, self.invocation
        config.procedure = OmegaConf.create(_TRAIN)
        groups = {key: value for key, value in training.settings.items() if key in GROUPS}
        settings = [self._word(key, value or "none") for key, value in training.settings.items()]
        gone = ("procedure", "name", *(key for key in groups if key not in SEVERAL))
        kept = [
            word
            for word in self.invocation.overrides
            if shell.key(word).partition(".")[0] not in gone and shell.key(word) not in groups
        ]
        procedure = self.invocation.choices.get("procedure") or self.procedure.function.__name__
        config.name = training.name or f"{procedure} {self._asked}"
        plain = _plain(training)
        asked = {**plain, "rows": training.rows is not None}
        info = {"parent": self.directory.name, "training": {"hash": self._hash(plain), **asked}}
        tags = {"dlrun.parent": self.directory.name}
        invocation = replace(
            self.invocation,
            overrides=[*kept, *settings],
            choices={**self.invocation.choices, **groups, "procedure": "train"},
            name=config.name,
            info=info | {"tags": tags},
        )
        return config, invocation

    def _chosen(self, group: str, names: str | Sequence[str]) -> Any:
        """What a group holds with other options; one that the recipe has stays as it is."""
        words = shell.config_dirs(self.invocation.command)
        named = [word.partition("=")[2] if word.startswith("-") else word for word in words]
        own = [shell.path(name, "--config-dir").absolute() for name in named if name]
        with compose.composer(own) as composer:
            composed = composer.recipe([f"{group}={shell.spelled(names or 'none')}"])
        found: Any = OmegaConf.to_container(composed, resolve=False)
        if group not in SEVERAL:
            return found[group]
        here = self.recipe[group] or {}
        return {name: here.get(name, found[group][name]) for name in names} or None

    def _hash(self, plain: Mapping[str, Any]) -> str:
        """What a run of the procedure is known by: its place and what it is."""
        return identity.short([self._asked, plain])

    def _known(self, training: Training) -> str | None:
        """The run that has been made of a training before."""
        assert self.directory is not None
        wanted = self._hash(_plain(training))
        for directory in record.all_runs(self.directory.parents[1]):
            info = record.read_json(directory / "run.json")
            made = info.get("parent") == self.directory.name and info["training"]["hash"] == wanted
            if made and "data" in info:  # else it failed before it began
                return str(directory)
        return None

    def _own_record(self) -> Record:
        """The procedure's record: the one that was begun before, or a new one."""
        config, invocation = self.config, self.invocation
        if config.resume:
            return record.open_existing(config.resume)
        digests = code.digests(config)
        known_by = identity.short(
            [identity.digest(copy.deepcopy(config)), self.data().digest, digests]
        )
        for directory in reversed(record.all_runs(config.outputs)):
            if record.read_json(directory / "run.json").get("hash") == known_by:
                return record.open_existing(directory)
        info = recording.info(config, invocation) | {"kind": "procedure", "hash": known_by}
        info["trains"] = self.procedure.trains
        unbuilt = {**self.recipe, "facts": {}}  # nothing is built yet that would know them
        text = OmegaConf.to_yaml(OmegaConf.create(unbuilt))
        return record.create(config.outputs, recording.named(config, invocation), info, text)


class Reached(Regularizer):
    """Ends a run, with its last weights, once a metric is as good as asked."""

    restore_best = False

    def __init__(self, metric: str, score: float) -> None:
        self.metric, self._score = metric, score

    def should_stop(self, score: float, step: int) -> bool:
        """After every point that has the metric."""
        return score >= self._score


def _lost(key: str, changes: Mapping[str, Any]) -> bool:
    """Whether a setting's option goes with a change of its group."""
    group, _, rest = key.partition(".")
    if not rest or group not in changes or key in changes:
        return False
    chosen = changes[group]
    return rest.partition(".")[0] not in chosen if group in SEVERAL else True


def _recorded(directory: Path) -> RecordedRun:
    """A run that has been trained before, as its record says."""
    points = record.read_points(directory)
    status = str(record.read_status(directory).get("status", ""))
    return RecordedRun(directory, status, _best(points), points)


def _best(points: Sequence[Mapping[str, Any]]) -> float | None:
    """The best of what a run monitors, which its end names first."""
    end = record.last_values(points)
    best = (v for key, v in end.items() if key.startswith("best/") and key != "best/epoch")
    return next(best, None)


def _targeted(run: "Run") -> list["AtObjective"]:
    from dlrun.engine.ending import AtObjective

    return [rule for rule in run.stopping if isinstance(rule, AtObjective)]


def _scale_of(directory: str | None) -> "Scale | None":
    """The scale of a run's targets, where they were standardized."""
    import torch

    info = record.read_json(Path(directory) / "run.json") if directory else {}
    kept = (info.get("data") or {}).get("scale")
    return Scale(torch.tensor(kept["mean"]), torch.tensor(kept["std"])) if kept else None


def _plain(training: Training) -> dict[str, Any]:
    """A training as plain values; of its rows, of which there are many, the hashes."""
    values = asdict(replace(training, rows=None))
    if training.rows is not None:
        rows = {name: np.asarray(some, np.int64) for name, some in training.rows.items()}
        values["rows"] = {name: hash_rows(some) for name, some in rows.items()}
    return values


def _keep_rows(directory: Path, training: Training) -> None:
    """Write the rows of a run beside its recipe, so that it can be gone on with alone."""
    if training.rows is not None and not (directory / _ROWS).exists():
        rows = {name: np.asarray(some, np.int64) for name, some in training.rows.items()}
        record.write_arrays(directory / _ROWS, **rows)


def _remembered(directory: Path) -> Training | None:
    """What a run of a procedure was asked to be; None for a run of its own.

    Raises Mistake where its rows are lost.
    """
    asked = record.read_json(directory / "run.json").get("training")
    if not asked:
        return None
    rows = None
    if asked["rows"]:
        try:
            with np.load(directory / _ROWS) as file:
                rows = {name: file[name].tolist() for name in file.files}
        except (OSError, ValueError, KeyError) as error:
            raise Mistake(f"{directory / _ROWS} cannot be read: {error}") from None
    known = {name: value for name, value in asked.items() if name != "hash"}
    return Training(**known | {"rows": rows})
