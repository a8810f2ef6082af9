"""What a run shows at its end: which weights each column is of, and why it ended."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dlrun import record
from dlrun.console import summary
from dlrun.engine.run import Run
from dlrun.procedure.train import why_stopped
from dlrun.regularization import Regularizer

ENDED = {"best/val_accuracy": 0.75, "best/epoch": 1.0, "test/accuracy": 0.4321}


def closed(folder: Path, points: list[tuple[int, float, dict[str, float]]], **info: Any) -> str:
    """The screen at the end of a run with these points."""
    run = record.create(folder, "", info, "")
    for step, epoch, values in points:
        run.append(step, epoch, values)
    run.set_status(record.FINISHED)
    run.close()
    out = io.StringIO()
    summary.show(Console(file=out, width=80), run.directory, None)
    return out.getvalue()


def rows(text: str) -> list[list[str]]:
    """The words of the table, line by line, without empty ones."""
    return [line.split() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (record.FINISHED, ["finished: ", "epochs=40", "figures"]),
        (record.KILLED, ["killed: ", "dlrun resume="]),
        (record.FAILED, ["failed: ", "dlrun resume="]),
    ],
)
def test_the_end_says_where_and_what_next(tmp_path, status, expected):
    run = record.create(tmp_path, "", {}, "epochs: 20\n")
    (run.directory / "figures").mkdir()
    (run.directory / "figures" / "loss.png").touch()
    run.append(10, 1.0, {"val/accuracy": 0.5, "val/loss": 1.5, "train/loss": 1.25})
    run.append(10, 1.0, {"best/val_accuracy": 0.5, "best/epoch": 1.0, "test/accuracy": 0.4321})
    run.set_status(status)
    run.close()
    out = io.StringIO()
    summary.show(Console(file=out, width=100), run.directory, "sqlite:////somewhere/mlflow.db")
    text = out.getvalue()
    for part in [*expected, "0.4321", "best val/accuracy 0.5000 at epoch 1", "mlflow ui", run.id]:
        assert part in text, text


def test_it_says_where_the_figures_are(tmp_path):
    for kind in ("run", "procedure"):
        run = record.create(tmp_path / kind, "", {"kind": kind}, "epochs: 20\n")
        (run.directory / "figures").mkdir()
        run.set_status(record.FINISHED)
        run.close()
        for drawn in (False, True):
            if drawn:
                (run.directory / "figures" / "loss.png").touch()
            out = io.StringIO()
            summary.show(Console(file=out, width=100), run.directory, None)
            assert ("the figures" in out.getvalue()) == drawn


def test_each_column_names_the_epoch_of_its_weights(tmp_path):
    points = [
        (10, 1.0, {"val/accuracy": 0.75, "val/loss": 1.5, "train/loss": 1.25}),
        (20, 2.0, {"val/accuracy": 0.5, "val/loss": 2.5, "train/loss": 0.25}),
        (20, 2.0, ENDED),
    ]
    text = closed(tmp_path, points, result_step=10)
    assert rows(text)[:4] == [
        ["train", "val", "best", "val", "test"],
        ["epoch", "2", "epoch", "2", "epoch", "1", "epoch", "1"],
        ["accuracy", "0.5000", "0.7500", "0.4321"],
        ["loss", "0.2500", "2.5000", "1.5000"],
    ]
    assert "best val/accuracy 0.7500 at epoch 1\n" in text
    kept_last = closed(tmp_path, points, result_step=20)
    assert rows(kept_last)[1] == ["epoch", "2", "epoch", "2", "epoch", "1", "epoch", "2"]


def test_every_split_that_is_measured_at_the_end_has_a_column(tmp_path):
    points: list[tuple[int, float, dict[str, float]]] = [
        (10, 1.0, {"val/accuracy": 0.75, "train/accuracy": 0.9}),
        (20, 2.0, {"val/accuracy": 0.5, "train/accuracy": 0.95}),
        (20, 2.0, ENDED | {"train_dev/accuracy": 0.8}),
    ]
    samples = {"train": 5, "val": 2, "test": 2, "train_dev": 1}
    text = closed(tmp_path, points, result_step=10, data={"samples": samples})
    assert rows(text)[:3] == [
        ["train", "val", "best", "val", "train_dev", "test"],
        ["epoch", "2", "epoch", "2", *["epoch", "1"] * 3],
        ["accuracy", "0.9500", "0.5000", "0.7500", "0.8000", "0.4321"],
    ]


def test_the_best_at_the_end_has_no_column_of_its_own(tmp_path):
    points = [(10, 1.0, {"val/accuracy": 0.75, "train/loss": 1.25}), (10, 1.0, ENDED)]
    assert rows(closed(tmp_path, points))[0] == ["train", "val", "test"]


def test_a_test_of_before_the_run_went_on_is_not_shown(tmp_path):
    points = [
        (10, 1.0, {"val/accuracy": 0.75, "train/loss": 1.25}),
        (10, 1.0, ENDED),
        (20, 2.0, {"val/accuracy": 0.8, "train/loss": 1.0}),
    ]
    text = closed(tmp_path, points, stopped={"metric": "val/accuracy", "since": 10})
    assert rows(text)[0] == ["train", "val"]
    assert "stopped" not in text


def test_less_than_an_epoch_is_said_in_steps(tmp_path):
    ended = ENDED | {"best/epoch": 0.01}
    text = closed(tmp_path, [(20, 0.01, {"val/accuracy": 0.5}), (20, 0.01, ended)])
    assert rows(text)[1] == ["step", "20", "step", "20"]
    assert "at step 20" in text
    assert "epoch " not in text


def test_what_is_minimized_has_a_row_of_its_own(tmp_path):
    """Below the loss, which can be compared with that of validation."""
    values = {"val/accuracy": 0.75, "val/loss": 0.36, "train/loss": 0.35, "train/objective": 0.82}
    text = closed(tmp_path, [(10, 1.0, values | {"train/l2": 0.01}), (10, 1.0, ENDED)])
    assert rows(text)[2:6] == [
        ["accuracy", "0.7500", "0.4321"],
        ["loss", "0.3500", "0.3600"],
        ["objective", "0.8200"],
        ["l2", "0.0100"],
    ]


def test_errors_in_large_units_are_readable(tmp_path):
    values = {"val/mae": 12046.1187, "val/loss": 1.5e-5, "train/mae": 123.4}
    text = closed(tmp_path, [(10, 1.0, values)])
    assert rows(text)[2] == ["mae", "123.4000", "12,046"]
    assert rows(text)[3] == ["loss", "1.5e-05"]


def test_why_a_run_stopped(train_recipe, tmp_path):
    words = ["regularization=[early_stopping]", "regularization.early_stopping.patience=2 epochs"]
    frozen = ["optimizer=sgd", "optimizer.lr=0"]
    trained = train_recipe("epochs=9", *words, *frozen)
    why = why_stopped(trained.run, trained.state)
    assert why == {"metric": "val/accuracy", "since": 34}
    points = [
        (34, 1.0, {"val/accuracy": 0.5}),
        (102, 3.0, {"val/accuracy": 0.5}),
        (102, 3.0, ENDED),
    ]
    text = closed(tmp_path, points, stopped=why)
    assert "stopped at epoch 3: no improvement of val/accuracy since epoch 1\n" in text
    # Where the rule holds at the very end, the run has its whole length.
    trained = train_recipe("epochs=3", *words, *frozen)
    assert why_stopped(trained.run, trained.state) is None


def test_a_rule_of_another_kind_says_nothing(train_recipe):
    class Halt(Regularizer):
        def should_stop(self, score: float, step: int) -> bool:
            return True

    def change(run: Run) -> None:
        run.stopping.append(Halt())

    trained = train_recipe("epochs=2", change=change)
    assert why_stopped(trained.run, trained.state) is None
