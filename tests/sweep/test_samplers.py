"""What a sampler is made from: any seed there is, and settings that it takes."""

import warnings

import pytest

from dlrun.errors import Mistake
from dlrun.sweep import samplers
from dlrun.sweep.plan import Plan
from dlrun.sweep.search import Search
from dlrun.sweep.space import Values
from tests.conftest import sparsely
from tests.sweep.typed import LR


def drawn(plan: Plan) -> list[Values | None]:
    """The values of the first three trials."""
    one = Search(plan.space, samplers.sampler(plan.settings), None, "val/accuracy", "test")
    return [one.ask(trial) for trial in range(3)]


@pytest.mark.parametrize("option", sparsely(["random", "tpe", "cmaes", "qmc", "gp"], 4))
def test_any_seed_is_one(planned, option):
    asked = (f"sweep={option}", LR, "batch_size=8,16")
    large = drawn(planned(*asked, "sweep.seed=4295"))
    assert large == drawn(planned(*asked, "sweep.seed=4295"))
    assert large != drawn(planned(*asked, f"sweep.seed={2**63}"))


def test_small_seeds_draw_what_they_always_drew(planned):
    import optuna

    space = {"lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(7 * 1_000_003 + 2))
    make = samplers.sampler(planned("sweep=random", LR, "sweep.seed=7").settings)
    assert make is not None
    again = optuna.create_study(sampler=make(2))
    assert again.ask(space).params == study.ask(space).params


@pytest.mark.parametrize(
    ("option", "word", "what"),
    [
        ("tpe", "sweep.sampler.n_startup_trials=abc", "=abc: expected a whole number"),
        ("tpe", "sweep.sampler.n_startup_trials=-1", "=-1: must not be negative"),
        ("tpe", "sweep.sampler.multivariate=3", "=3: expected true or false"),
        ("tpe", "+sweep.sampler.n_ei_candidates=0", "=0: must be greater than 0"),
        ("tpe", "+sweep.sampler.gamma=3", "=3: expected a mapping or null"),
        ("tpe", "+sweep.sampler.foo=3", "takes no 'foo'"),
        ("gp", "sweep.sampler.n_startup_trials=1.5", "=1.5: expected a whole number"),
        ("cmaes", "sweep.sampler.sigma0=nan", "=nan: must be a finite number"),
        ("cmaes", "sweep.sampler.sigma0=0", "=0: must be greater than 0"),
        ("cmaes", "+sweep.sampler.popsize=1", "=1: must be 2 or more"),
        ("cmaes", "+sweep.sampler.x0={a: 1}", "has no number for optimizer.lr"),
        ("qmc", "+sweep.sampler.qmc_type=foo", "=foo: .*foo"),
        ("random", "sweep.sampler.seed=abc", "=abc: expected a whole number"),
        ("random", "sweep.sampler.seed=-3", "=-3: must not be negative"),
        ("random", "sweep.sampler=3", "=3: choose one with sweep=random"),
        ("random", "sweep.sampler._target_=os.system", "=os.system: is not a sampler"),
        ("random", "sweep.sampler._target_=optuna.samplers.Tpe", "has no 'Tpe'"),
    ],
)
def test_a_wrong_setting_names_its_key_and_value(planned, option, word, what):
    with pytest.raises(Mistake, match=what) as caught:
        planned(f"sweep={option}", LR, word)
    assert str(caught.value).startswith(word.lstrip("+").partition("=")[0])


def test_what_optuna_may_change_is_not_said(planned):
    words = ("+sweep.sampler.group=true", "+sweep.sampler.consider_endpoints=true")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        drawn(planned("sweep=tpe", LR, *words))
        drawn(planned("sweep=cmaes", LR, "+sweep.sampler.with_margin=true"))
    assert [str(warning.message) for warning in said] == []


@pytest.mark.parametrize("option", ["random", "tpe", "qmc"])
def test_a_seed_of_the_sampler_draws_other_points_but_not_one_alone(planned, option):
    mine = drawn(planned(f"sweep={option}", LR, "sweep.sampler.seed=3"))
    assert mine[0] != mine[1] != mine[2]
    assert mine != drawn(planned(f"sweep={option}", LR))
    assert mine == drawn(planned(f"sweep={option}", LR, "sweep.sampler.seed=3"))
