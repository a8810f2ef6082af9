import numpy as np
import pytest
import torch

from dlrun.__main__ import main
from dlrun.data import Source, classes, split
from dlrun.errors import Mistake
from dlrun.job.session import Session
from tests.data.test_split import source

NAMES = ("cat", "dog", "frog", "7")


@pytest.fixture
def animals():
    return source([0, 1, 2, 3, 0, 1, 2, 3, 1, 1], classes=NAMES)


def test_the_rows_of_the_chosen_classes_with_labels_in_the_order_given(animals):
    found = classes.among(animals, ["frog", "cat"])
    assert found.classes == ("frog", "cat")
    assert found.rows.tolist() == [0, 2, 4, 6]
    assert found.y[found.rows].tolist() == [1, 0, 1, 0]
    assert set(found.y.tolist()) == {-1, 0, 1}
    assert found.x is animals.x  # which may be larger than memory


@pytest.mark.parametrize(
    ("asked", "named"),
    [([1, 0], ("dog", "cat")), (["cat", 7], ("cat", "7")), ([3, "dog"], ("7", "dog"))],
)
def test_a_number_is_a_name_first_and_then_a_place(asked, named, animals):
    assert classes.among(animals, asked).classes == named


def test_splits_are_made_of_the_chosen_classes_alone(digits, compose_recipe):
    data = Session().data(compose_recipe("data.classes=[8,3]"))
    assert data.classes == ("8", "3")
    assert data.outputs == 2
    rows = torch.cat([part.rows for part in data.splits.values()])
    whole = digits.train.y
    assert sorted(rows.tolist()) == [i for i in range(len(whole)) if int(whole[i]) in (3, 8)]
    for part in data.splits.values():
        meant = torch.where(whole[part.rows] == 8, 0, 1)
        assert torch.equal(part.y[part.rows], meant)
        assert 0.4 < float(meant.double().mean()) < 0.6
    assert data.digest not in (
        digits.digest,
        Session().data(compose_recipe("data.classes=[3,8]")).digest,
    )


def test_splits_that_a_set_comes_with_lose_the_other_classes():
    made = source(
        [0, 1, 2, 0, 1, 2, 0, 1, 2], given={"train": [0, 1, 2, 3, 4, 5], "test": [6, 7, 8]}
    )
    data = split.make(made, val=0, classes=["c2", "c0"])
    assert data.train.rows.tolist() == [0, 2, 3, 5]
    assert data.test.rows.tolist() == [6, 8]


def test_a_share_of_samples_is_of_the_chosen_classes(compose_recipe):
    data = Session().data(compose_recipe("data.classes=[0,1]", "data.samples=10%"))
    whole = Session().data(compose_recipe("data.classes=[0,1]"))
    assert len(data.train) == round(len(whole.train) / 10)
    assert torch.equal(data.test.rows, whole.test.rows)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["cat", "dgo"], "no class 'dgo'; did you mean dog?"),
        (["cat", 4], "no class '4'; there are cat, dog, frog, 7"),
        (["cat", -1], "no class '-1'; there are cat"),
    ],
)
def test_a_class_that_is_not_there(asked, said, animals):
    with pytest.raises(Mistake, match="the set has no class") as caught:
        classes.among(animals, asked)
    assert said in str(caught.value)


def test_one_class_twice_by_name_and_number(animals):
    with pytest.raises(ValueError, match="each once"):
        classes.among(animals, ["cat", 0])


def test_numbers_to_predict_have_no_classes():
    x, y = torch.zeros(4, 1), torch.arange(4.0)[:, None]
    made = Source("made", x, y, torch.arange(4), "0")
    with pytest.raises(Mistake, match="has no classes to choose from"):
        classes.among(made, ["a", "b"])


def test_any_set_with_classes(here, capsys):
    rows = np.random.default_rng(0).normal(size=(90, 3))
    lines = [
        f"{a:.3f},{b:.3f},{c:.3f},{kind}"
        for (a, b, c), kind in zip(rows, ["x", "y", "z"] * 30, strict=True)
    ]
    (here / "t.csv").write_text("\n".join(["a,b,c,kind", *lines]) + "\n")
    words = ["data=arrays", "data.path=t.csv", "data.target=kind", "data.classes=[z,x]"]
    words += ["epochs=2", "tracking=none", "threads=1"]
    assert main(words) == 0, capsys.readouterr().err
    assert main(["resume=last", "epochs=3", "data.classes=[x,z]"]) == 2
    said = capsys.readouterr().err
    assert "data.classes=[x,z]: the run was trained on [z,x], and would go on with [x,z]" in said
    assert main(["resume=last", "epochs=3"]) == 0, capsys.readouterr().err
