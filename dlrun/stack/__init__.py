"""Runs that train at once as one network whose weights have one axis more.

step.py      their step, for the same loop as that of one run
network.py   their networks and losses as one
stages.py    what networks do one after another, and the way back
folded.py    convolutions and norms of all as one wider layer
pool.py      their samples in one tensor
weights.py   the weights of all in one tensor, of which each run's own are views
update.py    what moves them: update rules with one value for each run
acting.py    what acts on the gradients and the weights beside it
varying.py   numbers inside of the network and the loss that differ between the runs
fit.py       which runs can train together, and what keeps others out
worth.py     whether that is faster, and how many fit into memory
"""

from dlrun.stack.fit import apart, unfit
from dlrun.stack.step import StackedStep

__all__ = ["StackedStep", "apart", "unfit"]
