"""What pyproject.toml promises: the packages that dlrun takes, their bounds, Python 3.11.0 on."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.lowest import constraints, lowest, requirements
from tests.test_architecture import PACKAGE, imports, tops

TESTS = Path(__file__).resolve().parent
FILES = [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")]
# Security fixes brought these to a later 3.11.x, so whatever knows Python 3.11 takes them for
# its own; for names of Python 3.12 and later, `make check` asks mypy and vermin.
LATER_KEYWORDS = {
    "extract": "filter",
    "extractall": "filter",
    "unpack_archive": "filter",
    "getaddresses": "strict",
    "parseaddr": "strict",
}
LATER_NAMES = {
    *("data_filter", "tar_filter", "fully_trusted_filter", "extraction_filter", "FilterError"),
    *("SetReparseDeferralEnabled", "verify_generated_headers", "ALLOW_MISSING"),
}


def plain(name: str) -> str:
    """A distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def younger_than_3_11_0(code: str) -> list[str]:
    """The lines of what Python 3.11.0 does not have."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            keyword = LATER_KEYWORDS.get(function, "")
            if keyword in [given.arg for given in node.keywords]:
                found.append(f"line {node.lineno}: {function}({keyword}=)")
        for name in (getattr(node, "attr", None), getattr(node, "name", None)):
            if isinstance(name, str) and name in LATER_NAMES:
                found.append(f"line {node.lineno}: {name}")
    return found


def test_everything_that_dlrun_imports_is_required():
    known = packages_distributions()
    required = {plain(name) for name in requirements()}
    names = {name for path in PACKAGE.rglob("*.py") for name in tops(imports(path))}
    for name in sorted(names - sys.stdlib_module_names - {"dlrun", "hydra_plugins"}):
        named = known.get(name, [name])  # of an extra that is not installed here
        assert required & {plain(distribution) for distribution in named}, name


def test_every_requirement_says_where_it_begins():
    assert "torch==2.9" in constraints()
    assert "hydra-joblib-launcher==1.2.0" in constraints()
    assert len(constraints()) == len(requirements()) > 20
    with pytest.raises(ValueError, match="no lowest version"):
        lowest("<3")


def test_no_call_is_younger_than_python_3_11_0():
    found = {path: younger_than_3_11_0(path.read_text(encoding="utf-8")) for path in FILES}
    assert not {str(path): lines for path, lines in found.items() if lines}


def test_younger_calls_are_found():
    code = (
        "import tarfile\ntarfile.open(x).extractall(y, filter='data')\ntarfile.data_filter\nf(**x)"
    )
    found = ["line 2: extractall(filter=)", "line 3: data_filter"]
    assert younger_than_3_11_0(code) == found
    assert younger_than_3_11_0("from tarfile import FilterError") == ["line 1: FilterError"]
