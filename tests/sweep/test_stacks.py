"""Points that train at once come to what they come to one by one, and are kept as these are."""

import gc
import math
import os
import signal
import sys

import pytest

from dlrun import record
from dlrun.stack import StackedStep, worth
from dlrun.sweep import claims
from dlrun.sweep import stacks as sweep_stacks
from tests.conftest import in_suite
from tests.states import timeless
from tests.sweep.typed import LR, directory, points, start, table

SHORT = ("data.samples=20%", "epochs=3", "sweep.export=none")
SWEEPS = {
    "grid": ("optimizer.lr=0.3,0.1", "seed=0,1", "optimizer=sgd,adam"),
    "random": ("sweep=random", "sweep.trials=6", LR, "sweep.repeats=2"),
    "qmc": ("sweep=qmc", "sweep.trials=8", LR),
    "tpe": (
        *("sweep=tpe", "sweep.trials=8", "sweep.parallel=4", LR),
        "sweep.sampler.n_startup_trials=4",
    ),
    "numbers": (
        "regularization=[l2,early_stopping]",
        *("regularization.l2.strength=0,0.01", "regularization.early_stopping.patience=1,3"),
        *("initializer=he,xavier", "schedule=cosine,constant", "epochs=2,3"),
    ),
}


@pytest.mark.parametrize("name", in_suite(["grid", "tpe"], SWEEPS))
def test_a_stacked_sweep_finds_what_one_by_one_does(name, sweep, tmp_path, monkeypatch, stacks):
    found = []
    for way in ("off", "64"):
        where = tmp_path / way
        where.mkdir()
        monkeypatch.chdir(where)
        assert sweep(*SHORT, *SWEEPS[name], f"sweep.stack={way}") == 0
        found.append(table(where))
    assert stacks, "some were trained at once"
    for one, other in zip(*found, strict=True):
        (*which, status, value, _, runs), (*others, same, again, _, siblings) = one, other
        assert (*which, status) == (*others, same)
        assert again == pytest.approx(value, abs=0.012), "an image more or less by rounding"
        for (*_, loss, epochs), (*_, its, length) in zip(runs, siblings, strict=True):
            assert epochs == length
            assert its == pytest.approx(loss, rel=1e-4)


def test_a_sibling_has_the_record_of_a_run_that_was_trained_alone(sweep, tmp_path, monkeypatch):
    records = []
    for way in ("off", "2"):
        where = tmp_path / way
        where.mkdir()
        monkeypatch.chdir(where)
        assert sweep(*SHORT, "seed=3,4", f"sweep.stack={way}") == 0
        records.append(record.all_runs(where / "outputs"))
    for alone, sibling in zip(*records, strict=True):
        files = [sorted(p.relative_to(d) for p in d.rglob("*")) for d in (alone, sibling)]
        assert files[0] == files[1]
        one, other = (record.read_json(each / "run.json") for each in (alone, sibling))
        assert other["tags"].pop("dlrun.stack") == 2
        assert other.pop("stack")
        assert one.keys() == other.keys()
        apart = {
            "id",
            "uid",
            "test_measured",
            "started",
            "time",
            "command",
            "host",
            "pid",
            "cwd",
            "overrides",
            "hash",
        }
        differs = [key for key in one.keys() - apart if one[key] != other[key]]
        assert differs == []
        points = [record.read_points(each) for each in (alone, sibling)]
        assert [p["step"] for p in points[0]] == [p["step"] for p in points[1]]
        assert [list(p["values"]) for p in points[0]] == [list(p["values"]) for p in points[1]]


def test_one_that_diverges_ends_alone(sweep, tmp_path, capsys):
    words = ("optimizer.lr=0.1,1e6,0.05", "sweep.stack=8", "sweep.retries=0")
    assert sweep(*SHORT, *words) == 1
    assert "error: optimizer.lr=1000000.0: the training loss became" in capsys.readouterr().err
    first, second, third = points(tmp_path)
    assert (first.status, second.status, third.status) == ("FINISHED", "FAILED", "FINISHED")
    failed = directory(tmp_path).parents[1] / str(second.runs[0].directory)
    names = [each.name for each in record.findings_of(failed)]
    assert names == ["diverged"]


BREAKS = """
from torch import nn

def breaks(x, calls=[]):
    calls.append(1)
    if len(calls) == 40:
        raise ValueError("out of patience")
    return x

def loss(logits, y):
    return breaks(nn.functional.cross_entropy(logits, y))

class Penalty:
    def add_gradient(self, weights):
        breaks(0.0)
"""


@pytest.mark.parametrize(
    "word", ["loss._target_=mine.loss", "+regularization.own._target_=mine.Penalty"]
)
def test_an_error_of_the_users_own_ends_its_stack_alone(
    sweep, tmp_path, monkeypatch, stacks, capsys, word
):
    (tmp_path / "mine.py").write_text(BREAKS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert sweep(word, "seed=0,1", "model.hidden=[8],[9]", "sweep.stack=2", "preflight=off") == 1
    out, err = capsys.readouterr()
    assert stacks == [2, 2]
    assert err.count("out of patience (") == 1, "once for all of a stack"
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "error: 2 of 4 runs failed"
    assert "report: " in out
    found = [record.read_status(run) for run in record.all_runs(tmp_path / "outputs")]
    failed = [each["message"] for each in found if each["status"] == record.FAILED]
    assert len(failed) == 2, "the sweep goes on with the others"
    assert all("out of patience" in message for message in failed)


def test_a_pruner_takes_one_out_and_the_others_go_on(sweep, tmp_path, stacks):
    words = ("optimizer.lr=0.3,0.2,0.1,0.0001,0.0002,0.0003", "epochs=6")
    prunes = ("sweep.pruner=median", "sweep.pruning.startup=2", "sweep.parallel=3")
    assert sweep(*SHORT, *words, *prunes, "sweep.stack=3") == 0
    assert stacks == [3, 3]
    assert [p.status for p in points(tmp_path)] == 3 * ["FINISHED"] + 3 * ["PRUNED"]
    assert all(point.runs[0].epochs < 6 for point in points(tmp_path)[3:])


def test_auto_decides_once_and_follows_that(sweep, tmp_path, monkeypatch, stacks):
    asked = []

    def gain(runs):
        asked.append(len(runs))
        return 3.0

    monkeypatch.setattr(worth, "gain", gain)
    monkeypatch.setattr("dlrun.job.stacked.SOON", 0)
    assert sweep(*SHORT, "seed=0,1,2,3", "sweep.trials=2") == 0
    monkeypatch.setattr(worth, "gain", lambda runs: 0.5)
    assert sweep(*SHORT, "seed=0,1,2,3", "sweep.trials=4") == 0
    assert (asked, stacks) == ([2], [2, 2])
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    assert sweep(*SHORT, "seed=0,1,2,3") == 0
    assert stacks == [2, 2], "what is slower at once is trained one by one"


def test_no_old_garbage_is_looked_for_while_many_are_made(sweep, monkeypatch, stacks):
    seen, wanted = [], sweep_stacks._wanted
    monkeypatch.setattr(
        sweep_stacks, "_wanted", lambda *of: seen.append(gc.get_threshold()[2]) or wanted(*of)
    )
    usual = gc.get_threshold()
    assert sweep(*SHORT, "seed=0,1", "sweep.stack=2") == 0
    assert (seen, stacks) == ([2**30] * 2, [2])
    assert gc.get_threshold() == usual


def test_what_is_soon_over_is_not_even_timed(sweep, stacks, monkeypatch):
    monkeypatch.setattr(worth, "gain", lambda runs: pytest.fail("was timed"))
    assert sweep(*SHORT, "seed=0,1,2") == 0
    assert stacks == []


def test_others_train_alone_and_the_dry_run_says_why(sweep, capsys, stacks):
    words = (*SHORT, "optimizer=sgd,lbfgs", "batch_size=16,32", "seed=0,1", "sweep.stack=8")
    assert sweep(*words, "sweep.dry_run=true") == 0
    said = capsys.readouterr().out
    assert "2 points as one network, " in said
    assert "apart by batch_size is 16 and 32" in said
    assert "2 points alone: LBFGS evaluates the loss itself" in said
    stacks.clear()
    assert sweep(*words) == 0
    assert stacks == [2, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep.stack=off",), "none: sweep.stack=off"),
        (("sweep.fail_fast=true",), "none: sweep.fail_fast=true"),
        (("sweep.pruner=median",), "none: each depends on those before; sweep.parallel=8 asks"),
    ],
)
def test_the_dry_run_says_which_setting_unstacks(words, said, sweep, capsys):
    assert sweep(*SHORT, "seed=0,1", *words, "sweep.dry_run=true") == 0
    assert said in capsys.readouterr().out


def test_a_number_that_comes_to_nothing_is_said(sweep, capsys, stacks):
    assert sweep(*SHORT, "seed=0,1", "sweep.stack=4", "sweep.fail_fast=true") == 0
    assert "sweep.stack=4: none at once: sweep.fail_fast=true" in capsys.readouterr().out
    assert stacks == []


@pytest.mark.parametrize("value", ["1", "0", "-3", "fast", "true", "2.5"])
def test_an_impossible_number_is_a_mistake(value, sweep, capsys):
    assert sweep("seed=0,1", f"sweep.stack={value}") == 2
    assert f"sweep.stack={value}: must be auto, off, or how many" in capsys.readouterr().err


def test_what_cannot_be_built_fails_alone(sweep, tmp_path):
    assert sweep(*SHORT, "model.max_parameters=10000,100,20000", "sweep.stack=4") == 1
    assert [p.status for p in points(tmp_path)] == ["FINISHED", "FAILED", "FINISHED"]


def test_who_holds_claims_does_not_wait_for_more(tmp_path):
    with claims.free(tmp_path, "a") as first, claims.free(tmp_path, "a") as second:
        assert first is not None
        assert second is None
    with claims.free(tmp_path, "a") as again:
        assert again is not None


def test_interrupted_and_typed_again_it_goes_on_exactly(
    sweep, tmp_path, monkeypatch, stacks, interrupted
):
    words = (*SHORT, "seed=0,1,2", "optimizer=adam", "sweep.stack=4", "checkpoint_every='3 steps'")
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert sweep(*words) == 0
    (tmp_path / "halves").mkdir()
    monkeypatch.chdir(tmp_path / "halves")
    with interrupted():
        assert sweep(*words) == 130
    assert [p.status for p in points(tmp_path / "halves")] == 3 * ["KILLED"]
    assert sweep(*words) == 0
    assert stacks == [3, 3, 3]
    assert table(tmp_path / "halves") == table(tmp_path / "whole")
    found = [record.all_runs(tmp_path / way / "outputs") for way in ("whole", "halves")]
    for one, other in zip(*found, strict=True):
        assert timeless(record.read_points(one)) == timeless(record.read_points(other))


def test_a_sibling_can_be_resumed_alone_and_says_so(sweep, tmp_path, capsys):
    from dlrun.__main__ import main

    assert sweep(*SHORT, "seed=0,1", "sweep.stack=2") == 0
    run = record.all_runs(tmp_path / "outputs")[0]
    capsys.readouterr()
    assert main([f"resume={run.name}", "epochs=4"]) == 0
    assert "trained until now as one of 2 at once" in capsys.readouterr().out
    assert record.read_points(run)[-1]["epoch"] == 4


@pytest.mark.slow
@pytest.mark.proof
def test_killed_at_any_moment_it_ends_as_a_whole_one(tmp_path):
    words = ["tracking=none", "threads=1", "checkpoint_every='20 steps'", "epochs=30"]
    words += ["optimizer.lr=0.1,0.05,0.02,0.01", "seed=0,1", "sweep.stack=8"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    child = start(words, whole)
    child.join()
    assert child.exitcode == 0, (whole / "output.txt").read_text()
    lasted = max(
        point["values"].get("time/elapsed", 0.0)
        for run in record.all_runs(whole / "outputs")
        for point in record.read_points(run)
    )
    kills = 0
    for part in range(5):
        child = start(words, killed)
        before = _written(killed)
        while child.exitcode is None and _written(killed) == before:
            child.join(0.002)
        child.join(lasted * part / 10)
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            kills += 1
    assert kills > 2
    child = start(words, killed)
    child.join()
    assert child.exitcode == 0, (killed / "output.txt").read_text()
    assert len(record.all_runs(killed / "outputs")) == 8
    for one, other in zip(table(killed), table(whole), strict=True):
        assert one[:4] == other[:4]
        assert math.isclose(one[4], other[4], abs_tol=0.006)


def _written(folder):
    found = (folder / "outputs").glob("runs/*/metrics.jsonl")
    return sum(path.stat().st_size for path in found)


@pytest.mark.parametrize("rates", ["0,0.2", "0.2,0"])
def test_dropout_at_rate_0_is_no_dropout_and_trains_apart(rates, sweep, stacks, capsys):
    words = ("regularization=[dropout]", f"regularization.dropout.hidden={rates}", "seed=0,1")
    assert sweep(*SHORT, *words, "sweep.stack=4", "sweep.dry_run=true") == 0
    assert "apart by model" in capsys.readouterr().out
    stacks.clear()
    assert sweep(*SHORT, *words, "sweep.stack=4") == 0
    assert stacks == [2, 2]


def test_the_last_of_a_stack_goes_on_within_a_window(sweep, tmp_path):
    words = ("data.samples=20%", "epochs=3,1", "log_every='4 steps'", "sweep.export=none")
    assert sweep(*words, "sweep.stack=8") == 0
    assert [point.status for point in points(tmp_path)] == ["FINISHED", "FINISHED"]


def test_with_masks_it_goes_on_exactly_though_one_has_left(sweep, tmp_path, monkeypatch):
    words = ("data.samples=20%", "epochs=1,4", "seed=0,1", "regularization=[dropout]")
    words += ("checkpoint_every='100 epochs'", "sweep.export=none", "sweep.stack=4")
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert sweep(*words) == 0
    (tmp_path / "halves").mkdir()
    monkeypatch.chdir(tmp_path / "halves")
    measure, seen = StackedStep.measure, []

    def killed(self, split="val"):
        seen.append(split)
        if len(seen) == 3:
            raise KeyboardInterrupt  # nothing is saved any more, as after SIGKILL
        return measure(self, split)

    with monkeypatch.context() as patched:
        patched.setattr(StackedStep, "measure", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            assert sweep(*words) == 0
    assert sweep(*words) == 0
    assert table(tmp_path / "halves") == table(tmp_path / "whole")
