"""Sweeps as they are typed: in this process, or in a child that may be killed."""

import pytest

from dlrun import shell
from dlrun.recipe import compose
from dlrun.sweep.plan import Plan, plan

QUICK = ("tracking=none", "threads=1", "epochs=1")


@pytest.fixture
def sweep(here):
    """sweep("optimizer.lr=0.1,0.2", ...) types `dlrun -m` in an empty directory; the exit code."""

    def typed(*words: str) -> int:
        from dlrun.__main__ import main

        keys = {shell.key(word) for word in words}
        return main(["-m", *(word for word in QUICK if shell.key(word) not in keys), *words])

    return typed


@pytest.fixture
def planned():
    """planned("optimizer.lr=0.1,0.2", ...) is the Plan of that command."""
    with compose.composer([], multirun=True) as composer:

        def read(*words: str) -> Plan:
            return plan(composer, words, ["dlrun", "-m", *words])

        yield read
