import io

import pytest
from rich.console import Console
from rich.text import Text

from dlrun.console.progress import Progress


def shown(terminal: bool, width: int = 100) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=terminal, width=width)), out


VALUES = {
    "val/accuracy": 0.91,
    "train/loss": 0.25,
    "time/elapsed": 1.0,
    "time/samples_per_second": 1e4,
}


def test_plain_lines_without_a_terminal():
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


def test_short_epochs_do_not_flood_a_log():
    progress, out = shown(terminal=False)
    progress.begin("a run", 1000, 1)
    for step in range(1, 1001):
        progress.point(step, float(step), VALUES)
    lines = out.getvalue().splitlines()
    assert len(lines) < 10
    assert lines[-1].startswith("epoch 1000/1000")


def test_a_bar_on_a_terminal():
    progress, out = shown(terminal=True)
    progress.begin("a run", 20, 10)
    progress.point(10, 1.0, VALUES)
    progress.step(15, 1.5, 0.125, 1234)
    text = out.getvalue()
    for part in ("epoch 1.5/2", "step 15/20", "train/loss 0.125", "val/accuracy 0.91", "1,230"):
        assert part in text
    progress.end()


LONG = {"val/accuracy": 0.93333, "val/loss": 0.212345, "train/loss": 0.25, "time/elapsed": 1.0}


@pytest.mark.parametrize(
    ("width", "there", "not_there"),
    [
        (60, ["epoch 2588/3000", "val/accuracy 0.9333"], ["train/loss", "samples/s", "step"]),
        (80, ["epoch 2588/3000", "val/accuracy 0.9333", "train/loss 0.1235"], ["step"]),
        (120, ["epoch 2588/3000", "0.9333", "train/loss 0.1235", "samples/s"], ["val/loss"]),
        (160, ["epoch 2588/3000", "step 87,992/102,000", "val/loss 0.2123"], []),
    ],
)
def test_the_bar_fits_the_terminal_and_keeps_what_matters_most(width, there, not_there):
    progress, out = shown(terminal=True, width=width)
    progress.begin("", 102_000, 34)
    progress.point(34, 1.0, LONG)
    out.truncate(out.seek(0))
    progress.step(87_992, 2588.0, 0.123456, 123_456.7)
    line = Text.from_ansi(out.getvalue().rpartition("\r")[2]).plain
    progress.end()
    assert len(line) <= width
    assert "…" not in line
    for part in there:
        assert part in line
    for part in not_there:
        assert part not in line


def test_a_training_of_less_than_an_epoch_is_shown_in_steps():
    progress, out = shown(terminal=False)
    progress.begin("a run", 20, 1000)
    progress.point(20, 0.02, VALUES)
    assert out.getvalue().splitlines()[-1].startswith("step 20/20  val/accuracy 0.91")
    assert "epoch" not in out.getvalue()


def test_a_line_without_a_rate_says_none():
    progress, out = shown(terminal=False)
    progress.begin("a run", 20, 10)
    progress.point(20, 2.0, {"val/accuracy": 0.5, "time/elapsed": 1.0})
    assert out.getvalue().splitlines()[-1] == "epoch 2/2  step 20/20  val/accuracy 0.5"


def test_samples_per_second_do_not_jump():
    progress, out = shown(terminal=True)
    progress.begin("a run", 100, 10)
    for step in range(1, 51):
        progress.step(step, step / 10, 0.1, 10_000)
    out.truncate(out.seek(0))
    progress.step(51, 5.1, 0.1, 100_000)
    progress.end()
    assert "19,000 samples/s" in out.getvalue()


def test_reading_is_shown():
    progress, out = shown(terminal=False)
    progress.loading(1, 1000)
    progress.loading(1000, 1000)
    assert out.getvalue().splitlines()[-1] == "reading  1,000 of 1,000 samples"
    progress, out = shown(terminal=True)
    progress.loading(1, 1000)
    assert "reading  1 of 1,000 samples" in out.getvalue()
    progress.end()
