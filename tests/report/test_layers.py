"""The figures of watched layers, from the record alone."""

import math
import subprocess
import sys

import pytest
from PIL import Image

from dlrun import record
from dlrun.report import layers


@pytest.fixture
def run(tmp_path):
    made = record.create(tmp_path, "x", {"layers": {"fc1": "Linear"}}, "")
    yield made
    made.close()


def watched(run, epochs=4, names=("fc1", "fc1.relu", "a/b")):
    for epoch in range(1, epochs + 1):
        values = {"val/loss": 1.0}
        for place, name in enumerate(names):
            values[f"layer/{name}/std"] = 10.0 ** -(place * epoch)
            values[f"layer/{name}/mean"] = (-1.0) ** place / epoch
            values[f"layer/{name}/zeros"] = 0.25 if name == "fc1.relu" else 0.0
        values["layer/fc1.relu/dead"] = 0.1 * epoch
        run.append(epoch, epoch, values)


def test_a_panel_for_each_statistic_in_the_order_of_the_layers(run):
    watched(run)
    run.append(5, 5, {"layer/fc1/update": 1e-3, "layer/fc1/std": math.nan})
    panels = {panel.statistic: panel for panel in layers.of_points(run.points())}
    assert [*panels] == ["mean", "std", "update", "zeros", "dead"]
    assert [*panels["std"].courses] == ["fc1", "fc1.relu", "a/b"]
    assert [*panels["zeros"].courses] == ["fc1.relu"], "the others have none"
    assert panels["dead"].courses["fc1.relu"][0] == [1.0, 2.0, 3.0, 4.0]
    assert panels["dead"].courses["fc1.relu"][1] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert panels["std"].courses["fc1"] == ([1.0, 2.0, 3.0, 4.0], [1.0] * 4)


def test_a_heat_map_and_curves(run):
    watched(run)
    drawn = layers.draw(run.directory)
    assert [path.name for path in drawn] == ["layers.png", "layer_curves.png"]
    for path in drawn:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300


def test_cells_are_the_values_and_the_rest_stays_empty(run, monkeypatch):
    from matplotlib.axes import Axes

    cells, ticks = [], []
    pcolormesh, set_yticks = Axes.pcolormesh, Axes.set_yticks

    def remember(axes, x, y, values, **options):
        cells.append((list(x), values))
        return pcolormesh(axes, x, y, values, **options)

    monkeypatch.setattr(Axes, "pcolormesh", remember)
    monkeypatch.setattr(
        Axes, "set_yticks", lambda axes, at, *names: ticks.append(names) or set_yticks(axes, at)
    )
    run.append(10, 1, {"layer/fc1/update": 0.01, "layer/fc2/update": 0.0})
    run.append(20, 2, {"layer/fc1/update": 0.02})
    run.append(40, 4, {"layer/fc1/update": 0.04, "layer/fc2/update": 0.5})
    layers.draw(run.directory)
    edges, rows = cells[0]  # the others are of the bars of colours
    assert edges == [0.5, 1.5, 3.0, 5.0]
    assert rows[0] == [0.01, 0.02, 0.04]
    assert [math.isnan(value) for value in rows[1]] == [True, True, False], "0 has no logarithm"
    assert (["fc1 Linear", "fc2"],) in ticks


@pytest.mark.parametrize(("epochs", "names"), [(1, ("a",)), (3, tuple(f"l{i}" for i in range(90)))])
def test_one_look_and_many_layers(run, epochs, names):
    watched(run, epochs, (*names, "fc1.relu"))
    for path in layers.draw(run.directory):
        with Image.open(path) as image:
            assert max(image.size) < 4000


def test_nothing_watched_nothing_drawn(run):
    run.append(1, 1, {"val/loss": 1.0})
    assert layers.draw(run.directory) == []
    assert not (run.directory / "figures").exists()


def test_it_imports_neither_pyplot_nor_training_code(run):
    watched(run)
    code = "import sys, pathlib; from dlrun.report import layers;"
    code += "assert layers.draw(pathlib.Path(sys.argv[1]));"
    code += "print([m for m in ('matplotlib.pyplot', 'torch', 'mlflow') if m in sys.modules])"
    command = [sys.executable, "-c", code, str(run.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
