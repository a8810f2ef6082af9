"""Procedures in whose runs the process kills itself, unless it is spared."""

import os

from dlrun.procedure import bagging as bags
from dlrun.procedure import cross_validate as validating
from dlrun.procedure import ensemble as together
from dlrun.procedure import retrain as training
from tests.job.thirds import die_in


def cross_validate(lab, kill_in=1, **options):
    """kill_in: the number of the run in whose second validation it ends."""
    _prepare(kill_in)
    return validating.cross_validate(lab, **options)


def retrain(lab, kill_in=1, **options):
    """The same."""
    _prepare(kill_in)
    return training.retrain(lab, **options)


def bagging(lab, kill_in=1, **options):
    """The same."""
    _prepare(kill_in)
    return bags.bagging(lab, **options)


def ensemble(lab, kill_in=1, **options):
    """The same."""
    _prepare(kill_in)
    return together.ensemble(lab, **options)


def _prepare(kill_in):
    if not os.environ.get("SPARED"):
        die_in(kill_in)
