"""What is kept of the answers to a split, by a second computation over all of them."""

import numpy as np
import pytest
import torch

from dlrun.data import Split, arrays, split
from dlrun.engine.answers import CLASSES, SHOWN, WORST, answers
from dlrun.engine.evaluate import predictions
from dlrun.engine.feed import prepare
from dlrun.engine.report_card import confusion, reliability
from dlrun.recipe import build


def whole(run, split):
    return predictions(run, prepare(split, run.evaluation, run.device, fixed=False))


@pytest.fixture
def run(compose_recipe, digits):
    return build.build(compose_recipe("seed=3"), digits)


def test_classes(run, digits):
    found = answers(run, digits, "val")
    output, y = whole(run, digits.val)
    assert np.array_equal(found["row"], digits.val.rows)
    assert np.array_equal(found["y"], y)
    assert np.array_equal(found["predicted"], output.argmax(1))
    assert found["truth"] == pytest.approx(output[torch.arange(len(y)), y].numpy())
    assert np.array_equal(found["confusion"], confusion(output, y))
    counts, sums, right = found["bins"]
    for each in reliability(output, y):
        place = round(each.low * len(counts))
        assert counts[place] == each.count
        assert sums[place] / each.count == pytest.approx(each.confidence)
        assert right[place] / each.count == pytest.approx(each.accuracy)


@pytest.mark.parametrize("words", [(), ("model=autoencoder", "loss=mse")])
def test_an_error_leaves_the_model_in_its_mode(compose_recipe, digits, words):
    run = build.build(compose_recipe(*words), digits)
    run.model.train()
    run.model.forward = lambda x: x / "nothing"
    with pytest.raises(TypeError):
        answers(run, digits, "val")
    assert run.model.training


def test_the_worst_mistakes_of_each_class_come_worst_first(run, digits):
    found = answers(run, digits, "val")
    y, wrong = found["y"], found["y"] != found["predicted"]
    gap = found["confidence"] - found["truth"]
    for label in range(10):
        mine = [place for place in found["worst"] if y[place] == label]
        expected = sorted(np.flatnonzero(wrong & (y == label)), key=lambda place: -gap[place])
        assert mine == expected[:WORST]


def test_each_input_is_that_of_its_place(run, digits):
    found = answers(run, digits, "val")
    assert len(found["shown"]) == SHOWN
    assert {*found["shown"], *found["worst"]} == {*found["place"]}
    for place, image in zip(found["place"], found["image"], strict=True):
        assert np.array_equal(image, digits.val.x[digits.val.rows[place]])


def test_of_many_classes_one_mistake_each(compose_recipe, digits):
    from dataclasses import replace

    y = torch.arange(len(digits.train.y)) % 120
    splits = {
        name: Split(each.x, y, each.rows)
        for name, each in (("train", digits.train), ("val", digits.val), ("test", digits.test))
    }
    many = replace(digits, **splits, classes=tuple(map(str, range(120))), outputs=120)
    found = answers(build.build(compose_recipe(), many), many, "val")
    assert len(found["worst"]) == CLASSES == len({*found["y"][found["worst"]]})


def test_large_images_are_kept_small():
    from dlrun.engine.answers import _small

    x = torch.arange(256, dtype=torch.uint8).repeat(3 * 200).view(1, 3, 200, 256)
    small = _small(x)
    assert small.shape == (1, 3, 66, 85)
    assert abs(float(small.mean()) - float(x.float().mean())) < 2


def test_an_autoencoder_keeps_what_it_makes_of_images(compose_recipe, digits):
    run = build.build(compose_recipe("model=autoencoder", "loss=mse"), digits)
    found = answers(run, digits, "val")
    x, made = found["target"], found["output"]
    assert x.shape == made.shape == (len(found["place"]), 1, 8, 8)
    error = np.square(x - made).reshape(len(x), -1).mean(1)
    assert found["error"][found["place"]] == pytest.approx(error, rel=1e-4)
    assert found["error"][found["worst"]].min() >= np.sort(found["error"])[-len(found["worst"])]


def test_nothing_of_an_empty_split(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    from dataclasses import replace

    assert (
        answers(run, replace(digits, val=replace(digits.val, rows=digits.val.rows[:0])), "val")
        == {}
    )


@pytest.mark.parametrize("where", ["all", "val"])
def test_rows_of_a_table_are_kept_as_its_file_has_them(compose_recipe, tmp_path, where):
    """Values are missing in all splits, or in validation alone, where the network sees medians."""
    file = tmp_path / "t.csv"
    days = [f"{n % 28 + 1:02d}.03.2001" for n in range(200)]
    if where == "val":
        days[20:40] = [""] * 20
    sizes = ["" if (n % 4 if where == "all" else 20 <= n < 40) else n / 8 for n in range(200)]
    lines = [f"{days[n]},{sizes[n]},{'ab'[n % 2]},{n}.5" for n in range(200)]
    file.write_text("\n".join(["day,size,kind,y", *lines]))
    source = arrays.arrays(str(file), "y", cache=str(tmp_path / "cache"))
    rows = {"train": [*range(20), *range(40, 200)], "val": range(20, 40)}
    data = split.make(source, rows=rows if where == "val" else None)
    found = answers(build.build(compose_recipe(), data), data, "val")
    assert found["columns"].tolist() == ["day", "size", "kind"]
    assert found["features"] == 3
    for row, cells in zip(found["row"][found["place"]], found["input"].tolist(), strict=True):
        day, size, kind, _ = lines[row].split(",")
        assert cells == [day or "–", f"{float(size):g}" if size else "–", kind]
