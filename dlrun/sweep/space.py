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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import isfinite, prod
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

Values = dict[str, Any]
"""A value for every dimension, by its key."""


@dataclass(frozen=True)
class Dimension:
    """One key that is searched.

    key: as in the recipe; prefix: `+` or `++` where it was typed so.
    kind: float or int, between low and high, or categorical, one of the choices.
    typed: the choices as one types them.
    zip: the number of the zip it belongs to; those of one zip advance together.
    """

    key: str
    kind: str
    scale: str = "linear"
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] | None = None
    typed: tuple[str, ...] = ()
    prefix: str = ""
    zip: int | None = None

    @property
    def listed(self) -> list[Any]:
        """All values there are, where they can be listed: the choices, or the steps of a range."""
        if self.choices is not None:
            return list(self.choices)
        if self.step is None or self.low is None or self.high is None:
            return []
        count = round((self.high - self.low) / self.step) + 1
        values = [self.low + position * self.step for position in range(count)]
        whole = self.kind == "int"
        return [int(value) if whole else without_noise(value) for value in values]

    def override(self, value: Any) -> str:
        """A value as an override."""
        if self.choices is not None:
            return f"{self.prefix}{self.key}={self.typed[_place(self.choices, value)]}"
        return f"{self.prefix}{self.key}={value!r}"

    def word(self) -> str:
        """The whole dimension as an override; of one that has a single value left, that value."""
        if self.choices is not None:
            return f"{self.prefix}{self.key}={','.join(self.typed)}"
        if self.low == self.high:
            return self.override(self.low)
        if self.step is not None:
            assert self.high is not None
            # The end is left out; a float one may lie anywhere between two steps.
            whole = self.kind == "int"
            end = self.high + self.step if whole else without_noise(self.high + self.step / 2)
            text = f"range({self.low},{end},{self.step})"
        else:
            text = f"interval({self.low},{self.high})"
            text = f"int({text})" if self.kind == "int" else text
        text = f"tag(log,{text})" if self.scale == "log" else text
        return f"{self.prefix}{self.key}={text}"

    def described(self) -> dict[str, Any]:
        """For `sweep.json`."""
        kept = asdict(self)
        return {key: value for key, value in kept.items() if key not in ("typed", "prefix")}


@dataclass(frozen=True)
class Space:
    """The fixed overrides, and the dimensions in the order in which they were typed."""

    fixed: tuple[str, ...]
    dimensions: tuple[Dimension, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of one point, without the fixed ones."""
        return [one.override(values[one.key]) for one in self.dimensions]

    def axes(self) -> list[tuple[Dimension, ...]]:
        """The dimensions, those of one zip together, in their order."""
        found: dict[Any, list[Dimension]] = {}
        for one in self.dimensions:
            found.setdefault(one.key if one.zip is None else one.zip, []).append(one)
        return [tuple(group) for group in found.values()]

    def grid(self) -> list[Values]:
        """All points of the product. Raises Mistake for an interval, and for far too many."""
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
        points: list[Values] = []
        for combination in product(*steps):
            values: Values = {}
            for part in combination:
                values |= part
            points.append({one.key: values[one.key] for one in self.dimensions})
        return points


def read(composer: Composer, words: Sequence[str]) -> tuple[list[str], list[Override]]:
    """The words as fixed overrides and those with several values; the last of a key holds."""
    parsed = composer.parse(words)
    for override in parsed:
        compose.refuse_many(override)
    last = {override.key_or_group: override for override in parsed}
    plain = [o for o in parsed if not o.is_sweep_override()]
    fixed = [o.input_line or "" for o in plain if not last[o.key_or_group].is_sweep_override()]
    return fixed, [o for o in last.values() if o.is_sweep_override()]


def build(
    fixed: Sequence[str],
    sweeps: Sequence[Override],
    base: DictConfig,
    zips: Sequence[Sequence[str]],
    seed: int,
) -> Space:
    """The space of the overrides over the recipe `base`.

    zips: lists of keys that advance together; seed: of `shuffle(...)`.
    Raises Mistake for a zip of unequal lengths or of a key that has one value.
    """
    found = {sweep.key_or_group: _dimension(sweep, base, seed) for sweep in sweeps}
    for number, keys in enumerate(zips):
        for key in keys:
            if key not in found:
                raise Mistake(f"sweep.zip={list(keys)}: {key} has no list of values")
        counts = {key: len(found[key].listed) for key in keys}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            each = ", ".join(f"{key} has {count or 'an interval'}" for key, count in counts.items())
            raise Mistake(f"sweep.zip={list(keys)}: needs lists of one length; {each}")
        for key in keys:
            found[key] = replace(found[key], zip=number)
    return Space(tuple(fixed), tuple(found.values()))


def without_noise(value: float) -> float:
    """A sum of steps as one would write it: 0.3, not 0.30000000000000004."""
    return float(f"{value:.12g}")


def _dimension(override: Override, base: DictConfig, seed: int) -> Dimension:
    key, value = override.key_or_group, override.value()
    sign = override.get_key_element()
    prefix = sign[: len(sign) - len(sign.lstrip("+"))]
    tags = sorted(getattr(value, "tags", ()))
    if tags not in ([], ["log"]):
        other = next(tag for tag in tags if tag != "log")
        raise Mistake(f"{override.input_line}: no tag is called {other!r}; there is log")
    scale = "log" if tags else "linear"
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        if not (isfinite(low) and isfinite(high)):
            raise Mistake(f"{override.input_line}: the bounds of an interval must be finite")
        if low == high and "int(" in (override.input_line or "").replace("interval(", ""):
            raise Mistake(f"{override.input_line}: leaves no two whole numbers to choose from")
        if not low < high:
            raise Mistake(f"{override.input_line}: the first number must be the smaller one")
        if scale == "log" and low <= 0:
            raise Mistake(f"{override.input_line}: a logarithmic range must begin above 0")
        if _whole(override, base, low, high):
            return Dimension(key, "int", scale, int(low), int(high), prefix=prefix)
        return Dimension(key, "float", scale, float(low), float(high), prefix=prefix)
    if isinstance(value, RangeSweep) and not value.shuffle:
        steps = list(value.range())
        if len(steps) > 1 and scale == "linear" and steps[0] < steps[-1]:
            if all(isinstance(step, int) for step in steps):
                by = int(value.step)
                return Dimension(key, "int", scale, steps[0], steps[-1], by, prefix=prefix)
            low, high, step, end = map(
                without_noise, (steps[0], steps[-1], value.step, value.stop or 0.0)
            )
            if high == end:  # left out, but for the noise of adding steps
                high = without_noise(steps[-2])
            return Dimension(key, "float", scale, low, high, step, prefix=prefix)
    shuffled = isinstance(value, ChoiceSweep | RangeSweep) and value.shuffle
    if isinstance(value, ChoiceSweep | RangeSweep):
        value.shuffle = False
    typed = [str(text) for text in override.sweep_iterator(Transformer.str)]
    plain = [Override._convert_value(one) for one in override.sweep_iterator()]
    if not plain:
        raise Mistake(f"{override.input_line}: leaves no value")
    order = [place for place, text in enumerate(typed) if text not in typed[:place]]
    if shuffled:
        random.Random(seed).shuffle(order)
    return Dimension(
        key,
        "categorical",
        scale,
        choices=tuple(plain[place] for place in order),
        typed=tuple(typed[place] for place in order),
        prefix=prefix,
    )


def _whole(override: Override, base: DictConfig, low: float, high: float) -> bool:
    """Whether an interval means whole numbers."""
    text = (override.input_line or "").partition("=")[2]
    if "float(" in text or not (float(low).is_integer() and float(high).is_integer()):
        return False
    now = OmegaConf.select(base, override.key_or_group, default=None)
    bounds = text[text.index("interval(") :]
    decimal = any(sign in bounds.partition(")")[0].removeprefix("interval(") for sign in ".eE")
    return "int(" in text.replace("interval(", "") or (type(now) is int and not decimal)


def _place(choices: Sequence[Any], value: Any) -> int:
    """The place of a choice; 1, 1.0 and true are three of them."""
    for place, choice in enumerate(choices):
        if type(choice) is type(value) and choice == value:
            return place
    return list(choices).index(value)
