"""The group `optimizer`: how a gradient becomes a step.

    (parameters, **options) -> torch.optim.Optimizer

parameters: tensors, or torch's parameter groups. A factory whose first parameter is called
`model` gets the network instead, and all its trainable parameters to train.

The loop sets each group's `lr` before a step. One whose `step` requires a `closure`
evaluates the objective itself: `closure()` with its gradient, `closure(backward=False)`
alone; `replay.py` gives all calls of a step the same random numbers. One with a method
`averages()` says what is to be evaluated: pairs of a live parameter and its average.
What changes while training goes on is in `state_dict()`, never in a group's options:
those are the recipe's.
"""
