"""The group `regularization`: any number at once, each acting in visible places.

A regularizer is an object with one or more of these methods; `build` sorts them
by the places they act in, and each place is one line of the build or of the loop.

    change_model(model, x) -> nn.Module     once, before the optimizer is built; x is a small batch
    change_batch(x, y, generator) -> (x, y) every training batch, after preprocessing
    add_gradient(weights) -> None           after backward: adds the penalty's gradient to .grad
    penalty(weights) -> Tensor              the penalty itself, a scalar, without gradient
    constrain(model) -> None                after every optimizer step
    should_stop(score, step) -> bool        after every validation; a higher score is better

Those with a memory have state_dict() and load_state_dict(state).
"""
