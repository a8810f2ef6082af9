"""The figure of a procedure says what its values say."""

import pytest

from dlrun import record
from dlrun.report import chart
from dlrun.report.chart import Chart


@pytest.fixture
def axes(monkeypatch, tmp_path):
    """Draws a chart; gives what is on the axes instead of a file."""

    def drawn(wanted):
        found = []
        monkeypatch.setattr(chart, "write", lambda axes, *_: found.append(axes))
        record.write_json(tmp_path / "run.json", {"chart": wanted.plain()})
        assert chart.draw(tmp_path) == [tmp_path / "figures" / f"{wanted.name}.png"]
        return found[0]

    return drawn


def test_flat_lines_and_whole_numbers_on_the_axis(axes):
    curve = {"ensemble": [0.9, 0.92, 0.91]}
    levels = {"mean member": 0.89, "Monte Carlo dropout": 0.9}
    shown = axes(Chart("members", "members", "accuracy", [1, 2, 3], curve, levels=levels))
    lines = {line.get_label(): list(line.get_ydata()) for line in shown.lines}
    assert lines == {
        "ensemble": [0.9, 0.92, 0.91],
        "mean member: 0.89": [0.89, 0.89],
        "Monte Carlo dropout: 0.9": [0.9, 0.9],
    }
    assert all(place == int(place) for place in shown.get_xticks())


def test_a_record_without_one(tmp_path):
    record.write_json(tmp_path / "run.json", {})
    assert chart.draw(tmp_path) == []
