"""Samplers that stand where they stood, and rules that prune."""

import math
from dataclasses import replace

import optuna
import pytest

from dlrun import record
from dlrun.record.sweep import Point, RunResult
from dlrun.sweep import samplers, search
from dlrun.sweep.plan import Plan
from dlrun.sweep.search import Pruner, Search
from dlrun.sweep.space import Values
from tests.conftest import in_suite, sparsely

SPACE = (
    "optimizer.lr=tag(log,interval(1e-4,1))",
    "optimizer.momentum=interval(0,0.99)",
    "batch_size=interval(8,64)",
)
CHOICES = ("optimizer=sgd,adam,momentum",)


def made(plan: Plan) -> Search:
    return Search(
        plan.space,
        samplers.sampler(plan.settings),
        samplers.pruner(plan.settings),
        "val/accuracy",
        "test",
    )


def worth(values: Values) -> float:
    return (
        -((math.log10(values["optimizer.lr"]) + 2) ** 2) - (values["optimizer.momentum"] - 0.5) ** 2
    )


def ended(trial: int, values: Values, status: str = record.FINISHED) -> Point:
    runs = [RunResult(0, "", "", status, worth(values))]
    return Point(trial, "", values, [], runs, status)


def run(one: Search, trials: range, before: list[Point] | None = None) -> list[Point]:
    """Ask and tell; first again what was asked and told before."""
    points = []
    for point in before or []:
        assert one.ask(point.trial) == point.values
        one.tell(point)
        points.append(point)
    for trial in trials:
        values = one.ask(trial)
        assert values is not None
        points.append(ended(trial, values, record.FAILED if trial == 3 else record.FINISHED))
        one.tell(points[-1])
    return points


@pytest.mark.parametrize("option", sparsely(["random", "tpe", "cmaes", "qmc", "gp"], 3))
def test_a_search_that_begins_again_stands_where_it_stood(planned, option):
    startup = ["sweep.sampler.n_startup_trials=4"] if option in ("tpe", "gp") else []
    plan = planned(f"sweep={option}", *SPACE, *CHOICES, *startup)
    count = 8 if option == "gp" else 14
    whole = run(made(plan), range(count))
    for cut in (1, 5, count - 1):
        assert run(made(plan), range(cut, count), whole[:cut]) == whole
    assert (
        run(made(planned(f"sweep={option}", "sweep.seed=1", *SPACE, *CHOICES, *startup)), range(3))
        != whole[:3]
    )
    assert len({point.values["optimizer"] for point in whole}) > 1, "choices vary"
    assert len({point.values["optimizer.lr"] for point in whole}) == count


@pytest.mark.proves("sweep=tpe", "sweep=cmaes", "sweep=gp")
@pytest.mark.parametrize("option", in_suite(["tpe"], ["tpe", "cmaes", "gp"]))
def test_a_sampler_that_learns_beats_one_that_does_not(planned, option):
    def best(name: str, seed: int) -> float:
        count = 25 if option == "gp" else 50
        points = run(made(planned(f"sweep={name}", f"sweep.seed={seed}", *SPACE)), range(4, count))
        return max(point.value or -math.inf for point in points)

    seeds = range(2 if option == "gp" else 5)
    assert sum(best(option, seed) > best("random", seed) for seed in seeds) > len(seeds) / 2


@pytest.mark.proves("sweep=random")
def test_ranges_are_kept_to(planned):
    one = made(planned("sweep=random", *SPACE, "epochs=range(2,9,3)"))
    asked = [one.ask(trial) for trial in range(300)]
    rates = [values["optimizer.lr"] for values in asked if values]
    assert all(1e-4 <= rate <= 1 for rate in rates)
    assert sum(rate < 1e-2 for rate in rates) == pytest.approx(150, abs=35), "even in the logarithm"
    assert all(float(f"{rate:.4g}") == rate for rate in rates), "four digits"
    assert {values["epochs"] for values in asked if values} == {2, 5, 8}
    assert all(type(values["batch_size"]) is int for values in asked if values)


def test_steps_are_drawn_as_a_grid_lists_them(planned):
    word = "optimizer.lr=range(0.1,0.5,0.1)"
    plan = planned(word, "sweep=random", "sweep.trials=30")
    drawn = {plan_values["optimizer.lr"] for plan_values in map(made(plan).ask, range(30))}
    assert drawn == {values["optimizer.lr"] for values in planned(word).space.grid()}


@pytest.mark.proves("sweep=qmc")
def test_quasi_random_points_fill_ranges_evenly(planned):
    """Each sixteenth of a range has one of 16 scrambled Sobol' points, in every dimension."""
    one = made(planned("sweep=qmc", *SPACE[:2]))
    asked = [values for values in map(one.ask, range(17)) if values][1:]  # one at random
    rates = [(math.log10(values["optimizer.lr"]) + 4) / 4 for values in asked]
    momenta = [values["optimizer.momentum"] / 0.99 for values in asked]
    assert sorted(int(16 * share) for share in rates) == list(range(16))
    assert sorted(int(16 * share) for share in momenta) == list(range(16))


def test_zipped_keys_are_one_choice(planned):
    plan = planned(
        "sweep=tpe",
        "optimizer=sgd,adam",
        "optimizer.lr=0.1,0.001",
        "sweep.zip=[optimizer,optimizer.lr]",
    )
    one = made(plan)
    asked = [one.ask(trial) for trial in range(20)]
    pairs = {tuple(values.values()) for values in asked if values}
    assert pairs == {("sgd", 0.1), ("adam", 0.001)}


def test_a_point_that_failed_may_succeed_later(planned):
    one = made(planned("sweep=tpe", *SPACE))
    values = one.ask(0)
    assert values is not None
    one.tell(ended(0, values, record.FAILED))
    one.tell(ended(0, values))
    one.tell(ended(0, values))
    states = [trial.state.name for trial in one._study.trials]
    assert states == ["FAIL", "COMPLETE"]


@pytest.mark.parametrize("status", [record.PRUNED, record.FAILED])
def test_a_gaussian_process_does_not_propose_again_what_came_to_nothing(planned, status):
    plan = planned("sweep=gp", SPACE[0], SPACE[2], "sweep.sampler.n_startup_trials=3")
    one, found = made(plan), list[Point]()
    for trial in range(7):
        values = one.ask(trial)
        assert values is not None
        state = status if trial > 2 else record.FINISHED
        value = 0.5 - trial / 10  # the best is the first
        found.append(Point(trial, "", values, [], [RunResult(0, "", "", state, value)], state))
        one.tell(found[-1])
    assert len({(f"{p.values['optimizer.lr']:.2g}", p.values["batch_size"]) for p in found}) == 7


def test_a_point_of_a_grid_with_a_pruner_that_failed_may_succeed_later(planned):
    one = made(planned("optimizer.lr=0.1,0.01", "sweep.pruner=median"))
    values = one.ask(0)
    assert values == {"optimizer.lr": 0.1}
    for status in (record.FAILED, record.FINISHED):
        runs = [RunResult(0, "", "", status, 0.5)]
        one.tell(Point(0, "", values, [], runs, status))
    assert [trial.state.name for trial in one._study.trials] == ["FAIL", "COMPLETE"]
    assert one.ask(2) is None


def test_a_grid_without_a_pruner_gives_its_points_in_order_and_learns_nothing(planned):
    one = made(planned("optimizer.lr=0.1,0.01"))
    first, second = one.ask(0), one.ask(1)
    assert (first, second) == ({"optimizer.lr": 0.1}, {"optimizer.lr": 0.01})
    assert one.ask(2) is None
    one.tell(Point(0, "", first, [], [RunResult(0, "", "", record.FINISHED, 0.5)], record.FINISHED))
    assert not one._study.trials
    assert one.pruner(0) is None


def test_what_another_release_drew_is_told_as_it_was(planned):
    one = made(planned("sweep=tpe", *SPACE))
    drawn = one.ask(0)
    assert drawn is not None
    recorded = drawn | {"optimizer.lr": 0.5}
    one.tell(ended(0, recorded))
    assert one._study.best_params["optimizer.lr"] == 0.5


def test_a_pruner_counts_validations_and_remembers(planned):
    plan = planned("sweep=random", "sweep.pruner=median", "sweep.pruning.startup=2", *SPACE)
    one = made(plan)
    for trial, level in enumerate((0.8, 0.9)):
        values = one.ask(trial)
        assert values is not None
        judge = one.pruner(trial)
        assert judge is not None
        assert not any(judge.should_stop(level, step) for step in (10, 20, 30))
        one.tell(replace(ended(trial, values), status=record.FINISHED))
    one.ask(2)
    judge = one.pruner(2)
    assert judge is not None
    assert judge.should_stop(0.5, 10) is True, "no bool of NumPy's, which no checkpoint takes"
    assert judge.pruned
    assert judge.should_stop(0.99, 10), "the decision of a step stands when a run comes by again"
    assert one.pruner(0) is None, "a point that has been told needs none"


def test_pruners_of_other_processes_see_each_other(planned, tmp_path):
    plan = planned("sweep=random", "sweep.pruner=median", "sweep.pruning.startup=1", *SPACE)
    path, pruner = tmp_path / "journal.log", samplers.pruner(plan.settings)
    one = Search(plan.space, samplers.sampler(plan.settings), pruner, "val/loss", "test", path)
    first, _ = one.ask(0), one.ask(1)
    assert first is not None
    good = Pruner(search.attached(path, "test", one.id(0), pruner), "val/loss")
    assert not good.should_stop(-0.1, 1)
    one.tell(ended(0, first))
    assert Pruner(search.attached(path, "test", one.id(1), pruner), "val/loss").should_stop(-0.9, 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", type(None)),
        ("median", optuna.pruners.MedianPruner),
        ("halving", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
    ],
)
def test_pruners_by_name(planned, name, kind):
    plan = planned("sweep=random", *SPACE, f"sweep.pruner={name}")
    assert isinstance(samplers.pruner(plan.settings), kind)
