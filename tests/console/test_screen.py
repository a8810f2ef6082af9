"""What cannot be shown ends nothing."""

import os
import sys

from dlrun.console.screen import console


def test_a_reader_that_has_gone_ends_nothing(monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        shown = console()
        shown.print("a line\n" * 10_000)
        shown.print("another")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), closed.fileno())  # or closing would fail


def test_it_follows_standard_output(monkeypatch, capsys):
    shown = console()
    shown.print("here")
    assert capsys.readouterr().out == "here\n"
    assert not shown.is_terminal
