"""When test splits were measured, and for how many recipes: choosing among them by it is a mistake.

run.json has it as `test_measured`, a list of what each measurement was: `when`; `set`, which
samples; `recipe`, the hash of the recipe without its seed. Of a recipe that is not the first one
measured on its test set, `tested_recipes` is how many have been by then.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlrun.record import Record

_KEY = "test_measured"


def set_of(data: Mapping[str, Any]) -> str:
    """What stands for a test set; data: what a record says of its data."""
    return f"{data['digest']}/{data['splits']['test']}"


def recipes(runs: Path, test_set: str) -> set[str]:
    """The recipes that have been measured on a test set, by the records in a folder."""
    found = set()
    for file in runs.glob("*/run.json"):
        found |= {each["recipe"] for each in measured(file.parent) if each["set"] == test_set}
    return found


def beside(run: Path) -> int:
    """How many recipes have been measured by now on the test set that a run was, itself among them.

    0 where it was measured on none.
    """
    own = measured(run)
    return len(recipes(run.parent, own[-1]["set"])) if own else 0


def note(kept: Record, data: Mapping[str, Any]) -> set[str]:
    """Say in a record that its test split has been measured now; gives the recipes that have been.

    data: what a record says of the data that were measured on.
    """
    test_set, recipe = set_of(data), _recipe(kept.directory, kept.info)
    before = recipes(kept.directory.parent, test_set)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = {"when": now, "set": test_set, "recipe": recipe}
    first = {} if recipe in before else {"tested_recipes": len(before) + 1}
    kept.update(**{_KEY: [*kept.info.get(_KEY, []), new]}, **first)
    return before | {recipe}


def known(run: Path, info: Mapping[str, Any]) -> set[str]:
    """The recipes that `note` would give of a run; info: what its run.json says."""
    return recipes(run.parent, set_of(info["data"])) | {_recipe(run, info)}


def _recipe(run: Path, info: Mapping[str, Any]) -> str:
    return str(info.get("recipe", run.name))


def warning(count: int) -> str:
    """What is to be said of so many recipes; nothing of one."""
    if count < 2:
        return ""
    return (
        f"{count} recipes have been measured on this test split; choose by val: the best of "
        "several on one test split looks better than it is"
    )


def measured(run: Path) -> list[dict[str, str]]:
    """What the run.json of a run says of its test split. Most say nothing, and are not parsed."""
    try:
        content = (run / "run.json").read_bytes()
        found = json.loads(content).get(_KEY) if b'"test_measured"' in content else None
    except (OSError, ValueError, AttributeError):
        return []
    return found if isinstance(found, list) else []
