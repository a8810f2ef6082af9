"""What is wrong with the choice of an option, and which one would be right."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from dlrun.recipe.flags import nearest
from dlrun.recipe.lookup import LAUNCHER
from dlrun.recipe.nearest import Place
from dlrun.recipe.schema import NEEDED, SEVERAL
from dlrun.recipe.vocabulary import here


def option(word: str, group: str, value: Any, names: Sequence[str]) -> str | None:
    """What is wrong with the choice `value` of a group that has the options `names`."""
    wanted = [word.partition("=")[2]] if value is None else value
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if value is None and group not in NEEDED:
        return f"{word}: write {group}=none" if "none" in names else f"{word}: write ~{group}"
    if len(wanted) > 1 and group not in SEVERAL:
        each = ",".join(map(str, wanted))
        return f"{word}: takes one option; a sweep over several is -m {group}={each}"
    for name in wanted:
        if name in names:
            continue
        near = nearest(str(name), names)
        near = near or f"; there are {', '.join(names)}; dlrun --help {group} shows them"
        if "." in str(name) and "custom" in names:
            near = f"; a class of your own is {group}=custom {group}._target_={name}"
        return f"{word}: no {group} is called {str(name)!r}{near}"
    return None


def launcher(place: Place, word: str, override: Override) -> str | None:
    """What is wrong with the choice of a launcher, or of another option of Hydra's own groups."""
    key, value = override.key_or_group, override.value()
    if f"{key}.".startswith("hydra.sweeper."):
        return f"{word}: {instead(_params(word, key, value))}"
    if "/" not in key or override.is_delete():
        return None
    names = place.hydra.config_loader.get_group_options(key)
    names = [name for name in names if not name.startswith("_")]
    if value in names:
        return None
    if not names or key == "hydra/sweeper":
        near = here(key, str(value), place.directories) or nearest(key, [LAUNCHER])
        return f"{word}: there is no choice of {key!r}{near}"
    names = place.options(key) or names
    near = nearest(str(value), names)
    more = "" if near else f"; there are {', '.join(names)}; dlrun --help {key} shows them"
    return f"{word}: no {key.partition('/')[2]} is called {str(value)!r}{near}{more}"


def instead(params: Any) -> str:
    """What to write instead of settings of Hydra's sweeper; params: what it was to search."""
    if not isinstance(params, Mapping) or not params:
        return (
            "dlrun has searches of its own; write sweep=random, say, with sweep.trials=20 and "
            "sweep.params, as dlrun --help sweep shows"
        )
    lines = ", ".join(f"{key}: '{value}'" for key, value in params.items())
    words = " ".join(f"'{key}={value}'" for key, value in params.items())
    return (
        "Hydra's own sweeper is not asked: dlrun reads sweep.params; write in a file "
        f"`sweep: {{params: {{{lines}}}}}`, or type -m {words}"
    )


def _params(word: str, key: str, value: Any) -> dict[str, Any]:
    """What an override wants Hydra's sweeper to search."""
    inside = key.removeprefix("hydra.sweeper").strip(".")
    if inside.startswith("params."):
        return {inside.removeprefix("params."): word.partition("=")[2]}
    found = value.get("params") if not inside and isinstance(value, dict) else value
    return {str(name): one for name, one in found.items()} if isinstance(found, dict) else {}
