"""`weights=`: what a recipe starts from, found and read before the model is built."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from dlrun import record, shell
from dlrun.data.fingerprint import hash_rows
from dlrun.errors import Lost, Mistake
from dlrun.recipe import compose, identity, view
from dlrun.record import trained

if TYPE_CHECKING:
    from dlrun.data import Data
    from dlrun.engine.transfer import Start

_log = logging.getLogger("dlrun")

KEY = "weights"


def placed(word: str, words: Sequence[str], several: bool = False) -> str:
    """The override `weights=` with a path for a run: another one will be `last` tomorrow.

    words: of the whole command. several: whether commas separate the values of a sweep.
    """
    if shell.key(word) != KEY or not word.partition("=")[2]:
        return word
    outputs = next((compose.text(w) for w in reversed(words) if shell.key(w) == "outputs"), "")
    again = several or any(shell.key(each) == "procedure" for each in words)
    key, values = word.partition("=")[0], values_of(word)
    if len(values) > 1 and not several:
        return word  # which is said of all settings
    found = [_path(f"{key}={each}", outputs or "outputs", again and not several) for each in values]
    if again and "last" in values:
        raise _another(found[values.index("last")])
    return f"{key}={','.join(found)}"


def refuse_last(words: Sequence[str], outputs: str) -> None:
    """Raise Mistake for the word `last` where the command may be typed again, to go on."""
    for word in words:
        if shell.key(word) == KEY and compose.text(word) == "last":
            raise _another(_path(word, outputs))


def _another(path: str) -> Mistake:
    right = shell.line([f"{KEY}={path}"])
    return Mistake(
        f"{KEY}=last: is another run when this command is typed again, to go on; write {right}"
    )


def values_of(word: str) -> list[str]:
    """The values of an override, as typed."""
    try:
        [override] = compose.parse([word])
    except compose.OverrideParseException:
        return [word.partition("=")[2]]
    return [line.partition("=")[2] for line in compose.lines(override)]


def _path(word: str, outputs: str, gone: bool = False) -> str:
    """The path of the weights that an override names, as it is typed.

    gone: whether it will do that runs have begun with them.
    """
    which = compose.text(word)
    if not which:
        return "null"
    try:
        found = find(which, outputs)
    except Mistake:
        before = _begun_with(which, outputs) if gone else None
        if before is None:
            raise
        return shell.spelled(before)
    kept = found.file if found.run is None or Path(which).is_file() else shell.near(found.run)
    return shell.spelled(str(kept))


def _begun_with(which: str, outputs: str) -> str | None:
    """How weights are written that runs have begun with; None where none has."""
    infos = (record.read_json(run / "run.json") for run in record.all_runs(outputs))
    facts = (info.get(KEY) or {} for info in infos)
    return next((one["from"] for one in facts if which in (one.get("from"), one.get("run"))), None)


def find(which: str, outputs: str) -> trained.Trained:
    """The file of weights that is meant. Raises Mistake that names the setting."""
    try:
        return trained.find(outputs, which)
    except Mistake as mistake:
        raise Mistake(f"{KEY}={which}: {mistake}") from None


def digest(config: DictConfig) -> str:
    """A short hash of the weights as they are now; empty where there are none."""
    if config.weights is None:
        return ""
    try:
        return find(config.weights, config.outputs).digest
    except (Mistake, OSError):
        return ""


def of(config: DictConfig, folder: Path | None = None) -> "Start | None":
    """What a recipe starts from; a run that goes on, from what it has begun with.

    Preprocessing that was fitted for the weights belongs to them, where the recipe asks for the
    same: a value means to them what it has meant.
    folder: where a procedure keeps this, so that all of its runs begin with the same, whatever
    becomes of the source. Raises Mistake.
    """
    from dlrun.engine import checkpoint, transfer

    if config.weights is None:
        return None
    own = Path(config.resume) / "checkpoints" / checkpoint.START if config.resume else None
    if own is not None and own.is_file():
        return transfer.begun(own)
    which = identity.short([str(config.weights), view.plain(config.preprocessing)])
    kept = folder / f"{which}.pt" if folder is not None else None
    start = transfer.begun(kept) if kept is not None and kept.is_file() else _read(config)
    before = record.read_json(Path(config.resume) / "run.json") if config.resume else {}
    if (before.get(KEY) or start.facts)["digest"] != start.facts["digest"]:
        raise Mistake(f"{KEY}={config.weights}: has changed since the run has begun with it")
    if kept is not None and not kept.is_file():
        checkpoint.save_as(kept.name, start.state(), kept.parent)
    return start


def _read(config: DictConfig) -> "Start":
    """What a recipe starts from, as its source is now. Raises Mistake."""
    from dlrun.engine import checkpoint, transfer

    try:
        found = find(config.weights, config.outputs)
    except Mistake as gone:
        raise Lost(str(gone)) from None
    facts: dict[str, Any] = {"from": str(config.weights), "digest": found.digest}
    try:
        tensors, fitted = transfer.read(found.file)
    except Mistake as mistake:
        right = trained.anew(found.file)
        raise Mistake(f"{KEY}={config.weights}: {mistake}{right}") from None
    if found.run is None:
        return transfer.Start(tensors, facts)
    facts |= {"run": found.run.name, "choices": dict(found.info.get("choices") or {})}
    seen = found.info.get("data") or {}  # of which set, and of which rows in each split
    facts |= {"data": {"digest": seen.get("digest"), "splits": seen.get("splits")}}
    theirs = compose.recorded(found.run).get("preprocessing")
    alike = view.plain(config.preprocessing) == view.plain(theirs)
    if fitted is None and alike:
        try:
            fitted = (checkpoint.of_trained(found.run / "checkpoints") or {}).get("preprocessing")
        except Mistake as mistake:
            raise Mistake(f"{KEY}={config.weights}: {mistake}") from None
    return transfer.Start(tensors, facts, fitted if alike else None)


def warn_of_seen(facts: Mapping[str, Any], data: "Data") -> None:
    """Warn where val and test may hold samples that the weights have been trained on."""
    before = facts.get("data") or {}
    known = before.get("splits") or {}
    here = {name: hash_rows(data.splits[name].rows.numpy()) for name in ("val", "test")}
    if before.get("digest") == data.digest and any(known.get(name) != here[name] for name in here):
        _warn_once(
            f"{KEY}={facts['from']}: were trained on another split of the same data, so that val "
            "and test may hold samples that they know"
        )


def offer(config: DictConfig, expected: Mapping[str, Any]) -> None:
    """Say which settings would give trained weights the images that they know.

    expected: these settings, by their keys. Those that the recipe has are left out.
    """
    if not expected or not (config.model.get(KEY) or config.weights):
        return
    asked: dict[str, Any] = {}
    for key, value in expected.items():
        here = view.plain(OmegaConf.select(config, key))
        there = compose.has(config, key) or key.startswith("preprocessing.")
        fits = not isinstance(value, list) or len(value) == config.facts.shape[0]
        if there and fits and here != value:
            asked[key] = value
    if asked and "standardize" not in (config.preprocessing or {}) and len(asked) > 1:
        asked = {"preprocessing": ["standardize"], **asked}
    if asked and not config.resume:
        words = [f"{key}={shell.spelled(value)}" for key, value in asked.items()]
        _warn_once(f"the trained weights know images as these give them: {shell.line(words)}")


@cache
def _warn_once(text: str) -> None:
    """Warn, however many runs a command builds."""
    _log.warning(text)
