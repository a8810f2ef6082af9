"""How the inputs of two splits lie."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from dlrun.data.sample import sample
from dlrun.engine import shift
from dlrun.job.session import Session


def test_the_chance_to_lie_further_is_mann_and_whitneys():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(40, generator=generator), torch.rand(30, generator=generator) + 0.1
    b[:3] = a[:3]
    expected = stats.mannwhitneyu(a.numpy(), b.numpy()).statistic / (40 * 30)
    assert shift.further(a, b) == pytest.approx(expected, abs=1e-6)


def hotelling(a, b):
    """T² of two samples, as the normal deviate that is exceeded as often."""
    n, p = len(a) + len(b), a.shape[1]
    pooled = ((len(a) - 1) * np.cov(a.T) + (len(b) - 1) * np.cov(b.T)) / (n - 2)
    apart = a.mean(0) - b.mean(0)
    squared = len(a) * len(b) / n * apart @ np.linalg.inv(pooled) @ apart
    chance = stats.f.sf(squared * (n - p - 1) / ((n - 2) * p), p, n - p - 1)
    return stats.norm.isf(chance)


def test_splits_are_compared_by_hotellings_statistic_of_ranks():
    rng = np.random.default_rng(0)
    a, b = rng.standard_t(2, (300, 6)), rng.standard_t(2, (200, 6)) + 0.15
    ranks = (stats.rankdata(np.concatenate([a, b]), axis=0) - 0.5) / 500 - 0.5
    seen = shift.compared(torch.tensor(a), torch.tensor(b))
    assert seen["moved"] == pytest.approx(hotelling(ranks[:300], ranks[300:]), abs=0.05)
    assert seen["spread"] == pytest.approx(hotelling(abs(ranks[:300]), abs(ranks[300:])), abs=0.05)


def test_small_shifts_of_many_columns_add_up():
    rng = np.random.default_rng(1)
    a, b = (
        torch.tensor(rng.exponential(size=(800, 12))),
        torch.tensor(rng.exponential(size=(300, 12))),
    )
    assert max(shift.compared(a, b).values()) < 2
    assert shift.compared(a, b + 0.2)["moved"] > 5
    about = b - b.median(0).values
    assert shift.compared(a - a.median(0).values, 1.5 * about)["spread"] > 5


def test_images_are_compared_in_their_principal_directions():
    rng = np.random.default_rng(2)
    x = torch.tensor(rng.random((900, 1, 12, 12)) * rng.random((900, 1, 1, 1)))
    assert max(shift.compared(x[:600], x[600:]).values()) < 2.5
    assert shift.compared(x[:600], 0.8 * x[600:] + 0.2)["moved"] > 5
    same = torch.zeros(50, 4)
    assert max(shift.compared(same, same[:20]).values()) < 3, "ties are no order"
    assert shift.compared(same[:1], same[:1]) == {}


def test_that_random_splits_differ_is_as_rare_as_it_should_be():
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(300):
        x = torch.rand(160, 5, generator=generator) ** 3
        found += shift.compared(x[:120], x[120:]).values()
    assert np.mean(np.array(found) > 1.645) == pytest.approx(0.05, abs=0.025)
    assert max(found) < 4


@pytest.mark.parametrize(("samples", "rare"), [(360, 0.06), (900, 0.03)])
def test_random_splits_of_tables_with_rare_values_differ_as_rarely(samples, rare):
    """A missing value, a class of a column: equal values have no order, and few are not normal."""
    generator = torch.Generator().manual_seed(0)
    city = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), samples, True, generator=generator)
    x = torch.cat(
        [
            torch.randn(samples, 3, generator=generator),
            torch.nn.functional.one_hot(city),
            torch.rand(samples, 6, generator=generator) < rare,
        ],
        1,
    )
    found = np.empty((1500, 2))
    for each in found:
        order = torch.randperm(samples, generator=generator)
        each[:] = list(shift.compared(*x[order].split([samples * 8 // 9, samples // 9])).values())
    # 1.645 and 2.326 are exceeded by chance in one of 20 and of 100; 3.5 is SURE.
    for beyond, chance in ((1.645, 0.05), (2.326, 0.01)):
        far = 3.5 * math.sqrt(chance * (1 - chance) / len(found))
        assert (found > beyond).mean(0) == pytest.approx(chance, abs=far)


def test_what_columns_explain_of_a_random_split_varies_as_computed():
    """Pitman 1937: over all splits of ten rows into seven and three."""
    x = torch.tensor(np.random.default_rng(0).exponential(size=(10, 2)))
    x = torch.linalg.qr(x - x.mean(0)).Q
    splits = [list(some) for some in combinations(range(10), 3)]
    told = torch.stack([x[some].sum(0).square().sum() * 10 / 21 for some in splits])
    square = float(x.square().sum(1).square().sum())
    assert float(told.mean()) == pytest.approx(2 / 9)
    assert shift._variance(10, 2, 3, square) == pytest.approx(float(told.var(correction=0)))


def test_a_value_that_validation_alone_has_is_found():
    x = torch.zeros(360, 1)
    x[-40::3] = 1
    assert shift.compared(x[:320], x[320:])["moved"] > 5


def test_the_classifier_of_two_splits_is_scikit_learns(train_recipe):
    trained = train_recipe("epochs='1 steps'").run
    told = shift.told_apart(trained)
    train, val = trained.data.train, trained.data.val
    count = len(val)
    rows = [sample(split, count, seed=2) for split in (train, val)]
    x = torch.cat([train.x[each].float().flatten(1) for each in rows]).numpy()
    of_val = np.arange(2 * count) >= count
    near = math.isqrt(2 * count) // 2 * 2 + 1
    indices = NearestNeighbors(n_neighbors=near).fit(x).kneighbors(return_distance=False)
    right = (of_val[indices].mean(1) > 0.5) == of_val
    assert told["share"] == pytest.approx(right.mean(), abs=0.02)
    assert told["samples"] == count


def test_runs_on_the_same_data_look_at_their_inputs_once(train_recipe, digits):
    first, second = (train_recipe("epochs='1 steps'", f"seed={n}", data=digits).run for n in (0, 1))
    assert shift.neighbours(second) is shift.neighbours(first)
    assert shift.moved(second, "val") is shift.moved(first, "val")


def test_neighbours_are_the_same_however_many_are_sought_at_once(train_recipe, monkeypatch):
    run = train_recipe("epochs='1 steps'").run
    found = []
    for many in (7, 10_000):
        monkeypatch.setattr(shift, "_AT_ONCE", many)
        monkeypatch.delitem(run.data.made, "shift", raising=False)
        found.append(shift.neighbours(run))
    for name, near in found[0].items():
        assert all(map(torch.equal, near, found[1][name]))


def test_what_has_been_written_into_is_looked_at_anew(train_recipe, digits):
    data = replace(digits, val=replace(digits.val, x=digits.val.x.clone()))
    run = train_recipe("epochs='1 steps'", data=data).run
    before = shift.moved(run, "val")
    data.val.x[data.val.rows] //= 2
    assert shift.moved(run, "val")["moved"] > before["moved"] + 5


def test_a_recipe_that_sees_other_inputs_looks_itself(compose_recipe, train_recipe):
    toy = ("data=toy", "data.kind=moons")
    data, words = Session().data(compose_recipe(*toy)), ("epochs='1 steps'", *toy)
    whole = train_recipe(*words, data=data).run
    kept = ("preprocessing=[columns,standardize]", "preprocessing.columns.keep=[0]")
    one = train_recipe(*words, *kept, data=data).run
    far = [shift.neighbours(run)["val"].away.mean() for run in (whole, one)]
    assert far[1] < far[0] / 3
