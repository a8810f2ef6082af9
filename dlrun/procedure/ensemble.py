"""Several trained runs as one model: the mean of what they say, and what that gains.

Hansen, Salamon 1990; Lakshminarayanan, Pritzel, Blundell 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlrun import shell
from dlrun.data import Data, Split
from dlrun.data.depth import raw_example
from dlrun.engine import committee
from dlrun.engine.committee import MEAN, Answer, Committee, averaged, combined, measured
from dlrun.engine.evaluate import outputs
from dlrun.engine.feed import prepare
from dlrun.engine.run import Run
from dlrun.errors import Mistake
from dlrun.finding import NOTE, Finding, undecided
from dlrun.preprocessing.columns import Columns
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, at_least, procedure
from dlrun.procedure.cross_validate import standard_error
from dlrun.procedure.train import deployable
from dlrun.record import PREDICTIONS, test_set, write_arrays
from dlrun.regularization.dropout import turn_on
from dlrun.report.chart import Chart
from dlrun.shell import typed
from dlrun.test_augmentation import left_out

OUT_OF_BAG = "out_of_bag"
SEEDS = 5
MEMBER, DROPPED = "mean member", "Monte Carlo dropout"
_FEW = 10  # samples of which an error rate is known to some 30 % at best, by 2 standard errors
_SPLITS = {OUT_OF_BAG: "out-of-bag", "val": "validation"}
_NO_TARGET = "its model gives its input back; it has no target"

Rows = NDArray[np.int64]


def _many(runs: Any = None, seeds: int | None = None, **_: Any) -> int:
    """How many seeds an ensemble takes."""
    return 1 if runs is not None else seeds or SEEDS


@procedure(seeds=_many)
def ensemble(
    lab: Lab, runs: Sequence[str] | None = None, seeds: int | None = None, passes: int = 50
) -> Outcome:
    """The procedure `ensemble`; its value is what the recipe monitors, of the ensemble on val.

    runs: which are there; None trains the recipe with so many seeds. passes: of one member with
    its dropout on, to compare with.

    Raises Mistake where these are too few, and where what runs say cannot be put together.
    """
    if runs is not None and seeds is not None:
        raise Mistake(f"procedure.seeds={seeds}: trains new runs, and procedure.runs names others")
    check_count("seeds", seeds, SEEDS if seeds is None else seeds)
    at_least(1, passes=passes)
    if not len(lab.data().val):
        raise Mistake("procedure=ensemble: there is no validation split to measure on")
    if runs is not None:
        members = _found(lab, list(map(str, runs)))
        return together(lab, judge_of(lab), members, passes)
    judge, first = judge_of(lab), int(lab.recipe["seed"])
    wanted = [
        Training(name=f"seed {seed}", settings={"seed": seed}, test=False, export=False)
        for seed in range(first, first + _many(seeds=seeds))
    ]
    return together(lab, judge, lab.train(wanted), passes)


def check_count(setting: str, value: Any, count: int) -> None:
    """Raise Mistake for a setting that asks for an ensemble of one."""
    if count < 2:
        raise Mistake(f"procedure.{setting}={value}: an ensemble has at least 2 members")


def _found(lab: Lab, which: Sequence[str]) -> list[RecordedRun]:
    """The runs that are named, each once."""
    check_count("runs", typed(which), len(which))
    found = [lab.find(one, "runs", other=True) for one in which]
    ids = [run.directory.name for run in found]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice:
        raise Mistake(f"procedure.runs: names {twice} twice")
    return found


def judge_of(lab: Lab) -> Run:
    """A run of the recipe that is never trained: its loss and metrics judge the ensemble.

    Raises Mistake for a recipe that cannot be built, and for one without targets.
    """
    run = lab.untrained()
    if run.reconstructs:
        name = lab.recipe["procedure"]["_target_"].rpartition(".")[2]
        raise Mistake(f"procedure={name}: the model gives its input back; it has no target")
    return run


@dataclass(frozen=True)
class Part:
    """What all members say of some rows.

    y: as the data of the judge give it. z, there: as `committee` has them.
    """

    rows: Rows
    y: Tensor
    z: Tensor
    there: Tensor

    def mean(self, judge: Run, members: int | None = None) -> tuple[Answer, Tensor]:
        """What the first members say together, and the targets, where they say something."""
        there = self.there[:members]
        some = there.any(0)
        return averaged(judge, self.z[:members, some], there[:, some]), self.y[some]


@dataclass(frozen=True)
class Heard:
    """The members' answers by split, what single networks have there, and the members' modules.

    others: by split the values of each, by name: of one member with its dropout on, and of those
    that stand beside the ensemble. data: that each member was trained on; empty as modules are
    where no model is saved.
    """

    parts: Mapping[str, Part]
    others: Mapping[str, Mapping[str, Mapping[str, float]]]
    modules: Sequence[nn.Module]
    data: Sequence[Data]


def together(
    lab: Lab,
    judge: Run,
    runs: Sequence[RecordedRun],
    passes: int,
    own: Sequence[Rows] | None = None,
    beside: Mapping[str, RecordedRun] | None = None,
) -> Outcome:
    """What runs come to as one model: measured, compared, kept, and saved as a model.

    own: rows that each has not been trained on, by which it is judged; None: those of val.
    beside: single runs to compare with, by name.
    """
    data, rows = judge.data, {}
    if own is not None:
        rows[OUT_OF_BAG] = np.unique(np.concatenate(own))
    for name in ("val", "test") if lab.measures_test else ("val",):
        if len(data.splits[name]):
            rows[name] = data.splits[name].rows.numpy()
    heard = _hear(lab, judge, runs, rows, own, passes, beside or {})
    first, *_ = heard.parts
    table = [row for name in heard.parts for row in _rows(judge, name, heard)]
    _keep(lab, judge, heard.parts)
    if heard.modules:
        _export(lab, judge, heard)
    assert lab.record is not None
    if "test" in heard.parts and "test_measured" not in lab.record.info:
        test_set.note(lab.record, judge.facts()["data"])  # a bag has no test split
    key = judge.monitor.rpartition("/")[2]
    values, why = _values(table), _why(judge, heard.parts)
    return Outcome(
        value=values[f"{first}/{key}"],
        runs=runs,
        findings=_gain(judge, heard.parts),
        values=values | {f"{why[0]}/{name}": value for name, value in why[1].items()},
        text="\n".join(
            [
                *(_said(table, name, key, len(runs)) for name in heard.parts if name != "test"),
                *_told(judge, *why, heard.parts),
            ]
        ),
        table=table,
        chart=_chart(judge, heard, table, key),
    )


def _hear(
    lab: Lab,
    judge: Run,
    runs: Sequence[RecordedRun],
    rows: Mapping[str, Rows],
    own: Sequence[Rows] | None,
    passes: int,
    beside: Mapping[str, RecordedRun],
) -> Heard:
    """Ask every member about the rows; of those out of its bag, about its own alone."""
    y, many = judge.data.train.y, judge.data.outputs
    parts = {
        name: Part(
            some,
            y[torch.from_numpy(some)],
            torch.zeros(len(runs), len(some), many, dtype=torch.float64),
            torch.ones(len(runs), len(some), dtype=torch.bool),
        )
        for name, some in rows.items()
    }
    for number, some in enumerate(own or ()):
        parts[OUT_OF_BAG].there[number] = torch.from_numpy(np.isin(rows[OUT_OF_BAG], some))
    others: dict[str, dict[str, dict[str, float]]] = {name: {} for name in parts}
    modules, data = [], []
    for number, recorded in enumerate(runs):
        run = lab.trained(recorded)
        _agree(judge, run, recorded)
        for name, part in parts.items():
            there = part.there[number]
            part.z[number, there] = _ask(run, part.rows[there.numpy()], name)
        if not any(others.values()) and turn_on(run.model, on=False):  # where it has dropout
            torch.manual_seed(int(lab.recipe["seed"]))
            # Not out of the bags: there one member can be asked about a part of the rows alone.
            for name in sorted(parts.keys() - {"test", OUT_OF_BAG}):
                others[name][DROPPED] = _dropped(judge, run, parts[name], passes)
        if lab.exports:
            modules.append(deployable(run))
            data.append(run.data)
        lab.progress(f"asked {number + 1} of {len(runs)} members", number + 1, len(runs))
    for single, recorded in beside.items():
        run = lab.trained(recorded)
        for name in parts.keys() - {OUT_OF_BAG}:  # whose rows it may have been trained on
            z = _ask(run, parts[name].rows, name)
            others[name][single] = measured(judge, committee.alone(judge, z), parts[name].y)
    return Heard(parts, others, modules, data)


def _dropped(judge: Run, run: Run, part: Part, passes: int) -> dict[str, float]:
    """What the mean of passes with dropout on comes to, on the rows of all members.

    Gal, Ghahramani 2016, Dropout as a Bayesian Approximation.
    """
    z = torch.stack([_ask(run, part.rows, drops=True) for _ in range(passes)])
    mean = averaged(judge, z, torch.ones(z.shape[:2], dtype=torch.bool))
    return measured(judge, mean, part.y)


def _ask(run: Run, rows: Rows, name: str = "", drops: bool = False) -> Tensor:
    """(n, outputs) What a run says of these rows; those of test as the recipe augments them."""
    x, y = run.data.train.x, run.data.train.y
    split = Split(x, y, torch.from_numpy(rows))
    feed = prepare(split, run.evaluation, run.device, fixed=False)
    views = run.views if name == "test" else None
    return committee.says(run, outputs(run, feed, views, drops))


def _agree(judge: Run, run: Run, recorded: RecordedRun) -> None:
    """Raise Mistake where the answers of a run are of another kind than the recipe's."""
    said = f"procedure.runs: run {recorded.directory.name}"
    if run.reconstructs:
        raise Mistake(f"{said}: {_NO_TARGET}")
    if not _alike(judge, run):
        raise Mistake(
            f"{said}: was trained with loss={run.loss.name}, whose outputs have no mean with those "
            f"of loss={judge.loss.name}; type loss={run.loss.name} where all have it"
        )


def check_beside(judge: Run, run: Run, setting: str) -> None:
    """Raise Mistake for a single network, not trained yet, that cannot stand beside an ensemble.

    setting: that names it.
    """
    if run.reconstructs:
        raise Mistake(f"{setting}: {_NO_TARGET}")
    if not _alike(judge, run):
        raise Mistake(
            f"{setting}: loss={run.loss.name} has outputs of another kind than "
            f"loss={judge.loss.name}, by which all are measured; leave it out"
        )
    held = [[one.data.splits[name].rows for one in (judge, run)] for name in ("val", "test")]
    if not all(torch.equal(*rows) for rows in held):
        raise Mistake(f"{setting}: has another split of the data, or other data; leave that out")


def _alike(judge: Run, run: Run) -> bool:
    """Whether the outputs of two runs are of one kind."""
    kinds = [committee.are_numbers(one) for one in (judge, run)]
    links = [one.loss.link or one.loss.name for one in (judge, run)]
    return kinds[0] == kinds[1] and (kinds[0] or links[0] == links[1])


def _rows(judge: Run, name: str, heard: Heard) -> list[dict[str, Any]]:
    """Of the closing table; of test, the ensemble and what stands beside it."""
    part = heard.parts[name]
    some = part.there.any(0)
    answers = combined(judge, part.z[:, some], part.there[:, some])
    if name == "test":
        answers = {MEAN: answers[MEAN]}
    rows: list[dict[str, Any]] = [
        {"": said, "on": name, **measured(judge, answer, part.y[some])}
        for said, answer in answers.items()
    ]
    rows += [{"": said, "on": name, **values} for said, values in heard.others[name].items()]
    if name == "test":
        return rows
    each = [
        measured(judge, committee.alone(judge, z[there]), part.y[there])
        for z, there in zip(part.z, part.there, strict=True)
    ]
    mean = {key: float(np.mean([values[key] for values in each])) for key in each[0]}
    return [{"": MEMBER, "on": name, **mean}, *rows]


def _values(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The record's point: the ensemble's values by split, the others' under their names."""
    found: dict[str, float] = {}
    for row in table:
        split, name = row["on"], row[""]
        start = split if name == MEAN else f"{split}_{name.lower().replace(' ', '_')}"
        found |= {f"{start}/{key}": row[key] for key in row if key not in ("", "on")}
    return found


def _said(table: Sequence[Mapping[str, Any]], split: str, key: str, members: int) -> str:
    """What the ensemble gains on a split."""
    of = {row[""]: row[key] for row in table if row["on"] == split and key in row}
    others = ", ".join(f"{name} {of[name]:.4g}" for name in (MEMBER, DROPPED) if name in of)
    return (
        f"{split}/{key} {of[MEAN]:.4g} by the mean of {shell.counted(members, 'member')}; {others}"
    )


def _gain(judge: Run, parts: Mapping[str, Part]) -> list[Finding]:
    """Whether the ensemble names more classes or labels of val rightly than the mean member.

    Of numbers and of probabilities the mean is never worse: their errors are convex.
    """
    val = parts.get("val")
    if committee.are_numbers(judge) or val is None or len(val.y) < 2:
        return []
    answer, y = val.mean(judge)
    assert answer.logits is not None
    one, each = (committee.right(judge, z, y).mean(0) for z in (answer.logits[None], val.z))
    gains = (one - each).numpy()
    gain, error = float(gains.mean()), standard_error(gains)
    if not gains.any():
        same = "The ensemble answers the same samples of val rightly as the mean member does."
        return [Finding("inconclusive", NOTE, same, {"gain": gain, "standard_error": error})]
    if abs(gain) > 2 * error:
        return []
    said = f"The ensemble is right on as much of val as the mean member, ± {error:.2%}"
    if not isclose(gain, 0, abs_tol=1e-9):  # what rounding leaves
        more = "more" if gain > 0 else "less"
        said = (
            f"The ensemble is right on {abs(gain):.2%} ± {error:.2%} {more} of val than the mean "
            "member"
        )
    return [undecided(said, gain, error, len(gains))]


def _why(judge: Run, parts: Mapping[str, Part]) -> tuple[str, dict[str, float]]:
    """Bias and variance of the members, and on which split: of those that all have answered."""
    for name in ("test", "val"):
        if name in parts:
            return name, committee.decomposed(judge, parts[name].z, parts[name].y)
    return "", {}


def _told(judge: Run, split: str, why: Mapping[str, float], parts: Mapping[str, Part]) -> list[str]:
    """Why members are wrong, in a line, where that is known."""
    if not why:
        return []
    error, bias, variance = why.values()
    count, numbers = len(parts[split].rows), committee.are_numbers(judge)
    on = f"on {shell.counted(count, 'sample')} of {split}"
    if count < _FEW:
        return [f"bias and variance {on} are not shown: so few say next to nothing of them"]
    what = "squared error" if numbers else "error rate"
    net = " (net: below 0 where members that differ from the vote are right, Domingos 2000)"
    return [
        f"{what} of a member {on}: {error:.4g} = bias and noise {bias:.4g} + variance "
        f"{variance:.4g}{'' if numbers else net}; without several labels of a sample, noise "
        "cannot be told from bias"
    ]


def _keep(lab: Lab, judge: Run, parts: Mapping[str, Part]) -> None:
    """Write what the ensemble and its members say into the procedure's record."""
    found = []
    for name, part in parts.items():
        answer, y = part.mean(judge)
        some = part.there.any(0)
        said, so = committee.output(judge, answer, y)
        z = part.z if committee.are_numbers(judge) else judge.loss.scores(part.z)
        members = z.masked_fill(~part.there[..., None], torch.nan)[:, some]
        rows = part.rows[some.numpy()]
        found.append((rows, np.full(len(rows), name), so, said, members.transpose(0, 1)))
    names = ("row", "split", "y", "output", "members")
    arrays = (np.concatenate(each) for each in zip(*found, strict=True))
    assert lab.directory is not None
    write_arrays(lab.directory / PREDICTIONS, **dict(zip(names, arrays, strict=True)))


def _export(lab: Lab, judge: Run, heard: Heard) -> None:
    """Save the ensemble as one model.

    Of a table, each member may have learned its own columns, which then stand side by side.
    """
    from dlrun.tracking.model import save_model
    from dlrun.tracking.together import together

    assert lab.record is not None
    modules, data = heard.modules, heard.data[:1]
    tables = [each.reading for each in heard.data if "columns" in each.reading]
    if any(each != tables[0] for each in tables):
        data = heard.data
        ends = np.cumsum([each.shape[0] for each in data]).tolist()
        modules = [
            Columns(range(end - each.shape[0], end)) for each, end in zip(data, ends, strict=True)
        ]
        modules = [nn.Sequential(*pair) for pair in zip(modules, heard.modules, strict=True)]
    lab.record.brings("model")
    example = torch.cat([raw_example(each) for each in data], 1)
    can = save_model(
        Committee(modules, judge.loss, together(modules, example)).eval(),
        example,
        lab.record.directory / "model",
        classes=judge.classes,
        reading=None if tables else judge.data.reading,
        tables=tables[: len(data)],
        views=left_out(judge.views, judge.evaluation, example),
    )
    if not can:
        lab.record.brings("model", False)


def _chart(judge: Run, heard: Heard, table: Sequence[Mapping[str, Any]], key: str) -> Chart:
    """What is monitored by the number of members, the first ones of them.

    On rows that every member answers, where there are some: else each number has rows of its own.
    """
    split = "val" if "val" in heard.parts else next(iter(heard.parts))
    part = heard.parts[split]
    counts = list(range(1, len(part.z) + 1))
    curve = [measured(judge, *part.mean(judge, many))[key] for many in counts]
    found = {row[""]: row[key] for row in table if row["on"] == split and key in row}
    levels = {name: found[name] for name in (MEMBER, *heard.others[split]) if name in found}
    label = f"{_SPLITS[split]} {key.replace('_', ' ')}"
    return Chart("members", "members", label, counts, {"ensemble": curve}, levels=levels)
