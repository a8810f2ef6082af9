"""Learning rates that were drawn without training."""

import json
import re
from dataclasses import replace

from dlrun.report import plots, rates


def recorded(tmp_path, *values):
    """A run whose points hold these values, an epoch each; its directory below the outputs."""
    folder = tmp_path / "runs" / str(len(list(tmp_path.glob("runs/*"))))
    folder.mkdir(parents=True)
    points = [{"step": n, "epoch": n, "values": each} for n, each in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))
    return f"runs/{folder.name}"


def test_only_runs_that_hold_nothing_but_rates_were_drawn(tmp_path, sweep, point):
    drawn = recorded(tmp_path, {"lr": 0.1}, {"lr": 0.2})
    trained = recorded(tmp_path, {"lr": 0.1}, {"lr": 0.2, "train/loss": 1.0})
    one = point(0, {"schedule": "step"}, runs=[drawn])
    assert rates.drawn(sweep([], [one]), tmp_path) == {"schedule=step": ([0.0, 1.0], [0.1, 0.2])}
    other = point(1, {"schedule": "cosine"}, runs=[trained])
    assert rates.drawn(sweep([], [one, other]), tmp_path) == {}
    failed = [replace(one, status="FAILED"), point(1, {"schedule": "x"}, status="FAILED")]
    assert rates.drawn(sweep([], failed), tmp_path) == {}


def test_a_course_rises_and_falls_with_the_rates():
    up = [0.0, 0.5, 1.0, 0.5]
    bars, ends = rates.course(([0.0, 1.0, 2.0, 3.0], up)).splitlines()
    assert re.sub(r"(.)\1+", r"\1", bars.removeprefix("lr  ")) == " ▄█▄"
    assert ends.strip() == "0 at first, 1 at epoch 2, 0.5 last"
    assert rates.course(([1.0], [0.0])).startswith("lr  " + " " * 65)


def test_many_courses_in_one_figure_are_told_apart():
    names = [f"schedule={n}" for n in range(10)]
    shown = plots.rates({name: ([0.0, 1.0], [0.1, n]) for n, name in enumerate(names)})
    assert [name for name in names if f">{name}<" not in shown] == []
