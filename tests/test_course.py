"""The course's page has every experiment as its file has it, and what it says to type composes."""

import re
import shlex

import pytest

from dlrun.__main__ import main
from dlrun.recipe import build, compose
from tests import course

TEXT = course.PAGE.read_text(encoding="utf-8")
SETTINGS = [
    words
    for row in re.findall(r"^\| .* \| (`.*`) \|$", TEXT, re.MULTILINE)
    for words in re.findall(r"`([^`]+=[^`]+)`", row)
]
COMMANDS = [
    command
    for command in re.findall(r"^    (dlrun .*?)(?: +#.*)?$", TEXT, re.MULTILINE)
    if not re.search(r"--help|[+]experiment", command)
]


def test_every_experiment_is_on_the_page_of_today():
    assert course.with_experiments(TEXT) == TEXT, "run make readme"
    for name in course.experiments():
        assert f"\n### {name}\n" in TEXT, f"{name}: its subject has no section"


def test_links_lead_to_experiments():
    links = re.findall(r"\(#(\w+)\)", TEXT)
    assert set(links) <= course.experiments().keys()
    assert len(links) == len(set(links))


def test_experiments_come_in_the_order_in_which_their_section_links_them():
    marks = course.BEGIN.format("mistakes") + course.END
    text = f"\n## 1\n[b](#mistake_tuned_on_test), [a](#mistake_no_eval)\n{marks}"
    names = re.findall(r"^### (\w+)$", course.with_experiments(text), re.MULTILINE)
    assert names[:3] == ["mistake_tuned_on_test", "mistake_no_eval", "mistake_dropout_unset"]


def test_the_sentence_of_an_experiment_is_short():
    for name, option in course.experiments().items():
        assert len(option.summary) <= 80, name


@pytest.mark.proof
def test_the_settings_of_the_boards_compose():
    assert len(SETTINGS) > 20
    with compose.composer([]) as composer:
        for words in SETTINGS:
            build.check(composer.recipe(["tracking=none", *shlex.split(words)]))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_are_no_experiments_compose(command, capsys):
    typed = [re.sub(r"tag\(.*", "0.1", word) for word in shlex.split(command)[1:] if word != "-m"]
    words = [word.split(",")[0] for word in typed]  # the first of every choice
    assert main([*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_signs_of_markdown_are_escaped_outside_of_code():
    assert course._escaped("a*b `c*d` [e] _f g_h") == r"a\*b `c*d` \[e\] \_f g_h"


def test_pictures_are_made_small_and_stay_the_same():
    long = (
        '<svg>\n <metadata>x</metadata>\n <path d="M 1.23456 7 \nL 8.5 9" style="a: 0.25"/>\n</svg>'
    )
    small = course.shortened(long)
    assert small == '<svg>\n<path d="M 1.23 7 L 8.5 9" style="a: 0.25"/>\n</svg>\n'
    assert course.shortened(small) == small


@pytest.mark.proof
def test_a_picture_is_what_the_command_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "PICTURES", tmp_path / "pictures")
    option = course.experiments()["mistake_tuned_on_test"]
    words = ["epochs='1 steps'", "procedure.tries=2"]
    assert course.picture(option, words) == "drawn"
    drawn = (tmp_path / "pictures" / "mistake_tuned_on_test.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "chosen by validation" in drawn
    monkeypatch.setattr(course, "_LARGEST", 100)
    assert "left out" in course.picture(option, words)
