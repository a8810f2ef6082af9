"""Bagging: the recipe trained on samples of its training split, drawn with replacement.

Breiman 1996, Bagging Predictors; with subsets of the columns Ho 1998, Random Subspaces.
"""

from collections.abc import Mapping
from typing import Any

import torch

from dlrun.data import Data
from dlrun.data import split as splits
from dlrun.data.sample import make_generator
from dlrun.errors import Mistake
from dlrun.procedure import Lab, Outcome, Training, at_least, procedure
from dlrun.procedure.contrast import labs
from dlrun.procedure.ensemble import OUT_OF_BAG, Rows, check_beside, check_count, judge_of, together

_COLUMNS = 10  # a use of the seed; others are elsewhere


def _many(models: int = 10, **_: Any) -> int:
    """How many seeds bagging takes."""
    return models


@procedure(seeds=_many, split=OUT_OF_BAG)
def bagging(
    lab: Lab,
    models: int = 10,
    features: float | str | None = None,
    passes: int = 50,
    beside: Mapping[str, Any] | None = None,
) -> Outcome:
    """The procedure `bagging`; its value is what the recipe monitors, of the rows out of the bags.

    models: how many; each has its own seed, which also draws its rows and columns, and stops and
        chooses its weights by the rows that it has not drawn. features: how many columns of a
        table each sees, or what share of them; None for all. passes: of one member with its
        dropout on, to compare with. beside: the words of single networks to compare with, by
        name; each is trained on all rows of the training split.

    Raises Mistake where a setting is out of range, or a single network is of another kind.
    """
    check_count("models", models, models)
    at_least(1, passes=passes)
    singles = labs(lab, beside or {}, "beside")
    data, first = lab.data(), int(lab.recipe["seed"])
    seed = int(lab.recipe["data"].get("split_seed") or 0) + first
    many = None if features is None else _how_many(data, features)
    bags = [drawn(data, seed + number) for number in range(models)]
    judge = judge_of(lab)
    for name, single in singles.items():
        check_beside(judge, single.untrained(), f"procedure.beside.{name}")
    wanted = [
        Training(
            name=f"model {number + 1}",
            settings={"seed": first + number} | _seeing(lab, data, many, seed + number),
            rows={"train": bag.tolist(), "val": rest.tolist()},
            test=False,
            export=False,
        )
        for number, (bag, rest) in enumerate(bags)
    ]
    runs = lab.train(wanted)
    alone = {name: each.train([Training(name, test=False)])[0] for name, each in singles.items()}
    return together(lab, judge, runs, passes, [rest for _, rest in bags], alone)


def drawn(data: Data, seed: int) -> tuple[Rows, Rows]:
    """As many rows of the training split as it has, with replacement, and those never drawn.

    A group is drawn whole. Raises Mistake where every row is drawn.
    """
    rows = data.train.rows.numpy()
    groups = None if data.groups is None else data.groups.numpy()[rows]
    bag, rest = splits.bootstrap(len(rows), seed, groups)
    if not len(rest):
        raise Mistake(
            f"procedure=bagging: a sample of the {len(rows):,} rows has all of them, which leaves "
            "none to stop and to measure by; there are too few"
        )
    return rows[bag], rows[rest]


def columns(count: int, many: int, seed: int) -> list[int]:
    """So many of the columns 0 to count−1, in order."""
    order = torch.randperm(count, generator=make_generator(_COLUMNS, seed, 0))
    return sorted(order[:many].tolist())


def _how_many(data: Data, features: float | str) -> int:
    """The number of columns. Raises Mistake where there are not so many, or none at all."""
    said = f"procedure.features={features}"
    if len(data.shape) != 1:
        shape = "×".join(map(str, data.shape))
        raise Mistake(
            f"{said}: is for the columns of a table; samples of data={data.name} are {shape}; "
            "leave it out"
        )
    there = len(_encoded(data)) or data.shape[0]
    try:
        return splits.read_amount("features", features, there, "columns")
    except ValueError as error:
        raise Mistake(f"{said}: {str(error).removeprefix('features ')}") from None


def _encoded(data: Data) -> list[str]:
    """The columns of a table whose inputs depend on the rows that are trained on; else none."""
    table = data.reading.get("columns") or ()
    depends = any(column["kind"] == "text" or column["absent"] for column in table)
    return [column["name"] for column in table] if depends else []


def _seeing(lab: Lab, data: Data, many: int | None, seed: int) -> dict[str, Any]:
    """The settings of a model that sees so many columns."""
    if many is None:
        return {}
    names = list(lab.recipe["preprocessing"] or {})
    if "columns" in names:
        raise Mistake("procedure.features: chooses columns, and so does preprocessing=[columns]")
    if table := _encoded(data):
        return {"data.features": [table[place] for place in columns(len(table), many, seed)]}
    return {
        "preprocessing": ["columns", *names],
        "preprocessing.columns.keep": columns(data.shape[0], many, seed),
    }
