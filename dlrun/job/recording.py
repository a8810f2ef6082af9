"""The record of a job's run: made, taken up again, and what it says of the run."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import format, record, shell
from dlrun.data.tables import told
from dlrun.engine.interrupt import within
from dlrun.errors import Interrupted, Mistake
from dlrun.job import code
from dlrun.recipe import differences, identity, resume
from dlrun.recipe.once import once
from dlrun.recipe.schema import GROUPS, SEVERAL
from dlrun.record import Record, trained

if TYPE_CHECKING:
    from dlrun.engine.run import LoopConfig, Run
    from dlrun.engine.state import State
    from dlrun.regularization import Regularizer

_log = logging.getLogger("dlrun")
_UNNAMED = (
    *("name", "outputs", "resume", "device", "threads", "tracking", "data.cache"),
    *("preflight", "target_error", "watch", "watch_every", "stop_after"),
    *("expect", "short", "sweep", "hydra"),
)
_OF_THE_RUN = ("name", "outputs", "procedure")  # what a command that a finding proposes leaves out


@dataclass(frozen=True)
class Invocation:
    """What was typed, for the record and the run's name.

    choices: the option of every group; overrides: as typed; command: the whole line.
    name: of the run, where the overrides are not to name it; info: more for `run.json`.
    stack: how many runs of a procedure train at once; `auto`, `off` or a number.
    cwd: the directory in which the overrides were typed, where it may be another than this one.
    """

    overrides: Sequence[str]
    command: Sequence[str]
    choices: Mapping[str, Any]
    name: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    stack: int | str = "auto"
    cwd: Path | None = None

    def words(self) -> list[str]:
        """The overrides, with paths as they are meant in this directory."""
        return resume.words_here(self.overrides, self.cwd or Path.cwd())

    def chosen(self, recipe: DictConfig) -> dict[str, str]:
        """The option of each group; those of a group with several, in their order."""
        names = {group: str(self.choices[group]) for group in GROUPS if group in self.choices}
        for group in SEVERAL:
            names[group] = ", ".join(map(str, recipe[group] or ["none"]))
        return names


class Silent:
    """A loop's `Show` that shows nothing."""

    def step(self, step: int, epoch: float, loss: float, samples_per_second: float) -> None:
        """Nothing."""

    def point(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Nothing."""


@contextmanager
def status_of(
    kept: Record, rules: Sequence["Regularizer"] = (), total_steps: int = 0
) -> Iterator[None]:
    """Inside, a record is RUNNING; how it ends becomes its status, whatever happens.

    PRUNED where one of the rules has ended it before its length.
    """
    kept.set_status(record.RUNNING)
    if kept.info.get("mistake"):
        kept.update(mistake=False)
    status, message = record.FINISHED, ""
    try:
        yield
        if any(rule.pruned for rule in rules) and kept.points()[-1]["step"] < total_steps:
            status, message = record.PRUNED, "stopped early: others were better by then"
    except (Interrupted, KeyboardInterrupt) as interrupted:
        status, message = record.KILLED, str(interrupted)
        raise
    except BaseException as error:  # SystemExit too, which a model of the user may raise
        if (stopped := within(error)) is not None:
            status, message = record.KILLED, str(stopped)
            raise stopped from None
        status, message = record.FAILED, str(error) or type(error).__name__
        if isinstance(error, Mistake):  # which stays one where the record goes on
            kept.update(mistake=True)
        raise
    finally:
        kept.set_status(status, message)


def begin(recipe: DictConfig, run: "Run", invocation: Invocation) -> tuple[Record, "State"]:
    """A new record, or that of the run which is resumed, and the state to train on from."""
    text = written(recipe)
    if recipe.resume:
        kept = record.open_existing(recipe.resume)
    else:
        about = info(recipe, invocation) | run.facts()
        kept = record.create(recipe.outputs, named(recipe, invocation), about, text)
    with ExitStack() as ends:
        ends.callback(kept.close)
        if recipe.resume:
            state = _taken_up(recipe, run, invocation, kept)
            record.write_recipe(kept.directory, text)
        else:
            state = _begun(run, kept)
        ends.pop_all()
    return kept, state


def _begun(run: "Run", kept: Record) -> "State":
    """The first state of a run; where it can't be had, its record says so."""
    from dlrun.engine import checkpoint
    from dlrun.engine import state as states

    try:
        if run.began is not None:
            checkpoint.save_as(checkpoint.START, states.start(run), kept.directory / "checkpoints")
        return states.begin(run, kept)
    except BaseException as error:
        kept.set_status(record.FAILED, str(error) or type(error).__name__)
        raise


def _taken_up(recipe: DictConfig, run: "Run", invocation: Invocation, kept: Record) -> "State":
    """The state of a run that goes on; its record says what has changed since."""
    from dlrun.engine import device as devices
    from dlrun.engine import state as states

    if kept.info.get("cleaned"):
        raise Mistake(
            f"resume={kept.id}: dlrun clean has removed its checkpoints; begin a new run, without "
            "resume="
        )
    typed = "threads" in map(shell.key, invocation.overrides)
    devices.keep_threads(kept.info.get("threads"), typed)
    facts = run.facts()
    state = states.begin(run, kept, differences.since(recipe, kept, facts))
    data, recorded = facts["data"], kept.info.get("data") or {}
    if state.counters.step and warn_of_change(kept.id, recorded, data["digest"]):
        data = {**data, "digest": recorded["digest"], "splits": recorded.get("splits", {})}
    overrides = kept.info.get("overrides", [])
    new = [word for word in invocation.overrides if word not in overrides]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = info(recipe, invocation)
    edited = code.edited(kept.info.get("code"), recipe)
    if state.counters.step and edited:
        _log.warning(f"{', '.join(edited)}: the code has changed since the run was trained")
    known = {key: about[key] for key in ("overrides", "choices", "code", "recipe")}
    known["resumed"] = [*kept.info.get("resumed", []), {"time": now, "new": new}]
    if kept.info.get("name") in (None, name(overrides)):
        known["name"] = named(recipe, invocation)  # says what is trained now
    kept.update(**facts | known | {"data": data})
    set_up = kept.info.get("set_up", ())  # a verdict is of an end that is none any more
    renewed = partial(_as_typed_now, overrides, invocation.overrides)
    stay = [each for each in record.findings_of(kept.directory) if each.name in set_up]
    kept.keep_findings([replace(each, command=renewed(each.command)) for each in stay])
    return state


def _as_typed_now(before: Sequence[str], now: Sequence[str], command: str) -> str:
    """A command that a finding has proposed, of the recipe that trains now.

    before, now: the overrides of the recipe. What the finding itself changes stays.
    """
    if "$'" in command:  # a name that is no text, which only a shell reads
        return command
    changes = {shell.key(word): None for word in before if word not in now} | {
        shell.key(word): word for word in now if word not in before
    }
    words = shlex.split(command)
    own = {*map(shell.key, (word for word in words if word not in before)), *_OF_THE_RUN}
    return shell.line(
        shell.replaced(words, {key: word for key, word in changes.items() if key not in own})
    )


def warn_of_change(run: str, recorded: Mapping[str, Any], digest: str) -> bool:
    """Say that the data of a run have changed, where they have; whether that is so.

    recorded: what its record says of them. digest: of what is there now.
    """
    if recorded.get("digest", digest) == digest:
        return False
    _log.warning(
        f"the data are not those that the run began with ({run}); "
        "what it has trained on may now be in val or test"
    )
    return True


def written(recipe: DictConfig) -> str:
    """A resolved recipe in YAML; what runs have in common is put into words once."""
    return "".join(
        f"{key}: {value}\n" if type(value) is int else _block(key, value)  # as of each seed
        for key, value in identity.resolved(recipe).items()
    )


@once
def _block(key: str, value: Any) -> str:
    """A key of a recipe with what is below it, in YAML."""
    return OmegaConf.to_yaml(OmegaConf.create({key: value}))


def info(recipe: DictConfig, invocation: Invocation) -> dict[str, Any]:
    """What `run.json` says of the command."""
    return {
        "overrides": list(invocation.overrides),
        "choices": invocation.chosen(recipe),
        "command": shlex.join(invocation.command),
        "code": code.digests(recipe),
        "recipe": identity.without_seed(recipe),
        **invocation.info,
    }


def named(recipe: DictConfig, invocation: Invocation) -> str:
    """The name of the run: as the recipe or the invocation says, else what was changed."""
    return recipe.name or invocation.name or name(invocation.overrides)


def reading(kept: Record) -> str:
    """How the table of a run is read, in a few lines; "" where its data are none."""
    data = kept.info["data"]
    return "\n".join(told.summary(data.get("reading") or {}, data["shape"][-1]))


def summary(
    kept: Record, state: "State", lengths: "LoopConfig", table: str = "", notes: Sequence[str] = ()
) -> str:
    """What is about to be trained, in a few lines; of a resumed run also from where.

    table: how its table is read, where that is to be said. notes: lines of the recipe.
    """
    about = kept.info
    data = about["data"]
    counts = dict(data["samples"])
    sizes = " / ".join(f"{counts.pop(name, 0):,}" for name in ("train", "val", "test"))
    more = "".join(f", {count:,} as {name}" for name, count in counts.items())
    some = f", {about['trained']:,} of them trained" if "trained" in about else ""
    lines = [
        f"{shell.name(about['name'])}  ·  run {kept.id}",
        f"{data['name']}: {sizes} samples of shape {'×'.join(map(str, data['shape']))} to train, "
        f"validate and test{more}",
        *([table] if table else ()),
        f"{about['parameters']:,} parameters{some}, {about.get('flops', 0):,} floating-point "
        f"operations a sample  ·  {about['device']}",
    ]
    if about.get("weights"):
        lines.append(trained.said(about["weights"]))
    if frozen := about.get("frozen"):
        many = frozen.get("tensors", frozen.get("parameters"))  # as older records call it
        said = f"frozen: {many} of {frozen['of']} tensors"
        until = frozen["until"] and f" until epoch {frozen['until'] / lengths.steps_per_epoch:.4g}"
        lines.append(said + (until or ""))
    lines += notes
    size = about.get("tags", {}).get("dlrun.stack")
    if state.counters.step and size:
        lines.append(
            f"trained until now as one of {size} at once; goes on alone, as it would have there "
            "but for rounding"
        )
    if state.counters.step:
        epoch = format.epoch(state.counters.step / lengths.steps_per_epoch)
        lines.append(f"goes on from epoch {epoch}, step {state.counters.step:,}")
    elif about.get("resumed"):
        lines.append("begins again: it has no checkpoint")
    return "\n".join(lines)


def name(overrides: Sequence[str]) -> str:
    """A run's name: what was changed, e.g. `model=cnn optimizer.lr=0.1`; `default` if nothing."""
    return " ".join(telling(overrides))[:250] or "default"


def telling(overrides: Sequence[str]) -> list[str]:
    """The overrides that name a run."""
    return [
        word
        for word in overrides
        if not any(f"{shell.key(word)}.".startswith(f"{key}.") for key in _UNNAMED)
    ]
