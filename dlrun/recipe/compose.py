"""From the words of a command to a composed recipe: the one module that drives Hydra.

Hydra is driven through its own parts rather than through `hydra.main`, so that a mistake
arrives here as an exception, `main` can be called many times in a process, and a user's
`--config-dir` comes before the packaged recipes. What is private in Hydra is used here alone.
"""

import importlib.util
import logging
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.config_source import ConfigSource
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from dlrun import record, shell
from dlrun.errors import Mistake, first_line
from dlrun.recipe import settle
from dlrun.recipe.catalogue import PRIMARY, Catalogue, packaged
from dlrun.recipe.once import once
from dlrun.recipe.schema import SEVERAL, Settings
from dlrun.record import bounds

__all__ = ["ChoiceSweep", "Glob", "IntervalSweep", "Override", "OverrideParseException"]
__all__ += ["PRIMARY", "RangeSweep", "Sweep", "Transformer"]

_log = logging.getLogger("dlrun")
_ENCLOSED = re.compile(r"['\"].*|\[[^]]*\]?|{[^}]*}?", re.DOTALL)
PATHS = ("outputs", "resume", "weights", "data.root", "data.path", "data.cache", "tracking.uri")
"""Settings that hold a path."""
_KEPT = 16  # recipes that are composed to compare with
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


@dataclass(frozen=True)
class Composer:
    """Composes recipes: Hydra over the packaged YAML files and the user's.

    plainly: what composes as Hydra does, and keeps what it has made: not to be changed.
    multirun: the command is a sweep, whose words may have several values.
    """

    hydra: Hydra
    catalogue: Catalogue
    plainly: Callable[[RunMode, tuple[str, ...]], DictConfig]
    multirun: bool = False

    def options(self, group: str) -> list[str]:
        """The names of the options of a group; empty where there is no such group."""
        return list(self.catalogue.options(group))

    def hydra_options(self, group: str) -> list[str]:
        """The options of one of Hydra's own groups."""
        names = self.hydra.config_loader.get_group_options(group)
        return [name for name in names if not name.startswith("_")]

    def chooses(self, override: Override) -> bool:
        """Whether an override chooses options, which decide what settings a recipe has."""
        key = override.key_or_group
        return bool(self.catalogue.options(key)) or "/" in key

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides, read; a pattern such as glob(*) knows the options of its group."""
        reader = OverridesParser.create(config_loader=self.hydra.config_loader)
        return reader.parse_overrides(list(overrides))

    def full(self, overrides: Sequence[str]) -> DictConfig:
        """The recipe and, under `hydra`, how it was composed."""
        return self.hydra.compose_config(PRIMARY, list(overrides), RunMode.RUN)

    def sweep(self, overrides: Sequence[str]) -> DictConfig:
        """The same for a sweep, with the settings of its launcher."""
        words = [*overrides, "hydra.mode=MULTIRUN"]
        return self.hydra.compose_config(PRIMARY, words, RunMode.MULTIRUN)

    def recipe(self, overrides: Sequence[str]) -> DictConfig:
        """The recipe alone, without Hydra's own settings."""
        return without_hydra(self.full(overrides))

    def asks_for_sweep(self, overrides: Sequence[str]) -> bool:
        """Whether a recipe asks for a sweep by itself, as an experiment may."""
        typed = zip(overrides, parse(overrides), strict=True)
        # What is set may need what is swept, so the choices alone are composed.
        words = [word for word, one in typed if self.chooses(one) or one.is_hydra_override()]
        if not any("experiment" in word or "hydra.mode" in word for word in words):
            return False
        return bool(self.hydra.get_mode(PRIMARY, words) == RunMode.MULTIRUN)

    def launch(self, overrides: Sequence[str], job: Callable[[DictConfig], Any]) -> Any:
        """Run the job for one recipe; returns what the job returns."""
        words = [*overrides, "hydra.mode=RUN"]
        return self.hydra.run(PRIMARY, job, words).return_value

    def tell_left_out(self, *each: Sequence[str]) -> None:
        """Say what an experiment sets of options in whose place others are typed, in any words."""
        said = set[str]()
        for words in each:
            files = [word for word in words if settle.is_whole(self.catalogue, word)]
            whose = " and ".join(word.lstrip("+") for word in files)
            plainly = partial(self.plainly, RunMode.RUN)
            for group, settings in settle.left_out(words, self.catalogue, plainly).items():
                typed = next(word for word in words if shell.key(word).partition(".")[0] == group)
                values = ", ".join(f"{one.key}={one.value}" for one in settings)
                line = f"{typed}: replaces the option of {whose}, whose settings are left out"
                if line not in said:
                    _log.warning(f"{line}: {values}")
                said.add(line)

    def launcher(self, composed: DictConfig, job: Callable[[DictConfig], Any]) -> Any:
        """The launcher that a sweep's config asks for, ready to run `job` elsewhere."""
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(self.hydra.config_loader, Callbacks(composed)),
            task_function=job,
            config=composed,
        )


@dataclass
class _Plainly:
    """Composes as Hydra does and keeps the last recipes; can be pickled, as launchers ask for."""

    loader: Any
    made: dict[tuple[RunMode, tuple[str, ...]], DictConfig] = field(default_factory=dict)

    def __call__(self, mode: RunMode, words: tuple[str, ...]) -> DictConfig:
        if len(self.made) >= _KEPT:
            self.made.clear()
        if (mode, words) not in self.made:
            made = self.loader.load_configuration(PRIMARY, list(words), run_mode=mode)
            self.made[mode, words] = made
        return self.made[mode, words]


@contextmanager
def composer(own: Sequence[Path], multirun: bool = False) -> Iterator[Composer]:
    """A Composer over the packaged recipes and the user's; an earlier directory wins."""
    version.setbase("1.3")
    register()
    path = create_config_search_path(str(packaged()))
    for directory in own:
        path.prepend("command-line", f"file://{directory}", SearchPathQuery(provider="main"))
    before = HydraConfig.instance().cfg  # of a job that composes another recipe
    GlobalHydra.instance().clear()
    _prefer_packaged_launchers()
    hydra, catalogue = Hydra.create_main_hydra2("dlrun", path), Catalogue(own)
    plainly = _Plainly(hydra.config_loader)
    # Hydra's own ways to run and to show a recipe compose through this, too.
    made = partial(_composed, hydra.compose_config, plainly, catalogue)
    vars(hydra)["compose_config"] = made
    try:
        yield Composer(hydra, catalogue, plainly, multirun)
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = before


def _composed(
    hydras: Callable[..., DictConfig],
    plainly: Callable[[RunMode, tuple[str, ...]], DictConfig],
    catalogue: Catalogue,
    config_name: str,
    overrides: Sequence[str],
    run_mode: RunMode,
    **more: Any,
) -> DictConfig:
    """What Hydra composes of some overrides, without what they replace of an experiment."""
    words = list(overrides)
    if not more.get("validate_sweep_overrides", True):  # only the mode is asked for
        return hydras(config_name, words, run_mode, **more)
    compose = partial(plainly, run_mode)

    def settled(some: list[str]) -> DictConfig:
        made = hydras(config_name, some, run_mode, **more)
        settle.options(made, some, catalogue, compose)
        return made

    later = [word for word in words if "={" in word]
    composed = settled([word for word in words if word not in later])
    replacing = [word for word in later if settle.replaces(word, composed)]
    if replacing != later:
        composed = settled([word for word in words if word not in replacing])
    if replacing:
        apply(parse(replacing), composed)
        task = [one.input_line for one in parse(words) if not one.is_hydra_override()]
        with read_write(composed.hydra):
            composed.hydra.overrides.task = task
    return composed


def register() -> None:
    """Make the schema known to Hydra as the config `schema`."""
    store = ConfigStore.instance()
    if "schema.yaml" not in store.repo:  # reading the schema takes long
        store.store(name="schema", node=Settings)


def _prefer_packaged_launchers() -> None:
    """Make `conf/hydra/launcher/` replace what the launchers' plugins register."""
    Plugins.instance()
    registered: Any = ConfigStore.instance().repo.get("hydra", {})
    for file in (packaged() / "hydra" / "launcher").glob("*.yaml"):
        registered.get("launcher", {}).pop(file.name, None)


def is_installed(plugin: str) -> bool:
    """Whether a plugin of Hydra with this class is installed."""
    return plugin in Plugins.instance().class_name_to_class


def is_from_composing(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf raised an error while composing a recipe."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return any("_internal" in frame.filename for frame in frames)


def sets_whole_recipe(text: str) -> bool:
    """Whether the text of a YAML file has `@package _global_` where Hydra looks for it."""
    return ConfigSource._get_header_dict(text)["package"] == "_global_"


def refuse_endless(directories: Sequence[Path]) -> None:
    """Raise Mistake where a file of the user's has more values than can be read."""
    patterns = ("*.yaml", "*/*.yaml", "hydra/*/*.yaml")
    found = (file for d in directories for pattern in patterns for file in d.glob(pattern))
    for file in filter(Path.is_file, found):
        try:
            bounds.read_yaml(file)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            pass  # said where it is used
        except ValueError as error:
            raise Mistake(f"{file}: {error}") from None


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides, read. Raises OverrideParseException."""
    return OverridesParser.create().parse_overrides(list(overrides))


def reads(word: str) -> bool:
    """Whether Hydra reads an override."""
    try:
        parse([word])
    except OverrideParseException:
        return False
    return True


def apply(overrides: Sequence[Override], recipe: DictConfig) -> None:
    """Set plain values in a composed recipe, as Hydra does; a free mapping is replaced."""
    for override in overrides:
        if settle.replaces(override.input_line or "", recipe):
            OmegaConf.update(recipe, override.key_or_group, override.value(), merge=False)
        else:
            ConfigLoaderImpl._apply_overrides_to_config([override], recipe)


def readable(word: str, several: bool = False) -> str:
    """An override of a path in the form that Hydra reads: `~/x` and `it's` need quotes.

    A path that begins with a quote, and one wholly in brackets, is left as it was typed.
    several: whether commas separate the values of a sweep.
    """
    key, _, value = word.partition("=")
    if key.lstrip("+") not in PATHS or not value or _ENCLOSED.fullmatch(value):
        return word
    if (set(value) & set("'\"") or value[0] in "[{") and reads(word):
        return word
    values = re.split(r",(?![^{]*})", value) if several and not _is_choice(value) else [value]
    return f"{key}={','.join(each if _is_read(each) else shell.quoted(each) for each in values)}"


def _is_read(value: str) -> bool:
    """Whether Hydra reads a text without quotes as that text, or as null."""
    try:
        [override] = parse([f"path={value}"])
    except OverrideParseException:
        return False
    read = override.value()
    return read is None or override.is_sweep_override() or str(read) == value


def _is_choice(value: str) -> bool:
    """Whether Hydra reads a text as several values that a function lists: `choice(a,b)`."""
    try:
        [override] = parse([f"path={value}"])
    except OverrideParseException:
        return False
    read = override.value()
    return isinstance(read, Sweep) and not getattr(read, "simple_form", False)


def lines(override: Override) -> list[str]:
    """A discrete sweep once for each of its values, as typed; another override as it is."""
    if not override.is_discrete_sweep():
        return [override.input_line or ""]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def text(word: str) -> str:
    """What an override sets a path to: without quotes, the environment and the time filled in.

    Raises Mistake for several values.
    """
    try:
        [override] = parse([readable(word)])
        if override.is_sweep_override():
            raise Mistake(f"{word}: takes one value")
        setup_globals()
        value = OmegaConf.create({"value": override.value()}).value
    except OverrideParseException:
        value = word.partition("=")[2]
    except OmegaConfBaseException as error:
        raise Mistake(f"{word}: {first_line(error)}") from None
    return "" if value is None else str(value)


def values(override: Override) -> list[Any]:
    """The values that an override lists, or its only one."""
    swept = override.is_discrete_sweep()
    return list(override.sweep_iterator()) if swept else [override.value()]


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


def copied(config: DictConfig) -> DictConfig:
    """A copy of a whole config that shares nothing; several times as fast as `copy.deepcopy`."""
    found: DictConfig = _duplicate(config, None)
    return found


# As an empty one is: to copy it takes far longer.
_no_cache: Callable[[], dict[str, Any]] = partial(defaultdict, dict)


def _duplicate(node: Any, parent: Any) -> Any:
    copy = object.__new__(type(node))
    own = copy.__dict__
    own.update(node.__dict__)
    own["_parent"] = parent
    if "_content" not in own:
        return copy  # with what is known of it: that does not change, in contrast to its value
    had = node._metadata
    own["_metadata"] = about = object.__new__(type(had))
    about.__dict__.update(had.__dict__)
    about.flags = None if had.flags is None else {**had.flags}
    about.resolver_cache = deepcopy(had.resolver_cache) if had.resolver_cache else _no_cache()
    content = own["_content"]
    if isinstance(content, dict):
        own["_content"] = {key: _duplicate(each, copy) for key, each in content.items()}
    elif isinstance(content, list):
        own["_content"] = [_duplicate(each, copy) for each in content]
    return copy


def created(values: Mapping[str, Any]) -> DictConfig:
    """What `OmegaConf.create` makes of plain values; what they have in common is made once."""
    found = OmegaConf.create({})
    for key, value in values.items():
        put(found, key, value)
    return found


def put(config: DictConfig, key: str, value: Any) -> None:
    """Set a key to plain values, whatever its type; what several have in common is made once."""
    config.__dict__["_content"][key] = _duplicate(_node(key, value), config)


@once
def _node(key: str, value: Any) -> Any:
    return OmegaConf.create({key: value})._get_node(key)


def recorded(directory: Path) -> DictConfig:
    """The recipe of a record. Raises Mistake where it can't be read."""
    return created(record.recipe(directory))


def without_hydra(composed: DictConfig) -> DictConfig:
    """A copy of the composed config without `hydra` and `sweep`, which are not part of a recipe."""
    copy = copied(composed)
    OmegaConf.set_struct(copy, False)
    for key in ("hydra", "sweep"):
        copy.pop(key, None)
    OmegaConf.set_struct(copy, True)
    return copy


def choices(composed: DictConfig) -> dict[str, Any]:
    """Which option each group has: a name, several names, or None."""
    chosen: Any = OmegaConf.to_container(composed.hydra.runtime.choices)
    return {str(group): name for group, name in chosen.items() if "hydra/" not in str(group)}


def chosen(composed: DictConfig, groups: Sequence[str]) -> dict[str, list[str]]:
    """The options that a recipe has of each of these groups."""
    names = {group: composed[group] or () for group in SEVERAL}
    one = composed.hydra.runtime.choices
    return {group: [*map(str, names.get(group, [one.get(group)]))] for group in groups}


def keys(composed: DictConfig) -> list[str]:
    """Every key of a recipe, with dots."""

    def below(node: Any, above: str) -> Iterator[str]:
        for key in node if isinstance(node, dict) else ():
            yield f"{above}{key}"
            yield from below(node[key], f"{above}{key}.")

    plain: Any = OmegaConf.to_container(composed, resolve=False)
    plain.pop("hydra", None)
    return list(below(plain, ""))


def has(composed: DictConfig, key: str) -> bool:
    """Whether a recipe has a key, with dots, whatever its value."""
    node: Any = composed
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118
            return False
        node = node._get_node(part)
    return True


@dataclass(frozen=True)
class Job:
    """The job that Hydra runs now; number: its place among the jobs of a launcher."""

    overrides: list[str]
    choices: dict[str, Any]
    sweeper: DictConfig
    number: int


def job() -> Job:
    """What Hydra says of the job that it runs now."""
    settings = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    chosen: Any = OmegaConf.to_container(settings.runtime.choices)
    number = 0 if OmegaConf.is_missing(settings.job, "num") else settings.job.num
    return Job(list(map(str, overrides)), chosen, settings.sweeper, number)
