"""The commands that need a composed recipe: train, sweep, resume, --cfg, --info."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import shell
from dlrun.console import outcome
from dlrun.errors import Interrupted, Mistake
from dlrun.recipe import compose, experiment, mistakes, resume, start, suggest
from dlrun.recipe.compose import Composer
from dlrun.recipe.flags import Flags
from dlrun.recipe.resume import Previous
from dlrun.recipe.schema import stack_of

_log = logging.getLogger("dlrun")
_STACK = "sweep.stack="  # is about procedures of several runs too
_SWEEPING = ("sweep=", "sweep.", "hydra/launcher=", "hydra.launcher.")


def run(asked: Flags, command: Sequence[str]) -> Path | None:
    """Do what the flags ask for; gives the directory of the record that this made or went on with.

    Of a sweep, the one of its best run; None where nothing was recorded.
    """
    with outcome.warnings():
        shell.refuse_empty(asked.words)
        if asked.multirun and resume.is_asked(asked.words):
            raise Mistake("resume goes on with one run; leave out -m")
        typed = [_hidden(compose.readable(word, asked.multirun)) for word in asked.words]
        command = [_hidden(word) for word in command]
        previous = resume.find(typed)
        if not previous:
            typed = [start.placed(word, typed, asked.multirun) for word in typed]
        elif not asked.config_dir:  # what it goes on with is in the directories of the record
            command = resume.with_directories(command, previous.command, previous.cwd)
        directories = _directories(asked, previous)
        compose.refuse_endless(directories)
        with compose.composer(directories, asked.multirun) as composer:
            words = [_added(composer, word) for word in experiment.shortened(composer, typed)]
            mistakes.words(composer, words)
            _say_overruled(composer, words)
            if previous:
                words = previous.merge(composer, words)
                mistakes.words(composer, words)
            with mistakes.explained(composer, words):
                return _do(asked, composer, words, previous, command)


def _say_overruled(composer: Composer, words: Sequence[str]) -> None:
    """Warn of each word that a later one for the same key, with another value, leaves no effect."""
    parsed = [each for each in composer.parse(words) if not each.is_delete()]
    last = {each.get_key_element().lstrip("+"): each for each in parsed}
    for each in parsed:
        later = last[each.get_key_element().lstrip("+")]
        if each.input_line != later.input_line and each.value() != later.value():
            _log.warning(
                f"{each.input_line}: has no effect, because {later.input_line} comes after it"
            )


def _directories(asked: Flags, previous: Previous | None) -> list[Path]:
    """The user's recipe directories: those typed, or those of the run that goes on."""
    if asked.config_dir or previous is None:
        return asked.directories()
    try:
        return resume.directories(previous.command, previous.cwd)
    except Mistake as mistake:
        file = previous.directory / "run.json"
        raise Mistake(f"resume={previous.asked}: {file}: command: {mistake}") from None


def _hidden(word: str) -> str:
    """The override of a tracking store without the password in it, which delivery alone needs."""
    if shell.key(word) != "tracking.uri" or shell.redacted(word) == word or "${" in word:
        return word
    from dlrun.tracking import credentials

    key, _, _ = word.partition("=")
    return shell.setting(key, credentials.hidden(compose.text(word)))


def _added(composer: Composer, word: str) -> str:
    """The override with the + that a group needs where the default recipe does not list it."""
    group, known = word.partition("=")[0], composer.catalogue
    return f"+{word}" if group in known.groups and group not in known.defaults else word


def _do(
    asked: Flags,
    composer: Composer,
    words: list[str],
    previous: Previous | None,
    command: list[str],
) -> Path | None:
    hydra, part = composer.hydra, asked.package
    if not asked.cfg and (part or asked.resolve):
        flag = f"-p {part}: shows a part of" if part else "--resolve: shows the values in"
        raise Mistake(f"{flag} a recipe; write it after --cfg job")
    if asked.multirun and (asked.cfg or asked.info):
        _refuse_several(composer, words, "--cfg" if asked.cfg else "--info")
    if asked.cfg:
        composed = composer.full(words)
        if part and OmegaConf.select(composed, part, throw_on_missing=False) is None:
            near = suggest.nearest(part, [str(key) for key in composed])
            raise Mistake(f"-p {part}: the recipe has no such part{near}")  # Hydra would just exit
        hydra.show_cfg(compose.PRIMARY, words, asked.cfg, part or None, asked.resolve)
    elif asked.info:
        with _root_logging():
            hydra.show_info(asked.info, compose.PRIMARY, words)
    elif not previous and (asked.multirun or composer.asks_for_sweep(words)):
        from dlrun.sweep import command as sweep  # imports optuna

        # or an experiment asks for it
        return sweep.run(replace(composer, multirun=True), words, command)
    else:
        bare = ((word, word.lstrip("+~")) for word in words)
        about_sweeps = (w for w, b in bare if b.startswith(_SWEEPING) and not b.startswith(_STACK))
        searching = next(about_sweeps, None)
        if searching:
            raise Mistake(f"{searching}: is about a sweep, which needs -m")
        return _one(composer, words, previous, command)
    return None


def _refuse_several(composer: Composer, words: Sequence[str], flag: str) -> None:
    """Raise Mistake for the values of a sweep beside a flag that shows one recipe."""
    for word, override in zip(words, composer.parse(words), strict=True):
        if override.is_sweep_override():
            raise Mistake(f"{word}: {flag} shows one recipe; leave out -m and write one value")


def _one(
    composer: Composer, words: list[str], previous: Previous | None, command: list[str]
) -> Path | None:
    """Run the job of one recipe; gives the directory of its record."""

    def job(recipe: DictConfig) -> Any:
        about = compose.job()
        asked, searched = recipe.sweep.stack, list(recipe.sweep.get("params") or ())
        recipe = compose.without_hydra(recipe)
        try:
            mistakes.refuse_sweeper(composer, words, about.sweeper)
            if previous:
                previous.refuse_unwritable()
                previous.refuse_columns(recipe, words)
                recipe = previous.restore(composer, recipe, words)
                previous.keep_store(recipe, command[1:])
            elif searched and shell.ONE_RUN not in words:
                _log.warning(
                    f"sweep.params: {shell.listed(searched)} {'are' if searched[1:] else 'is'} "
                    "searched with -m alone; this is one run"
                )
            mistakes.check(recipe, about.choices, composer.catalogue.own)
            recipe.outputs = str(recipe.outputs)  # the time in it is that of now
            from dlrun.job import factory
            from dlrun.job.recording import Invocation

            with mistakes.resolved():
                stack = stack_of(asked)
                cwd = previous.cwd if previous else None
                one = [word for word in words if word == shell.ONE_RUN]  # which commands repeat
                overrides = [*about.overrides, *one]
                typed = Invocation(overrides, command, about.choices, stack=stack, cwd=cwd)
                return factory.run(recipe, typed)
        except (Exception, Interrupted) as error:  # Hydra would wrap it
            return error

    if not previous:
        composer.tell_left_out(words)
    result = composer.launch(words, job)
    if isinstance(result, BaseException):
        raise result
    made: Path | None = result
    return made


@contextmanager
def _root_logging() -> Iterator[None]:
    """Undo what Hydra's --info does to the root logger, through which it prints."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    complains, logging.raiseExceptions = logging.raiseExceptions, False  # dlrun --info | head
    try:
        yield
    finally:
        logging.raiseExceptions = complains
        root.handlers[:] = handlers
        root.setLevel(level)
