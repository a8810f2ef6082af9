"""From the words of a command to a composed recipe: where dlrun meets Hydra.

Hydra is driven through its own parts rather than through `hydra.main`, so that a
mistake arrives here as an exception, `main` can be called many times in a process,
and a user's `--config-dir` comes before the packaged recipes.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import catalogue
from dlrun.recipe.schema import Settings
from dlrun.record import bounds

PRIMARY = catalogue.PRIMARY
PATHS = ("outputs", "resume", "data.root", "data.path", "data.cache", "tracking.uri")
"""Settings that hold a path."""
MOST = 100_000
"""Values of one key, and points of a grid."""


def _keep_asserts() -> None:
    """Compile Hydra's reader of overrides with its asserts, whatever `python -O` says.

    It takes brackets and colons off the line inside of them: `assert ...(next(children))`.
    """
    spec = importlib.util.find_spec("hydra.core.override_parser.overrides_visitor")
    if spec is None or spec.origin is None:
        return
    module: Any = importlib.util.module_from_spec(spec)
    code = compile(Path(spec.origin).read_bytes(), spec.origin, "exec", optimize=0)
    exec(code, module.__dict__)
    vars(overrides_parser)["HydraOverrideVisitor"] = module.HydraOverrideVisitor


if sys.flags.optimize:
    _keep_asserts()


@contextmanager
def hydra(config_dirs: Sequence[Path]) -> Iterator[Hydra]:
    """Hydra over the packaged recipes and the user's; an earlier directory wins."""
    version.setbase("1.3")
    register()
    path = create_config_search_path(str(catalogue.packaged()))
    for directory in config_dirs:
        path.prepend("command-line", f"file://{directory}", SearchPathQuery(provider="main"))
    GlobalHydra.instance().clear()
    _prefer_packaged_launchers()
    try:
        yield Hydra.create_main_hydra2("dlrun", path)
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None


def register() -> None:
    """Make the schema known to Hydra as the config `schema`."""
    ConfigStore.instance().store(name="schema", node=Settings)


def refuse_endless(directories: Sequence[Path]) -> None:
    """Raise Mistake where a recipe of the user's stands for more values than can be read."""
    patterns = ("*.yaml", "*/*.yaml", "hydra/*/*.yaml")
    found = (file for d in directories for pattern in patterns for file in d.glob(pattern))
    for file in filter(Path.is_file, found):
        try:
            bounds.read_yaml(file)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            pass  # said where it is used
        except ValueError as error:
            raise Mistake(f"{file}: {error}") from None


def _prefer_packaged_launchers() -> None:
    """Let `conf/hydra/launcher/` take the place of what the launchers' plugins register."""
    Plugins.instance()
    registered: Any = ConfigStore.instance().repo.get("hydra", {})
    for file in (catalogue.packaged() / "hydra" / "launcher").glob("*.yaml"):
        registered.get("launcher", {}).pop(file.name, None)


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides, read. Raises Hydra's OverrideParseException."""
    return OverridesParser.create().parse_overrides(list(overrides))


def readable(word: str, several: bool = False) -> str:
    """An override of a path in the form that Hydra reads: `~/x` and `photos (1)` need quotes.

    several: whether commas are between values of a sweep.
    """
    key, _, value = word.partition("=")
    if key.lstrip("+") not in PATHS or not value or set(value) & set("'\"") or value[0] in "[{":
        return word
    values = re.split(r",(?![^{]*})", value) if several else [value]
    return f"{key}={','.join(each if _is_read(each) else shell.quoted(each) for each in values)}"


def _is_read(value: str) -> bool:
    """Whether Hydra reads a text without quotes as that text, or as null."""
    try:
        [override] = parse([f"path={value}"])
    except OverrideParseException:
        return False
    read = override.value()
    return read is None or override.is_sweep_override() or str(read) == value


def text(word: str) -> str:
    """What an override sets a path to: without quotes, the environment and the time filled in."""
    try:
        [override] = parse([readable(word)])
        setup_globals()
        value = OmegaConf.create({"value": override.value()}).value
    except OverrideParseException:
        value = word.partition("=")[2]
    except OmegaConfBaseException as error:
        raise Mistake(f"{word}: {str(error).splitlines()[0]}") from None
    return "" if value is None else str(value)


def refuse_many(override: Override) -> None:
    """Raise Mistake for a range that lists more than `MOST` values, or none."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return
    start, stop, step = (float(number or 0) for number in (value.start, value.stop, value.step))
    if not all(map(isfinite, (start, stop, step))) or not (stop - start) * step > 0:
        raise Mistake(f"{override.input_line}: leaves no value; write range(first,end,step)")
    if (stop - start) / step > MOST:
        raise Mistake(f"{override.input_line}: lists more than {MOST:,} values; use an interval")


def recipe(hydra: Hydra, overrides: Sequence[str]) -> DictConfig:
    """The recipe alone, without Hydra's own settings."""
    return without_hydra(full(hydra, overrides))


def full(hydra: Hydra, overrides: Sequence[str]) -> DictConfig:
    """The recipe and, under `hydra`, how it was composed."""
    return hydra.compose_config(PRIMARY, list(overrides), RunMode.RUN)


def without_hydra(composed: DictConfig) -> DictConfig:
    """A copy of the composed config without what is no part of a recipe: `hydra` and `sweep`."""
    return _without(composed, "hydra", "sweep")


def without_sweep(composed: DictConfig) -> DictConfig:
    """A copy of what Hydra gives a job without the key `sweep`."""
    return _without(composed, "sweep")


def _without(composed: DictConfig, *keys: str) -> DictConfig:
    copy = composed.copy()
    OmegaConf.set_struct(copy, False)
    for key in keys:
        copy.pop(key, None)
    OmegaConf.set_struct(copy, True)
    return copy


def choices(composed: DictConfig) -> dict[str, Any]:
    """Which option each group has: a name, several names, or None."""
    chosen = OmegaConf.to_container(composed.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    return {str(group): name for group, name in chosen.items() if "hydra/" not in str(group)}


def job() -> tuple[list[str], dict[str, Any]]:
    """Of the job that Hydra runs now: its overrides and its choices."""
    settings = HydraConfig.get()
    overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    chosen = OmegaConf.to_container(settings.runtime.choices)
    assert isinstance(chosen, dict)
    return [str(word) for word in overrides], {str(group): name for group, name in chosen.items()}


def asks_for_sweep(hydra: Hydra, overrides: Sequence[str]) -> bool:
    """Whether a recipe asks for a sweep by itself, as an experiment may."""
    words = list(overrides)
    if not any("experiment" in word or "hydra.mode" in word for word in words):
        return False
    return bool(hydra.get_mode(PRIMARY, words) == RunMode.MULTIRUN)


def launch(hydra: Hydra, overrides: Sequence[str], job: Callable[[DictConfig], Any]) -> Any:
    """Run the job for one recipe; what it returned."""
    return hydra.run(PRIMARY, job, [*overrides, "hydra.mode=RUN"]).return_value
