"""Slow weights against their formula."""

import numpy as np
import pytest
import torch

from dlrun.regularization.lookahead import Lookahead


@pytest.mark.proves("regularization=lookahead")
def test_slow_weights_follow_every_few_steps(train_recipe, compose_recipe):
    words = ("optimizer=adam", "schedule=constant", "epochs='7 steps'", "model.hidden=[4]")
    words += ("validate_every='7 steps'",)
    fast = [one.clone() for one in _weights(train_recipe, words, "epochs='3 steps'")]
    first = [one.clone() for one in _weights(train_recipe, words, "optimizer.lr=0")]
    rule = ("regularization=[lookahead]", "regularization.lookahead.every='3 steps'")
    slow = _weights(train_recipe, (*words, *rule), "epochs='3 steps'", "validate_every='3 steps'")
    for start, end, found in zip(first, fast, slow, strict=True):
        torch.testing.assert_close(found, (start + end) / 2)


def _weights(train_recipe, words, *more):
    keys = {word.partition("=")[0] for word in more}
    kept = [word for word in words if word.partition("=")[0] not in keys]
    return [p.detach() for p in train_recipe(*kept, *more).run.model.parameters()]


def test_by_hand():
    model = torch.nn.Linear(1, 1, bias=False).double()
    rule = Lookahead(2, 0.25)
    rule.change_model(model, torch.zeros(1))
    assert rule.averages() == []
    model.weight.data.fill_(1.0)
    slow, fast = 1.0, 1.0
    for step in range(1, 7):
        rule.add_gradient([model.weight])
        model.weight.data += step
        rule.constrain(model, [])
        fast += step
        if step % 2 == 0:
            fast = slow = slow + 0.25 * (fast - slow)
        [(live, kept)] = rule.averages()
        np.testing.assert_allclose((float(live.detach()), float(kept)), (fast, slow))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every must be at least one step, got 0"),
        ({"every": 5, "share": 0.0}, "share must be above 0 and at most 1, got 0.0"),
    ],
)
def test_what_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        Lookahead(**options)
