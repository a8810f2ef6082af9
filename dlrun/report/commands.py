"""The commands that the critic proposes: what was typed, with something changed."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from dlrun import shell
from dlrun.record import FAILED, KILLED
from dlrun.record.sweep import SEED, Point, Sweep

_OF_THE_SWEEP = ("sweep", "hydra")
_WHERE = ("hydra/launcher", "hydra.launcher", "sweep.parallel", "sweep.stack")
"""The beginnings of words that say where the runs of a sweep are trained, and how many at once."""


def again(sweep: Sweep, changes: Mapping[str, str | None]) -> str:
    """The sweep's own command with other words for some keys; None leaves a key out."""
    words = shlex.split(sweep.command)[1:] or ["-m"]
    return shell.line(["dlrun", *shell.replaced(words, changes)])


def once(sweep: Sweep, point: Point, *more: str) -> str:
    """One run of a point's recipe: of several seeds the one that failed, or the first."""
    more = (*_seed(sweep, point), *more)
    words = [*_recipe(sweep, point.words, more), *more]
    if any(shell.key(word) == "experiment" for word in words):
        words.append(shell.ONE_RUN)
    return shell.line(["dlrun", *_directories(sweep), *words])


def compare(sweep: Sweep, points: Sequence[Point], repeats: int) -> str:
    """A grid of nothing but these points, each with so many seeds."""
    keys = list(points[0].words)
    words, apart = [], []
    for key in keys:
        typed = [point.words[key] for point in points]
        if len(set(typed)) == 1:
            words.append(typed[0])
        else:
            words.append(typed[0] + "".join("," + word.partition("=")[2] for word in typed[1:]))
            apart.append(key)
    if len(apart) > 1:  # else it would be the product
        words.append(f"sweep.zip=[[{','.join(apart)}]]")
    fixed = _recipe(sweep, dict.fromkeys(keys, ""), ["sweep"])
    typed = shlex.split(sweep.command)
    fixed += [word for word in typed if shell.key(word).startswith(_WHERE)]
    if any(shell.key(word) == "experiment" for word in fixed):  # which may search in its own way
        fixed += ["sweep=grid", *(word for word in typed if shell.key(word) == "sweep.stages")]
    if sweep.settings.get("objective"):  # what they are compared by
        words.append(f"sweep.objective={sweep.settings['objective']}")
    words = [*filter(None, fixed), *words, _repeated(sweep, points, repeats)]
    return shell.line(["dlrun", *_directories(sweep), "-m", *words])


def _seed(sweep: Sweep, point: Point) -> list[str]:
    """The word for the seed of a run, where the recipe's own seed is another one."""
    runs = point.runs
    chosen = next((run for run in runs if run.status in (FAILED, KILLED)), next(iter(runs), None))
    typed = sweep.repeats == 1 and len({run.seed for run in runs}) > 1
    if chosen is None or not (typed or chosen.seed != runs[0].seed):
        return []
    return [f"{SEED}={chosen.seed}"]


def _repeated(sweep: Sweep, points: Sequence[Point], repeats: int) -> str:
    """The word for so many seeds, those that were trained among them.

    Where several were typed, `sweep.repeats` would begin with another: they are listed, and go on
    in their smallest step, as a procedure of several trainings takes all seeds below the next.
    """
    seeds = sorted({run.seed for point in points for run in point.runs})
    if sweep.repeats > 1 or len(seeds) < 2:
        return f"sweep.repeats={repeats}"
    step = min(after - before for before, after in pairwise(seeds))
    more = range(seeds[-1] + step, seeds[-1] + step * (repeats - len(seeds)) + 1, step)
    return f"{SEED}={','.join(map(str, [*seeds, *more]))}"


def _recipe(sweep: Sweep, words: Mapping[str, str], more: Iterable[str]) -> list[str]:
    """The fixed words that concern the recipe, and the point's own; none that are in `more`."""
    new = {shell.key(word) for word in more}
    taken = new | set(words)
    fixed = [
        word
        for word in sweep.overrides
        if (key := shell.key(word)) not in taken
        and key.replace("/", ".").partition(".")[0] not in _OF_THE_SWEEP
    ]
    return [*fixed, *(word for key, word in words.items() if key not in new)]


def _directories(sweep: Sweep) -> list[str]:
    """The words that say where recipes are, as in the sweep's own command."""
    return shell.config_dirs(shlex.split(sweep.command))
