"""The group `regularization`: any number at once, each acting in visible places.

A regularizer is an object with one or more of these methods; `build` sorts them
by the places they act in, and each place is one line of the build or of the loop.

    change_model(model, x) -> nn.Module     once, before the initializer and the optimizer;
                                            x is a small preprocessed batch on the device
    change_loss(loss, outputs) -> loss      once: what targets the loss is given
    change_batch(x, y, generator) -> (x, y) every training batch, after preprocessing
    add_gradient(weights) -> None           after backward: adds to .grad, be it the gradient
                                            of a penalty or noise
    penalty(weights) -> Tensor              the penalty itself, a scalar, without gradient
    constrain(model) -> None                after every optimizer step; the loop sets the
                                            attribute `groups` to the optimizer's before, with
                                            the `lr` of that step for the `params` of each
    should_stop(score, step) -> bool        after every validation; a higher score is better
    averages() -> [(live, average), ...]    tensors of the model and what stands in for them in
                                            validation, in the best weights and at the end,
                                            with batch norm's statistics estimated for them;
                                            none before averaging begins

Of one with an attribute `regression`, build sets it to whether the targets are numbers.
weights: every trainable parameter of the model. What of it is a weight, `model/roles.py` knows.
Those with a memory have state_dict() and load_state_dict(state), tensors and plain values
alone. One that stops training says in its attribute `restore_best` whether the best weights
so far are the result, and then in `min_improvement`, if it has that, by how much a score must
be above the best so far to be the next best. What changes the model raises Mistake where it
finds no place to act.
"""
