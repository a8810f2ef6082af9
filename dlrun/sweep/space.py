"""The overrides of a sweep: fixed ones, and dimensions with several values.

In Hydra's own grammar:

    optimizer.lr=0.1,0.01                     a choice; also choice(0.1,0.01)
    optimizer=sgd,adam                        options of a group; also glob(*)
    'regularization=[l2],[dropout]'           lists
    batch_size=range(16,65,16)                whole numbers: 16, 32, 48, 64
    optimizer.lr=interval(0.001,0.1)          any number between; needs a sampler
    optimizer.lr=tag(log,interval(1e-6,1e-3)) the same, evenly in its logarithm
    model.width='int(interval(8,64))'         whole numbers only

Whole bounds of a setting that is a whole number mean whole numbers as well.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import exp, inf, isfinite, log, prod, sqrt
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun.errors import Mistake
from dlrun.recipe import compose
from dlrun.recipe.compose import (
    ChoiceSweep,
    Composer,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from dlrun.record.sweep import SEED, WITHOUT, Dimension, named, without_noise

Values = dict[str, Any]
"""A value for every dimension, by its key."""


@dataclass(frozen=True)
class Space:
    """The dimensions, in the order typed.

    points: of an ablation the words of each point, by what it goes without. typed: how many values
    were typed of each key that has a list, before those that came again were left out.
    """

    dimensions: tuple[Dimension, ...]
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)
    typed: Mapping[str, int] = field(default_factory=dict)

    @property
    def of_losses(self) -> bool:
        """Whether points have different losses, or one with different settings."""
        apart = [one.key for one in self.dimensions if one.ranged or len(set(one.names)) > 1]
        return any(key.partition(".")[0] == "loss" for key in apart)

    @property
    def again(self) -> str:
        """What of the space was typed more than once, in one line; "" where nothing was."""
        keys = [one.key for one in self.dimensions if self.typed.get(one.key, 0) > len(one.choices)]
        if not keys:
            return ""
        line = f"{', '.join(keys)}: a value that is typed again counts once"
        if not all(one.listed for one in self.dimensions):
            return line
        axes = self.axes()
        kept = prod(len(axis[0].listed) for axis in axes)
        every = prod(self.typed.get(axis[0].key, len(axis[0].listed)) for axis in axes)
        return f"{line}; of {every:,} points {every - kept:,} left out"

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of one point."""
        if self.points:
            return list(self.points[values[WITHOUT]])
        return [one.override(values[one.key]) for one in self.dimensions]

    def named(self, values: Mapping[str, Any]) -> list[str]:
        """What a point is called by: its overrides, or what it goes without."""
        return [f"{WITHOUT}={values[WITHOUT]}"] if self.points else self.overrides(values)

    def axes(self) -> list[tuple[Dimension, ...]]:
        """The dimensions in their order, those of one zip together."""
        found: dict[Any, list[Dimension]] = {}
        for one in self.dimensions:
            found.setdefault(one.key if one.zip is None else one.zip, []).append(one)
        return [tuple(group) for group in found.values()]

    def grid(self) -> list[Values]:
        """All points of the product. Raises Mistake for an interval, and for too many points."""
        steps = []
        for group in self.axes():
            for one in group:
                if not one.listed:
                    raise Mistake(
                        f"{one.word()}: a grid needs a list of values; an interval needs "
                        "a sampler, e.g. sweep=random sweep.trials=20"
                    )
            columns = zip(*(one.listed for one in group), strict=True)
            steps.append([dict(zip([o.key for o in group], c, strict=True)) for c in columns])
        count = prod(map(len, steps))
        if count > compose.MOST:
            raise Mistake(
                f"a grid of {count:,} points is too large, the most are {compose.MOST:,}; "
                "try some of them with sweep=random sweep.trials=20"
            )
        points = [{key: part[key] for part in parts for key in part} for parts in product(*steps)]
        return [{one.key: values[one.key] for one in self.dimensions} for values in points]

    def around(
        self, best: Sequence[Mapping[str, Any]], margin: float, refine: bool = False
    ) -> "Space":
        """The space narrowed to where the best points are, for the stage that follows.

        Numbers: to their range, widened on either side by `margin` of the whole range, on the
        dimension's own scale, and never beyond it. Choices: to those that occur; with `refine`,
        listed numbers to them and to others between and beside them. What is zipped stays whole,
        and so do the seeds, which repeat every point.
        """
        narrowed = [
            one
            if one.zip is not None or one.key == SEED
            else _narrowed(one, [point[one.key] for point in best], margin, refine)
            for one in self.dimensions
        ]
        return Space(tuple(narrowed))


def read(composer: Composer, words: Sequence[str]) -> tuple[list[Override], list[Override]]:
    """The fixed overrides, and those with several values; the last one of a key counts."""
    parsed = composer.parse(words)
    for override in parsed:
        compose.refuse_many(override)
    last = {override.key_or_group: override for override in parsed}
    plain = [o for o in parsed if not o.is_sweep_override()]
    fixed = [o for o in plain if not last[o.key_or_group].is_sweep_override()]
    return fixed, [o for o in last.values() if o.is_sweep_override()]


def lines(overrides: Iterable[Override]) -> list[str]:
    """The overrides as typed."""
    return [override.input_line or "" for override in overrides]


def build(
    sweeps: Sequence[Override], base: DictConfig, zips: Sequence[Sequence[str]], seed: int
) -> Space:
    """The space of the overrides `sweeps` over the recipe `base`.

    zips: lists of keys that advance together; seed: of `shuffle(...)`.
    Raises Mistake for a zip of unequal lengths or of a key that has one value.
    """
    together = {key for keys in zips for key in keys}
    found = {
        sweep.key_or_group: _dimension(sweep, base, seed, sweep.key_or_group in together)
        for sweep in sweeps
    }
    for number, keys in enumerate(zips):
        for key in keys:
            if key not in found:
                raise Mistake(f"sweep.zip={list(keys)}: {key} has no list of values")
        counts = {key: len(found[key].listed) for key in keys}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            each = ", ".join(f"{key} has {count or 'an interval'}" for key, count in counts.items())
            raise Mistake(f"sweep.zip={list(keys)}: needs lists of one length; {each}")
        rows = list(zip(*(map(named, found[key].listed) for key in keys), strict=True))
        first = [place for place, row in enumerate(rows) if row not in rows[:place]]
        for key in keys:
            one = replace(found[key], zip=number)
            if len(first) < len(rows):  # only lists have repeats
                choices, typed = ([some[at] for at in first] for some in (one.choices, one.typed))
                one = replace(one, choices=tuple(choices), typed=tuple(typed))
            found[key] = one
    listed = [sweep for sweep in sweeps if found[sweep.key_or_group].choices]
    many = {sweep.key_or_group: len(list(sweep.sweep_iterator())) for sweep in listed}
    return Space(tuple(found.values()), typed=many)


def _narrowed(one: Dimension, values: Sequence[Any], margin: float, refine: bool) -> Dimension:
    """A dimension narrowed to the best values."""
    if refine and one.numeric and not one.ranged and min(one.choices) > 0:
        found = {named(each): each for value in values for each in _finer(value, one.choices)}
        finer = sorted(found.values())
        return replace(one, choices=tuple(finer), typed=tuple(map(repr, finer)))
    if not one.ranged:
        kept = [at for at, choice in enumerate(one.choices) if choice in values]
        choices, typed = ([words[at] for at in kept] for words in (one.choices, one.typed))
        return replace(one, choices=tuple(choices), typed=tuple(typed))
    first, last = one.ends
    there, back = (log, exp) if one.scale == "log" else (float, float)
    wide = margin * (there(last) - there(first))
    ends = back(there(min(values)) - wide), back(there(max(values)) + wide)
    # Rounding may lead beyond the range, so that comes first.
    low, high = (min(max(one.rounded(end), first), last) for end in ends)
    return replace(one, low=low, high=high)


def _finer(value: float, listed: Sequence[float]) -> list[float]:
    """A value of a list, and its half, double and triple as far as they lie between its neighbours.

    On a side where none of them does it is the geometric mean with the neighbour. At an end of
    the list there is none, so they lead beyond it.
    """
    below = max((each for each in listed if each < value), default=0.0)
    above = min((each for each in listed if each > value), default=inf)
    lower = [value / 2] if value / 2 > below else [sqrt(value * below)]
    upper = [each for each in (2 * value, 3 * value) if each < above] or [sqrt(value * above)]
    whole = all(isinstance(each, int) for each in listed)
    rounded = [max(1, round(each)) if whole else float(f"{each:.2g}") for each in lower + upper]
    return [*rounded, value]


def _dimension(override: Override, base: DictConfig, seed: int, repeats: bool) -> Dimension:
    """The dimension of one override. Raises Mistake if it has no values.

    repeats: whether a value may come again, as beside others of a zip.
    """
    value, sign = override.value(), override.get_key_element()
    tags = sorted(getattr(value, "tags", ()))
    if tags not in ([], ["log"]):
        other = next(tag for tag in tags if tag != "log")
        raise Mistake(f"{override.input_line}: no tag is called {other!r}; there is log")
    blank = Dimension(
        override.key_or_group,
        scale="log" if tags else "linear",
        prefix=sign[: len(sign) - len(sign.lstrip("+"))],
    )
    if isinstance(value, IntervalSweep):
        return _interval(override, base, blank)
    if isinstance(value, RangeSweep) and not value.shuffle and (steps := _steps(value, blank)):
        return steps
    shuffled = isinstance(value, ChoiceSweep | RangeSweep) and value.shuffle
    if isinstance(value, ChoiceSweep | RangeSweep):
        value.shuffle = False  # Hydra would shuffle anew every time
    typed = [str(text) for text in override.sweep_iterator(Transformer.str)]
    choices = [Override._convert_value(one) for one in override.sweep_iterator()]
    if not choices:
        raise Mistake(f"{override.input_line}: leaves no value")
    order = [n for n, text in enumerate(typed) if repeats or text not in typed[:n]]
    if shuffled:
        random.Random(seed).shuffle(order)
    return replace(
        blank,
        choices=tuple(choices[place] for place in order),
        typed=tuple(typed[place] for place in order),
    )


def _interval(override: Override, base: DictConfig, blank: Dimension) -> Dimension:
    """An interval of numbers, whole ones if that is meant. Raises Mistake for wrong bounds."""
    line, value = override.input_line or "", override.value()
    assert isinstance(value, IntervalSweep)
    assert value.start is not None
    assert value.end is not None
    low, high = value.start, value.end
    if not (isfinite(low) and isfinite(high)):
        raise Mistake(f"{line}: the bounds of an interval must be finite")
    if low == high and "int(" in line.replace("interval(", ""):
        raise Mistake(f"{line}: leaves no two whole numbers to choose from")
    if not low < high:
        raise Mistake(f"{line}: the first number must be the smaller one")
    if blank.scale == "log" and low <= 0:
        raise Mistake(f"{line}: a logarithmic range must begin above 0")
    if _whole(override, base, low, high):
        return replace(blank, kind="int", low=int(low), high=int(high))
    return replace(blank, kind="float", low=float(low), high=float(high))


def _steps(value: RangeSweep, blank: Dimension) -> Dimension | None:
    """A range of rising steps; None for any other, which becomes a list."""
    steps: list[Any] = list(value.range())
    if len(steps) < 2 or blank.scale == "log" or steps[0] > steps[-1]:
        return None
    if all(isinstance(step, int) for step in steps):
        return replace(blank, kind="int", low=steps[0], high=steps[-1], step=int(value.step))
    low, high, step = map(without_noise, (steps[0], steps[-1], value.step))
    if high == without_noise(value.stop or 0.0):  # left out, but for the noise of adding steps
        high = without_noise(steps[-2])
    return replace(blank, kind="float", low=low, high=high, step=step)


def _whole(override: Override, base: DictConfig, low: float, high: float) -> bool:
    """Whether an interval means whole numbers."""
    text = (override.input_line or "").partition("=")[2]
    if "float(" in text or not (float(low).is_integer() and float(high).is_integer()):
        return False
    now = OmegaConf.select(base, override.key_or_group, default=None)
    bounds = text[text.index("interval(") :]
    decimal = any(sign in bounds.partition(")")[0].removeprefix("interval(") for sign in ".eE")
    return "int(" in text.replace("interval(", "") or (type(now) is int and not decimal)
