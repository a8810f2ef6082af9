"""One job of a command: from a composed recipe to its end, whatever that is.

Imports nothing heavy before the tracking process is on its way, so that both start at once.
"""

import copy
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import imports, record, shell
from dlrun.console import format
from dlrun.engine.interrupt import raised
from dlrun.errors import Mistake
from dlrun.job import code
from dlrun.job.session import Shared
from dlrun.recipe import differences
from dlrun.recipe.schema import GROUPS, SEVERAL

if TYPE_CHECKING:
    from dlrun.engine.run import Lengths, Run
    from dlrun.engine.state import State
    from dlrun.procedure import Trial
    from dlrun.regularization import Regularizer

_log = logging.getLogger("dlrun")
_UNNAMED = ("name", "outputs", "resume", "device", "threads", "tracking", "data.cache")


@dataclass(frozen=True)
class Asked:
    """What was typed, for the record and the run's name.

    choices: the option of every group; overrides: as typed; command: the whole line.
    name: of the run, where the overrides are not to name it; info: more for `run.json`.
    """

    overrides: Sequence[str]
    command: Sequence[str]
    choices: Mapping[str, Any]
    name: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, recipe: DictConfig) -> dict[str, str]:
        """The option of each group; those of a group with several, in their order."""
        names = {group: str(self.choices[group]) for group in GROUPS if group in self.choices}
        for group in SEVERAL:
            names[group] = ", ".join(map(str, recipe[group] or ["none"]))
        return names


def run(config: DictConfig, asked: Asked) -> float | None:
    """Do what a recipe says, alone; gives the value it is judged by."""
    shared = Shared()
    with raised():
        try:
            return perform(config, asked, shared, whole=True)
        finally:
            try:
                shared.close()
            finally:  # a signal ends the waiting alone
                for directory in shared.records:
                    shared.show.closing(directory, shared.uri)


def perform(
    config: DictConfig,
    asked: Asked,
    shared: Shared,
    stopping: Sequence["Regularizer"] = (),
    whole: bool = False,
    measure_test: bool = True,
) -> float | None:
    """One job of maybe several; gives the value it is judged by.

    stopping: rules beside those of the recipe; one that says `pruned` makes the run PRUNED.
    whole: with figures, and with a model where the recipe says so.
    measure_test: whether the recipe's `test` holds; in a sweep, `complete` measures instead.
    """
    shared.prepare(config, draws=whole)
    with imports.quick():
        from dlrun.recipe import build, instantiate  # import torch: a second and more

    build.check(config, [_key(word) for word in asked.overrides])
    data = shared.data(config)

    def make_run(**changes: object) -> "Trial":
        from dlrun.procedure import Trial

        recipe = copy.deepcopy(config)
        for key, value in changes.items():
            OmegaConf.update(recipe, key, value)
        run = build.build(recipe, data, shared.cores)
        run.stopping.extend(stopping)
        kept, state = _begin(recipe, run, asked)
        shared.records.append(kept.directory)
        shared.follow(kept.directory)
        lengths = run.lengths
        text = summary(kept, state, lengths)
        shared.show.begin(text, lengths.total_steps, lengths.steps_per_epoch)

        def finished(ended: record.Record) -> None:
            shared.show.end()
            pruned = any(rule.pruned for rule in stopping)
            if pruned and ended.points()[-1]["step"] < run.lengths.total_steps:
                ended.set_status(record.PRUNED, "stopped early: others were better by then")

        export = whole and bool((config.tracking or {}).get("model", False))
        draw = partial(shared.draw, kept.directory) if whole else None
        tests = config.test and measure_test
        return Trial(run, state, kept, shared.show, finished, tests, export, draw)

    result: float | None = instantiate.part(config, "procedure")(make_run)
    return result


def complete(
    config: DictConfig, directory: Path, shared: Shared, measure_test: bool, export: bool
) -> None:
    """Add what is still missing to a run that has ended, and deliver it.

    measure_test: with its best weights, where the recipe says so and it has not been done.
    export: draw figures, and save a model where the recipe says so.
    """
    from dlrun.engine import checkpoint
    from dlrun.engine import device as devices
    from dlrun.engine.state import load_best_weights, restore
    from dlrun.procedure import train
    from dlrun.recipe import build

    values = record.last_values(record.read_points(directory))
    tested = any(name.startswith("test/") for name in values)
    tests = measure_test and config.test and not tested
    exports = export and not (directory / "figures").exists()  # they are drawn last
    if not tests and not exports:
        return
    shared.prepare(config, draws=exports)
    kept = record.open_existing(directory)
    try:
        shared.follow(directory)  # before anything changes, so that no kill leaves it behind
        saves = exports and config.tracking and config.tracking.get("model", False)
        saved = checkpoint.load(directory / "checkpoints") if tests or saves else None
        if saved is not None:
            run = build.build(config, shared.data(config), shared.cores)
            devices.keep_threads(kept.info.get("threads"), typed=False)
            state = restore(run, saved)
            step = load_best_weights(run, state.counters, state.runs[0])
            if tests and len(run.data.test):
                train.add_test(run, kept)
            if saves:
                train.export(run, directory / "model", step)
        elif tests or saves:
            _log.warning(f"{directory}: has lost its checkpoints, and with them its best weights")
        if exports:
            shared.draw(directory)
    finally:
        kept.close()


def refused(config: DictConfig, asked: Asked, shared: Shared, message: str) -> None:
    """Record a job that has failed before it began, so that it is found where the others are."""
    if shared.records:
        return
    text = OmegaConf.to_yaml(config, resolve=False)
    if config.resume:
        kept = record.open_existing(config.resume)
    else:
        kept = record.create(config.outputs, _named(config, asked), _info(config, asked), text)
    kept.set_status(record.FAILED, message)
    kept.close()
    shared.records.append(kept.directory)
    shared.prepare(config)
    shared.follow(kept.directory)


def _begin(recipe: DictConfig, run: "Run", asked: Asked) -> tuple[record.Record, "State"]:
    """A new record, or that of the run which is resumed, and the state to train on from."""
    from dlrun.engine import device as devices
    from dlrun.engine.state import begin

    text = OmegaConf.to_yaml(recipe, resolve=True)
    if not recipe.resume:
        info = _info(recipe, asked) | run.facts()
        kept = record.create(recipe.outputs, _named(recipe, asked), info, text)
        return kept, begin(run, kept)
    kept = record.open_existing(recipe.resume)
    typed = "threads" in map(_key, asked.overrides)
    devices.keep_threads(kept.info.get("threads"), typed)
    facts = run.facts()
    try:
        changed = differences.since(recipe, kept, facts)
        state = begin(run, kept, changed)
    except Mistake:
        kept.close()
        raise
    data, recorded = facts["data"], kept.info.get("data") or {}
    if state.counters.step and recorded.get("digest", data["digest"]) != data["digest"]:
        _log.warning(
            "the data are not those that the run began with; "
            "what it has trained on may now be in val or test"
        )
        data = {**data, "digest": recorded["digest"], "splits": recorded.get("splits", {})}
    new = [word for word in asked.overrides if word not in kept.info.get("overrides", [])]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    history = [*kept.info.get("resumed", []), {"time": now, "new": new}]
    known = {"name": _named(recipe, asked)} | kept.info | facts | {"data": data}
    digests = code.digests(recipe)
    before = kept.info.get("code") or {}
    edited = [module for module, was in before.items() if digests.get(module) != was]
    if state.counters.step and edited:
        _log.warning(f"{', '.join(edited)}: the code has changed since the run was trained")
    known |= {"overrides": list(asked.overrides), "choices": asked.chosen(recipe), "code": digests}
    if kept.info.get("name") == name(kept.info.get("overrides", [])):
        known["name"] = _named(recipe, asked)  # says what is trained now
    kept.update(**known | {"resumed": history})
    record.write(kept.directory / "recipe.yaml", shell.redacted(text))
    return kept, state


def _info(recipe: DictConfig, asked: Asked) -> dict[str, Any]:
    return {
        "overrides": list(asked.overrides),
        "choices": asked.chosen(recipe),
        "command": shlex.join(asked.command),
        "code": code.digests(recipe),
        **asked.info,
    }


def _named(recipe: DictConfig, asked: Asked) -> str:
    return recipe.name or asked.name or name(asked.overrides)


def summary(kept: record.Record, state: "State", lengths: "Lengths") -> str:
    """What is about to be trained, in a few lines; of a resumed run also from where."""
    info = kept.info
    data = info["data"]
    sizes = " / ".join(f"{count:,}" for count in data["samples"].values())
    lines = [
        f"{shell.name(info['name'])}  ·  run {kept.id}",
        f"{data['name']}: {sizes} samples of shape {'×'.join(map(str, data['shape']))} to train, "
        "validate and test",
        f"{info['parameters']:,} parameters, {info.get('flops', 0):,} floating-point operations "
        f"a sample  ·  {info['device']}",
    ]
    if state.counters.step:
        epoch = format.epoch(state.counters.step / lengths.steps_per_epoch)
        lines.append(f"goes on from epoch {epoch}, step {state.counters.step:,}")
    elif info.get("resumed"):
        lines.append("begins again: it had no checkpoint yet")
    return "\n".join(lines)


def name(overrides: Sequence[str]) -> str:
    """A run's name: what was changed, e.g. `model=cnn optimizer.lr=0.1`; `default` if nothing."""
    telling = [
        word
        for word in overrides
        if not any(f"{_key(word)}.".startswith(f"{key}.") for key in _UNNAMED)
    ]
    return " ".join(telling)[:250] or "default"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
