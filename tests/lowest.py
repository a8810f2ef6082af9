"""The lowest versions that pyproject.toml allows, as a file of constraints for pip.

    python -m tests.lowest > lowest.txt
    pip install -c lowest.txt -e '.[test]'

Only direct dependencies, those of the extras included: whatever they need in their turn is as
new as they allow.
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# name, perhaps [extras], then the bounds
REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[.*?\])?\s*(.*)")


def requirements() -> dict[str, str]:
    """What dlrun and its extras ask for, {name: bounds}; what only developers need is left out."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(line for key in extras if key != "dev" for line in extras[key]),
    ]
    pairs = [REQUIREMENT.fullmatch(line).groups() for line in asked]
    return {name: bounds for name, bounds in pairs if name != project["name"]}


def lowest(bounds: str) -> str:
    """The version at which the bounds begin: of `>=2.9,<3` it is 2.9.

    Raises ValueError where they have no beginning, since then they promise any version.
    """
    found = re.search(r"[>=]=\s*([\w.]+)", bounds)
    if found is None:
        raise ValueError(f"no lowest version in {bounds!r}")
    return found[1]


def constraints() -> list[str]:
    return [f"{name}=={lowest(bounds)}" for name, bounds in requirements().items()]


if __name__ == "__main__":
    print("\n".join(constraints()))
