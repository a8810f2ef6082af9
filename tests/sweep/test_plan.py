"""The settings of a sweep, its id, and the hash of a recipe."""

import pytest
from omegaconf import OmegaConf

from dlrun.errors import Mistake
from dlrun.recipe import compose
from dlrun.recipe.identity import digest
from dlrun.sweep.recipes import Recipes
from tests.sweep.typed import LR


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("sweep.objective=test/accuracy", "the very end.*Use val/accuracy"),
        ("sweep.objective=val/acuracy", "did you mean val/accuracy"),
        ("sweep.trials=0", "sweep.trials=0: must be greater than 0"),
        ("sweep.trials=null", "needs a number of trials"),
        ("sweep.repeats=0", "sweep.repeats=0"),
        ("sweep.retries=-1", "must not be negative"),
        ("sweep.pruner=hyperbend", "did you mean hyperband"),
        ("sweep.export=some", "must be one of best, all, none"),
        ("sweep.pruning.factor=1", "must be 2 or more"),
    ],
)
def test_a_wrong_setting_is_named(planned, word, what):
    with pytest.raises(Mistake, match=what):
        planned("sweep=random", LR, word)


@pytest.mark.parametrize(
    "word", ["name=a,b", "outputs=a,b", "tracking=none,mlflow", "device=cpu,cuda", "threads=1,2"]
)
def test_what_changes_nothing_is_not_swept(planned, word):
    with pytest.raises(Mistake, match=f"^{word}: changes nothing of what a run finds"):
        planned("seed=0,1", word)


def test_a_seed_is_not_repeated(planned):
    with pytest.raises(Mistake, match=r"sweep.repeats=2: seed is swept already"):
        planned("seed=0,1", "sweep.repeats=2")
    planned("seed=0,1", "sweep.repeats=1")


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["sweep=tpe", LR], "sweep=tpe: .* procedure=probe gives none; use sweep=random"),
        (["sweep=ablation", "initializer=he"], "sweep=ablation: .*; leave it out"),
        (["sweep.pruner=median", "seed=0,1"], "sweep.pruner=median: .*; leave it out"),
        (["sweep.objective=val/loss", "seed=0,1"], "sweep.objective=val/loss: .*; leave it out"),
    ],
)
def test_what_goes_by_values_takes_no_procedure_without(planned, words, right):
    planned("procedure=cross_validate", *words).check_values()
    with pytest.raises(Mistake, match=f"^{right}$"):
        planned("procedure=probe", *words).check_values()


def test_stages_take_no_procedure_without_values(planned):
    asked = planned("procedure=probe", "initializer=he,normal")
    asked.check_values()
    with pytest.raises(Mistake, match=r"^sweep.stages: goes by the value of each point"):
        asked.check_values(goes_on=True)


@pytest.mark.parametrize("word", ["sweep.zip={a:1}", "sweep.stages={epochs:2}", "sweep.zip=3"])
def test_what_is_to_be_a_list_is_one(planned, word):
    with pytest.raises(Mistake, match=r"expected a list, e\.g\. sweep\."):
        planned("seed=0,1", word)


@pytest.mark.proof
def test_how_much_is_searched_does_not_change_what_is(planned):
    words = ["sweep=tpe", LR]
    same = [
        [],
        ["sweep.trials=99"],
        ["sweep.retries=5"],
        ["sweep.fail_fast=true"],
        ["sweep.repeats=3"],
        ["device=cpu"],
        ["tracking=none"],
        ["name=mine"],
        ["epochs=20"],  # the default
        ["hydra/launcher=joblib"],
    ]
    assert len({planned(*words, *more).id for more in same}) == 1
    other = [
        [],
        ["sweep.seed=1"],
        ["sweep.objective=val/loss"],
        ["sweep.pruner=median"],
        ["sweep.sampler.n_startup_trials=3"],
        ["epochs=21"],
        ["optimizer=adam"],
        ["batch_size=8,16"],
    ]
    assert len({planned(*words, *more).id for more in other}) == len(other)


def test_a_hash_stands_for_what_is_trained():
    with compose.composer([]) as composer:

        def hash_of(*words: str) -> str:
            return digest(composer.recipe(words))

        same = ["outputs=x", "name=y", "device=cpu", "threads=1", "tracking=none", "epochs=20"]
        assert {hash_of(word) for word in same} == {hash_of()}
        other = ["seed=1", "epochs=21", "optimizer=sgd", "regularization=[l2,dropout]"]
        hashes = {hash_of(), *map(hash_of, other), hash_of("regularization=[dropout,l2]")}
        assert len(hashes) == len(other) + 2, "order counts too"


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=adam", "optimizer.lr=0.3"],
        ["optimizer.lr=0.3", "batch_size=7", "epochs=3"],
        ["regularization=[l2,dropout]", "regularization.l2.strength=0.5", "model.hidden=[3,4]"],
        ["model=cnn", "seed=3", "clip_norm=null", "warmup='2 epochs'"],
        ["+model.extra={a: 1}", "~optimizer.momentum", "warmup=${epochs}"],
    ],
)
def test_a_recipe_is_the_one_that_hydra_composes(words):
    fixed = ["schedule=constant", "accumulate=2", "sweep=random"]

    with compose.composer([]) as composer:
        recipes = Recipes(composer, fixed, {})
        recipes.of(["optimizer.lr=0.9"])  # leaves nothing behind
        made = recipes.of(words)
        whole = composer.full([*fixed, *words])
    expected = compose.without_hydra(whole)
    assert OmegaConf.to_container(made.recipe) == OmegaConf.to_container(expected)
    assert made.choices == compose.choices(whole)
    assert made.digest == digest(expected)


def test_the_recipes_of_a_large_stack_are_made_once():
    with compose.composer([]) as composer:
        recipes = Recipes(composer, [], {})
        first, again = ([recipes.of([f"seed={n}"]) for n in range(256)] for _ in range(2))
    assert all(one is other for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["optimizer=sgd", "tracking=none"], ["optimizer=sgd"]),
        (["optimizer=sgd", "seed=3,3"], ["seed=3"]),
        (["tracking=none"], []),
    ],
)
def test_the_only_point_is_called_by_what_was_typed(planned, words, named):
    plan = planned(*words)
    [values] = plan.space.grid()
    assert plan.named(values) == named
