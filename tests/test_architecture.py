"""Who may import whom, read from the code: imports go one way, heavy things stay outside."""

import ast
from pathlib import Path

import pytest

import dlrun

PACKAGE = Path(dlrun.__file__).parent
INGREDIENTS = {
    *("data", "preprocessing", "augmentation", "test_augmentation", "model", "activation"),
    *("initializer", "loss", "metric", "optimizer", "schedule", "regularization"),
}
BASE = {"errors", "duration", "places", "shown", "shell"}
BELOW = INGREDIENTS | BASE | {"record"}
USES = {
    **dict.fromkeys(INGREDIENTS, INGREDIENTS | BASE),
    **dict.fromkeys(BASE, BASE),
    "record": {"record", "metric"} | BASE,
    "engine": BELOW | {"engine"},
    "report": {"report", "record", "metric"} | BASE,
    "tracking": {"tracking", "report", "record"} | BASE | {"data"},
    "console": {"console", "report", "record"} | BASE,
    "procedure": BELOW | {"procedure", "engine", "report", "tracking"},
    "recipe": BELOW | {"recipe", "engine", "tracking"},
    "job": BELOW | {"job", "recipe", "procedure", "engine", "report", "tracking", "console"},
    "sweep": BELOW
    | {"sweep", "job", "recipe", "procedure", "engine", "report", "tracking", "console"},
}
"""What each room may import; those that are not named may import all."""
LIGHT = {"__main__", "cli", "recipe", "record", "job", "console"} | BASE
HEAVY = {"recipe/build.py", "recipe/checks.py", "recipe/instantiate.py", "recipe/signature.py"}


def modules() -> list[tuple[str, Path]]:
    """Every module of the package as (its room, its file)."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "conf":
            found.append((parts[0], path))
    return found


def imports(path: Path, at_start: bool = False) -> set[str]:
    """What a module imports, in full; `at_start`: only what happens when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deferred: set[ast.AST] = set()
    for node in ast.walk(tree):
        later = isinstance(node, ast.FunctionDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if typing or (later and at_start):
            deferred |= set(ast.walk(node)) - {node}
    names = set()
    for node in ast.walk(tree):
        if node in deferred:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(names: set[str]) -> set[str]:
    """The rooms of dlrun among them."""
    return {name.split(".")[1] for name in names if name.startswith("dlrun.")}


def tops(names: set[str]) -> set[str]:
    """The packages that they belong to."""
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_imports_go_one_way(room: str, path: Path) -> None:
    names = imports(path)
    packages = tops(names)
    if room in USES:
        assert rooms(names) <= USES[room]
    if room in INGREDIENTS | BASE | {"engine", "procedure", "report", "record", "tracking"}:
        assert not packages & {"hydra", "omegaconf"}, "only composing knows Hydra"
    if room != "tracking":
        assert not packages & {"mlflow"}, "only tracking knows MLflow"
    if room in INGREDIENTS | BASE | {"engine", "record"}:
        assert not packages & {"rich", "matplotlib", "optuna"}
    if room == "report":
        assert "torch" not in packages, "figures are drawn from records alone"


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_the_command_starts_light(room: str, path: Path) -> None:
    if room not in LIGHT or path.relative_to(PACKAGE).as_posix() in HEAVY:
        return
    heavy = {"torch", "torchvision", "mlflow", "sklearn", "matplotlib"}
    assert not tops(imports(path, at_start=True)) & heavy


def test_every_group_is_a_room_of_the_same_name() -> None:
    from dlrun.recipe.catalogue import packaged
    from dlrun.recipe.groups import GROUPS

    for group in GROUPS:
        assert (packaged() / group).is_dir(), group
        room = PACKAGE / group
        assert room.is_dir() or room.with_suffix(".py").is_file(), group
