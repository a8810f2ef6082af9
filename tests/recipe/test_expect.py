import pytest

from dlrun.recipe import compose, expect


@pytest.fixture(scope="module")
def composer():
    with compose.composer([]) as made:
        yield made


def of(composer, names, *words):
    """What is wrong with these names in a recipe."""
    recipe = composer.recipe(words)
    recipe.expect = dict.fromkeys(names, 1)
    return [*expect.problems(recipe), *expect.unmeasured(recipe)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], []),
        (
            ["best", "stage 1 best", "model=cnn val/acc", "val/accuracy of 100", "a finding/leak"],
            [],
        ),
        (["layer/1/distinct", "best/val_loss", "epochs", "lr", "grad/norm", "finding/leak"], []),
        (["hard/accuracy", "train_dev/error", "val_mean_member/accuracy"], []),
        (["train/objective", "train/l2", "train/mae", "test/loss", "train_eval/mae"], []),
        (["val/auroc", "train_eval/auroc"], ["metric=[auroc]"]),
    ],
)
def test_names_that_something_may_have(names, words, composer):
    assert of(composer, names, *words) == []


def test_penalties_of_ones_own(composer):
    recipe = composer.recipe([])
    recipe.regularization = {"own": {"_target_": "mine.GLoss"}}
    recipe.expect = {"train/gloss": 1}
    assert list(expect.unmeasured(recipe)) == []


def test_each_wrong_entry_is_named(composer):
    words = ["expect={val/loss: 1, val/los: 1, finding/overfitt: 1, lr: [1, -1], best: [1, 2, 3]}"]
    recipe = composer.recipe(words)
    found = [*expect.problems(recipe), *expect.unmeasured(recipe)]
    assert [line.split(": ")[1].split("=")[0] for line in found] == [
        *("finding/overfitt", "lr", "best", "val/los")
    ]


def test_those_of_a_short_form_too(composer):
    words = ["short={words: 'epochs=2', expect: {finding/overfitt: 1}}"]
    [found] = expect.problems(composer.recipe(words))
    assert found.startswith("short.expect: finding/overfitt: no finding is called 'overfitt'")
