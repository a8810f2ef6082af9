"""A resumed run whose recipe or record is another: what goes on, what begins anew, what is said."""

import logging
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dlrun import record
from dlrun.engine import checkpoint
from dlrun.engine.run import Run
from dlrun.engine.state import State, begin
from dlrun.engine.train import train
from dlrun.errors import Mistake
from dlrun.recipe import build
from dlrun.regularization import Regularizer
from tests.conftest import Watcher
from tests.states import save

SHORT = ("epochs='6 steps'", "validate_every='2 steps'", "log_every='2 steps'")
SHORT += ("checkpoint_every='5 steps'", "optimizer.lr=0.01")
Resumed = tuple[Run, State, list[str]]


@pytest.fixture
def train_then_resume(compose_recipe, digits, tmp_path, caplog):
    """Train with some words, then build with others and begin: the run, its state, warnings."""

    def resumed(first: str, then: str, changed: tuple[str, ...] = (), harm: Any = None) -> Resumed:
        run = build.build(compose_recipe(*SHORT, *_words(first)), digits)
        kept = record.create(tmp_path, "test", {}, "")
        train(run, begin(run, kept), kept, Watcher())
        if harm is not None:
            harm(kept)
        kept.close()
        run = build.build(compose_recipe(*SHORT, "epochs='9 steps'", *_words(then)), digits)
        again = record.open_existing(kept.directory)
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING, "dlrun"):
                return run, begin(run, again, changed), caplog.messages
        finally:
            again.close()

    return resumed


def _words(line: str) -> list[str]:
    return line.split("; ") if line else []


def memory(run: Run) -> list[Any]:
    return [value for value in run.optimizer.state.values() if value]


def test_the_same_recipe_goes_on_without_a_word(train_then_resume):
    words = "schedule=plateau; regularization=[early_stopping,weight_average]"
    run, state, said = train_then_resume(words, words)
    assert said == []
    assert state.counters.step == 6
    assert state.runs[0].best_step > 0
    assert state.runs[0].best is not None
    assert run.regularizers["regularization.weight_average"].steps == 6


def test_another_monitor_begins_the_best_anew(train_then_resume):
    words = "regularization=[early_stopping]; schedule=plateau"
    run, state, said = train_then_resume(words, f"{words}; monitor=val/loss")
    assert said == ["begins anew: the best, which was chosen by val/accuracy and is by val/loss"]
    assert (state.runs[0].best_score, state.runs[0].best_step, state.runs[0].best) == (
        -math.inf,
        0,
        None,
    )
    assert run.regularizers["regularization.early_stopping"].best == -math.inf
    assert run.schedule.best == -math.inf  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "monitor", "anew"),
    [("loss", "val/loss", True), ("loss", "val/accuracy", False), ("val", "val/accuracy", True)],
)
def test_scores_of_another_loss_or_split_begin_the_best_anew(
    train_then_resume, changed, monitor, anew
):
    _, state, said = train_then_resume(f"monitor={monitor}", f"monitor={monitor}", (changed,))
    assert (state.runs[0].best_step == 0) is anew
    assert len(said) == anew


@pytest.mark.parametrize(("changed", "breaks"), [((), True), (("loss",), False)])
def test_a_loss_of_another_kind_breaks_no_tie(train_then_resume, changed, breaks):
    _, state, said = train_then_resume("", "", changed)
    assert said == []
    assert state.runs[0].best_step > 0
    assert state.runs[0].beaten(state.runs[0].best_score, 1e-9) is breaks
    assert not state.runs[0].beaten(state.runs[0].best_score, math.inf)


WINDOW = "log_every='5 steps'; regularization=[l1,l2,label_smoothing]"


@pytest.mark.parametrize(
    ("then", "kept"),
    [
        (WINDOW, 4),
        (f"{WINDOW}; regularization.l2.strength=0.1", 4),
        ("log_every='5 steps'; regularization=[l1,l2]", 0),
        ("log_every='5 steps'; regularization=[l2,label_smoothing]", 0),
        ("log_every='5 steps'", 0),
    ],
)
def test_the_mini_batches_since_the_last_point_count_where_the_same_is_minimized(
    compose_recipe, digits, tmp_path, then, kept
):
    class Halt(Regularizer):
        def should_stop(self, score: float, step: int) -> bool:
            return step == 4

    run = build.build(compose_recipe(*SHORT, *_words(WINDOW)), digits)
    run.stopping.append(Halt())
    made = record.create(tmp_path, "test", {}, "")
    before = begin(run, made)
    train(run, before, made, Watcher())
    run = build.build(compose_recipe(*SHORT, "epochs='9 steps'", *_words(then)), digits)
    state = begin(run, made)
    window = state.window
    assert len(before.window.losses) == 4
    assert [len(window.losses), len(window.sizes)] == 2 * [kept]
    assert [len(window.objectives), len(window.penalties)] == 2 * [kept]
    if kept:
        assert torch.equal(window.minimized(), before.window.minimized())
        assert not torch.equal(window.minimized(), torch.stack(window.losses))
    state.runs[0].stopped = False
    assert train(run, state, made, Watcher()).counters.step == 9
    points = [point["values"] for point in made.points()]
    made.close()
    assert all(set(run_names(run)) <= values.keys() for values in points if "lr" in values)


def run_names(run: Run) -> list[str]:
    """What is recorded beside the loss of training."""
    names = [f"train/{type(rule).__name__.lower()}" for rule in run.penalties]
    return names + ["train/objective"] * (bool(names) or run.objective is not run.loss)


def test_a_new_monitor_with_nothing_left_to_train(train_then_resume):
    with pytest.raises(Mistake, match=r"^monitor=val/loss: the run has ended"):
        train_then_resume("", "monitor=val/loss; epochs='6 steps'")


def test_another_preprocessing_is_fitted_anew(train_then_resume):
    run, _, said = train_then_resume("", "preprocessing=[rescale]", ("preprocessing",))
    assert said == ["begins anew: the preprocessing, which is another"]
    seen = run.preprocessing(run.data.train.x[run.data.train.rows[:50]])
    assert torch.equal(seen, run.train.x[:50])
    assert float(seen.min()) == -1.0


def test_what_was_fitted_stays_and_samples_are_prepared_with_it(train_then_resume):
    def shift(kept: record.Record) -> None:
        path = kept.directory / "checkpoints"
        saved = checkpoint.read(path / "last.pt")
        for value in saved["preprocessing"].values():
            value += 1
        save(saved, path)

    run, _, said = train_then_resume("", "", (), shift)
    assert said == []
    for feed, split in ((run.train, run.data.train), (run.val, run.data.val)):
        assert torch.equal(feed.x[:50], run.preprocessing(split.x[split.rows[:50]]))


def test_regularizers_find_their_memories_by_key(train_then_resume):
    run, _, said = train_then_resume(
        "regularization=[early_stopping,gradient_noise,weight_average]",
        "regularization=[weight_average,l2,gradient_noise]",
    )
    assert said == []
    assert run.regularizers["regularization.weight_average"].steps == 6
    assert run.regularizers["regularization.gradient_noise"].state_dict() == {"step": 6}


@pytest.mark.parametrize("rise", ["", "; warmup=10%"])
def test_another_schedule_with_a_memory(train_then_resume, rise):
    _, _, said = train_then_resume(f"schedule=plateau{rise}", f"schedule=halve_on_worse{rise}")
    assert said == ["begins anew: the schedule, which is another"]


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        ("optimizer=adam", "optimizer=rmsprop", "which was Adam and is RMSprop"),
        ("optimizer=rmsprop", "optimizer=rmsprop; optimizer.momentum=0.9", "whose momentum was 0"),
        ("optimizer=adam", "optimizer=adam; optimizer.amsgrad=true", "whose amsgrad was False"),
        ("optimizer=lbfgs", "optimizer=lbfgs; optimizer.history=3", "whose history_size was 20"),
    ],
)
def test_an_optimizer_with_another_state_begins_anew_and_trains(
    train_then_resume, tmp_path, first, then, why
):
    run, state, said = train_then_resume(first, then)
    assert len(said) == 1
    assert said[0].startswith(f"begins anew: the optimizer, {why}")
    assert memory(run) == []
    kept = record.create(tmp_path / "on", "test", {}, "")
    assert train(run, state, kept, Watcher()).counters.step == 9
    kept.close()


MUON = "optimizer=muon; optimizer.adamw_first={}; optimizer.adamw_last={}"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("", "decay=weights"),
        (MUON.format("false", "true"), MUON.format("true", "false")),  # of other shapes
        (
            "model.hidden=[64,64]; " + MUON.format("false", "true"),
            "model.hidden=[64,64]; " + MUON.format("true", "true"),
        ),
    ],
)
def test_an_optimizer_with_other_groups_of_weights_begins_anew_and_trains(
    train_then_resume, tmp_path, first, then
):
    run, state, said = train_then_resume(first, then)
    assert said == ["begins anew: the optimizer, which has its weights in other groups"]
    assert memory(run) == []
    kept = record.create(tmp_path / "on", "test", {}, "")
    assert train(run, state, kept, Watcher()).counters.step == 9
    kept.close()


def test_groups_of_the_same_weights_with_another_mark(train_then_resume):
    """One matrix and nothing else: Muon has one group, whichever of its two kinds it is."""

    def unmark(kept: record.Record) -> None:
        path = kept.directory / "checkpoints"
        saved = checkpoint.read(path / "last.pt")
        for group in saved["optimizer"]["state"]["param_groups"]:
            group["muon"] = not group["muon"]
        save(saved, path)

    run, _, said = train_then_resume("optimizer=muon", "optimizer=muon", (), unmark)
    assert said == ["begins anew: the optimizer, whose muon was False and is True"]
    assert memory(run) == []


def test_another_model_is_one_line(train_then_resume):
    with pytest.raises(Mistake, match=r"weight was of shape \[64, 64\] and is of shape \[8, 64\]"):
        train_then_resume("", "model.hidden=[8]")


class TestAfterEarlyStopping:
    """Training had ended because a loss that cannot change did not."""

    STILL = "optimizer.lr=0; monitor=train/loss; regularization="
    PATIENCE = "regularization.early_stopping.patience='{} steps'"

    @pytest.fixture
    def resume(self, train_then_resume):
        first = f"{self.STILL}[l2,early_stopping]; {self.PATIENCE.format(1)}"
        return lambda then: train_then_resume(first, self.STILL + then)

    def test_it_is_said_what_to_type(self, resume):
        _, state, [said] = resume(f"[l2,early_stopping]; {self.PATIENCE.format(1)}")
        assert state.runs[0].stopped
        assert said.startswith("regularization.early_stopping has ended the run at epoch ")
        more = r"regularization\.early_stopping\.patience='\d epochs' or regularization=\[l2\]"
        assert re.search(f"it would with {more}$", said)

    def test_a_finished_run_stays_as_it_is(self, train_then_resume):
        words = f"{self.STILL}[l2,early_stopping]; {self.PATIENCE.format(1)}"
        with pytest.raises(Mistake, match=r"has ended the run at epoch .* trains no further"):
            train_then_resume(words, words, (), lambda kept: kept.set_status(record.FINISHED))

    @pytest.mark.parametrize(
        "rules", ["none", "[l2]", f"[l2,early_stopping]; {PATIENCE.format(1000)}"]
    )
    def test_it_goes_on_with_more_patience_or_without(self, resume, rules):
        _, state, said = resume(rules)
        assert said == []
        assert 0 < state.counters.step < 9
        assert not state.runs[0].stopped


def test_a_length_that_is_behind_the_run_is_refused(train_then_resume, tmp_path):
    with pytest.raises(Mistake, match=r"^epochs=0\.1\d+: the run is at epoch 0\.1\d+ already"):
        train_then_resume("", "epochs='4 steps'")
    [points] = (tmp_path / "runs").glob("*/metrics.jsonl")
    assert [point["step"] for point in record.read_points(points.parent)] == [2, 4, 6]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("batch_size=16", r"^batch_size=16: a resumed run keeps its batch_size=32, "),
        ("accumulate=2", r"^accumulate=2: a resumed run keeps its accumulate=1, "),
        ("drop_last=true", r"^drop_last=true: a resumed run keeps its drop_last=false, "),
        (
            "batch_size=64; accumulate=2",
            r"^batch_size=64, accumulate=2: a resumed run keeps its batch_size=32, accumulate=1, ",
        ),
    ],
)
def test_steps_of_other_samples_are_refused_and_nothing_is_cut_off(
    train_then_resume, tmp_path, then, said
):
    with pytest.raises(Mistake, match=f"{said}.*start a new run"):
        train_then_resume("checkpoint_every='100 seconds'", then)
    [points] = (tmp_path / "runs").glob("*/metrics.jsonl")
    assert [point["step"] for point in record.read_points(points.parent)] == [2, 4, 6]


def test_longer_epochs_are_refused(train_then_resume):
    def shorten(kept: record.Record) -> None:
        path = kept.directory / "checkpoints"
        saved = checkpoint.read(path / "last.pt")
        saved["steps"]["steps_per_epoch"] -= 1
        save(saved, path)

    with pytest.raises(Mistake, match=r"^data: an epoch has 34 steps, and had 33 when"):
        train_then_resume("", "", (), shorten)


def test_a_run_that_has_trained_nothing_may_have_other_steps(train_then_resume):
    def lose(kept: record.Record) -> None:
        for path in (kept.directory / "checkpoints").iterdir():
            path.unlink()

    run, state, [said] = train_then_resume("", "batch_size=16", (), lose)
    assert (state.counters.step, run.lengths.batch_size) == (0, 16)
    assert said.endswith("checkpoints/last.pt is missing; going on from the beginning")


def test_the_best_averages_stay_the_best_where_nothing_averages_any_more(train_then_resume):
    kept_best: dict[str, torch.Tensor] = {}

    def look(kept: record.Record) -> None:
        kept_best.update(checkpoint.read(kept.directory / "checkpoints" / "best.pt"))

    first = "regularization=[weight_average]; monitor=val/loss"
    run, state, _ = train_then_resume(first, "monitor=val/loss", (), look)
    assert state.runs[0].best_step == state.counters.step == 6
    assert state.runs[0].best is not None
    assert all(torch.equal(state.runs[0].best[name], kept_best[name]) for name in kept_best)
    assert any(
        not torch.equal(state.runs[0].best[name], now)
        for name, now in run.model.state_dict().items()
    )


def cut_to(lines: int) -> Callable[[record.Record], None]:
    def harm(kept: record.Record) -> None:
        path = kept.directory / "metrics.jsonl"
        whole = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(whole[:lines]))

    return harm


def garble(kept: record.Record) -> None:
    path = kept.directory / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\xff{" + first[2:] + b"".join(rest))


@pytest.mark.parametrize(
    ("harm", "step", "instead"),
    [
        (cut_to(2), 5, "the checkpoint before it"),
        (cut_to(1), 0, "the beginning"),
        (garble, 0, "the beginning"),
        (lambda kept: (kept.directory / "metrics.jsonl").unlink(), 0, "the beginning"),
    ],
)
def test_a_checkpoint_that_knows_of_lost_points_is_passed_over(
    train_then_resume, harm, step, instead
):
    _, state, [said] = train_then_resume("", "", (), harm)
    assert state.counters.step == step
    assert said.endswith(f"points of metrics.jsonl are lost; going on from {instead}")


@pytest.mark.parametrize("content", [{"a": 1}, torch.zeros(3), [1, 2], {"position": 3}])
def test_what_is_no_checkpoint_is_passed_over(train_then_resume, content):
    def harm(kept: record.Record) -> None:
        torch.save(content, kept.directory / "checkpoints" / "last.pt")

    _, state, [said] = train_then_resume("", "", (), harm)
    assert state.counters.step == 5
    assert "last.pt is damaged (it is not the state of a run); going on from" in said
