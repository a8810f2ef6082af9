"""Recipes that refer to their settings in all the ways there are."""

import pytest

WORDS = (
    (),
    ("model=resnet", "augmentation=[crop,flip]", "regularization=[dropout,l2]"),
    ("model=autoencoder", "optimizer=adam", "+model.notes={1: a, b: [1.0, 1, true, null]}"),
    ("model=mlp", "activation=prelu", "batch_size=full", "+optimizer.twice=${.lr}"),
    ("seed=7", "+model.from_seed=${seed}", "name='run ${seed}'", "+model.home=${oc.env:HOME}"),
    ("+model.text='ä: \"b\" # no comment'", "+model.number=1e-3", "+model.yes='yes'"),
)


@pytest.fixture(params=WORDS, ids=lambda words: " ".join(words)[:30] or "default")
def recipe(request, compose_recipe):
    """Recipes with references of all kinds, the facts known."""
    found = compose_recipe(*request.param)
    found.facts.shape, found.facts.outputs = [1, 8, 8], 10
    return found
