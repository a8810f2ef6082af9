"""Choosing by the test split: the best of many tries, counted by hand and as the command does."""

from itertools import combinations
from statistics import mean

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.experiment.tuning import best_of, expected_best


def test_the_best_of_k_is_the_mean_over_all_choices():
    by, value = np.array([0.3, 0.9, 0.5, 0.7, 0.1]), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    for k in range(1, 6):
        best = [max(chosen, key=lambda n: by[n]) for chosen in combinations(range(5), k)]
        assert best_of(by, value, k) == pytest.approx(mean(value[n] for n in best))


def test_the_expected_best_of_tries_that_guess():
    draws = np.random.default_rng(0).binomial(100, 0.5, (4000, 40)) / 100
    assert expected_best(0.5, 100, 40) == pytest.approx(draws.max(1).mean(), abs=0.006)


NOISE = (
    *("data=gaussian", "data.features=4", "data.n_classes=2", "data.n_samples=120"),
    *("data.split=20/20/80", "model.hidden=[4]", "epochs='2 steps'", "tracking=none"),
    "procedure._target_=dlrun.experiment.tuning.tuned_on_test",
)


def test_the_test_split_is_dealt_and_the_rest_stays_fresh(tmp_path):
    assert main([*NOISE, "+procedure.tries=3", "preflight=off", f"outputs={tmp_path}"]) == 0
    infos = [record.read_json(run / "run.json") for run in record.all_runs(tmp_path)]
    tries = [info for info in infos if not info.get("chart")]
    assert len({tuple(info["data"]["splits"].items()) for info in tries}) == 1
    [chart] = [info["chart"] for info in infos if info.get("chart")]
    chosen, fresh, honest = chart["curves"].values()
    assert chosen == sorted(chosen)
    assert len(fresh) == len(honest) == len(tries) == 3


def test_a_test_split_too_small_to_deal(tmp_path, capsys):
    words = [word for word in NOISE if not word.startswith("data.split")]
    assert main([*words, "data.split=20/80/20", f"outputs={tmp_path}"]) == 2
    assert "a test split larger than val" in capsys.readouterr().err
