import json

import pytest

from dlrun.finding import FAIL, NOTE, WARN, Finding, by_level


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
