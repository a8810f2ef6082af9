"""Commands are made of words: some are replaced, and the others stay as they were typed."""

import pytest

from dlrun import shell


@pytest.mark.parametrize(
    ("words", "changes", "expected"),
    [
        (["a=1", "b=2"], {"a": "a=3"}, ["a=3", "b=2"]),
        (["~a", "b=2"], {"a": "a=3"}, ["a=3", "b=2"]),
        (["~a", "a=1", "~b"], {"a": "a=3"}, ["a=3", "~b"]),
        (["~a=1", "b=2"], {"a": None}, ["b=2"]),
        (["~a", "b=2"], {"a": None}, ["b=2"]),
        (["-cd", "a", "b=2"], {"a": "a=3"}, ["-cd", "a", "b=2", "a=3"]),
    ],
    ids=str,
)
def test_a_word_is_replaced_whether_it_sets_a_key_or_takes_it_out(words, changes, expected):
    assert shell.replaced(words, changes) == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [("", ""), ("ab", "a, b"), ("abcd", "a, b, c, ..."), (["a\x1b[31m"], "a\\x1b[31m")],
)
def test_of_many_names_the_first_are_said_without_what_a_terminal_takes_for_commands(names, said):
    assert shell.some(names, 3) == said
    said_of = {-1: "", 0: "", 1: " and 1 more", 1200: " and 1,200 more"}
    assert {left: shell.more(left) for left in said_of} == said_of
