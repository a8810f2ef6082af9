"""Which command it is: help, completion, one on records, or one that needs a recipe."""

from collections.abc import Sequence
from importlib import import_module

from dlrun import shell
from dlrun.errors import Mistake
from dlrun.recipe import flags, suggest
from dlrun.recipe.catalogue import Catalogue
from dlrun.verb import asked


def run(words: Sequence[str]) -> int:
    """Run the command of these words; its exit code."""
    if words and words[0].isalpha() and words[0] in asked.verbs():
        if {"-h", "--help"} & set(words):
            words = ["--help", words[0]]
        else:
            return _verb(words[0], words[1:])
    typed = flags.parse(words)
    if typed.version:
        from importlib.metadata import version

        print(f"dlrun {version('dlrun')}")
    elif typed.help:
        from dlrun.cli import help

        print(shell.clean(help.text(typed.words, typed.directories())), end="", flush=True)
    elif typed.shell_completion:
        from dlrun.cli import completion

        print(completion.text(typed.words), end="", flush=True)
    else:
        for number, word in enumerate(typed.words):
            if "=" not in word and not word.startswith("~"):
                near = suggest.stray(typed.words, number, Catalogue(), list(asked.verbs()))
                raise Mistake(f"{word or chr(39) * 2}: write key=value, e.g. epochs=20{near}")
        from dlrun.cli import launch  # imports Hydra

        launch.run(typed, ["dlrun", *words])
    return 0


def _verb(name: str, words: Sequence[str]) -> int:
    """Do what a verb asks for; the exit code."""
    typed = asked.parse(name, words)
    from dlrun.console import outcome

    with outcome.warnings(once=True):
        code: int = import_module(f"dlrun.verb.{name}").run(typed)
    return code
