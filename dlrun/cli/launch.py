"""The commands that need a composed recipe: train, sweep, resume, --cfg, --info."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from dlrun import shell, shown
from dlrun.errors import Interrupted, Mistake
from dlrun.recipe import catalogue, compose, mistakes, resume
from dlrun.recipe.flags import Flags, nearest
from dlrun.recipe.nearest import Place
from dlrun.recipe.resume import Previous

_SWEEPING = ("sweep=", "sweep.", "hydra/launcher=", "hydra.launcher.")


def run(asked: Flags, command: Sequence[str]) -> int:
    """Do what the flags ask for; the exit code."""
    with _warnings():
        typed = [_hidden(compose.readable(word, asked.multirun)) for word in asked.words]
        command = [_hidden(word) for word in command]
        previous = resume.find(typed)
        if previous and asked.multirun:
            raise Mistake("resume goes on with one run; leave out -m")
        directories = asked.directories() or (previous.config_dirs if previous else [])
        compose.refuse_endless(directories)
        with compose.hydra(directories) as hydra:
            place = Place(hydra, [*directories, catalogue.packaged()], asked.multirun)
            words = [_added(place, word) for word in typed]
            if previous:
                mistakes.words(place, words)
                words = previous.merge(hydra, words)
            mistakes.words(place, words)
            with mistakes.explained(place, words):
                _do(asked, place, words, previous, list(command))
    return 0


def _hidden(word: str) -> str:
    """The override of a tracking store without the password in it, which delivery alone needs."""
    key = word.partition("=")[0]
    if key.lstrip("+") != "tracking.uri" or shown.redacted(word) == word or "${" in word:
        return word
    from dlrun.tracking import credentials

    return shell.setting(key, credentials.hidden(compose.text(word)))


def _added(place: Place, word: str) -> str:
    """The override of a group that the default recipe has nothing of, with the + it needs."""
    group = word.partition("=")[0]
    extra = group in place.groups() and group not in catalogue.defaults(place.directories)
    return f"+{word}" if extra else word


def _do(
    asked: Flags, place: Place, words: list[str], previous: Previous | None, command: list[str]
) -> None:
    if asked.cfg:
        if asked.package:
            _check_part(place, words, asked.package)
        place.hydra.show_cfg(
            compose.PRIMARY, words, asked.cfg, asked.package or None, asked.resolve
        )
    elif asked.info:
        with _root_logging():
            place.hydra.show_info(asked.info, compose.PRIMARY, words)
    elif not previous and (asked.multirun or _asks_for_sweep(place, words)):
        from dlrun.sweep import command as sweep  # imports optuna

        sweep.run(replace(place, multirun=True), words, command)  # an experiment may ask, too
    else:
        searching = next((word for word in words if word.startswith(_SWEEPING)), None)
        if searching:
            raise Mistake(f"{searching}: is about a sweep, which needs -m")
        _one(place, words, previous, command)


def _asks_for_sweep(place: Place, words: Sequence[str]) -> bool:
    """Whether a recipe asks for a sweep by itself; what is set may need what is swept."""
    typed = zip(words, compose.parse(words), strict=True)
    choosing = [w for w, o in typed if place.chooses(o) or o.is_hydra_override()]
    return compose.asks_for_sweep(place.hydra, choosing)


def _check_part(place: Place, words: list[str], part: str) -> None:
    """Raise Mistake where the recipe has no such part; Hydra would just exit."""
    composed = compose.full(place.hydra, words)
    if OmegaConf.select(composed, part, throw_on_missing=False) is None:
        near = nearest(part, [str(key) for key in composed])
        raise Mistake(f"-p {part}: the recipe has no such part{near}")


def _one(place: Place, words: list[str], previous: Previous | None, command: list[str]) -> None:
    """Do what one recipe says."""

    def job(recipe: DictConfig) -> Any:
        overrides, choices = compose.job()
        recipe = compose.without_sweep(recipe)
        try:
            mistakes.refuse_sweeper(place, words, HydraConfig.get().sweeper)
            if previous:
                recipe = previous.restore(place.hydra, recipe, words)
                previous.keep_store(recipe, command[1:])
            mistakes.check(recipe, choices, place.directories)
            recipe.outputs = str(recipe.outputs)  # the time in it is that of now
            from dlrun.job import factory as jobs

            with mistakes.resolved():
                return jobs.run(recipe, jobs.Asked(overrides, command, choices))
        except (Exception, Interrupted) as error:  # Hydra would wrap it
            return error

    result = compose.launch(place.hydra, words, job)
    if isinstance(result, BaseException):
        raise result


@contextmanager
def _warnings() -> Iterator[None]:
    """Show what the logger `dlrun` says, on stderr, for as long as the command runs."""
    logger = logging.getLogger("dlrun")
    logger.setLevel(logging.WARNING)  # libraries change the root logger's level on import
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain())
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        kind = record.levelname.lower()
        lines = shown.clean(record.getMessage()).split("\n")
        return f"{kind}: " + ("\n" + " " * (len(kind) + 2)).join(lines)


@contextmanager
def _root_logging() -> Iterator[None]:
    """Take back what Hydra's --info does to the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
