"""What was meant where a word is wrong: the one place that guesses.

Most functions give the end of a message, `; did you mean ...?`, or nothing where no guess is
good enough. `words.yaml` has what users of other libraries type.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from dlrun import shell
from dlrun.recipe.catalogue import Catalogue, Setting, load
from dlrun.recipe.schema import NEEDED, ROOT, SEVERAL, WATCHED, as_words

_CALL = re.compile(r"(?:[a-z]+\.)*([a-z_]+)\((.*)\)", re.I)
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
_OF_VAL = re.compile(r"(?i)(val|valid|validation|eval)[_-]")
_DOTS = re.compile(rf"({_NUMBER})\s*(?:\.\.\.?|…)\s*({_NUMBER})", re.I)


def close(wrong: str, right: Sequence[str]) -> str:
    """The name that is nearest to a wrong one, whatever its case; empty where none comes near."""
    cases = {name.lower(): name for name in reversed(right)}
    # Two letters in the wrong order are one slip, though difflib sees two: sdg is sgd.
    for name in filter(lambda name: _swapped(wrong.lower(), name), reversed(cases)):
        return cases[name]
    near = difflib.get_close_matches(wrong.lower(), list(cases), n=1, cutoff=0.74)
    return cases[near[0]] if near else ""


def _swapped(wrong: str, right: str) -> bool:
    """Whether two neighbouring letters in the other order are all that is wrong."""
    if len(wrong) != len(right):
        return False
    apart = [place for place, pair in enumerate(zip(wrong, right, strict=True)) if len({*pair}) > 1]
    return len(apart) == 2 == apart[1] - apart[0] + 1 and sorted(wrong) == sorted(right)


def nearest(wrong: str, right: Sequence[str], template: str = "{}") -> str:
    """Propose the nearest name, in the place of the first {} of the template."""
    near = close(wrong, right)
    return f"; did you mean {template.replace('{}', near, 1)}?" if near else ""


@cache
def words(table: str) -> dict[str, str]:
    """A table of `words.yaml`: what each word of another library is here."""
    content = load(Path(__file__).with_name("words.yaml"))[table]
    listed = content if isinstance(content, dict) else {content: ""}
    return {word: here for names, here in listed.items() for word in names.split()}


def inner(key: str) -> str:
    """The key without what other libraries put before all keys: trainer.lr is lr."""
    outer, _, rest = key.partition(".")
    return rest if rest and outer in words("outer") else key


def here(key: str, value: str, catalogue: Catalogue) -> str:
    """Say what a key of another library is here."""
    key = inner(key).lower()
    if key in words("settings"):
        return f"; did you mean {words('settings')[key].format(value)}?"
    if key in words("sayings"):
        return f"; {words('sayings')[key]}"
    if key not in words("groups"):
        return ""
    group = words("groups")[key]
    typed = value.strip("[]").split(",")
    if group == "metric":
        typed = [words("metrics").get(name.strip().lower(), name) for name in typed]
    if all(name in catalogue.options(group) for name in typed):
        right = f"[{','.join(typed)}]" if value.startswith("[") else ",".join(typed)
        return f"; did you mean {group}={right}?"
    return f"; here it is {group}=...; dlrun --help {group} lists them"


def option(word: str, group: str, value: Any, names: Sequence[str]) -> str | None:
    """What is wrong with the choice `value` of a group that has the options `names`."""
    wanted = [word.partition("=")[2]] if value is None else value
    wanted = wanted if isinstance(wanted, list) else [wanted]
    if value is None and group not in NEEDED:
        return f"{word}: write {group}=none" if "none" in names else f"{word}: write ~{group}"
    if len(wanted) > 1 and group not in SEVERAL:
        each = ",".join(map(str, wanted))
        return f"{word}: takes one option; a sweep over several is -m {group}={each}"
    parts = [part for name in map(str, wanted) for part in re.split(r"[,\s]+", name)]
    if len(parts) > len(wanted) and group in SEVERAL and all(part in names for part in parts):
        return f"{word}: a list has commas; did you mean {group}=[{','.join(parts)}]?"
    for name in map(str, wanted):
        if wanted.count(name) > 1 and name in names:
            return f"{word}: names {name} twice; each option stands once"
        if name not in names:
            meant = words("metrics").get(name.lower()) if group == "metric" else None
            near = f"; did you mean {meant}?" if meant else nearest(name, names)
            near = near or f"; choose one of {', '.join(names)}; dlrun --help {group} shows them"
            if "." in name and "custom" in names:
                near = f"; a class of your own is {group}=custom {group}._target_={name}"
            return f"{word}: no {group.rpartition('/')[2]} is called {name!r}{near}"
    return None


def watched(key: str, value: str, usual: Sequence[str], chosen: Sequence[str]) -> str:
    """What is wrong with the recorded value that a setting names; empty where it is recorded.

    usual: those that every recipe has; chosen: the options of `metric` that this one has.
    """
    recorded = [*usual, *(f"val/{name}" for name in chosen)]
    if value in recorded:
        return ""
    word = f"{key}={value}"
    known = [name for name in Catalogue().options("metric") if name != "none"]
    split, _, measured = value.rpartition("/")
    measured = measured if split else _OF_VAL.sub("", measured)
    name = words("metrics").get(measured.lower(), measured)
    right = f"val/{name}"
    if right in recorded:
        return f"{word}: cannot be watched; did you mean {key}={right}?"
    if name in known:
        measure = f"metric=[{','.join([*chosen, name])}]"
        if right == value:
            return f"{word}: is not measured; add {measure}"
        return f"{word}: cannot be watched; did you mean {measure} {key}={right}?"
    near = nearest(value, [*recorded, *(f"val/{one}" for one in known)])
    return f"{word}: must be one of {', '.join(recorded)}, or val/name with metric=[name]{near}"


def measure(split: str, name: str, measured: Sequence[str], chosen: Sequence[str]) -> str:
    """Say what a metric is called, or how one is chosen that a split is not measured by.

    measured: what is measured there; chosen: the options of `metric` among them.
    """
    meant = words("metrics").get(name.lower(), name)
    if meant in measured:
        return f"; did you mean {split}/{meant}?"
    if meant in Catalogue().options("metric"):
        return f"; add metric=[{','.join([*chosen, meant])}]"
    return nearest(name, measured, f"{split}/{{}}")


def looked_at(value: Any) -> str:
    """What is wrong with the words of `watch`; empty where nothing is."""
    wrong = [word for word in as_words(value) if word not in WATCHED]
    if not wrong:
        return ""
    meant = words("watched").get(wrong[0].lower())
    near = f"; did you mean {meant}?" if meant else nearest(wrong[0], WATCHED)
    right = f"must be {', '.join(WATCHED)}, [{','.join(WATCHED)}] or null"
    typed = shell.spelled(value) if isinstance(value, Mapping) else shell.shown(value)
    return f"watch={typed}: {right}{near}"


def setting(
    word: str,
    key: str,
    names: Sequence[str],
    chosen: Mapping[str, Sequence[str]],
    catalogue: Catalogue,
) -> str:
    """What is wrong with a key that a recipe does not have, and the nearest one it could have.

    names: the keys that the recipe has; chosen: the options of each of its groups.
    """
    group, _, rest = key.partition(".")
    value = word.partition("=")[2]
    if group == "lr_of":
        return f"{word}: takes all factors at once; did you mean lr_of={{{rest}:{value}}}?"
    if not (rest and group in catalogue.groups):
        near = here(key, value, catalogue) or _elsewhere(inner(key), value, names, catalogue)
        return f"{word}: there is no setting {key!r}{near}"
    options, typed = catalogue.options(group), ",".join(chosen[group])
    typed = f"[{typed}]" if group in SEVERAL and typed else typed or "none"
    mine = [name.partition(".")[2] for name in names if name.startswith(f"{group}.")]
    mine = [name for name in mine if not any(one.startswith(f"{name}.") for one in mine)]
    mine = [name for name in mine if not name.rpartition(".")[2].startswith("_")]
    others = [
        one.typed.partition("=")[2]
        for one in options.values()
        if rest in [each.key for each in one.settings]
    ]
    known = [each for one in chosen[group] if one in options for each in options[one].settings]
    number = re.fullmatch(_NUMBER, value, re.I)
    takes = [one for one in mine if not (number and one in map(_key_of_text, known))]
    near = nearest(rest, takes, f"{group}.{{}}={value}")
    called = words("settings").get(rest, "").format(value)
    open_ = any((each.key, each.value) == ("_target_", "???") for each in known)
    if not near and open_:
        near = f"; write +{key}={value} where it is an argument of your own class"
    elif others:
        near = f"; it is a setting of {group}={' or '.join(others)}"
    elif not near and called.partition("=")[0] in names and called.startswith(f"{group}."):
        near = f"; did you mean {called}?"
    elif not near:
        near = f"; it has {', '.join(mine)}" if mine else "; it has no settings"
    near = "" if f"mean {word}?" in near else near
    return f"{word}: {group}={typed} has no setting {rest!r}{near}"


def _elsewhere(key: str, value: str, names: Sequence[str], catalogue: Catalogue) -> str:
    """Say where a key belongs that begins with no group: to the root, a group, or an option."""
    group, _, rest = key.partition(".")
    having = dict.fromkeys(one.option.typed for one in catalogue.settings(key))
    if key.startswith("hydra.launcher.") and having:
        return f"; it is a setting of {' or '.join(having)}"
    if key in names:
        return f"; did you mean {key}={value}?"
    near = nearest(group, catalogue.groups, f"{{}}{rest and '.'}{rest}={value}")
    inside = [name for name in names if name.endswith(f".{key}") and not name.startswith("facts")]
    known = bool(inside or catalogue.settings(key))
    if near and (rest or not known or value in catalogue.options(close(group, catalogue.groups))):
        return near
    if inside:
        return f"; did you mean {' or '.join(f'{name}={value}' for name in inside[:3])}?"
    for option in catalogue.named(key):
        return f"; did you mean {option.typed}?"
    for found in catalogue.settings(key):
        return f"; did you mean {found.full}={value}, a setting of {found.option.typed}?"
    leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
    leaf = close(key, list(leaves))
    near = nearest(key, names, f"{{}}={value}")
    near = near or (f"; did you mean {leaves[leaf]}={value}?" if leaf else "")
    return near or "; dlrun --help lists them"


def flag(key: str, value: str, catalogue: Catalogue) -> str:
    """Say how a setting is written that was typed as the flag --key."""
    choices = [option.typed for option in catalogue.named(key)]
    if choices and key not in catalogue.names:
        return f"; an option is written {' or '.join(choices)}, without dashes"
    keys = [key] if key in catalogue.names else catalogue.keys(key)
    if keys and key:
        value = value or ("last" if key == "resume" else "...")
        written = " or ".join(shell.quote(f"{each}={value}") for each in keys[:3])
        return f"; a setting is written {written}, without dashes"
    return here(key, value or "...", catalogue)


def stray(
    typed: Sequence[str], number: int, catalogue: Catalogue, verbs: Sequence[str] = ()
) -> str:
    """Say what a word without = may mean, given those beside it; number: its place in `typed`.

    verbs: the first words of other commands.
    """
    word = typed[number]
    before = typed[number - 1] if number else ""
    after = typed[number + 1] if len(typed) > number + 1 else ""
    if word in verbs:
        return f"; {word} comes first: dlrun {word} ..."
    if "=" in before and word.strip() and not close(word, verbs):
        if commas := _with_commas(f"{before} {word}", typed[number + 1 :]):
            return f"; a list has commas and no spaces: {commas}"
        return f", or quotes around a value with spaces: {shell.quote(f'{before} {word}')}"
    said = "" if before else _command(word, after) or nearest(word, verbs, "dlrun {}")
    if said or not word.strip():
        return said
    choices = [option.typed for option in catalogue.named(word)]
    if word in catalogue.names or catalogue.settings(word):
        return f"; dlrun --help {word} says more about it"
    if choices:
        return f"; did you mean {' or '.join(choices[:3])}?"
    return nearest(word, catalogue.names, "{}=...")


def _with_commas(begun: str, rest: Sequence[str]) -> str:
    """The list that a shell has torn apart at its spaces, as an override; "" where it is none."""
    key, _, value = begun.partition("=")
    for more in ("", *rest):
        value = f"{value} {more}".strip()
        if value[0] == "[" and value[-1] == "]":
            listed = re.sub(r",?\s+", ",", value[1:-1].strip())
            plain = not set(listed) & set("[]{}'\"=")
            return shell.quote(f"{key}=[{listed}]") if plain else ""
    return ""


def _command(word: str, after: str) -> str:
    """Say how to do what `dlrun <word> <after>` asks for."""
    said = words("commands").get(word, "")
    trains = said == words("commands")["train"]
    usual = "model=cnn" if trains else "optimizer"
    fits = "=" in after or (after and not trains)
    return f"; {said.replace('{}', shell.quote(after) if fits else usual)}" if said else ""


def distribution(word: str) -> str:
    """How a range that is written as in another library is written here, or nothing."""
    key, _, value = word.partition("=")
    call = _CALL.fullmatch(value)
    form = words("ranges").get(call[1].lower()) if call else None
    if call is None or form is None:
        return ""
    parts = call[2].strip()
    if form == "choice({})":
        if re.search(r"\w\(", parts):
            return "a range stands alone, not in a list; write its values one by one"
        listed = parts.strip("[]()") or "a,b,c"
        return f"write -m '{key}={form.format(listed)}', or -m {key}={listed}"
    numbers = [part.rpartition("=")[2].strip() for part in parts.split(",")]
    numbers = [number for number in numbers if re.fullmatch(_NUMBER, number, re.I)]
    bounds = numbers if len(numbers) >= form.count("{}") else ["low", "high", "step"]
    return f"write -m sweep=random '{key}={form.format(*bounds)}'"


def several(key: str, value: str, each: str, catalogue: Catalogue) -> str:
    """Say what several values of one setting may mean where no sweep is meant, or nothing.

    value: as typed. each: the values that it lists; "" where they cannot be listed. A setting
    takes a list where that is its default, or where its comment shows one.
    """
    hint = ROOT.get(key, Any)
    known = [one for one in catalogue.settings(key) if one.full == key]
    known += [one for one in catalogue.primary.root if one.full == key]
    lists = (
        one.value.startswith("[") or (one.value == "null" and "[" in one.comment) for one in known
    )
    if each and (key in SEVERAL or (hint is Any and any(lists)) or get_origin(hint) is list):
        return f"; one list is {key}=[{each}]"
    decimals = float in (hint, *get_args(hint)) or any(map(_has_decimals, known))
    if decimals and re.fullmatch(r"[-+]?\d+,\d+", value):
        return f"; for one number write {key}={value.replace(',', '.')}"
    return ""


def _key_of_text(setting: Setting) -> str | None:
    """The key of a setting whose default is a word, which takes no number."""
    word = setting.value.isalpha() and setting.value not in ("null", "true", "false")
    return setting.key if word else None


def _has_decimals(setting: Setting) -> bool:
    """Whether the default of a setting is a number, and no whole one."""
    return bool(re.fullmatch(_NUMBER, setting.value, re.I)) and not setting.value.isdigit()


def dots(word: str) -> str:
    """What to write for `0.1..1`, or nothing."""
    key, _, value = word.partition("=")
    ends = _DOTS.fullmatch(value)
    if not ends:
        return ""
    low, high = sorted(ends.groups(), key=float)
    return f"a range is -m sweep=random '{key}=interval({low},{high})'"
