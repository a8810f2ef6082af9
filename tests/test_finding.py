import json
from pathlib import Path

import pytest

import dlrun
from dlrun.finding import FAIL, NAMES, NOTE, WARN, Finding, by_level, undecided


def test_what_is_worst_comes_first_and_the_order_holds_otherwise():
    found = [
        Finding("good_fit", NOTE, "a"),
        Finding("noisy", WARN, "b"),
        Finding("leak", FAIL, "c"),
        Finding("plateau", WARN, "d"),
    ]
    assert [finding.text for finding in by_level(found)] == ["c", "b", "d", "a"]


def test_it_becomes_plain_values():
    plain = Finding("leak", FAIL, "Rows are in both.", {"rows": 3}, "dlrun data.split=1").plain()
    assert json.loads(json.dumps(plain)) == {
        "name": "leak",
        "level": "fail",
        "text": "Rows are in both.",
        "numbers": {"rows": 3},
        "command": "dlrun data.split=1",
    }


@pytest.mark.parametrize(("name", "level"), [("bad_luck", FAIL), ("leak", "error")])
def test_names_and_levels_are_a_closed_list(name, level):
    with pytest.raises(AssertionError):
        Finding(name, level, "")


def test_every_name_is_said_somewhere_and_provoked_by_a_test():
    def text(folder, *without):
        files = [path for path in folder.rglob("*.py") if path.name not in without]
        return "".join(path.read_text(encoding="utf-8") for path in files)

    said, here = text(Path(dlrun.__file__).parent, "finding.py"), Path(__file__)
    tested = text(here.parent, here.name, "table.py")
    for name in NAMES:
        assert f'"{name}"' in said, name
        assert f'"{name}"' in tested, name


@pytest.mark.parametrize(("gain", "needed"), [(0.02, 1000), (0.0, None), (7e-18, None)])
def test_how_many_samples_would_decide_if_a_number_says_anything(gain, needed):
    found = undecided("It gains nothing", gain, 0.05, 40)
    assert found.numbers.get("samples_needed") == needed
    assert (" samples would be enough, there are 40 now" in found.text) == (needed is not None)
