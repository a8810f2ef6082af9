"""What `expect` may say: values with their tolerances, by names that something can come to have.

A name is refused only where nothing can have it: those of sweeps, procedures and further splits
are known once they have run.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dlrun import finding
from dlrun.format import is_number
from dlrun.recipe import suggest, view
from dlrun.recipe.schema import is_list
from dlrun.shell import shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FOUND = "finding/"
_MEASURED = ("val", "test", "train_eval")
"""The splits on which the loss, the metric of the task and the chosen metrics are measured."""
_USUAL = ("loss", "accuracy", "mae")
"""What is measured on every split; the task decides between the last two."""


def problems(config: "DictConfig") -> Iterator[str]:
    """What is wrong with the expectations of a recipe and of its short form, one message each."""
    yield from _each("expect", config.expect)
    short = config.short
    if short is not None and not _is_short_form(short):
        right = "write short=true, or in a file {words: [epochs=2], expect: {...}}"
        yield f"short={shown(short)}: {right}"
    elif short is not None:
        yield from _each("short.expect", short.get("expect"))


def unmeasured(config: "DictConfig") -> Iterator[str]:
    """The expectations of a recipe that its training, as one run, does not measure."""
    short = (config.short or {}).get("expect")
    for key, expect in (("expect", config.expect), ("short.expect", short)):
        for name in expect or {}:
            if wrong := _unmeasured(str(name), config):
                yield f"{key}: {name}: {wrong}"


def _each(key: str, expect: Any) -> Iterator[str]:
    """What is wrong with some expectations; key: where they stand."""
    if expect is None:
        return
    if not isinstance(expect, Mapping):
        right = "write values and tolerances by names: {val/accuracy: [0.95, 0.02]}"
        yield f"{key}={shown(expect)}: {right}"
        return
    for name, asked in expect.items():
        if not _is_value(asked):
            right = "write a number, or [number, tolerance] with a tolerance of at least 0"
            yield f"{key}: {name}={shown(view.plain(asked))}: {right}"
        elif wrong := _misnamed(str(name)):
            yield f"{key}: {name}: {wrong}"


def _misnamed(name: str) -> str:
    """Why no finding has a name; empty where one has it, or where it is of no finding."""
    before, mark, found = name.rpartition(_FOUND)
    if not mark or found in finding.NAMES:
        return ""
    near = suggest.nearest(found, list(finding.NAMES), f"{before}{_FOUND}{{}}")
    return f"no finding is called {found!r}{near}"


def _unmeasured(name: str, config: "DictConfig") -> str:
    """Why a training does not measure what a name says; empty where it may."""
    if " " in name:
        return ""
    split, _, measured = name.partition("/")
    chosen = [str(metric) for metric in config.metric or ()]
    right = suggest.measure(split, measured, [*_USUAL, *chosen], chosen)
    if split in _MEASURED:
        return f"is not measured{right}" if measured not in (*_USUAL, *chosen) else ""
    if split != "train" or measured in (*_USUAL, "objective", *_penalties(config)):
        return ""  # nothing is known of what others may record of training
    near = suggest.nearest(measured, _USUAL, "train/{}")
    return f"is not measured{near}" if near else ""


def _penalties(config: "DictConfig") -> list[str]:
    """What regularizers are called where their penalties are recorded: by their classes."""
    options = (config.regularization or {}).values()
    return [str(one.get("_target_", "")).rpartition(".")[2].lower() for one in options]


def _is_value(asked: Any) -> bool:
    """Whether it is a value alone or with a tolerance."""
    pair = list(asked) if is_list(asked) else [asked, 0.0]
    return len(pair) == 2 and all(map(is_number, pair)) and pair[1] >= 0


def _is_short_form(value: Any) -> bool:
    """Whether it is overrides, and maybe what to expect of them."""
    if not isinstance(value, Mapping):
        return False
    words = value.get("words")
    lines: Any = words if is_list(words) else [words]
    texts = bool(lines) and all(isinstance(line, str) for line in lines)
    return texts and {"words", "expect"} >= set(value)
