"""The record that a procedure of several runs has of its own."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record
from dlrun.errors import Mistake
from dlrun.job import code, recording
from dlrun.job.recording import Invocation
from dlrun.recipe import compose, differences, identity, start, view
from dlrun.record import Record

if TYPE_CHECKING:
    from dlrun.data import Data

_log = logging.getLogger("dlrun")


def opened(
    config: DictConfig, invocation: Invocation, read: Callable[[], "Data"], trains: bool
) -> Record:
    """The record that was begun before, or a new one.

    read: gives the recipe's data. trains: whether the procedure trains anything. Raises Mistake
    where what is resumed would have runs of another recipe.
    """
    if config.resume:
        _refuse_changes(config)
        _warn_of_changes(config, read().digest)
        return record.open_existing(config.resume)
    data, weights = read().digest, start.digest(config)
    if (directory := before(config, data)) is not None:
        return record.open_existing(directory)
    _say_anew(config, invocation, data, weights, _begun(config.outputs))
    known_by = _hashes(config, data)(weights)
    info = recording.info(config, invocation) | {"kind": "procedure", "hash": known_by}
    info |= {"trains": trains, "data_digest": data, "weights_digest": weights}
    unbuilt = {**view.as_written(config), "facts": {}}  # nothing is built yet that knows them
    text = OmegaConf.to_yaml(OmegaConf.create(unbuilt))
    return record.create(config.outputs, recording.named(config, invocation), info, text)


def before(config: DictConfig, data: str) -> Path | None:
    """The record of the procedure that was begun before; None where it was not.

    data: their digest. Weights that are gone are those that it has begun with.
    """
    weights, known_by = start.digest(config), _hashes(config, data)
    for directory, told in _begun(config.outputs):
        if told.get("hash") == known_by(weights or told.get("weights_digest", "")):
            return directory
    return None


def _hashes(config: DictConfig, data: str) -> Callable[[str], str]:
    """What a procedure is known by, by the digest of its weights."""
    recipe, digests = identity.digest(config), code.digests(config)
    starts = bool(config.weights)
    return lambda weights: identity.short(
        [recipe, data, digests | ({"weights": weights} if starts else {})]
    )


def _begun(outputs: str) -> list[tuple[Path, dict[str, Any]]]:
    """The procedures that were begun, and what their records say, the last first."""
    runs = reversed(record.all_runs(outputs))
    infos = ((run, record.read_json(run / "run.json")) for run in runs)
    return [(run, info) for run, info in infos if info.get("kind") == "procedure"]


def _say_anew(
    config: DictConfig,
    invocation: Invocation,
    data: str,
    weights: str,
    begun: Sequence[tuple[Path, Mapping[str, Any]]],
) -> None:
    """Say that what was typed before does not go on, where its code, data or weights have changed.

    data, weights: the digests of those that it would have now.
    begun: the procedures that were, and what their records say, the last first.
    """
    words = [*invocation.overrides]
    alike = ((run, info) for run, info in begun if info.get("overrides") == words)
    directory, info = next(alike, (None, {}))
    if directory is None or record.read_status(directory).get("status") == record.FINISHED:
        return
    changed = code.edited(info.get("code"), config)
    if info.get("data_digest") not in (None, data):
        changed.append("the data")
    if info.get("weights_digest") not in (None, weights):
        changed.append(f"{start.KEY}={config.weights}")
    if changed:
        _log.warning(
            f"{', '.join(changed)}: changed since procedure {directory.name} began, which "
            "stays where it is; this one begins anew"
        )


def _refuse_changes(config: DictConfig) -> None:
    """Raise Mistake where its runs would be of other recipes than those it has already."""
    directory = Path(config.resume)
    before = compose.recorded(directory)
    before.facts = {"shape": [0], "outputs": 0}  # nobody knew them when it began
    if keys := differences.keys(config, before, identity.NEUTRAL):
        raise Mistake(
            f"resume={directory.name}: {', '.join(keys)} changes what the procedure has begun "
            "with; leave it out, or begin anew, without resume="
        )


def _warn_of_changes(config: DictConfig, data: str) -> None:
    """Say where its runs would be of other code or data than those it has already."""
    directory = Path(config.resume)
    info = record.read_json(directory / "run.json")
    if edited := code.edited(info.get("code"), config):
        _log.warning(
            f"{', '.join(edited)}: the code has changed since the procedure began, and its "
            "runs that have ended stay; its command, typed again, begins anew"
        )
    recorded = {"digest": info.get("data_digest", data)}
    recording.warn_of_change(directory.name, recorded, data)
