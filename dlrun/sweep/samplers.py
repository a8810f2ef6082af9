"""The sampler and the pruner of a sweep, both from Optuna, and the check of their settings."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.errors import Mistake, first_line, refuse
from dlrun.recipe import signature

SEEDS = 2**32
"""How many seeds NumPy's generators take."""
_STEP = 1_000_003  # between the seeds of two sweeps, more than any of them has trials
_PLAIN = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
_ABOVE_0 = ("sigma0", "n_ei_candidates", "prior_weight")


def sampler(settings: DictConfig) -> Callable[[int], Any] | None:
    """Makes the sampler of a trial from its number; None for a grid."""
    node = settings.sampler
    if not node:
        return None
    kind = signature.find(node._target_, "sweep.sampler")
    takes = inspect.signature(kind).parameters
    typed = node.get("seed")

    def make(trial: int) -> Any:
        import optuna

        first = settings.seed if typed is None else typed
        one_sequence = kind is optuna.samplers.QMCSampler and typed is not None
        seed = (first if one_sequence else first * _STEP + trial) % SEEDS
        given: dict[str, Any] = {}
        if "seed" in takes:
            given["seed"] = seed
        if "independent_sampler" in takes:
            apart = (settings.seed * _STEP + trial) % SEEDS
            given["independent_sampler"] = optuna.samplers.RandomSampler(apart)
        with quiet():
            return instantiate(node, **given, _convert_="all")

    return make


def pruner(settings: DictConfig) -> Any:
    """The pruner, which counts validations; None if nothing is to be pruned."""
    from optuna import pruners

    how = settings.pruning
    match settings.pruner:
        case "median":
            return pruners.MedianPruner(how.startup, how.warmup)
        case "halving":
            return pruners.SuccessiveHalvingPruner(how.warmup, how.factor)
        case "hyperband":
            return pruners.HyperbandPruner(how.warmup, "auto", how.factor)
    return None


def check(settings: DictConfig) -> None:
    """Raise a Mistake that names every wrong setting of the sampler."""
    node = settings.sampler
    if node is None:
        return
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        shown = shell.shown(OmegaConf.to_container(node) if OmegaConf.is_config(node) else node)
        raise Mistake(
            f"sweep.sampler={shown}: choose one with sweep=random, tpe, cmaes, gp or qmc, and set "
            "what it takes, e.g. sweep.sampler.seed=1"
        )
    values: Any = OmegaConf.to_container(node, resolve=True)
    target = values.pop("_target_")
    if isinstance(values.get("seed"), int) and values["seed"] > SEEDS:
        del values["seed"]  # as good as any
    import optuna

    kind = signature.find(target, "sweep.sampler")
    if not (inspect.isclass(kind) and issubclass(kind, optuna.samplers.BaseSampler)):
        raise Mistake(f"{signature.where('sweep.sampler', target)}: is not a sampler of Optuna")
    refuse([*signature.problems(target, values, "sweep.sampler"), *_unfit(kind, values)])
    make = sampler(settings)
    assert make is not None
    try:
        make(0)
    except Exception as error:
        cause: BaseException = error.__cause__ or error
        given = [key for key, value in values.items() if value is not None and key in str(cause)]
        at = f"sweep.sampler.{given[0]}={shell.shown(values[given[0]])}" if given else target
        raise Mistake(f"{at}: {first_line(cause)}") from error


def check_start(settings: DictConfig, keys: Sequence[str]) -> None:
    """Raise Mistake if the start of CMA-ES is given, but not for each of the ranges `keys`."""
    start = settings.sampler.get("x0") if settings.sampler else None
    missing = [key for key in keys if key not in start] if start is not None else []
    if missing:
        shown = shell.shown(OmegaConf.to_container(start))
        raise Mistake(f"sweep.sampler.x0={shown}: has no number for {', '.join(missing)}")


def _unfit(kind: type, values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with values: no finite number, out of range, or of another type."""
    parameters = inspect.signature(kind).parameters
    for key, value in values.items():
        at = f"sweep.sampler.{key}={shell.shown(value)}"
        hint = _hint(parameters[key].annotation) if key in parameters else Any
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = signature.expected(hint)
        if not signature.fits(value, hint):
            endless = "number" in right and isinstance(value, float) and not math.isfinite(value)
            yield f"{at}: {'must be a finite number' if endless else f'expected {right}'}"
        elif number and key in _ABOVE_0 and value <= 0:
            yield f"{at}: must be greater than 0"
        elif number and key == "popsize" and value < 2:
            yield f"{at}: must be 2 or more"
        elif number and value < 0 and value != parameters[key].default:
            yield f"{at}: must not be negative"


def _hint(written: Any) -> Any:
    """The type of an annotation, which may be text; an object is a mapping with a `_target_`."""
    if not isinstance(written, str):
        return written
    return reduce(or_, [_PLAIN.get(part.strip(), dict) for part in written.split("|")])


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Optuna does not warn of experimental features: its version is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
