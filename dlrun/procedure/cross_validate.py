"""Cross-validation: the recipe trained on all folds but one, and measured on that one, in turn."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isclose, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlrun.data import split as splits
from dlrun.errors import Mistake
from dlrun.finding import WARN, Finding, undecided
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, at_least, procedure
from dlrun.record import PREDICTIONS, the_arrays, write_arrays

HELD_OUT = "held_out"


@dataclass(frozen=True)
class Fold:
    """One training of the procedure. rows: of the set, by the names of the splits."""

    repeat: int
    number: int
    rows: Mapping[str, NDArray[np.int64]]


@procedure(split=HELD_OUT)
def cross_validate(lab: Lab, folds: int = 5, repeats: int = 1, val: float | str = "10%") -> Outcome:
    """The procedure `cross_validate`; its value is the mean over the folds of what is monitored.

    The folds are dealt out of train and val; nothing looks at test. A run trains on all folds
    but one. It stops, and its weights are chosen, by a part `val` of its own training rows.

    Raises Mistake where a setting is out of range.
    """
    at_least(1, repeats=repeats)
    data = lab.data()
    seed = int(lab.recipe["data"].get("split_seed") or 0)
    rows = np.sort(np.concatenate([data.train.rows.numpy(), data.val.rows.numpy()]))
    of = None if data.groups is None else data.groups.numpy()
    dealt = list(deal(rows, data.train.y.numpy(), folds, repeats, val, seed, of))
    runs = lab.train([_training(fold, repeats) for fold in dealt])
    key = f"{HELD_OUT}/{runs[0].info['monitor'].rpartition('/')[2]}"
    values = np.array([run.last[key] for run in runs])
    mean, error = float(values.mean()), standard_error(values)
    kept = _keep(lab, dealt, runs)
    many = f"{folds} folds" if repeats == 1 else f"{folds} folds, {repeats} times"
    thinned = lab.recipe["data"].get("samples")
    pool = f"; data.samples={thinned} leaves {len(rows):,} rows of train and val" if thinned else ""
    return Outcome(
        value=mean,
        runs=runs,
        findings=_findings(lab, dealt, kept),
        values={key: mean, f"{key}_stderr": error},
        text=f"{key} {mean:.4g} ± {error:#.2g} (mean ± standard error over {many}){pool}",
        table=[_row(fold, run, repeats) for fold, run in zip(dealt, runs, strict=True)],
    )


def deal(
    rows: NDArray[np.int64],
    y: NDArray[Any],
    folds: int,
    repeats: int,
    val: float | str,
    seed: int,
    groups: NDArray[Any] | None = None,
) -> Iterator[Fold]:
    """The trainings of the procedure, repeat by repeat.

    Where `val` is a share, all train on equally many rows, so that they can do so at once: what
    a fold has less than another goes to `val`.
    rows: of the set, to be dealt out. y, groups: of all rows of the set; a group stays in one
    fold. Raises Mistake where a setting is out of range.
    """
    kinds, of = y[rows], None if groups is None else groups[rows]
    for repeat in range(repeats):
        with _naming("folds", folds):
            dealt = splits.folds(kinds, folds, seed + repeat, of)
        fewest = len(rows) - max(map(len, dealt))
        for number, fold in enumerate(dealt):
            left = np.setdiff1d(np.arange(len(rows)), fold)
            more = len(left) - fewest if str(val).strip().endswith("%") and of is None else 0
            with _naming("val", val):
                many = splits.read_amount("val", val, len(left) - more) + more
                if many == len(left):
                    raise ValueError("must leave samples for training")
            chosen = splits.part(kinds[left], many, seed + repeat, None if of is None else of[left])
            parts = {"train": np.delete(left, chosen), "val": left[chosen], HELD_OUT: fold}
            yield Fold(repeat, number, {name: rows[some] for name, some in parts.items()})


def standard_error(values: NDArray[np.float64]) -> float:
    """s/√n, by the n − 1 in s."""
    return float(values.std(ddof=1) / sqrt(len(values)))


@contextmanager
def _naming(setting: str, value: Any) -> Iterator[None]:
    """Inside, a ValueError is a Mistake in this setting."""
    try:
        yield
    except ValueError as error:
        said = str(error).removeprefix(f"{setting} ")
        raise Mistake(f"procedure.{setting}={value}: {said}") from None


def _training(fold: Fold, repeats: int) -> Training:
    name = f"fold {fold.number + 1}"
    return Training(
        name=name if repeats == 1 else f"repeat {fold.repeat + 1} {name}",
        rows={split: rows.tolist() for split, rows in fold.rows.items()},
        predict=HELD_OUT,
        test=False,
        export=False,
    )


def _row(fold: Fold, run: RecordedRun, repeats: int) -> dict[str, Any]:
    """Of the closing table."""
    start = f"{HELD_OUT}/"
    measured = {name: value for name, value in run.last.items() if name.startswith(start)}
    which = {"repeat": fold.repeat + 1} if repeats > 1 else {}
    return {
        **which,
        "fold": fold.number + 1,
        "samples": len(fold.rows[HELD_OUT]),
        **measured,
        run.info["monitor"]: run.value,
        "at epoch": f"{run.last['best/epoch']:.4g}",
    }


def _keep(
    lab: Lab, dealt: Sequence[Fold], runs: Sequence[RecordedRun]
) -> Mapping[str, NDArray[Any]]:
    """Write all out-of-fold predictions into the procedure's record, by repeat and row."""
    parts = []
    for fold, run in zip(dealt, runs, strict=True):
        part = the_arrays(run.directory / PREDICTIONS)
        many = len(part["row"])
        parts.append(part | {"fold": np.full(many, fold.number + 1)})
        parts[-1]["repeat"] = np.full(many, fold.repeat + 1)
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((whole["row"], whole["repeat"]))
    assert lab.directory is not None
    kept = {name: some[order] for name, some in whole.items()}
    write_arrays(lab.directory / PREDICTIONS, **kept)
    return kept


def _findings(lab: Lab, dealt: Sequence[Fold], kept: Mapping[str, NDArray[Any]]) -> list[Finding]:
    """Whether the answers on the folds tell anything from naming the most frequent class always.

    By the difference on each sample, to two standard errors. That of the same sample in several
    repeats counts once, because repeats are no more samples.
    """
    labels = lab.data().train.y.numpy()
    if not lab.data().classes or kept["y"].ndim > 1:
        return []
    gained = (kept["output"].argmax(1) == kept["y"]).astype(float)
    for fold in dealt:
        named = np.bincount(labels[fold.rows["train"]]).argmax()
        here = (kept["repeat"] == fold.repeat + 1) & (kept["fold"] == fold.number + 1)
        gained[here] -= kept["y"][here] == named
    gains = gained.reshape(-1, len(np.unique(kept["row"]))).mean(0)
    gain, error = float(gains.mean()), standard_error(gains)
    numbers = {"gain": gain, "standard_error": error}
    if not gains.any():
        same = "on the folds the network is right exactly where the most frequent class would be."
        return [Finding("simpler_would_do", WARN, same, numbers)]
    side = f"{abs(gain):.2%} ± {error:.2%} {'above' if gain > 0 else 'below'}"
    if isclose(gain, 0, abs_tol=1e-9):  # what rounding leaves
        side = f"the same, ± {error:.2%}, as"
    said = f"accuracy on the folds is {side} that of always naming the most frequent class"
    if gain > 2 * error:
        return []
    if gain < -2 * error:
        return [Finding("simpler_would_do", WARN, f"{said}.", numbers)]
    return [undecided(said, gain, error, len(gains))]
