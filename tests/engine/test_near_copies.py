"""Near copies across splits are found by their distances, whatever the data; others are not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import datasets

from dlrun.data import Split
from dlrun.engine.near_copies import near_copies

R = np.random.default_rng(7)
ROWS = 1000
BEGINNING = R.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers():
    """Whatever ran before, and in which process."""
    R.bit_generator.state = BEGINNING


def images():
    return datasets.load_digits().data.astype("uint8").reshape(-1, 1, 8, 8)


def words(*counts):
    """One-hot columns whose first values are frequent."""
    chosen = [R.choice(k, ROWS, p=(p := 1 / np.arange(1, k + 1)) / p.sum()) for k in counts]
    return np.concatenate([np.eye(k)[one] for k, one in zip(counts, chosen, strict=True)], 1)


def windows(series, length):
    return np.lib.stride_tricks.sliding_window_view(series, length)[:ROWS]


SETS = {
    "images": images,
    "few dimensions": lambda: R.normal(size=(ROWS, 4)),
    "many": lambda: R.normal(size=(ROWS, 60)),
    "heavy tails": lambda: R.standard_t(2, size=(ROWS, 6)) * [1, 10, 100, 1e3, 1e4, 1e5],
    "far groups": lambda: (
        4 * R.normal(size=(10, 6))[R.integers(0, 10, ROWS)] + R.normal(size=(ROWS, 6))
    ),
    "rounded": lambda: np.round(R.normal(size=(ROWS, 5)), 2),
    "with words": lambda: np.c_[words(5, 3, 8), np.exp(R.normal(size=(ROWS, 4)) / 2)],
    "a real table": lambda: datasets.load_breast_cancer().data,
}
ALONE = {
    "words and a number": lambda: np.c_[words(6, 6, 6, 6, 6), R.normal(size=(ROWS, 1))],
    "flags": lambda: (R.random((ROWS, 30)) < 0.3).astype(float),
    "counts": lambda: R.poisson(0.3, size=(ROWS, 40)).astype(float),
    "a curve": lambda: np.c_[np.cos(t := 6 * R.random(ROWS)), np.sin(t)],
    "a series": lambda: windows(np.cumsum(R.normal(size=2 * ROWS)), 10),
    "a smooth series": lambda: windows(np.sin(np.arange(2 * ROWS) / 50), 20),
    "few": lambda: R.normal(size=(200, 4)),
    "others that are identical": lambda: np.repeat(R.normal(size=(ROWS // 5, 4)), 5, 0),
}


def found(x, shares=(0.6, 0.8)):
    """The findings of samples that are split at random."""
    x = torch.as_tensor(np.asarray(x)[R.permutation(len(x))])
    x = x if x.dtype == torch.uint8 else x.float()
    y, ends = torch.arange(len(x)) % 2, [int(share * len(x)) for share in shares]
    train, val, test = (Split(x, y, r) for r in torch.arange(len(x)).tensor_split(ends))
    data = SimpleNamespace(train=train, val=val, test=test, shape=tuple(x.shape[1:]))
    return [*near_copies(SimpleNamespace(run=SimpleNamespace(data=data)))]


@pytest.mark.parametrize("name", [*SETS, *ALONE])
def test_samples_that_are_drawn_alike_are_no_copies(name):
    assert found((SETS | ALONE)[name]()) == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("share", "times"), [(0.7, 1), (1, 3)])
def test_samples_that_were_varied_before_the_split(name, share, times):
    x = SETS[name]().astype(float)
    some = np.concatenate([x[: int(share * len(x))]] * times)
    varies = 0.004 * x.std(0) if x.ndim == 2 else 0.3
    told = found(np.concatenate([x, some + varies * R.normal(size=some.shape)]))
    assert [(each.name, each.level) for each in told] == [("leak", "warn")] * 2
    # A sample has its like in the training split, which has 60 % of all, or not.
    like = 0.6 * 2 * share / (1 + share) if times == 1 else 1 - 0.4**3
    assert [each.numbers["share"] for each in told] == pytest.approx([like, like], abs=0.2)
    assert "validation samples are nearly identical" in told[0].text


def test_several_samples_of_one_thing():
    things = np.repeat(R.normal(size=(ROWS // 4, 8)), 4, 0)
    assert len(found(things + 0.03 * R.normal(size=things.shape))) == 2
    assert found(things + R.normal(size=things.shape)) == []


def test_a_part_of_the_training_rows_tells_the_share_of_all(monkeypatch):
    x = R.normal(size=(4000, 6))
    both = np.concatenate([x, x + 0.01 * R.normal(size=x.shape)])
    [whole, _] = found(both)
    monkeypatch.setattr("dlrun.engine.near_copies._ROWS", 1500)
    [part, _] = found(both)
    assert part.numbers["samples"] < whole.numbers["samples"] / 2
    assert part.numbers["share"] == pytest.approx(whole.numbers["share"], abs=0.25)
