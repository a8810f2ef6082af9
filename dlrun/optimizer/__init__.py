"""The group `optimizer`: how a gradient becomes a step.

    (parameters, **options) -> torch.optim.Optimizer

Every optimizer here is a `torch.optim.Optimizer`. Those that evaluate the loss more
than once a step do it through `step(closure)`.
"""
