import io
from pathlib import Path

import pytest
from rich.console import Console

from dlrun import record
from dlrun.progress import Progress


def shown(terminal: bool) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=terminal, width=100)), out


VALUES = {
    "val/accuracy": 0.91,
    "train/loss": 0.25,
    "time/elapsed": 1.0,
    "time/samples_per_second": 1e4,
}


def test_plain_lines_without_a_terminal() -> None:
    progress, out = shown(terminal=False)
    progress.begin("a run", 20, 10)
    progress.step(5, 0.5, 0.3, 1000)
    progress.point(10, 1.0, VALUES)
    progress.point(20, 2.0, VALUES)
    lines = out.getvalue().splitlines()
    assert lines[0] == "a run"
    assert lines[-1] == (
        "epoch 2/2  step 20/20  val/accuracy 0.91  train/loss 0.25  10,000 samples/s"
    )
    assert "\x1b" not in out.getvalue()


def test_short_epochs_do_not_flood_a_log() -> None:
    progress, out = shown(terminal=False)
    progress.begin("a run", 1000, 1)
    for step in range(1, 1001):
        progress.point(step, float(step), VALUES)
    lines = out.getvalue().splitlines()
    assert len(lines) < 10
    assert lines[-1].startswith("epoch 1000/1000")


def test_a_bar_on_a_terminal() -> None:
    progress, out = shown(terminal=True)
    progress.begin("a run", 20, 10)
    progress.point(10, 1.0, VALUES)
    progress.step(15, 1.5, 0.125, 1234)
    text = out.getvalue()
    for part in ("epoch 1.5/2", "step 15/20", "train/loss 0.125", "val/accuracy 0.91", "1,234"):
        assert part in text
    progress.end()


def test_decoding_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress, out = shown(terminal=False)
    progress.loading(1, 1000)
    progress.loading(1000, 1000)
    assert out.getvalue().splitlines()[-1] == "decoding images  1,000 of 1,000"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (record.FINISHED, ["finished: ", "epochs=…", "figures"]),
        (record.KILLED, ["killed: ", "dlrun resume="]),
        (record.FAILED, ["failed: ", "dlrun resume="]),
    ],
)
def test_the_end_says_where_and_what_next(tmp_path: Path, status: str, expected: list[str]) -> None:
    run = record.create(tmp_path, "", {}, "")
    run.append(10, 1.0, {"val/accuracy": 0.5, "val/loss": 1.5, "train/loss": 1.25})
    run.append(10, 1.0, {"best/val_accuracy": 0.5, "best/epoch": 1.0, "test/accuracy": 0.4321})
    run.set_status(status)
    run.close()
    progress, out = shown(terminal=False)
    progress.closing(run.directory, "sqlite:////somewhere/mlflow.db")
    text = out.getvalue()
    for part in [*expected, "0.4321", "best val/accuracy 0.5000 at epoch 1", "mlflow ui", run.id]:
        assert part in text, text
