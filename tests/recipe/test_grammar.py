"""What is said of a value that Hydra cannot read, and that what is proposed can be read."""

import shlex
import string

import pytest

from dlrun.__main__ import main
from dlrun.recipe import compose, grammar

WRONG = [
    ("{low: 'optimizer.lr=1e-4', 'gut (ä)': 'optimizer.lr=0.1'}", "'gut (ä)' cannot be a name"),
    ("{gut ä: 1}", "gut ä cannot be a name"),
    ("{'low': 1}", "'low' cannot be a name"),
    ("{a: {'b': 1}}", "'b' cannot be a name"),
    ("{a: [{b: 1, c[0]: 2}]}", "c[0] cannot be a name"),
    ("{a b}", "'a b' in { } has no value; write {name: value}"),
    ("{a: 1, optimizer.lr=1}", "'optimizer.lr=1' in { } has no value"),
    ("'a' 'b'", "one pair of quotes"),
]


@pytest.mark.parametrize(("value", "said"), WRONG)
def test_the_cause_is_said_and_no_quotes_are_proposed(value, said):
    found = grammar.unreadable("key", value)
    assert said in found
    assert "key=" not in found


def test_the_signs_that_a_name_may_have_are_those_that_hydra_reads():
    signs = set(map(chr, range(33, 127))) - set("\\:") - set(string.ascii_letters + string.digits)
    read = {sign for sign in signs if compose.reads(f"lr_of={{a{sign}b: 2}}")}
    assert set(grammar._SIGNS.split()) == read
    assert grammar._SIGNS in grammar.unreadable("lr_of", "{'head': 2}")


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("optimizer.lr=1e-3,", "optimizer.lr=1e-3"),
        ("seed=12,", "seed=12"),
        ("optimizer=adam,", "optimizer=adam"),
        ("model.hidden=[64,32],", "'model.hidden=[64,32]'"),
    ],
)
def test_a_comma_at_the_end_is_left_out(word, right):
    assert grammar.unreadable(*word.split("=")).endswith(f"; write {right}")


@pytest.mark.parametrize("value", ["[x].csv", "{x} y", "[a] [b", "{a: 1}[2"])
def test_a_text_that_begins_with_a_bracket_is_proposed_whole(value):
    word = shlex.split(grammar.unreadable("name", value).partition("quotes: ")[2])
    assert [each.value() for each in compose.parse(word)] == [value]


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("augmentation=[flip crop]", "did you mean augmentation=[flip,crop]?"),
        ("model.hidden=[64 32]", "write model.hidden=[64,32]"),
    ],
)
def test_a_list_without_commas(word, right, capsys):
    assert main([word, "tracking=none", "outputs=none"]) == 2
    assert capsys.readouterr().err.rstrip().endswith(right)


def test_a_comma_at_the_end_of_a_text_stays():
    assert grammar.unreadable("name", "a,").endswith("in quotes: \"name='a,'\"")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("ä", "ä"),
        ("a (b)", "a (b)"),
        ("(a b)", "(a b)"),
        ("[ä, b]", ["ä", "b"]),
        ("[optimizer.lr=1e-4]", ["optimizer.lr=1e-4"]),
        ("{a: b=c, d: 2}", {"a": "b=c", "d": 2}),
        ("{a: {b: [ä, 'c, d']}}", {"a": {"b": ["ä", "c, d"]}}),
    ],
)
def test_what_is_proposed_means_what_was_meant(value, meant):
    found = grammar.unreadable("key", value)
    [word] = shlex.split(found.partition("in quotes: ")[2])
    assert compose.parse([word])[0].value() == meant
