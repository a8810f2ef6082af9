"""The figure of a procedure says what its values say."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from dlrun import record
from dlrun.report import chart
from dlrun.report.chart import Chart, Ground


@pytest.fixture
def axes(monkeypatch, tmp_path):
    """Draws a chart; gives what is on the axes instead of a file."""

    def drawn(wanted):
        found = []
        monkeypatch.setattr(chart, "save", lambda figure, *_, **__: found.append(figure))
        record.write_json(tmp_path / "run.json", {"chart": chart.plain(wanted)})
        [first, *_] = chart.panels(wanted)
        assert chart.draw(tmp_path) == [tmp_path / "figures" / f"{first.name}.png"]
        shown = [each.axes[0] for each in found[0].subfigs]
        return shown if len(shown) > 1 else shown[0]

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
    FigureCanvasAgg(shown.get_figure(root=True)).draw()
    assert shown.get_legend().get_window_extent().y0 >= shown.get_window_extent().y1


def test_the_legend_of_paths_lies_above_them(axes):
    falling = {"a": ([0, 1, 2], [1, 0.1, 0.1]), "b": ([0, 1, 2], [1, 0.9, 0.8])}
    shown = axes(Chart("steps", "step", "distance", paths=falling))
    FigureCanvasAgg(shown.get_figure(root=True)).draw()
    assert shown.get_legend().get_window_extent().y0 >= shown.get_window_extent().y1


def test_large_values_in_a_legend_are_written_out(axes):
    shown = axes(Chart("m", "members", "mae", [1, 2], {"mae": [21940.0, 0.5]}, levels={"one": 2e4}))
    assert [line.get_label() for line in shown.lines] == ["mae", "one: 20,000"]


@pytest.mark.parametrize("least", [0.9, 0.001])
def test_what_is_far_above_does_not_hide_the_rest(axes, least):
    curves = {"loss": [2.0, least, 3.0, 1e18]}
    shown = axes(Chart("rates", "lr", "loss", [0.1, 1, 10, 100], curves, log=True, most=16.0))
    low, high = shown.get_ylim()
    assert high == 16
    assert 0 < low < least
    whole = Chart("rates", "lr", "loss", [0.1, 1, 10], {"loss": [2, least, 3]}, log=True, most=16)
    assert axes(whole).get_ylim()[1] < 16, "nothing is above"


@pytest.mark.parametrize("most", [0.13, 0.2, 3.0, 15.0, 99.0, 1e3, 1e9])
def test_a_logarithmic_axis_has_several_plain_labels(axes, most):
    places = [0.11 * (most / 0.11) ** (n / 9) for n in range(10)]
    shown = axes(Chart("rates", "lr", "loss", places, {"loss": places}, log=True))
    FigureCanvasAgg(shown.get_figure(root=True)).draw()
    for axis, (low, high) in ((shown.xaxis, shown.get_xlim()), (shown.yaxis, shown.get_ylim())):
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        labels = {t.label1.get_text() for t in ticks if low <= t.get_loc() <= high} - {""}
        assert len(labels) >= 2
        assert not any("$" in label for label in labels)


def test_no_upright_line_crosses_the_words_of_the_legend(axes):
    losses = {"after 100 steps": [2.3, 1.0, 0.1, 0.5, None, None]}
    rates = [1e-3, 1e-2, 1e-1, 1.0, 5.0, 10.0]
    lines = {"the largest within 4 times the first loss": 1.0}
    wanted = Chart("r", "lr", "loss", rates, losses, log=True, gap="lost", lines=lines, best=0.1)
    shown = axes(wanted)
    figure = shown.get_figure(root=True)
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
    figure = shown.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    assert shown.xaxis.label.get_window_extent().y0 >= 0


def test_a_record_without_one(tmp_path):
    record.write_json(tmp_path / "run.json", {})
    assert chart.draw(tmp_path) == []


def test_panels_lie_beside_each_other_with_their_titles_above(axes):
    losses = Chart("both", "epoch", "loss", [1, 2], {"a": [2.0, 1.0]}, title="Training")
    places = Chart("b", "x", "y", paths={"sgd": ([0, 1, 2], [3, 1, 0])}, title="Paths")
    left, right = axes([losses, places])
    assert [line.get_label() for line in (*left.lines, *right.lines)] == ["a", "sgd"]
    figure = left.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    for shown, title in ((left, "Training"), (right, "Paths")):
        [text] = shown.get_figure(root=False).texts
        assert text.get_text() == title
        assert text.get_window_extent().y0 >= shown.get_window_extent().y1
    assert left.get_window_extent().x1 < right.get_window_extent().x0


def test_many_curves_have_colours_of_their_own(axes):
    many = {f"rate {place}": [1.0, place + 1.0] for place in range(8)}
    shown = axes(Chart("r", "epoch", "loss", [0, 1], many, title="Eight rates"))
    assert len({line.get_color() for line in shown.lines}) == 8
    figure = shown.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    legend = shown.get_legend().get_window_extent()
    title = shown.get_figure(root=False).texts[0].get_window_extent()
    assert shown.get_window_extent().y1 <= legend.y0 < legend.y1 <= title.y0


def test_a_ground_of_classes_has_the_colours_of_its_dots(axes):
    ground = Ground([0, 1, 2], [0, 1], [[0, 0, 1], [0, 1, 1]], regions=True)
    dots = {"left": ([0.2], [0.5]), "right": ([1.7], [0.5])}
    shown = axes(Chart("g", "x", "y", ground=ground, dots=dots))
    [mesh] = shown.collections
    FigureCanvasAgg(shown.get_figure(root=True)).draw()
    faces = mesh.get_facecolors()[:, :3]
    for line, cell in zip(shown.lines, (0, 2), strict=True):
        assert to_rgb(line.get_color()) == pytest.approx(tuple(faces[cell]))
    assert shown.get_xlim() == (0, 2)


def test_contour_lines_part_the_plane_into_shares(axes):
    ground = Ground([0, 1, 2, 3], [0, 1, 2], [[x * x + 10 * y for x in range(4)] for y in range(3)])
    shown = axes(Chart("g", "x", "y", ground=ground, paths={"sgd": ([3, 0], [2, 0])}))
    levels = shown.collections[0].levels
    assert 0 < levels[0] < levels[-1] < 29
    assert [tuple(line.get_xydata()[-1]) for line in shown.lines] == [(0, 0), (0, 0)]


def test_a_level_of_its_own_is_drawn_and_says_its_value(axes):
    values = [[x * x + 10 * y for x in range(4)] for y in range(3)]
    shown = axes(Chart("g", "x", "y", ground=Ground([0, 1, 2, 3], [0, 1, 2], values, level=4.5)))
    assert list(shown.collections[-1].levels) == [4.5]
    assert [text.get_text() for text in shown.texts] == ["4.5"]
    out = axes(Chart("g", "x", "y", ground=Ground([0, 1, 2, 3], [0, 1, 2], values, level=99)))
    assert not list(out.texts)


def test_pixels_have_no_axes_and_the_last_row_is_lowest(axes):
    ground = Ground([0.0, 1.0], [0.0, 1.0], [[-1.0, 0.0], [0.5, 1.0]], image=True)
    shown = axes(Chart("weights", "", "", ground=ground))
    [image] = shown.images
    assert image.get_array().tolist() == ground.values
    assert image.origin == "lower"
    assert not shown.axison


def test_a_unit_can_be_as_long_on_both_axes(axes):
    ground = Ground([0.0, 2.0], [0.0, 1.0], [[0.0, 1.0], [1.0, 2.0]], equal=True)
    assert axes(Chart("weights", "x", "y", ground=ground)).get_aspect() == 1


def test_many_lines_of_one_kind_are_grey_and_not_in_the_legend(axes):
    thin = [([0.0, 1.0], [0.0, float(n)]) for n in range(3)]
    shown = axes(Chart("fits", "x", "y", thin=thin, paths={"mean": ([0.0, 1.0], [0.0, 1.0])}))
    assert shown.get_legend_handles_labels()[1] == ["mean"]
    assert {to_rgb(line.get_color()) for line in shown.lines[:3]} == {to_rgb(chart.GREY)}
    assert to_rgb(shown.lines[3].get_color()) == to_rgb(chart.COLOURS[0])
    assert shown.get_ylim()[1] >= 2


def test_few_names_stand_side_by_side(axes):
    shown = axes(Chart("v", "variant", "error", [0, 1], {"test": [0.5, 0.25]}, names=["a", "b"]))
    assert {label.get_rotation() for label in shown.get_xticklabels()} == {0}


def test_names_are_drawn_as_they_are(axes):
    places = ([0.0, 1.0], [0.0, 1.0])
    names = ["_low", "$0-$50", "good"]
    shown = axes(
        Chart(
            "r",
            "$x$",
            "y",
            title="$a$",
            dots=dict.fromkeys(names[:2], places),
            paths={"good": places},
        )
    )
    texts = [text.get_text() for text in shown.get_legend().get_texts()]
    assert sorted(texts) == sorted(["good", " _low", r"\$0-\$50"])
    assert shown.get_xlabel() == r"\$x\$"


def test_names_of_bars_are_drawn_as_they_are(axes):
    shown = axes(Chart("t", "part", "s", [0], {"_a": [1.0], "$b$": [2.0]}, bars=["$c$"]))
    texts = [text.get_text() for text in shown.get_legend().get_texts()]
    assert texts == [" _a", r"\$b\$"]
    assert [label.get_text() for label in shown.get_yticklabels()] == [r"\$c\$"]
