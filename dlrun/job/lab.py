"""What a procedure works with: it trains the runs that the procedure describes.

Alike runs are trained at once where that is faster, else one by one.
Each run is checked, named, tagged with its parent and exactly resumable. A procedure of several
runs has a record of its own; typed again, it goes on with what is not finished.
"""

import inspect
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.console import screen, summary
from dlrun.engine.divergence import LossDiverged
from dlrun.errors import Failure, Lost, Mistake, kind_of
from dlrun.job import own_record, recorded, recording, stacked, verdict
from dlrun.job.recording import Invocation
from dlrun.job.session import Session
from dlrun.job.stacked import Among, Apart, Stacks, Wanted
from dlrun.job.training import (
    keep_rows,
    plain,
    procedure_of,
    remembered,
    run_of,
    targeted,
    trained,
)
from dlrun.job.words import PLAINLY, Words, lost
from dlrun.procedure import BuiltRun, Done, Outcome, Procedure, RecordedRun, Training
from dlrun.procedure.train import Ending, add_test, train_built
from dlrun.recipe import (
    build,
    checks,
    compose,
    identity,
    instantiate,
    mistakes,
    resume,
    start,
    view,
)
from dlrun.recipe.notes import idle, notes
from dlrun.recipe.resume import placed
from dlrun.recipe.schema import GROUPS, OF_MODEL, OFF
from dlrun.record import Record, named
from dlrun.regularization import Regularizer
from dlrun.report import chart as charts

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from dlrun.data import Data
    from dlrun.engine.run import LoopConfig, Run
    from dlrun.engine.state import State
    from dlrun.engine.train import Show
    from dlrun.schedule import Schedule

_log = logging.getLogger("dlrun")
_TRAIN = {"_target_": "dlrun.procedure.train.train", "_partial_": True}
_USUAL = Training()


@dataclass
class Lab:
    """One job: a recipe, what was typed, and the procedure that acts on the recipe.

    rules: that stop a run, beside those of the recipe; one that says `pruned` makes it PRUNED.
    whole: with figures, and with a model where the recipe says so.
    above: the lab of which this is a variant, and whose record it has. where: that is typed.
    stack: how many of its runs train at once; see `Stacks`.
    """

    config: DictConfig
    invocation: Invocation
    session: Session
    procedure: Procedure
    rules: Sequence[Regularizer] = ()
    whole: bool = False
    tests: bool = True
    above: "Lab | None" = None
    where: str = ""
    stack: int | str = OFF
    _asked: int = field(default=0, init=False)
    _followed: bool = field(default=False, init=False)
    _own: Record | None = field(default=None, init=False)
    _ends: ExitStack = field(default_factory=ExitStack, init=False)
    _outcome: Outcome | None = field(default=None, init=False)

    @property
    def directory(self) -> Path | None:
        """Of the procedure's own record."""
        return self.record.directory if self.record else None

    @property
    def record(self) -> Record | None:
        """The procedure's own, which begins now; None for a procedure of one run."""
        return None if self.procedure.single else self._begun()

    @property
    def begins(self) -> Path | None:
        """The folder that keeps what its runs begin with; None where it has no record yet."""
        if self.above is not None:
            return self.above.begins
        if self._own is not None:
            return self._own.directory / "begun"
        if self.procedure.single:
            return None
        before = self.config.resume
        of_variants = f"{start.KEY}=" in str(self.config.procedure)
        if not before and (self.config.weights or of_variants):
            before = own_record.before(self.config, self.data().digest)
        return Path(before) / "begun" if before else None

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe's settings as plain values; what only the data know is left as written."""
        values: dict[str, Any] = view.as_written(self.config)
        return values

    @property
    def chosen(self) -> Mapping[str, str]:
        """The option of each group; those of a group with several, in their order."""
        return self.invocation.chosen(self.config)

    @cached_property
    def _structure(self) -> str:
        """What recipes have in common that differ in numbers alone."""
        return identity.structure(self.config)

    @cached_property
    def words(self) -> Words:
        """What was typed of the recipe."""
        return Words(self.config, self.invocation)

    def command(self, changes: Mapping[str, Any]) -> str:
        """The command that was typed with other settings; see `Words`."""
        return self.words.command(changes)

    def advice(self, changes: Mapping[str, Any]) -> str:
        """The command that makes changes; "" where the recipe is so already; see `Words`."""
        return self.words.advice(changes)

    def data(self) -> "Data":
        """The recipe's data."""
        with self._blamed():
            return self.session.data(self.config)

    def perform(self) -> Outcome:
        """Do what the procedure says."""
        self._tell_unused()
        if self.procedure.single:
            return self._called()
        try:
            return self._performed()
        except Mistake:
            self._leave_nothing()
            raise

    def _called(self) -> Outcome:
        """What the procedure gives; of the user's own it is said where that is wrong."""
        function = self.procedure.function
        where = self._target
        try:
            inspect.signature(function).bind(self)
        except TypeError as error:
            name = where.rpartition(".")[2]
            raise Mistake(f"{where}: {error}; it is called as {name}(lab)") from None
        with instantiate.users(self.config):
            outcome: Any = self.procedure(self)
        if not isinstance(outcome, Outcome):
            raise Mistake(f"{where}: gives {kind_of(outcome)}; it must give an Outcome")
        if not (outcome.value is None or isinstance(outcome.value, Real)):
            raise Mistake(f"{where}: gives {kind_of(outcome.value)} as its value, no number")
        return outcome

    @property
    def _target(self) -> str:
        return f"procedure._target_={self.config.procedure._target_}"

    def _performed(self) -> Outcome:
        """What a procedure of several runs comes to, which its record keeps."""
        self._tell_idle()
        with self._ends:
            try:
                outcome = self._outcome = self._called()
            except Lost as lost:
                outcome = self._outcome = self._recorded(lost)
                return outcome
            kept = self._begun()
            self._follow()
            runs = [run.directory.name for run in outcome.runs if run.directory.exists()]
            chart = charts.plain(outcome.chart)
            table = [dict(row) for row in outcome.table]
            result = outcome.result.directory.name if outcome.result else None
            kept.update(value=outcome.value, runs=runs, result=result, text=outcome.text)
            kept.update(table=table, chart=chart)
            known = record.last_values(kept.points())
            if new := {key: some for key, some in outcome.values.items() if key not in known}:
                kept.append(len(runs), float(len(runs)), new)
            kept.keep_findings(outcome.findings)
            if chart and self.whole:
                kept.brings("figures")
                self.draw(kept.directory)
            if outcome.failure:
                raise Failure(outcome.failure)
            if self.begins is not None:
                shutil.rmtree(self.begins, ignore_errors=True)
        return outcome

    def _recorded(self, lost: Lost) -> Outcome:
        """What the procedure has come to before, by its record. Raises `lost` where it has not."""
        kept = self._begun()
        if "value" not in kept.info:
            raise lost
        _log.warning(f"{lost}; what procedure {kept.id} has come to stays as it was recorded")
        self._follow()
        return Outcome(
            value=kept.info["value"],
            runs=[recorded.of(run) for run in named.children(kept.directory)],
            findings=record.findings_of(kept.directory),
            values=record.last_values(kept.points()),
        )

    def _tell_unused(self) -> None:
        """Say which settings were typed in vain, because the procedure depends on no such."""
        uses = self.procedure.uses
        if uses is None or "parent" in self.invocation.info:  # which another procedure asks for
            return
        others = set(map(str, self.config)) - {*uses, *identity.NEUTRAL, "procedure"}
        keys = ((word, shell.key(word).partition(".")[0]) for word in self.words.plainly())
        if idle := [word for word, key in keys if key in others]:
            has = "has" if len(idle) == 1 else "have"
            name = self.invocation.choices["procedure"]
            _log.warning(f"{', '.join(idle)}: {has} no effect on procedure={name}")

    def _tell_idle(self) -> None:
        """Say which settings were typed in vain, because every variant has its own."""
        variants = self.recipe["procedure"].get("variants")
        if not isinstance(variants, Mapping) or not variants:
            return
        try:
            keys = [set(map(shell.key, shell.words(words))) for words in variants.values()]
        except (Mistake, ValueError):  # which the procedure says
            return
        for word in self.words.plainly():
            if all(shell.key(word) in own for own in keys):
                _log.warning(f"{word}: has no effect, because every variant sets it itself")

    def variant(self, words: Sequence[str], where: str = "") -> "Lab":
        """What works on the command that was typed with these words behind it."""
        with compose.composer(self.words.directories()) as composer:
            mistakes.words(composer, words)
            if not self.config.resume:
                start.refuse_last(words, self.config.outputs)
            typed = resume.merge(self.words.plainly(), words, self.invocation.choices)
            with mistakes.explained(composer, typed):
                composed = composer.full(typed)
        config, choices = compose.without_hydra(composed), compose.choices(composed)
        config.outputs, config.resume = self.config.outputs, None
        build.check(config, [shell.key(word) for word in typed])
        invocation = replace(self.invocation, overrides=typed, choices=choices)
        return replace(self, config=config, invocation=invocation, above=self, where=where)

    def do(self, name: str, **options: Any) -> Done:
        """Do another procedure of several runs with this recipe, as its own command would."""
        lab = self._other(name, options)
        self.say(f"procedure={name}")
        try:
            lab.perform()
        except Failure:
            if lab._outcome is None or not lab._outcome.failure:
                raise
        assert lab._outcome is not None
        assert lab.directory is not None
        summary.show(self.session.show.console, lab.directory, None)
        return Done(lab._outcome, lab.directory)

    def _other(self, name: str, options: Mapping[str, Any]) -> "Lab":
        """A lab with another procedure, whose record says that this one has asked for it."""
        assert self.directory is not None
        try:
            with compose.composer(self.words.directories()) as composer:
                mistakes.words(composer, [f"procedure={name}"])
        except Mistake as mistake:
            raise Mistake(f"{self._target}: {mistake}") from None
        self._follow()
        config, invocation = compose.copied(self.config), self.invocation
        config.procedure = OmegaConf.create({**self.words.chosen("procedure", name), **options})
        config.resume = config.name = None
        words = [word for word in self.words.plainly() if word != PLAINLY]
        words.append(f"procedure={name}")
        words += [f"procedure.{key}={shell.spelled(value)}" for key, value in options.items()]
        build.check(config)
        parent = {"parent": self.directory.name, "tags": {"dlrun.parent": self.directory.name}}
        invocation = replace(
            invocation,
            overrides=words,
            choices={**invocation.choices, "procedure": name},
            name=None,
            info=parent,
        )
        made = procedure_of(config)
        return replace(self, config=config, invocation=invocation, procedure=made)

    def _begun(self) -> Record:
        """The procedure's own record; how the procedure ends becomes its status."""
        if self.above is not None:
            return self.above._begun()
        if self._own is None:
            before = record.all_runs(self.config.outputs)
            kept = self._own = own_record.opened(
                self.config, self.invocation, self.data, self.procedure.trains
            )
            self.session.records.append(kept.directory)
            if kept.directory in before:
                self._follow()
            self._ends.callback(self._end, kept)
            self._ends.enter_context(recording.status_of(kept))
        return self._own

    def _follow(self) -> None:
        """Deliver the procedure's own record from now on, before any of its runs."""
        if self.above is not None:
            self.above._follow()
        elif self._own is not None and not self._followed:
            self._followed = True
            self.session.follow(self._own.directory)

    def _leave_nothing(self) -> None:
        """Take away the record of a procedure that was refused before any of its runs began."""
        if self._own is not None and not self._followed:
            shutil.rmtree(self._own.directory, ignore_errors=True)
            self.session.records.remove(self._own.directory)

    def _end(self, kept: Record) -> None:
        self.session.records[:] = [kept.directory]
        kept.close()

    def find(self, which: str, setting: str = "run", other: bool = False) -> RecordedRun:
        """A run that has been trained with this recipe on these data; see `recorded.find`."""
        return recorded.find(self.config, self.data, which, f"procedure.{setting}", other)

    def unrecorded(self, names: Sequence[str]) -> dict[str, str]:
        """Why no value of a name can be recorded in training, by those names."""
        run = self.untrained()
        return {name: why for name in names if (why := checks.unrecorded(name, run))}

    def untrained(self, training: Training = _USUAL) -> "Run":
        """The recipe's run, or that of a training, as it would begin, without a record."""
        with self._blamed(training):
            recipe = self.recipe_of(training)
            return run_of(recipe, training, self.session, begun=self.begins)

    def descent(self, model: "nn.Module", steps: int) -> "tuple[Optimizer, Schedule]":
        """The optimizer and the schedule of the recipe for another model."""
        with self._blamed():
            return build.descent_of(compose.copied(self.config), model, steps)

    def trained(self, run: RecordedRun) -> "Run":
        """A run that has been trained, with the weights that count, made anew from its record."""
        recipe = compose.recorded(run.directory)
        where = run.info["cwd"]
        if where != str(Path.cwd()):
            recipe = placed(recipe, Path(where))
        recipe.device, recipe.compile = self.config.device, False
        found = trained(recipe, run.directory, self.session)
        if found is None:
            raise Lost(f"{run.directory}: has lost its checkpoints, and with them its weights")
        return found[0]

    def train(self, trainings: Sequence[Training]) -> list[RecordedRun]:
        """Train what has not been trained yet, at once or one after another; gives all of them."""
        if not isinstance(trainings, Sequence):
            given = kind_of(trainings)
            raise Mistake(f"{self._target}: wants {given} trained; it must be a list of Trainings")
        for each in trainings:
            if not isinstance(each, Training):
                raise Mistake(
                    f"{self._target}: wants {kind_of(each)} trained; it must be a Training"
                )
        made = self._made()
        wanted = [self.wanted(training, made) for training in trainings]
        found = self._at_once([each for each in wanted if not _is_done(each)])
        return [found[each.place] if each.place in found else self._train(each) for each in wanted]

    def wanted(self, training: Training, made: Mapping[str, str]) -> Wanted:
        """A training, with the run that has been made of it before. made: all that have been."""
        place, self._asked = self._asked, self._asked + 1
        resume = self.config.resume
        if self.directory is not None:
            resume = made.get(_hash(place, plain(training)))
        elif resume:
            training = remembered(Path(resume)) or training
            self._keeps_length(training, Path(resume))
        return Wanted(self, training, resume, place)

    def _keeps_length(self, training: Training, directory: Path) -> None:
        """Raise Mistake where the recipe asks for another length than a procedure has chosen."""
        recipes = self.config, compose.recorded(directory)
        now, before = (identity.by_value(recipe.epochs) for recipe in recipes)
        if training.length is not None and now != before:
            raise Mistake(
                f"epochs={self.config.epochs}: a procedure has chosen the length of run "
                f"{directory.name}; weights={directory.name} trains its weights on as a new run"
            )

    @contextmanager
    def built(self, training: Training) -> Iterator[BuiltRun]:
        """Inside, a built run that is being recorded and not trained."""
        resume = self.config.resume if self.directory is None else None
        with self.opened(Wanted(self, training, resume, self._asked)) as built:
            built.record.update(trains=False)
            yield built

    def draw(self, directory: Path) -> None:
        """Draw the curves of a record."""
        if self.whole:
            self.session.draw(directory)

    @property
    def measures_test(self) -> bool:
        """Whether the test split is measured at the end, or has been by this procedure before."""
        own = (self.above or self)._own
        before = own is not None and "test_measured" in own.info
        return bool(self.config.test) and (self.tests or before)

    @property
    def exports(self) -> bool:
        """Whether a model is saved that others can load."""
        return self.whole and bool((self.config.tracking or {}).get("model", False))

    def say(self, text: str) -> None:
        """Tell whoever watches what comes next."""
        console = self.session.show.console
        console.print()
        screen.say(console, text, style="bold")

    def progress(self, said: str, done: int, total: int) -> None:
        """Show how far it is, where nothing that trains shows it."""
        self.session.show.busy(said, done, total)

    def _at_once(self, wanted: Sequence[Wanted]) -> dict[int, RecordedRun]:
        """Train what is faster at once; gives it by its place."""
        if self.directory is None or self.stack == OFF:
            return {}
        stacks = Stacks(self.stack, self.directory / stacked.KEPT)
        found: dict[int, RecordedRun] = {}
        errors = []
        for stack in stacks.divided([each for each in wanted if each.training.recorded]):
            for ended in stacked.train(stack, self.say):
                may = ended.wanted.training.may_diverge and isinstance(ended.error, LossDiverged)
                if ended.error is not None and not may:
                    errors.append(ended.error)
                    continue
                found[ended.wanted.place] = recorded.of(ended.directory)
        if errors:
            raise errors[0]
        return found

    def _train(self, wanted: Wanted) -> RecordedRun:
        if _is_done(wanted):
            self.session.catch_up(Path(str(wanted.resume)))
            return self._tested(wanted, recorded.of(Path(str(wanted.resume))))
        try:
            return self._trained(wanted)
        except LossDiverged:
            training = wanted.training
            known = self._made() if training.may_diverge else {}
            kept = known.get(_hash(wanted.place, plain(training)))
            if kept is None:
                raise
            return recorded.of(Path(kept))

    def _tested(self, wanted: Wanted, run: RecordedRun) -> RecordedRun:
        """A run that has ended, with its test split measured where no sweep asked for it then."""
        asked = self.measures_test and wanted.training.test and run.status == record.FINISHED
        tested = any(name.startswith("test/") for name in run.last)
        if not asked or tested or not run.info["data"]["samples"].get("test"):
            return run
        with closing(record.open_existing(run.directory)) as kept:
            self.session.follow(run.directory)
            add_test(self.trained(run), kept)
        return recorded.of(run.directory)

    def _trained(self, wanted: Wanted) -> RecordedRun:
        """A run that is trained now."""
        with self.opened(wanted) as built:
            self.check(wanted, built)
            with self.after(wanted, built):
                train_built(built, self.ending(wanted, built))
            points = built.record.points()
        return RecordedRun(built.record.directory, record.FINISHED, recorded.best(points), points)

    def check(self, wanted: Wanted, built: BuiltRun) -> None:
        """Look at a new run before it trains."""
        checks = self._checks(wanted)
        if wanted.training.recorded and not wanted.resume and checks != "off":
            known = self.session.checked
            with instantiate.users(self.config, Mistake):
                verdict.preflight(built, checks, self._structure, known, self.advice)

    def after(self, wanted: Wanted, built: BuiltRun) -> AbstractContextManager[None]:
        """Inside, a run is trained; then it is said what is found of it."""
        diagnosed = self._is_whole(wanted) and self._checks(wanted) != "off"
        untrained = partial(self.untrained, wanted.training)
        return verdict.after(built, diagnosed, self.recipe, self.advice, untrained)

    def ending(self, wanted: Wanted, built: BuiltRun) -> Ending:
        """What is done when a run has been trained."""
        training, directory = wanted.training, built.record.directory
        return Ending(
            test=self.measures_test and training.test,
            draw=partial(self.session.draw, directory) if self._is_whole(wanted) else None,
            export=self.exports and training.recorded and training.export,
            predict=training.predict,
            values=next((rule.values for rule in targeted(built.run)), dict),
        )

    def _is_whole(self, wanted: Wanted) -> bool:
        return self.whole and wanted.training.recorded and wanted.training.export

    def _checks(self, wanted: Wanted) -> str:
        return str(wanted.training.settings.get("preflight", self.config.preflight))

    @contextmanager
    def opened(self, wanted: Wanted, among: Among | None = None) -> Iterator[BuiltRun]:
        """Inside, a run of the recipe with its record; how it ends becomes its status.

        among: those that it trains with. Raises Apart where it does not fit to them.
        """
        training, resume = wanted.training, wanted.resume
        with self._blamed(training):
            config, invocation = self.typed(wanted)
            choices = self.session.settled(config, invocation.choices)
        invocation = replace(invocation, choices=choices)
        with ExitStack() as stack:
            stop_at = self.session.stop_at(config, among.id if among is not None else None)
            with self._blamed(training), instantiate.users(config, Mistake):
                run = run_of(config, training, self.session, self.rules, resume, self.begins)
            run.lengths = replace(run.lengths, stop_at=stop_at)
            if among is not None and not among.fits(run):
                raise Apart
            if not training.recorded:
                folder = tempfile.TemporaryDirectory(prefix="dlrun-", ignore_cleanup_errors=True)
                config.outputs = stack.enter_context(folder)
            invocation = replace(invocation, info=self._told(invocation, among))
            kept, state = recording.begin(config, run, invocation)
            stack.callback(kept.close)
            stack.callback(self.session.show.end)
            show: Show = recording.Silent()
            if self.directory is not None:
                keep_rows(kept.directory, training)
            if training.recorded:
                if self.directory is None:
                    self.session.records.append(kept.directory)
                self._follow()
                self.session.follow(kept.directory)
                if among is None:
                    chosen = training.length is not None
                    typed = [*map(shell.key, invocation.overrides)]
                    told = notes(config, run.lengths, run.averaging, chosen, typed)
                    told += idle(config, run, typed, training.rows is None)
                    show = self._shown(kept, state, run.lengths, told)
                else:
                    show = among.show
            status = recording.status_of(kept, self.rules, run.lengths.total_steps)
            with status, instantiate.users(config):
                yield BuiltRun(run, state, kept, show)

    @contextmanager
    def _blamed(self, training: Training = _USUAL) -> Iterator[None]:
        """Inside, a mistake about what the procedure sets names it, and what was typed of that.

        One about what a variant sets names that.
        """
        try:
            yield
        except Mistake as mistake:
            settings = {k: v for k, v in training.settings.items() if k in str(mistake)}
            at = self._typed_at(str(mistake))
            if not settings:
                if at:
                    raise Mistake(f"{at}: {mistake}") from None
                raise
            rooms = {key.partition(".")[0] for key in (*settings, "procedure")}
            words = (self.above or self).invocation.overrides
            typed = [word for word in words if shell.key(word).partition(".")[0] in rooms]
            said = ", ".join(f"{key}={shell.spelled(value)}" for key, value in settings.items())
            where = f"{at or ' '.join(typed)}: " * bool(typed)
            name = str(self.config.procedure._target_).rpartition(".")[2]
            raise Mistake(f"{where}{name} trains with {said}: {mistake}") from None

    def _typed_at(self, said: str) -> str:
        """Where those words of a variant are typed that a message is about; "" for other words."""
        lab = self
        while lab.above is not None:
            own = {*lab.invocation.overrides} - {*lab.above.invocation.overrides}
            keys = "|".join(re.escape(shell.key(word)) for word in own)
            if own and re.search(rf"(?<![\w.])({keys})(?!\w)", said):
                return lab.where
            lab = lab.above
        return ""

    def _told(self, invocation: Invocation, among: Among | None) -> dict[str, Any]:
        """What `run.json` is told of a run."""
        told = {**invocation.info, "structure": self._structure}
        if among is not None:
            told["tags"] = {**told.get("tags", {}), "dlrun.stack": among.size}
            told["stack"] = among.id
        return told

    def _shown(
        self, kept: Record, state: "State", lengths: "LoopConfig", notes: Sequence[str]
    ) -> "Show":
        """The screen of a run that trains alone."""
        show = self.session.show
        table = recording.reading(kept)
        text = recording.summary(kept, state, lengths, self.session.new(table), notes)
        show.begin(text, lengths.total_steps, lengths.steps_per_epoch)
        return show

    def typed(self, wanted: Wanted) -> tuple[DictConfig, Invocation]:
        """The recipe of a run that the procedure wants, and how it would be typed."""
        training = wanted.training
        config = self.recipe_of(training)
        config.resume = wanted.resume
        if self.directory is not None:
            config.expect = config.short = None  # which are of the procedure
        if training.settings:
            build.check(config)
        if self.directory is None:
            return config, self.invocation
        config.procedure = OmegaConf.create(_TRAIN)
        groups = {key: value for key, value in training.settings.items() if key in GROUPS}
        procedure = self.invocation.choices.get("procedure") or self.procedure.function.__name__
        config.name = training.name or f"{procedure} {wanted.place}"
        values = plain(training)
        asked = {"hash": _hash(wanted.place, values), **values, "rows": training.rows is not None}
        info = {"parent": self.directory.name, "training": asked}
        tags = {"dlrun.parent": self.directory.name}
        invocation = replace(
            self.invocation,
            overrides=self.words.trained_with(training.settings),
            choices={**self.invocation.choices, **groups, "procedure": "train"},
            name=config.name,
            info=info | {"tags": tags},
        )
        return config, invocation

    def recipe_of(self, training: Training) -> DictConfig:
        """The recipe with the settings of a training, which are not checked."""
        config = compose.copied(self.config)
        for key, value in training.settings.items():
            chosen = self.words.chosen(key, value) if key in GROUPS else value
            OmegaConf.update(config, key, chosen, merge=False, force_add=True)
        for key in OF_MODEL:
            if lost(key, training.settings):
                config[key] = None
        return config

    def _made(self) -> dict[str, str]:
        """The runs of this procedure so far, by the hash of what each was asked to be."""
        found: dict[str, str] = {}
        if self.directory is None:
            return found
        for directory in record.all_runs(self.directory.parents[1]):
            info = record.read_json(directory / "run.json")
            own = info.get("parent") == self.directory.name
            if own and "data" in info:  # else it failed before it began
                asked = info.get("training") or {}
                found.setdefault(str(asked.get("hash")), str(directory))
        return found


def _hash(place: int, values: Mapping[str, Any]) -> str:
    """What a run of a procedure is known by: its place and what it is."""
    return identity.short([place, values])


def _is_done(wanted: Wanted) -> bool:
    """Whether a run of a procedure has ended, as a training may."""
    if wanted.resume is None or wanted.lab.directory is None:
        return False
    directory, training = Path(wanted.resume), wanted.training
    if record.read_status(directory).get("status") == record.FINISHED:
        return True
    names = [each.name for each in record.findings_of(directory)]
    return training.may_diverge and "diverged" in names
