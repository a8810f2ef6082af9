"""One job of a command: from a composed recipe to its end, whatever that is.

Imports nothing heavy before the tracking process is on its way, so that both start at once.
"""

import copy
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlrun import arguments, record
from dlrun.errors import Mistake
from dlrun.groups import GROUPS, SEVERAL
from dlrun.interrupt import raised
from dlrun.progress import Progress

if TYPE_CHECKING:
    from dlrun.procedure import Trial
    from dlrun.run import Run
    from dlrun.state import State
    from dlrun.tracking.shipper import Shipper

_log = logging.getLogger("dlrun")
_UNNAMED = ("name", "outputs", "resume", "device", "threads", "tracking", "data.cache")


@dataclass(frozen=True)
class Asked:
    """What was typed, for the record and the run's name.

    choices: the option of every group; overrides: as typed; command: the whole line.
    """

    overrides: Sequence[str]
    command: Sequence[str]
    choices: Mapping[str, Any]

    def chosen(self, recipe: DictConfig) -> dict[str, str]:
        """The option of each group; those of a group with several, in their order."""
        names = {group: str(self.choices[group]) for group in GROUPS if group in self.choices}
        for group in SEVERAL:
            names[group] = ", ".join(map(str, recipe[group] or ["none"]))
        return names


def run(config: DictConfig, asked: Asked) -> float | None:
    """Do what a recipe says; gives the value it is judged by."""
    shipper = _start_tracking(config)
    show = Progress()
    trials: list[record.Record] = []
    try:
        with raised():
            from dlrun import build, parts  # import torch: two seconds

            build.check(config, [_key(word) for word in asked.overrides])
            data = build.load_data(config, show.loading)

            def make_run(**changes: object) -> "Trial":
                from dlrun.procedure import Trial

                recipe = copy.deepcopy(config)
                for key, value in changes.items():
                    OmegaConf.update(recipe, key, value)
                run = build.build(recipe, data)
                kept, state = _begin(recipe, run, asked)
                trials.append(kept)
                if shipper is not None:
                    shipper.ship(kept.directory)
                show.begin(summary(kept), run.lengths.total_steps, run.lengths.steps_per_epoch)

                def finished(ended: record.Record) -> None:
                    show.end()
                    if shipper is not None:
                        shipper.finish(ended.directory)

                export = bool((config.tracking or {}).get("model", False))
                return Trial(run, state, kept, show, finished, config.test, export)

            result: float | None = parts.part(config, "procedure")(make_run)
            return result
    finally:
        show.end()
        if shipper is not None:
            shipper.close()
        for kept in trials:
            show.closing(kept.directory, shipper.uri if shipper else None)


def _start_tracking(config: DictConfig) -> "Shipper | None":
    """The process that delivers to a tracking store, getting ready; None for `tracking=none`."""
    if not config.tracking:
        return None
    values = {str(key): value for key, value in config.tracking.items() if key != "_target_"}
    wrong = arguments.problems(config.tracking._target_, values, "tracking")
    if wrong:
        raise Mistake("\n".join(wrong))
    try:
        shipper: Shipper = instantiate(config.tracking)
    except Exception as error:
        raise error.__cause__ or error from None
    return shipper


def _begin(recipe: DictConfig, run: "Run", asked: Asked) -> tuple[record.Record, "State"]:
    """A new record, or that of the run which is resumed, and the state to train on from."""
    from dlrun.state import begin

    text, facts = OmegaConf.to_yaml(recipe, resolve=True), run.facts()
    if not recipe.resume:
        info = {
            "overrides": list(asked.overrides),
            "choices": asked.chosen(recipe),
            "command": shlex.join(asked.command),
            **facts,
        }
        kept = record.create(recipe.outputs, recipe.name or name(asked.overrides), info, text)
        return kept, begin(run, kept)
    kept = record.open_existing(recipe.resume)
    try:
        state = begin(run, kept)
    except Mistake:
        kept.close()
        raise
    if kept.info.get("data", {}).get("digest") != facts["data"]["digest"]:
        _log.warning("the data are not those that the run began with")
    new = [word for word in asked.overrides if word not in kept.info.get("overrides", [])]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    history = [*kept.info.get("resumed", []), {"time": now, "new": new}]
    kept.update(overrides=list(asked.overrides), choices=asked.chosen(recipe), resumed=history)
    record.write(kept.directory / "recipe.yaml", text)
    return kept, state


def summary(kept: record.Record) -> str:
    """What is about to be trained, in a line or two."""
    info = kept.info
    data = info["data"]
    sizes = " / ".join(f"{count:,}" for count in data["samples"].values())
    lines = [
        f"{info['name']}  ·  run {kept.id}",
        f"{data['name']}: {sizes} samples of shape {'×'.join(map(str, data['shape']))} to train, "
        f"validate and test  ·  {info['parameters']:,} parameters  ·  {info['device']}",
    ]
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
