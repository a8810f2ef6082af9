"""The group `regularization`: any number at once, each acting in visible places.

A regularizer is an object with one or more of these methods; `build` sorts them
by the places they act in, and each place is one line of the build or of the loop.

    change_model(model, x) -> nn.Module     once, before the optimizer is built; x is a small batch
    change_batch(x, y, generator) -> (x, y) every training batch, after preprocessing
    add_gradient(weights) -> None           after backward: adds the penalty's gradient to .grad
    penalty(weights) -> Tensor              the penalty itself, a scalar, without gradient
    constrain(model) -> None                after every optimizer step
    should_stop(score, step) -> bool        after every validation; a higher score is better

weights: every trainable parameter of the model; a penalty chooses those it is meant for.
Those with a memory have state_dict() and load_state_dict(state). One that stops training
says in its attribute `restore_best` whether the best weights so far are the result.
"""
