"""Who may import whom, read from the code: imports go one way, heavy things stay outside."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import dlrun

PACKAGE = Path(dlrun.__file__).parent
INGREDIENTS = {
    *("data", "preprocessing", "augmentation", "test_augmentation", "model", "activation"),
    *("initializer", "loss", "metric", "optimizer", "schedule", "regularization"),
}
BASE = {"errors", "duration", "format", "shell", "finding"}
BELOW = INGREDIENTS | BASE | {"record"}
USES = {
    **dict.fromkeys(INGREDIENTS, INGREDIENTS | BASE),
    **dict.fromkeys(BASE, BASE),
    "record": {"record", "metric"} | BASE,
    "engine": BELOW | {"engine"},
    "stack": BELOW | {"stack", "engine"},
    "report": {"report", "record", "metric"} | BASE,
    "tracking": {"tracking", "report", "record"} | BASE | {"data"},
    "console": {"console", "report", "record"} | BASE,
    "procedure": BELOW | {"procedure", "engine", "report", "tracking"},
    "experiment": BELOW | {"experiment", "procedure", "engine", "report"},
    "recipe": BELOW | {"recipe", "engine", "tracking"},
    "job": BELOW
    | {"job", "recipe", "procedure", "stack", "engine", "report", "tracking", "console"},
    "sweep": BELOW
    | {"sweep", "job", "recipe", "procedure", "stack", "engine", "report", "tracking", "console"},
    "verb": BELOW
    | {"verb", "job", "recipe", "procedure", "engine", "report", "tracking", "console"},
}
"""What each room may import; those that are not named may import all."""
LIGHT = {"__main__", "cli", "verb", "recipe", "record", "job", "console"} | BASE
PUBLIC = {"hydra.utils.instantiate", "hydra.errors.InstantiationException"}
"""What of Hydra any room above the ingredients may use."""
HEAVY = {f"recipe/{name}.py" for name in ("named", "build", "checks", "instantiate", "values")}

BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
# Functions longer than 60 lines, and nested deeper than four: may only become fewer.
LONG: set[str] = set()
DEEP: set[str] = set()


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


def lines(path: Path) -> int:
    """Those of a module that are code: no blanks, comments or docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[int] = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not text:
            inner = [
                each for name in ("body", "orelse", "finalbody") for each in getattr(node, name, [])
            ]
            last = inner[0].lineno - 1 if inner else node.end_lineno
            found |= set(range(node.lineno, max(last, node.lineno) + 1))
    return len(found)


def test_no_room_has_more_than_its_share():
    sizes = Counter()
    for room, path in modules():
        sizes[room] += lines(path)
    whole = sum(sizes.values())
    assert {room: size / whole for room, size in sizes.items() if size > 0.15 * whole} == {}


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_imports_go_one_way(room, path):
    names = imports(path)
    packages = tops(names)
    if room in USES:
        assert rooms(names) <= USES[room]
    if room in INGREDIENTS | BASE | {
        "engine",
        "stack",
        "procedure",
        "report",
        "record",
        "tracking",
    }:
        assert not packages & {"hydra", "omegaconf"}, "only composing knows Hydra"
    if path.relative_to(PACKAGE).as_posix() != "recipe/compose.py":
        inside = {name for name in names if name.startswith("hydra.")} - PUBLIC
        assert not inside, "one module drives Hydra"
    if room in {"__main__", "console"} or path.stem in {"catalogue", "suggest", "flags", "help"}:
        assert not packages & {"hydra", "omegaconf"}, "help and TAB answer before it is imported"
    if room != "tracking":
        assert not packages & {"mlflow"}, "only tracking knows MLflow"
    if room in INGREDIENTS | BASE | {"engine", "stack", "record"}:
        assert not packages & {"rich", "matplotlib", "optuna"}
    if room == "report":
        assert "torch" not in packages, "figures are drawn from records alone"


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_the_command_starts_light(room, path):
    if room not in LIGHT or path.relative_to(PACKAGE).as_posix() in HEAVY:
        return
    heavy = {"torch", "torchvision", "mlflow", "sklearn", "matplotlib"}
    assert not tops(imports(path, at_start=True)) & heavy


def test_every_group_is_a_room_of_the_same_name():
    from dlrun.recipe.catalogue import packaged
    from dlrun.recipe.schema import GROUPS

    for group in GROUPS:
        assert (packaged() / group).is_dir(), group
        room = PACKAGE / group
        assert room.is_dir() or room.with_suffix(".py").is_file(), group


def rooms_with_a_list() -> list[Path]:
    """The rooms whose docstring has a line that begins with the name of a file."""
    found = sorted(PACKAGE.glob("*/**/__init__.py"))
    return [path for path in found if re.search(r"^ *[a-z_]+\.py\b", listed(path), re.M)]


def listed(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def test_a_room_that_lists_its_files_lists_all_of_them():
    files = r"\b[a-z_]+\.py\b"
    for path in rooms_with_a_list():
        there = {each.name for each in path.parent.glob("*.py")} - {"__init__.py"}
        assert {*re.findall(files, listed(path))} >= there, path
    assert len(rooms_with_a_list()) > 10


def test_the_package_lists_its_rooms():
    found = {room for room, _ in modules()} - {"__init__", "__main__"}
    assert {room for room in found if not re.search(rf"\b{room}\b", str(dlrun.__doc__))} == set()


def functions():
    """Every function of the package: (its module and name, its lines, its node)."""
    for _, path in modules():
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                name = f"{path.relative_to(PACKAGE).as_posix()}::{node.name}"
                first, last = node.lineno, node.end_lineno or 0
                docstring = node.body[0] if ast.get_docstring(node) is not None else None
                said = range(docstring.lineno, docstring.end_lineno + 1) if docstring else ()
                kept = [n for n in range(first, last + 1) if n not in said and lines[n - 1].strip()]
                yield name, len(kept), node


def depth(node: ast.AST) -> int:
    """How many blocks lie in each other; elif is no deeper than its if."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        branch = isinstance(child, ast.If) and isinstance(node, ast.If) and [child] == node.orelse
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not branch))
    return deepest


def test_functions_can_be_read():
    """At most 60 lines without docstring and blanks, and at most four blocks in each other."""
    long = {name for name, lines, _ in functions() if lines > 60}
    deep = {name for name, _, node in functions() if depth(node) > 4}
    assert long == LONG
    assert deep == DEEP
