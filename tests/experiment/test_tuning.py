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


def test_what_is_promised_and_what_is_kept(tmp_path):
    words = ["+procedure.tries=3", "+procedure.size=20", "preflight=off", f"outputs={tmp_path}"]
    assert main([*NOISE, *words]) == 0
    infos = [record.read_json(run / "run.json") for run in record.all_runs(tmp_path)]
    [chart] = [info["chart"] for info in infos if info.get("chart")]
    promised, kept, honest, _ = chart["curves"].values()
    assert promised == sorted(promised)
    assert len(promised) == len(kept) == len(honest) == len(infos) - 1 == 3
    assert promised[0] == pytest.approx(kept[0]), "a single try chooses nothing"
    assert promised[0] == pytest.approx(honest[0])


def test_a_test_split_too_small_to_deal(tmp_path, capsys):
    assert main([*NOISE, "+procedure.size=50", f"outputs={tmp_path}"]) == 2
    assert "procedure.size=50" in capsys.readouterr().err
