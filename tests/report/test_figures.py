"""The figures of a run: which are drawn of what, and how large they are."""

import json

import numpy as np
import pytest
from PIL import Image

from dlrun import record
from dlrun.report import answers, curves, figures, inside, plots, sheet
from tests.conftest import sparsely

CLASSES = [f"class {label}" for label in range(100)]


def draw(tmp_path, classes=(), **arrays):
    record.write_arrays(tmp_path / record.VALIDATION, **arrays)
    record.write_json(tmp_path / "run.json", {"data": {"classes": list(classes)}})
    drawn = answers.draw(tmp_path, whole=True)
    for path in drawn:
        with Image.open(path) as image:
            assert image.width == 704  # what MLflow shows at its own size, nearly
            assert image.height < 2000
    return [path.stem for path in drawn]


def guessed(many, count=400, image=True):
    """Answers to random samples, most of them right."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % many
    predicted = np.where(rng.random(count) < 0.7, y, rng.integers(0, many, count))
    wrong = np.flatnonzero(y != predicted)[:100]
    confusion = np.zeros((many, many), np.int64)
    np.add.at(confusion, (y, predicted), 1)
    places = np.unique([*range(24), *wrong])
    shape = (len(places), 3, 20, 30) if image else (len(places), 5)
    inputs = {"image": rng.integers(0, 255, shape, np.uint8)} if image else {}
    if not image:
        inputs = {"input": rng.normal(size=shape), "columns": np.array(list("abcde"))}
    return {
        "row": np.arange(count), "y": y, "predicted": predicted, "confidence": rng.random(count),
        "truth": rng.random(count), "probabilities": np.array(True), "confusion": confusion,
        "bins": np.array([[0, 300, 100], [0, 150, 90], [0, 120, 95.0]]), "shown": np.arange(24),
        "worst": wrong, "place": places, **inputs,
    }  # fmt: skip


@pytest.mark.parametrize(("many", "image"), [(3, True), (100, True), (5, False)])
def test_classes(many, image, tmp_path):
    found = draw(tmp_path, CLASSES[:many], **guessed(many, image=image))
    assert found == ["predictions", "mistakes", "confusion", "reliability"]


@pytest.mark.parametrize(
    ("count", "title"),
    [(24, "24 validation samples; "), (400, "24 of 400 validation samples, drawn at random; ")],
)
def test_samples_are_drawn_at_random_where_some_are_left(count, title, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(sheet, "headline", lambda figure, title: titles.append(title))
    draw(tmp_path, CLASSES[:3], **guessed(3, count=count, image=False))
    assert titles[0].startswith(title)


def test_columns_of_a_table_are_named_in_full_or_counted(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(answers, "save", lambda figure, path: made.append(figure))
    names = ["built is missing", *(f"a column number {k}" for k in range(11))]
    told = guessed(3, image=False)
    told |= {"input": np.zeros((len(told["place"]), 12)), "columns": np.array(names)}
    told["features"] = np.array(30)
    record.write_arrays(tmp_path / record.VALIDATION, **told)
    record.write_json(tmp_path / "run.json", {"data": {"classes": CLASSES[:3]}})
    answers.draw(tmp_path)
    texts = [each.get_text() for each in made[0].texts]
    shown = [name for name in names if name in texts]
    assert "built is missing" in shown
    assert texts[0].endswith(f"; {30 - len(shown)} more columns not shown")
    for figure in made:  # the title of the mistakes is longer than that of the predictions
        assert max(text.get_window_extent().x1 for text in figure.texts) <= figure.bbox.x1


def test_cells_of_a_table_are_shown_as_they_are(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(answers, "save", lambda figure, path: made.append(figure))
    told = guessed(3, image=False)
    cells = ["01.03.2001", "–", "a text of a table with a price of $5"]
    told |= {"input": np.array([cells] * len(told["place"])), "columns": np.array(list("abc"))}
    record.write_arrays(tmp_path / record.VALIDATION, **told)
    record.write_json(tmp_path / "run.json", {"data": {"classes": CLASSES[:3]}})
    answers.draw(tmp_path)
    texts = [each.get_text() for each in made[0].texts]
    assert {*cells[:2], "a text of a table w…"} <= {*texts}


SEDANS = tuple(f"BMW 3 Series Sedan {year}" for year in range(1990, 2015))


@pytest.mark.parametrize(
    "names",
    [SEDANS, ("a" * 20 + "b" * 20, "a" * 20 + "c" + "b" * 19, "short"), ("x" * 30, "x" * 30)],
    ids=["ends", "middles", "equal"],
)
def test_names_that_differ_differ_when_they_are_short(names):
    for most in (10, 12, 13, 14):
        found = plots.shortened(names, most)
        assert len({*found}) == len({*names})
        assert max(map(len, found)) <= most


def test_names_are_cut_at_their_end_where_that_will_do():
    assert plots.shortened(("New York City", "London"), 10) == ("New York …", "London")


def test_each_pair_of_classes_has_a_bar_of_its_own(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(answers, "save", lambda figure, path: shown.append(figure))
    alike = [("x" * 40)] * 25  # names that are equal
    for names in (SEDANS, alike):
        record.write_arrays(tmp_path / record.VALIDATION, **guessed(25))
        record.write_json(tmp_path / "run.json", {"data": {"classes": list(names)}})
        answers.draw(tmp_path)
        [*_, axes] = shown[-1].axes
        assert len({bar.get_y() for bar in axes.patches}) == len(axes.patches) == 12


def test_no_mistakes(tmp_path):
    arrays = guessed(3)
    arrays |= {"predicted": arrays["y"], "worst": np.zeros(0, np.int64)}
    assert "mistakes" in draw(tmp_path, CLASSES[:3], **arrays)


def test_scores_have_no_reliability(tmp_path):
    arrays = guessed(3) | {"probabilities": np.array(False)}
    assert draw(tmp_path, CLASSES[:3], **arrays) == ["predictions", "mistakes", "confusion"]


@pytest.mark.parametrize("targets", [1, 3, 8])
def test_numbers(targets, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, targets))
    arrays = {
        "row": np.arange(50), "y": y, "predicted": y + 0.1, "shown": np.arange(24),
        "worst": np.arange(24), "place": np.arange(24), "input": rng.normal(size=(24, 3)),
        "columns": np.array(["a", "b", "a$b$"]),
    }  # fmt: skip
    assert draw(tmp_path, **arrays) == ["predictions", "mistakes"]


@pytest.mark.proof
def test_reliability_is_not_drawn_at_the_end_of_a_training(tmp_path):
    draw(tmp_path, CLASSES[:3], **guessed(3))
    drawn = [path.stem for path in answers.draw(tmp_path)]
    assert drawn == ["predictions", "mistakes", "confusion"]


def test_figures_of_other_weights_go_when_a_run_has_trained_on(tmp_path):
    record.write_json(tmp_path / "run.json", {})
    (tmp_path / "figures").mkdir()
    for name in ("loss_plane", "mine"):
        (tmp_path / "figures" / f"{name}.png").touch()
    figures.draw(tmp_path, whole=True)
    assert (tmp_path / "figures" / "loss_plane.png").exists()
    figures.draw(tmp_path)
    assert [path.stem for path in (tmp_path / "figures").iterdir()] == ["mine"]


def test_nothing_of_nothing(tmp_path):
    assert answers.draw(tmp_path) == []


def test_what_is_inside(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c", "d", "e", "f")]
    inside.filters(rng.normal(size=(40, 1, 5, 5)), paths[0])
    inside.filters(rng.normal(size=(3, 3, 11, 7)), paths[1])
    counts, edges = np.histogram(rng.normal(size=100), 60)
    one = {"layer": "x", "kind": "Linear", "counts": counts, "edges": edges, "zeros": 0.3}
    inside.histograms([one] * 7, "weights", paths[2])
    images = rng.random((6, 1, 8, 8))
    inside.inputs(images, [images], images, paths[3])
    along = np.linspace(-1, 1, 21)
    inside.line(along, {"train": along**2 + 0.1}, {"train": 5}, paths[4])
    around = along[:, None] ** 2 + along**2
    around[0, 0] = np.nan
    inside.plane(along, around.tolist(), 5, paths[5])
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 704


def test_a_flat_loss_can_be_drawn(tmp_path):
    inside.plane([-1, 0, 1], [[1.0] * 3] * 3, 5, tmp_path / "flat.png")
    assert (tmp_path / "flat.png").is_file()


@pytest.mark.parametrize(
    "name", sparsely(["mistakes", "layers", "weights", "reliability", "accuracy"], 3)
)
def test_a_metric_keeps_its_curve_beside_a_figure_of_its_name(name, tmp_path):
    arrays = guessed(3)
    record.write_arrays(tmp_path / record.VALIDATION, **arrays)
    facts = {"metrics": {name: {"higher_is_better": False}}, "data": {"classes": CLASSES[:3]}}
    record.write_json(tmp_path / "run.json", facts)
    points = [{"step": n, "epoch": n, "values": {f"val/{name}": 1.0 + n}} for n in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))
    [drawn] = curves.draw(tmp_path)
    others = [path.stem for path in answers.draw(tmp_path, whole=True)]
    assert drawn.stem not in {*others, *curves.OF_SHOW, "layers", "layer_curves"}
    figures.draw(tmp_path)
    assert drawn.is_file()
