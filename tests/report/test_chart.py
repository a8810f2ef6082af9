"""The figure of a procedure says what its values say."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dlrun import record
from dlrun.report import chart
from dlrun.report.chart import Chart
from dlrun.report.curves import finish


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
    FigureCanvasAgg(shown.get_figure()).draw()
    assert shown.get_legend().get_window_extent().y0 >= shown.get_window_extent().y1


def test_large_values_in_a_legend_are_written_out(axes):
    shown = axes(Chart("m", "members", "mae", [1, 2], {"mae": [21940.0, 0.5]}, levels={"one": 2e4}))
    assert [line.get_label() for line in shown.lines] == ["mae", "one: 20,000"]


def test_no_upright_line_crosses_the_words_of_the_legend(axes):
    losses = {"after 100 steps": [2.3, 1.0, 0.1, 0.5, None, None]}
    rates = [1e-3, 1e-2, 1e-1, 1.0, 5.0, 10.0]
    lines = {"the largest that stays finite": 1.0}
    wanted = Chart("r", "lr", "loss", rates, losses, log=True, gap="lost", lines=lines, best=0.1)
    shown = axes(wanted)
    finish(shown, "lr", "loss")
    figure = shown.get_figure()
    FigureCanvasAgg(figure).draw()
    legend = shown.get_legend()
    assert len(legend.get_texts()) == 4
    box = legend.get_window_extent()
    assert box.y0 >= shown.get_window_extent().y1
    assert figure.bbox.contains(box.x0, box.y0)
    assert figure.bbox.contains(box.x1, box.y1)


def test_places_have_their_names_below_them(axes):
    names = [f"features.block{place}.layer.conv Conv2d" for place in range(90)]
    curve = {"std": [1.0 + place for place in range(90)]}
    shown = axes(Chart("layers", "layer", "rms", list(range(90)), curve, names=names))
    ticks = {
        tick: label.get_text()
        for tick, label in zip(shown.get_xticks(), shown.get_xticklabels(), strict=True)
    }
    assert 10 < len(ticks) <= 40
    assert all(names[tick].endswith(text.lstrip("…")) for tick, text in ticks.items())
    figure = shown.get_figure()
    finish(shown, "layer", "rms")
    FigureCanvasAgg(figure).draw()
    assert shown.xaxis.label.get_window_extent().y0 >= 0


def test_a_record_without_one(tmp_path):
    record.write_json(tmp_path / "run.json", {})
    assert chart.draw(tmp_path) == []
