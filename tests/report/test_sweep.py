"""The report of a sweep: what is read, what is shown, and the page."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from dlrun.record.sweep import Dimension, named, read
from dlrun.report import curves as courses
from dlrun.report import page, plots
from dlrun.report.evidence import LEAST, importances
from dlrun.report.sweep import summarize
from tests.conftest import in_suite
from tests.report.conftest import L2, LR, OPTIMIZER, WIDTH


def mixed(values, draw):
    rate = math.log10(values["optimizer.lr"])
    if rate > -1.4:
        return math.nan
    bonus = {"sgd": 0.0, "adam": 0.02, "rmsprop": -0.05}[values["optimizer"]]
    return 0.5 - 0.08 * (rate + 2.2) ** 2 + bonus + draw.gauss(0, 0.005)


@pytest.fixture
def planted(drawn):
    made = drawn(mixed, dimensions=(LR, L2, OPTIMIZER, WIDTH), many=30, repeats=2)
    points = list(made.points)
    worst = made.ranked[-1]
    points[made.points.index(worst)] = replace(worst, status="PRUNED")
    return replace(made, points=tuple(points))


def shown(directory, width=100):
    text = StringIO()
    path = summarize(directory, Console(file=text, width=width, highlight=False))
    return path, text.getvalue()


def test_a_sweep_is_read_as_it_was_written(tmp_path, planted, on_disk):
    directory = on_disk(tmp_path, planted)
    found = read(directory)
    assert found.dimensions == planted.dimensions
    assert (found.command, found.objective, found.maximize) == (
        planted.command,
        "val/accuracy",
        True,
    )
    for there, here in zip(found.points, planted.points, strict=True):
        assert (there.trial, there.values, there.status) == (here.trial, here.values, here.status)
        assert (there.scores, there.words) == (here.scores, here.words)
        assert there.stderr == here.stderr
        assert there.samples == here.samples
    assert found.ranked[0].trial == planted.ranked[0].trial
    curves = courses.of_runs(found, tmp_path)
    assert [len(curves[point.trial]) for point in found.points] == [
        len(point.scores) or 1 for point in planted.points
    ]
    assert curves[0][0][0] == [1, 2, 3, 4, 5]


def test_seeds_that_were_swept_are_repeats(tmp_path, sweep, point, on_disk):
    seed = Dimension("seed", choices=(0, 1, 2))
    names = Dimension("optimizer", choices=("sgd", "adam"))
    points = [
        point(3 * place + number, {"optimizer": name, "seed": number}, 0.5 + place + number / 10)
        for place, name in enumerate(names.choices)
        for number in seed.choices
    ]
    points[5] = point(5, points[5].values, status="FAILED", message="nan")
    found = read(on_disk(tmp_path, sweep([names, seed], points, sampler="grid")))
    assert [one.key for one in found.dimensions] == ["optimizer"]
    assert [point.status for point in found.points] == ["FINISHED", "FAILED"]
    best = found.ranked[0]
    assert best.scores == [0.5, 0.6, 0.7]
    assert best.stderr == pytest.approx(0.1 / math.sqrt(3))
    assert best.label == "optimizer=sgd"
    assert len(best.runs) == 3


def test_the_closing_table_ranks_counts_and_says_what_to_type(tmp_path, planted, on_disk):
    path, text = shown(on_disk(tmp_path, planted))
    counts = planted.counts()
    assert f"{counts['FINISHED']} finished, 1 pruned, {counts['FAILED']} failed" in text
    best = planted.ranked[0]
    assert re.search(
        rf"1 +{best.mean:.4f} ± {best.stderr:.4f} +{named(best.values['optimizer.lr'])} ", text
    )
    assert f"… and {counts['FINISHED'] - 10} more" in text
    assert f"{counts['FAILED']} failed: the loss is nan at step 12" in text
    assert "what mattered: optimizer.lr" in text
    assert "failed or diverged" in text
    assert re.search(r"^  dlrun -m .*'optimizer.lr=tag\(log,interval\(0.0001,", text, re.M)
    assert f"report: {path}" in text
    assert path == tmp_path / "sweeps" / planted.id / "report.html"


def test_recipes_on_the_test_split_are_counted_anew(tmp_path, sweep, point, on_disk):
    directory = on_disk(tmp_path, sweep([LR], [point(0, {LR.key: 0.01}, 0.5)]))
    best, other = tmp_path / "runs" / "000-0", tmp_path / "runs" / "later"
    with (best / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "epoch": 6, "values": {"test/accuracy": 0.4}}) + "\n")
    other.mkdir()
    for number, run in enumerate((best, other)):
        assert "recipes have been measured" not in shown(directory)[1]
        measured = {"test_measured": [{"when": "", "set": "digits", "recipe": str(number)}]}
        (run / "run.json").write_text(json.dumps(measured | {"tested_recipes": number + 1}))
    assert "2 recipes have been measured" in shown(directory)[1]


def test_commands_are_never_broken_by_a_narrow_terminal(tmp_path, planted, on_disk):
    _, text = shown(on_disk(tmp_path, planted), width=40)
    commands = [line for line in text.splitlines() if line.startswith("  dlrun ")]
    assert commands
    assert all(line.count("'") % 2 == 0 for line in commands)
    assert any(len(line) > 100 for line in commands)


def test_advice_is_broken_between_words_on_a_terminal_and_nowhere_else(tmp_path, planted, on_disk):
    directory = on_disk(tmp_path, planted)
    for terminal in (False, True):
        text = StringIO()
        summarize(directory, Console(file=text, width=40, force_terminal=terminal, highlight=False))
        advice = [line for line in text.getvalue().splitlines() if "The best" in line]
        assert (max(map(len, advice)) > 100) is not terminal


def test_a_stage_that_others_follow_shows_its_best_point_alone(tmp_path, planted, on_disk):
    text = StringIO()
    path = summarize(on_disk(tmp_path, planted), Console(file=text, width=100), goes_on=True)
    said = text.getvalue()
    best, second = planted.ranked[:2]
    assert f"{best.mean:.4f} ± {best.stderr:.4f}" in said
    assert f"{second.mean:.4f} ± {second.stderr:.4f}" not in said
    assert "dlrun -m" not in said
    assert "what mattered" not in said
    assert "failed" in said
    assert "What to do next" in path.read_text()


def test_a_point_whose_objective_was_never_a_number_is_shown(tmp_path, sweep, point, on_disk):
    points = [point(n, {LR.key: 0.01 * (n + 1)}, score) for n, score in enumerate((0.5, None))]
    path, text = shown(on_disk(tmp_path, sweep([LR], points)))
    assert "2 finished; 1 has no val/accuracy" in text
    assert re.search(r"^2 +none +0.02$", text, re.M)
    assert ">none<" in path.read_text()
    path, text = shown(on_disk(tmp_path / "none", sweep([LR], points[1:])))
    assert "1 finished; 1 has no val/accuracy" in text
    assert re.search(r"^1 +none +0.02$", text, re.M)


def test_runs_are_counted_beside_points(tmp_path, sweep, point, on_disk):
    points = [point(n, {"l2": 0.1 * (n + 1)}, 0.5, 0.6, 0.7) for n in range(4)]
    _, text = shown(on_disk(tmp_path, sweep([L2], points)))
    assert "sweep a1b2c3: 12 runs; points, each with all its seeds: 4 finished\n" in text
    once = [point(n, {"l2": 0.1 * (n + 1)}, 0.5) for n in range(4)]
    _, text = shown(on_disk(tmp_path / "b", sweep([L2], once)))
    assert "sweep a1b2c3: 4 finished\n" in text


class Page(HTMLParser):
    """What a page would load, its text, and whether its tags close."""

    VOID = ("meta", "br", "path", "use", "img", "link")

    def __init__(self, html):
        super().__init__()
        self.open, self.loads, self.text, self.tags = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.loads.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_small_and_needs_no_network(tmp_path, planted, on_disk):
    path, _ = shown(on_disk(tmp_path, planted))
    html = path.read_text()
    read = Page(html)
    assert read.open == []
    assert read.loads == []
    assert "script" not in read.tags
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert len(html) < 400_000
    # Parallel coordinates, one figure for each of four dimensions, importance, curves.
    assert read.tags.count("svg") == 7
    for title in ("What to do next", "Ranking", "What failed", "All points at once", "One by one"):
        assert title in read.text
    assert planted.command in read.text
    assert "What mattered" in read.text
    assert "Learning curves" in read.text


def test_what_users_write_is_escaped(tmp_path, sweep, point, on_disk):
    names = Dimension("name", choices=("<b>&", "x"))
    points = [
        point(0, {"name": "<b>&"}, 0.5),
        point(1, {"name": "x"}, status="FAILED", message="<script>alert('$x_1$')</script>"),
    ]
    made = sweep([names], points, command="dlrun -m 'name=<b>&,x'", sampler="grid")
    path, text = shown(on_disk(tmp_path, made))
    read = Page(path.read_text())
    assert "script" not in read.tags
    assert "<script>alert" in read.text
    assert "[bold" not in text
    assert "<script>alert" in text


def cases(sweep, point, drawn):
    """Sweeps at the margin."""
    zipped = Dimension("optimizer.lr", choices=(0.1, 0.2), zip=0)
    lists = Dimension("regularization", choices=(["l2"], ["l2", "dropout"], []))
    values = {"optimizer.lr": 0.01}
    return {
        "no points": sweep([LR], []),
        "one point": sweep([LR], [point(0, values, 0.5)]),
        "all failed": sweep([LR], [point(n, values, status="FAILED") for n in range(3)]),
        "constant": drawn(lambda values, draw: 0.1, many=12),
        "one dimension": drawn(lambda values, draw: values["l2"], dimensions=(L2,), many=12),
        "no dimension": sweep([], [point(0, {}, 0.5)]),
        "still running": sweep([LR], [point(0, values, status="RUNNING"), point(1, values, 0.4)]),
        "zipped": sweep(
            [zipped, replace(zipped, key="l2")],
            [point(n, {"optimizer.lr": v, "l2": v}, v) for n, v in enumerate((0.1, 0.2))],
        ),
        "lists": sweep(
            [lists], [point(n, {"regularization": v}, 0.1 * n) for n, v in enumerate(lists.choices)]
        ),
        "a loss over decades": drawn(lambda values, draw: values["l2"], objective="val/loss"),
        "one value each": sweep(
            [Dimension("a", choices=(1,)), Dimension("b", choices=(True, False))],
            [point(n, {"a": 1, "b": bool(n)}, 0.1 * n) for n in range(2)],
        ),
        "dollar signs": sweep(
            [Dimension("a_b$\\y$", choices=("$\\no{$", "_"))],
            [point(n, {"a_b$\\y$": v}, 0.1 * n) for n, v in enumerate(("$\\no{$", "_"))],
        ),
        "many dimensions": drawn(
            lambda values, draw: draw.random(),
            dimensions=tuple(replace(LR, key=f"group.setting_{n}") for n in range(12)),
            many=15,
        ),
    }


CASES = (
    *("no points", "one point", "all failed", "constant", "one dimension", "no dimension"),
    *("still running", "zipped", "lists", "a loss over decades", "one value each"),
    *("dollar signs", "many dimensions"),
)


@pytest.mark.parametrize("case", in_suite(CASES[:-1], CASES))
def test_any_sweep_gets_its_report(case, tmp_path, sweep, point, drawn, on_disk):
    made = cases(sweep, point, drawn)[case]
    path, text = shown(on_disk(tmp_path, made))
    assert Page(path.read_text()).open == []
    assert made.id in text


def test_a_running_sweep_without_a_ledger_is_read(tmp_path):
    (tmp_path / "sweeps" / "x").mkdir(parents=True)
    (tmp_path / "sweeps" / "x" / "sweep.json").write_text("{}")
    _, text = shown(tmp_path / "sweeps" / "x")
    assert "no points" in text


def test_importance_finds_what_matters(drawn):
    def score(values, draw):
        return -((math.log10(values["l2"]) + 3) ** 2) + (values["optimizer"] == "adam")

    shares = importances(drawn(score, dimensions=(LR, L2, OPTIMIZER), many=60))
    assert next(iter(shares)) == "l2"
    assert shares["l2"] > 0.8
    assert shares["optimizer.lr"] < 0.05
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_is_silent_where_it_means_nothing(drawn, sweep):
    assert importances(drawn(lambda values, draw: draw.random(), many=LEAST - 1)) == {}
    assert importances(drawn(lambda values, draw: 0.5, many=20)) == {}
    assert importances(drawn(lambda v, draw: v["l2"], dimensions=(L2,), many=20)) == {}
    only = Dimension("a", choices=("x",))
    assert importances(drawn(lambda v, draw: v["l2"], dimensions=(L2, only), many=20)) == {}
    assert importances(sweep([LR, L2], [])) == {}


def test_a_figure_has_the_scale_of_its_dimension(monkeypatch, planted):
    from matplotlib.axes import Axes

    scales = []
    monkeypatch.setattr(Axes, "set_xscale", lambda axes, value: scales.append(value))
    for dimension, scale in [(LR, ["log"]), (WIDTH, []), (OPTIMIZER, [])]:
        scales.clear()
        plots.against(planted, dimension)
        assert scales == scale


def test_all_labels_of_an_axis_are_of_one_size(monkeypatch, sweep, point):
    made = []
    monkeypatch.setattr(plots, "svg", lambda figure: made.append(figure) or "")
    rate = Dimension("optimizer.lr", "float", "log", 3e-3, 1e-1)
    points = [point(n, {rate.key: 0.003 * 5**n}, 0.5) for n in range(3)]
    plots.against(sweep([rate], points), rate)
    [axes] = made[0].axes
    FigureCanvasAgg(made[0]).draw()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    labels = {t.label1.get_text(): t.label1.get_fontsize() for t in ticks}
    assert labels["0.02"] == labels["0.01"], "between the powers of ten, too"


def test_an_accuracy_is_linear_however_far_it_spans(monkeypatch, sweep, point):
    from matplotlib.axes import Axes

    scales = []
    monkeypatch.setattr(Axes, "set_yscale", lambda axes, value: scales.append(value))
    points = [point(n, {"l2": 10.0**-n}, score) for n, score in enumerate((0.925, 0.025))]
    curves = {n: [([1.0, 2.0], [0.025, 0.9])] for n in range(2)}
    for objective, ticks, scale in (
        ("val/accuracy", ["0.025", "0.475", "0.925"], []),
        ("val/loss", ["0.025", "0.152", "0.925"], ["log"]),
    ):
        scales.clear()
        made = sweep([L2], points, objective=objective)
        shown = plots.coordinates(made)
        assert [text for text in ticks if f">{text}<" not in shown] == []
        plots.against(made, L2)
        assert scales == scale
        plots.learning(made, curves)
        assert scales == 2 * scale


def test_figures_fill_the_page(planted, sweep, point):
    alone = sweep([L2], [point(0, {"l2": 0.1}, 0.5), point(1, {"l2": 0.2}, 0.6)])
    curves = {0: [([1.0, 2.0], [0.2, 0.5])]}
    figures = [
        plots.coordinates(alone),
        plots.coordinates(planted),
        plots.against(alone, L2),
        plots.learning(alone, curves),
        plots.bars({"l2": 1.0}),
    ]
    for figure in figures:
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', figure).groups())
        assert width >= 700  # points, at which text has the size of that in the small ones
        assert width > 2 * height
    html = page.page(alone, {"l2": 1.0}, curves, [], {})
    assert html.count('<div class="scroll"><figure style="min-width:') == 4  # on a narrow screen
    assert "max-width" not in html.partition("figure svg {")[2].partition("}")[0]
    assert "max-width" not in html.partition("</style>")[2]


def test_the_legend_of_the_learning_curves_stands_above_them(monkeypatch, sweep, point):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kept = []
    monkeypatch.setattr(plots, "svg", lambda figure: kept.append(figure) or "")
    made = sweep([L2], [point(0, {"l2": 0.1}, 0.5)])
    plots.learning(made, {0: [([1.0, 2.0], [0.2, 0.5])]})
    FigureCanvasAgg(kept[0]).draw()
    [axes] = kept[0].axes
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= axes.bbox.y1
    assert legend.y1 <= kept[0].bbox.y1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best: l2=0.1"]


@pytest.mark.parametrize(
    "names", ["5%,10%,20%,50%,100%", ",".join(f"a-long-name-{n}" for n in "abcde")]
)
def test_slanted_names_leave_room_for_that_of_the_axis(monkeypatch, sweep, point, names):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kept = []
    monkeypatch.setattr(plots, "svg", lambda figure: kept.append(figure) or "")
    names = names.split(",")
    samples = Dimension("data.samples", choices=tuple(names))
    points = [point(n, {"data.samples": name}, 0.5 + n / 100) for n, name in enumerate(names)]
    alone = sweep([samples], points)
    plots.against(alone, samples)
    plots.against(replace(alone, dimensions=[samples, L2]), samples)
    for figure in kept:
        FigureCanvasAgg(figure).draw()
        assert figure.axes[0].xaxis.label.get_window_extent().y0 >= 0


def test_the_choices_of_a_figure_are_named_in_their_order(planted):
    svg = plots.against(planted, OPTIMIZER)
    names = re.findall(r">(sgd|adam|rmsprop)<", svg)
    assert names == ["sgd", "adam", "rmsprop"]


@pytest.mark.parametrize(
    ("value", "place"), [(1e-4, 0.0), (1e-1, 1.0), (10**-2.5, 0.5), (1e-3, 1 / 3)]
)
def test_a_place_is_that_on_the_scale_of_the_dimension(value, place):
    assert LR.place(value) == pytest.approx(place)


def test_scores_are_written_with_their_error(point):
    assert page.score(point(0, {}, 0.51234)) == "0.5123"
    assert page.score(point(0, {}, 0.5, 0.52)) == "0.5100 ± 0.0100"
    assert page.score(point(0, {}, 1.2e-7, 1.4e-7)) == "1.3e-07 ± 1e-08"


def test_it_imports_neither_torch_nor_mlflow_nor_pyplot(tmp_path, planted, on_disk):
    directory = on_disk(tmp_path, planted)
    code = "import sys; from dlrun.report.sweep import summarize; from rich.console import Console;"
    code += "summarize(sys.argv[1], Console(stderr=True));"
    code += "print([m for m in ('matplotlib.pyplot', 'torch', 'mlflow') if m in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", code, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
