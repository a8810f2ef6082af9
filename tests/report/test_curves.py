"""Curves come from the record alone, and only those that have points."""

import math
import subprocess
import sys

import pytest
from PIL import Image

from dlrun import record
from dlrun.record.sweep import spans_decades
from dlrun.report import curves


@pytest.fixture
def run(tmp_path):
    made = record.create(tmp_path, "x", {}, "")
    yield made
    made.close()


def test_a_figure_for_every_section_with_points(run):
    for epoch in range(5):
        run.append(epoch, epoch, {"train/loss": 2.0 / (epoch + 1), "val/loss": 1.0, "lr": 0.1})
    run.append(5, 5, {"val/loss": math.nan, "grad/norm": math.inf})
    drawn = curves.draw(run.directory)
    assert [path.name for path in drawn] == ["loss.png", "lr.png"]
    for path in drawn:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
    assert sorted(path.name for path in (run.directory / "figures").iterdir()) == [
        "loss.png",
        "lr.png",
    ]


@pytest.mark.parametrize("epochs", [[1], [0.5], [1, 2], [0, 40]])
def test_whole_epochs_are_labelled(epochs):
    axes = curves.blank()
    axes.plot(epochs, [1.0] * len(epochs))
    curves.whole_numbers(axes)
    low, high = axes.get_xlim()
    ticks = [place for place in axes.get_xticks() if low <= place <= high]
    assert len(ticks) > 1
    assert all(place == int(place) for place in ticks)
    assert low < min(epochs) <= max(epochs) < high


def test_no_points_no_figures(run):
    assert curves.draw(run.directory) == []
    assert not (run.directory / "figures").exists()


def test_a_curve_leaves_out_what_cannot_be_drawn():
    points = [
        {"epoch": 0.5, "values": {"a": 1.0}},
        {"epoch": 1, "values": {"a": math.nan, "b": 2.0}},
        {"epoch": 2, "values": {"b": 3.0}},
    ]
    assert curves.curve(points, "a") == ([0.5], [1.0])
    assert curves.curve(points, "b") == ([1.0, 2.0], [2.0, 3.0])


def test_the_best_point_is_marked_where_it_is(run, monkeypatch):
    from matplotlib.axes import Axes

    marked = []
    plot = Axes.plot

    def remember(axes, *values, **options):
        if " at epoch " in options["label"]:
            marked.append((*values[:2], options["label"]))
        return plot(axes, *values, **options)

    monkeypatch.setattr(Axes, "plot", remember)
    for epoch, (loss, accuracy) in enumerate([(3, 0.1), (1, 0.7), (2, 0.9), (4, 0.2)]):
        run.append(epoch, epoch, {"val/loss": loss, "val/accuracy": accuracy})
    curves.draw(run.directory)
    assert marked == [(1.0, 1.0, "lowest: 1 at epoch 1"), (2.0, 0.9, "highest: 0.9 at epoch 2")]


def test_the_point_whose_weights_were_kept_is_marked(run, monkeypatch):
    """Of equal accuracies not the first, where the loss has chosen the second."""
    from matplotlib.axes import Axes

    marked = []
    plot = Axes.plot

    def remember(axes, *values, **options):
        if " at epoch " in options["label"]:
            marked.append(values[:2])
        return plot(axes, *values, **options)

    monkeypatch.setattr(Axes, "plot", remember)
    for epoch, (loss, accuracy) in enumerate([(3, 0.9), (2, 0.9), (1, 0.8)]):
        run.append(epoch, epoch, {"val/loss": loss, "val/accuracy": accuracy})
    run.append(2, 2, {"best/val_accuracy": 0.9, "best/epoch": 1.0})
    run.append(2, 2, {"test/accuracy": 0.8})  # measured later, as for the best run of a sweep
    curves.draw(run.directory)
    assert marked == [(2.0, 1.0), (1.0, 0.9)]


@pytest.mark.parametrize(
    ("values", "log"), [([1.0, 0.5], False), ([2.0, 0.01], True), ([2.0, 0.0], False), ([], False)]
)
def test_a_wide_range_of_positive_values_wants_a_logarithmic_axis(values, log):
    assert spans_decades(values) is log


@pytest.mark.parametrize(
    ("key", "log"),
    [("val/loss", True), ("grad/norm", True), ("val/accuracy", False), ("lr", False)],
)
def test_an_accuracy_never_has_a_logarithmic_axis(key, log, run, monkeypatch):
    from matplotlib.axes import Axes

    scales = []
    monkeypatch.setattr(Axes, "set_yscale", lambda axes, scale: scales.append(scale))
    for epoch, value in enumerate([0.025, 0.95]):
        run.append(epoch, epoch, {key: value})
    assert curves.draw(run.directory)
    assert scales == (["log"] if log else [])


def test_a_figure_of_each_metric_that_was_asked_for(run, monkeypatch):
    """Titles say what it is, the record which way is better; a name that is taken loses nothing."""
    from matplotlib.axes import Axes

    titles, marked = [], []
    label, plot = Axes.set_ylabel, Axes.plot

    def remember(axes, *values, **options):
        if " at epoch " in options["label"]:
            marked.append(options["label"])
        return plot(axes, *values, **options)

    monkeypatch.setattr(Axes, "set_ylabel", lambda axes, text: label(axes, titles.append(text)))
    monkeypatch.setattr(Axes, "plot", remember)
    told = {
        "auroc": {"higher_is_better": True, "share": False, "label": "area under the ROC curve"},
        "cost_of_errors": {"higher_is_better": False, "share": False, "label": ""},
        "lr": {"higher_is_better": False, "share": False, "label": ""},
    }
    run.update(metrics=told)
    for epoch, value in enumerate([0.3, 0.5, 0.4]):
        values = {f"val/{name}": value for name in told}
        run.append(epoch, epoch, {"val/mae": value, **values, "lr": 0.1})
    drawn = [path.name for path in curves.draw(run.directory)]
    assert drawn == ["mae.png", "auroc.png", "cost_of_errors.png", "lr_metric.png", "lr.png"]
    area = "area under the ROC curve"
    assert titles == ["mean absolute error", area, "cost of errors", "lr", "learning rate"]
    best = [label.split()[1] for label in marked]
    assert best == ["0.3", "0.5", "0.3", "0.3"]


def test_it_imports_neither_pyplot_nor_training_code(run):
    run.append(1, 1, {"lr": 0.1})
    code = "import sys; from dlrun.report import curves; assert curves.draw(sys.argv[1]);"
    code += "print([m for m in ('matplotlib.pyplot', 'torch', 'mlflow') if m in sys.modules])"
    command = [sys.executable, "-c", code, str(run.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_in_evaluation_mode_and_sharpness_have_curves(run, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot

    def remember(axes, *values, **options):
        drawn.append((options["label"], *values))
        return plot(axes, *values, **options)

    monkeypatch.setattr(Axes, "plot", remember)
    for epoch in (1, 2):
        values = {f"{split}/loss": epoch / 10 for split in ("train", "train_eval", "val")}
        run.append(epoch, epoch, values | {"sharpness": 3.0, "sharpness/bound": 20.0 * epoch})
    assert [path.name for path in curves.draw(run.directory)] == ["loss.png", "sharpness.png"]
    assert [line for line in drawn if " at epoch " not in line[0]] == [
        ("training", [1.0, 2.0], [0.1, 0.2]),
        ("training, in evaluation mode", [1.0, 2.0], [0.1, 0.2]),
        ("validation", [1.0, 2.0], [0.1, 0.2]),
        ("largest eigenvalue of the Hessian", [1.0, 2.0], [3.0, 3.0]),
        ("beyond it descent is unstable", [1.0, 2.0], [20.0, 40.0]),
    ]
