"""Runs that train at once as one network whose weights have one axis more.

step.py      their step, for the same loop as that of one run
weights.py   the weights of all in one tensor, of which each run's own are views
update.py    what moves them: update rules with one value for each run
acting.py    what acts on the gradients and the weights beside it
varying.py   numbers inside of the network and the loss that differ between the runs
fit.py       which runs can train together, and what keeps others out
worth.py     whether that is faster, and how many fit into memory
"""

from dlrun.engine.stack.fit import apart, unfit
from dlrun.engine.stack.step import StackedStep

__all__ = ["StackedStep", "apart", "unfit"]
