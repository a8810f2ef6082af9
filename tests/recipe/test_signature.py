from collections.abc import Callable, Sequence
from functools import partial
from math import inf, nan
from typing import Any, Literal, NewType

import pytest
import torch
from torch import Tensor, nn

from dlrun.duration import Steps
from dlrun.errors import Mistake
from dlrun.recipe.signature import durations, expected, find, fits, in_floats, problems

ONE = Steps(1)


def function(rate: float, count: int = 1, name: str | None = None, every: Steps = ONE) -> None:
    """A target."""


def open_function(rate: float, **others: Any) -> None:
    """A target that takes anything."""


def bounded(most: float = inf) -> None:
    """A target with no bound unless one is given."""


class Net(nn.Module):
    def __init__(self, hidden: list[int], norm: Literal["batch", "none"] = "none") -> None:
        super().__init__()


curried = partial(function, count=3)
HERE = __name__


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "targets", sys.modules[HERE])


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3, 2**63 - 1], [1.0, True, "1", None, 2**63, -(2**63)]),
        (float, [0, 0.5, -1e30], [True, "0.5", None, [1.0], nan, inf, -inf, 1e31, 10**20]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "a"], [1, None, True]),
        (float | None, [1, None], ["a", False]),
        (list[int], [[], [1, 2]], [1, "12", [1.5], [True]]),
        (Sequence[float], [[1, 2.5]], ["abc", ["a"], 3, [0.5, nan]]),
        (tuple[float, float], [[0.9, 0.999]], [[0.9], 0.9, [0.9, "x"], [1, 2, 3]]),
        (tuple[int, ...], [[], [1, 2, 3]], [["a"], 1]),
        (Literal["mean", "sum"], ["sum"], ["max", 1]),
        (dict[str, int], [{"a": 1}], [[1], "a"]),
        (float | Tensor, [0.1, 1], ["fast", True]),
        (Callable[[], nn.Module], [{"_target_": "torch.nn.ReLU"}, nn.ReLU], ["relu", 3]),
        (Steps, ["5 epochs", 3, 0.5], [True, [3], {"epochs": 3}]),
        (NewType("Other", int), ["anything"], []),
        (nn.Module, ["anything", 1], []),
        (Any, [None, 1, "a"], []),
    ],
)
def test_a_value_fits_its_annotation(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


def test_a_reference_to_another_setting_is_not_judged():
    assert fits("${epochs}", int)


def test_types_are_named_in_the_users_words():
    assert expected(float | None) == "a number or null"
    assert expected(float | Tensor) == "a number"
    assert expected(list[int]) == "a list of whole numbers"
    assert expected(tuple[float, float]) == "a list of 2 numbers"
    assert expected(Literal["a", "b"]) == "one of a, b"
    assert expected(list[tuple[float, float]]) == "a list of lists of 2 numbers"
    assert expected(list[float | None]) == "a list of numbers or null"
    assert expected(list[bool]) == "a list of true or false"
    assert expected(list[Steps]) == "a list of durations such as '5 epochs'"


def test_all_that_is_wrong_is_reported_together():
    found = problems("targets.function", {"rate": "fast", "cuont": 2, "name": 3}, "group")
    assert found == [
        "group.rate=fast: expected a number",
        "group.name=3: expected text or null; "
        "where text looks like a number, type \"group.name='3'\"",
        "group.cuont: function takes no 'cuont'; did you mean 'count'?",
    ]


def test_numbers_that_cannot_be_computed_with():
    values = {"rate": nan, "count": 2**63}
    assert problems("targets.function", values, "group") == [
        "group.rate=nan: must be a finite number",
        "group.count=9223372036854775808: is too large; whole numbers end at 9223372036854775807",
    ]
    assert problems("targets.function", {"rate": 1e31}, "x") == [
        "x.rate=1e+31: is too large; numbers end at 1e+30"
    ]
    assert problems("targets.function", {"rate": 1.0, "name": 1e31}, "x") == [
        "x.name=1e+31: expected text or null"
    ]


def test_a_bound_that_is_infinite_by_default_may_be_infinite():
    assert problems("targets.bounded", {"most": inf}, "x") == []
    assert problems("targets.bounded", {"most": -inf}, "x") != []


def test_what_is_required_is_named_unless_it_may_follow():
    assert problems("targets.function", {}, "group", partial=False) == [
        "group.rate is required by function"
    ]
    assert problems("targets.function", {}, "group") == []


def test_a_class_a_partial_and_open_arguments():
    assert problems("targets.Net", {"hidden": [3], "norm": "batch"}, "model") == []
    assert problems("targets.Net", {"hiden": [3]}, "model") == [
        "model.hiden: Net takes no 'hiden'; did you mean 'hidden'?"
    ]
    assert problems("targets.curried", {"rate": 1, "count": 2.5}, "x") == [
        "x.count=2.5: expected a whole number"
    ]
    assert problems("targets.open_function", {"rate": 1, "anything": 2}, "x") == []


def listed(
    pair: tuple[float | torch.Tensor, float | torch.Tensor],
    many: list[float],
    counts: list[int],
    table: list[tuple[float, float]],
    either: list[float] | None = None,
    any_count: tuple[float, ...] = (),
    unknown: Any = None,
) -> None:
    """Takes lists."""


def test_whole_numbers_are_floats_in_lists_of_them():
    given = {"pair": [0, 0.9], "many": [1, 2], "counts": [1, 2], "table": [[0, 1], [2, 0.5]]}
    given |= {"either": [3], "any_count": [4, 5, 6], "unknown": [7]}
    found = in_floats("targets.listed", given)
    assert found == given
    assert str(found["pair"]) == "[0.0, 0.9]"
    assert str(found["table"]) == "[[0.0, 1.0], [2.0, 0.5]]"
    assert [name for name in given if "." not in str(found[name])] == ["counts", "unknown"]


def test_torch_itself():
    assert problems("torch.optim.AdamW", {"lr": 1e-3, "betas": [0.9, 0.99]}, "optimizer") == []
    assert problems("torch.optim.AdamW", {"lrr": 1}, "optimizer") == [
        "optimizer.lrr: AdamW takes no 'lrr'; did you mean 'lr'?"
    ]
    assert problems("torch.optim.SGD", {"lr": "fast"}, "optimizer") == [
        "optimizer.lr=fast: expected a number"
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch.nn.Linera", "torch.nn has no 'Linera'; did you mean 'Linear'?"),
        ("nosuchmodule.Net", "there is no module 'nosuchmodule'"),
        ("torch.pi", "is not a function or a class"),
        ("Net", "write module.name"),
        ("torch..Net", "write module.name"),
    ],
)
def test_a_target_that_is_not_there(target, message):
    with pytest.raises(Mistake) as caught:
        find(target, "model")
    assert str(caught.value).startswith(f"model._target_={target}: ")
    assert message in str(caught.value)


def test_a_module_of_the_user_that_fails_to_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_more.py").write_text("import nosuchpackage\n")
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    with pytest.raises(Mistake, match="needs_more needs nosuchpackage, which is not installed"):
        find("needs_more.Net", "model")
    with pytest.raises(
        Mistake,
        match=r"breaks cannot be imported: ZeroDivisionError: division by zero \(.*breaks.py:1\)",
    ):
        find("breaks.Net", "model")


def test_a_method_is_found_through_its_class():
    assert find("torch.nn.Linear.forward", "x") is torch.nn.Linear.forward


def test_parameters_that_are_durations():
    assert durations("targets.function") == ["every"]
    assert durations("nosuchmodule.f") == []
