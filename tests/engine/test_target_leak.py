"""An input that gives the answer away is found; what only tells much is let pass."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from dlrun.engine.target_leak import target_leak
from dlrun.job.session import Session

R = np.random.default_rng(5)
ROWS = 500
X = R.normal(size=(ROWS, 5))
YES = X @ [1, -1, 0.5, 0, 0] + 1.5 * R.normal(size=ROWS) > 0
PRICE = X @ [1, -1, 0.5, 0, 0] + 0.8 * R.normal(size=ROWS)
WRONG = R.random(ROWS) < 0.004
BEGINNING = R.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers():
    """Whatever ran before, and in which process."""
    R.bit_generator.state = BEGINNING


def frame(target, x=X, **more):
    found = pd.DataFrame(x, columns=[f"x{place}" for place in range(x.shape[1])])
    return found.assign(**more, target=target)


def lags(series, count):
    """Each value of a series with those before it."""
    rows = len(series) - count
    x = np.stack([series[place : place + rows] for place in range(count)], 1)
    return frame(series[count:], x)


def walk():
    return np.cumsum(R.normal(size=ROWS))


def autoregressive(share):
    series = np.zeros(ROWS)
    for place in range(1, ROWS):
        series[place] = share * series[place - 1] + R.normal()
    return series


def read(name):
    data = getattr(datasets, f"load_{name}")()
    y = data.target if name == "diabetes" else [f"class {each}" for each in data.target]
    return frame(y, data.data)


@pytest.fixture
def found(compose_recipe, tmp_path):
    """found(table, words) is the list of findings of a table that lies in a file."""

    def look(table, *words):
        table.to_csv(tmp_path / "table.csv", index=False)
        path = f"data.path={tmp_path / 'table.csv'}"
        recipe = compose_recipe("data=arrays", path, "data.target=target", *words)
        run = SimpleNamespace(data=Session().data(recipe), reconstructs=False)
        return [*target_leak(SimpleNamespace(run=run))]

    return look


ANSWERS = np.where(YES, "yes", "no")
LEAKS = {
    "a word": (ANSWERS, {"boat": np.where(YES ^ WRONG, "boat", "none")}),
    "many words": (ANSWERS, {"room": [f"{'AB'[int(y)]}{n % 7}" for n, y in enumerate(YES)]}),
    "a number": (ANSWERS, {"late": YES + 0.2 * R.normal(size=ROWS)}),
    "on both sides": (ANSWERS, {"fee": np.where(YES, 5, 0) * R.choice([-1.0, 1.0], ROWS)}),
    "that is missing": (ANSWERS, {"refund": np.where(YES, R.normal(size=ROWS), np.nan)}),
    "a price": (PRICE, {"paid": 3 * PRICE + 0.3 * R.normal(size=ROWS)}),
    "a rank": (PRICE, {"rank": np.exp(PRICE + 0.1 * R.normal(size=ROWS))}),
}


@pytest.mark.parametrize("name", LEAKS)
def test_an_input_that_gives_the_answer_away(found, name):
    target, column = LEAKS[name]
    [told] = found(frame(target, **column))
    [only] = column
    assert (told.name, told.level) == ("leak", "warn")
    assert told.text.startswith(f"{only} alone leaves ")
    assert told.changes == {"data.columns": {only: "out"}}
    assert told.numbers["alone"] <= 0.05
    assert 0.2 < told.numbers["others"] < 1
    assert found(frame(target)) == []


def test_two_that_do_so_are_named_together(found):
    two = {"paid": PRICE + 0.1 * R.normal(size=ROWS), "due": 2 * PRICE}
    [told] = found(frame(PRICE, **two))
    assert told.text.startswith("due, paid, each alone leave ")
    assert told.changes == {"data.columns": {"due": "out", "paid": "out"}}


SOUND = {
    **{name: lambda name=name: read(name) for name in ("iris", "wine", "breast_cancer")},
    "diabetes": lambda: read("diabetes"),
    "the last values of a walk": lambda: lags(walk(), 3),
    "many last values": lambda: lags(walk(), 40),
    "a slow series": lambda: lags(autoregressive(0.95), 8),
    "a wave": lambda: lags(np.sin(np.arange(ROWS) / 10) + 0.1 * R.normal(size=ROWS), 10),
    "two causes": lambda: frame(X[:, 0] + X[:, 1]),
    "a cause and noise": lambda: frame(X[:, 0] + 0.5 * R.normal(size=ROWS)),
    "one cause alone": lambda: frame(3 * X[:, 0] + 1, X[:, :1]),
    "far groups": lambda: (lambda x, y: frame([f"g{i}" for i in y], x))(
        *datasets.make_blobs(ROWS, 6, centers=4, random_state=0)
    ),
    "few rows": lambda: frame(PRICE, paid=3 * PRICE).head(40),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_only_tells_much_is_let_pass(found, name):
    assert found(SOUND[name]()) == []


def test_what_is_left_open_is_the_variance_within(found):
    """Of a target that is a column and noise: the noise's share."""
    shares = (0.005, 0.02, 0.03)
    for share in shares:
        noise = np.sqrt(share) * R.normal(size=ROWS)
        [told] = found(frame(np.sqrt(1 - share) * X[:, 3] + noise), "data.val=0.02")
        assert told.numbers["alone"] == pytest.approx(share, rel=0.25, abs=0.004)
        assert told.numbers["others"] == pytest.approx(1, abs=0.1)
