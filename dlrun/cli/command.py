"""Which command it is: help, completion, sync, or one that needs a composed recipe."""

from collections.abc import Sequence

from dlrun import shell
from dlrun.cli import flags
from dlrun.errors import Mistake
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import Catalogue


def run(words: Sequence[str]) -> int:
    """Run the command of these words; its exit code."""
    if words[:1] == ["sync"] and not {"-h", "--help"} & set(words):
        return _sync(words[1:])
    asked = flags.parse(words)
    if asked.version:
        from importlib.metadata import version

        print(f"dlrun {version('dlrun')}")
    elif asked.help:
        from dlrun.cli import help

        print(shell.clean(help.text(asked.words, asked.directories())), end="", flush=True)
    elif asked.shell_completion:
        from dlrun.cli import completion

        print(completion.text(asked.words), end="", flush=True)
    else:
        for number, word in enumerate(asked.words):
            if "=" not in word and not word.startswith("~"):
                near = suggest.stray(asked.words, number, Catalogue())
                raise Mistake(f"{word or chr(39) * 2}: write key=value, e.g. epochs=20{near}")
        from dlrun.cli import launch  # imports Hydra

        return launch.run(asked, ["dlrun", *words])
    return 0


def _sync(words: Sequence[str]) -> int:
    typed = {"outputs": "", "tracking.uri": ""}
    for word in words:
        key, given, value = word.partition("=")
        if given and key not in typed:
            near = suggest.nearest(key, list(typed), f"{{}}={value}")
            raise Mistake(f"{word}: sync takes outputs= and tracking.uri={near}")
        typed |= {key: word} if given else {}
    runs = flags.parse([word for word in words if "=" not in word]).words
    from dlrun.recipe import compose
    from dlrun.tracking import sync

    outputs, uri = (compose.text(word) if word else "" for word in typed.values())
    return sync.sync(outputs or "outputs", list(runs), uri or None)
