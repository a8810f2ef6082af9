"""What is shown of the data, against counting and numpy."""

import numpy as np
import pytest
from PIL import Image

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.report import gallery

COMMON = ("procedure=show_data", "tracking=none")
pytestmark = pytest.mark.usefixtures("here")


def own():
    [run] = record.all_runs("outputs")
    return run, record.read_json(run / "run.json")


@pytest.mark.proves("procedure=show_data")
def test_counts_by_class(capsys):
    assert main([*COMMON, "augmentation=[rotate]"]) == 0
    run, info = own()
    counts = np.bincount(digits().y.numpy())
    for row, count in zip(info["table"], counts, strict=True):
        assert row["train"] + row["val"] + row["test"] == count
    said = capsys.readouterr().out
    assert "1,078 to train, 360 to val, 359 to test; samples of shape 1×8×8" in said
    with Image.open(run / "figures" / "examples.png") as image:
        assert image.size == (10 * 68, 4 * 68 - 0)


def test_settings_of_a_training_are_said_to_do_nothing(capsys):
    words = ["epochs=7", "optimizer.lr=0.3", "preprocessing=[center]", "threads=1"]
    assert main([*COMMON, *words]) == 0
    said = capsys.readouterr().err
    assert "epochs=7, optimizer.lr=0.3: have no effect on procedure=show_data\n" in said
    assert said.count("no effect") == 1


def test_several_targets_by_their_names(tmp_path):
    rows = "".join(f"{place}.png,{place},{2 * place}\n" for place in range(20))
    (tmp_path / "t.csv").write_text(f"file,wide,high\n{rows}")
    for place in range(20):
        Image.new("L", (4, 4), 10 * place).save(tmp_path / f"{place}.png")
    assert main([*COMMON, "data=imagetable", "data.path=t.csv", "data.target=[wide,high]"]) == 0
    assert [row["column"] for row in own()[1]["table"]] == ["wide (target)", "high (target)"]


def test_a_target_of_0_is_0(tmp_path):
    y = np.arange(50, dtype="float32")[:, None] ** 2 * np.array([1, -1, 0], "float32")
    np.savez(tmp_path / "t.npz", x=y, y=y)
    words = ["data=arrays", "data.path=t.npz", "loss=mse", "data.split=100/0/0"]
    assert main([*COMMON, *words, "data.task=regression"]) == 0
    first, second, third, *_ = own()[1]["table"]
    assert (first["lowest"], second["highest"], third["mean"]) == (0, 0, 0)
    assert (first["highest"], second["lowest"]) == pytest.approx((2401, -2401))


@pytest.mark.parametrize("y", [[1000, 2000, 3000], [-0.125, 0.5, 7.25], [0, 0, 0.5]])
def test_a_target_is_as_it_stands_in_the_file(tmp_path, y):
    rows = "".join(f"{place},{value}\n" for place, value in enumerate(y * 2))
    (tmp_path / "t.csv").write_text(f"x,y\n{rows}")
    words = ["data=arrays", "data.path=t.csv", "data.target=y", "data.split=100/0/0"]
    assert main([*COMMON, *words, "data.features=[x]", "data.task=regression"]) == 0
    target = own()[1]["table"][0]
    assert (target["lowest"], target["highest"]) == pytest.approx((y[0], y[2]), rel=1e-12)


@pytest.mark.proves("procedure=show_data")
def test_columns_of_a_table(tmp_path, capsys):
    x = np.stack([np.linspace(-1, 3, 60), np.linspace(0, 900, 60)], 1)
    np.savez(tmp_path / "t.npz", x=x.astype("float32"), y=(x[:, :1] * 2).astype("float32"))
    words = ["data=arrays", "data.path=t.npz", "loss=mse", "data.split=100/0/0"]
    assert main([*COMMON, *words, "preprocessing=none"]) == 0
    run, info = own()
    target, first, second = info["table"]
    assert (target["lowest"], target["highest"]) == pytest.approx((-2, 6), abs=1e-4)
    assert (first["lowest"], first["highest"]) == pytest.approx((-1, 3))
    assert second["mean"] == pytest.approx(450, rel=1e-5)
    assert [each["name"] for each in info["findings"]] == ["input_scale", "dependent_inputs"]
    assert "procedure" not in info["findings"][0]["command"]
    assert not (run / "figures" / "examples.png").exists()


@pytest.mark.parametrize("target", ["kind", "price"])
def test_columns_have_the_names_of_the_file(tmp_path, capsys, target):
    """Those that are left out, or stand elsewhere in the file, don't shift the others."""
    kind = ["no", "yes"] if target == "kind" else [0, 1]
    lines = [
        f"c{row:03},{row % 7},7,{row % 9 + 0.5},{kind[row % 2]},{row * 1.5}" for row in range(60)
    ]
    text = "\n".join(["customer_id,rooms,same,area,kind,price", *lines])
    (tmp_path / "t.csv").write_text(text + "\n")
    words = ["data=arrays", "data.path=t.csv", f"data.target={target}", "data.split=100/0/0"]
    words += ["loss=mse"] if target == "price" else []
    assert main([*COMMON, *words]) == 0
    rows = own()[1]["table"]
    rooms, area = (
        next(row for row in rows if row.get("column") == name) for name in ("rooms", "area")
    )
    assert (rooms["column"], rooms["lowest"], rooms["highest"]) == ("rooms", 0, 6)
    assert (area["column"], area["lowest"], area["highest"]) == ("area", 0.5, 8.5)
    heads = [
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("class ", "column "))
    ]
    ranges = ["column", "lowest", "mean", "highest", "std"]
    if target == "kind":
        assert [row["class"] for row in rows[:2]] == ["no", "yes"]
        assert heads == [["class", "train", "val", "test"], ranges]
    else:
        assert rows[0]["column"] == "price (target)"
        assert heads == [ranges]


@pytest.mark.parametrize("targets", [["cat", "dog"], ["weight", "height"], ["weight"]])
def test_each_target_of_images_is_listed_by_its_name(tmp_path, targets):
    rng = np.random.default_rng(0)
    lines = ["file," + ",".join(targets)]
    for row in range(20):
        pixels = rng.integers(256, size=(4, 4), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
        values = [row % 2, row // 2 % 2] if "cat" in targets else [row * 1.5, row]
        lines.append(",".join(map(str, [f"{row}.png", *values[: len(targets)]])))
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["data=imagetable", "data.path=labels.csv", "data.files=file", "data.split=100/0/0"]
    assert main([*COMMON, *words, f"data.target=[{','.join(targets)}]", "data.root=."]) == 0
    rows = [row for row in own()[1]["table"] if "lowest" in row]
    assert [row["column"] for row in rows] == [f"{name} (target)" for name in targets]
    if "height" in targets:
        assert [row["highest"] for row in rows] == pytest.approx([28.5, 19])


@pytest.mark.parametrize("preprocessing", ["standardize", "[standardize,whiten]"])
def test_a_column_for_every_class_is_said_and_whitening_is_not_advised(tmp_path, preprocessing):
    """The direction in which nothing varies has no gradient, and whitening cannot mend it."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=200)
    x = np.column_stack([np.eye(3)[kind], rng.normal(size=200), rng.normal(2000, 30, size=200)])
    np.savez(tmp_path / "t.npz", x=x.astype("float32"), y=kind)
    words = ["data=arrays", "data.path=t.npz", f"preprocessing={preprocessing}"]
    assert main([*COMMON, *words]) == 0
    found = [each for each in own()[1]["findings"] if each["name"] == "dependent_inputs"]
    if preprocessing == "standardize":
        assert found[0]["text"].startswith("Only 4 of 5 inputs are independent")
    assert all(not each["command"] for each in found)


def test_nobody_is_told_to_type_the_same_again(tmp_path):
    x = np.repeat(np.arange(30.0), 4)[:, None].astype("float32")
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(120) % 2)
    assert main([*COMMON, "data=arrays", "data.path=t.npz", "data.split=100/0/0"]) == 0
    commands = {each["name"]: each["command"] for each in own()[1]["findings"]}
    assert commands["label_noise"] == ""


def test_a_number_of_examples_below_1(capsys):
    assert main([*COMMON, "procedure.examples=0"]) == 2
    assert "procedure.examples=0: must be above 0" in capsys.readouterr().err


def test_a_gallery_spreads_each_row_over_black_to_white(tmp_path):
    rows = [np.array([0.0, 2.0]).reshape(2, 1, 1, 1), np.full((2, 3, 1, 1), -5.0)]
    gallery.write(rows, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (136, 136, 3)
    assert (pixels[0, 0], pixels[0, 70]) == (pytest.approx([0] * 3), pytest.approx([255] * 3))
    assert pixels[70, 0] == pytest.approx([0] * 3)


def test_a_classifier_tells_shifted_splits_apart_if_asked(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    for name, shift in (("same", 0.0), ("apart", 1.0)):
        arrays = {
            "x_train": x[:200],
            "y_train": y[:200],
            "x_val": x[200:] + shift,
            "y_val": y[200:],
        }
        np.savez(tmp_path / f"{name}.npz", **arrays)
        words = ["data=arrays", f"data.path={name}.npz", f"outputs={name}"]
        assert main([*COMMON, *words, "procedure.tell_apart=true"]) == 0
        [run] = record.all_runs(name)
        found = {f.name: f for f in record.findings_of(run)}
        if name == "same":
            told = found["same_distribution"].numbers
            assert abs(told["share"] - 0.5) < 3.5 * told["error"]
        else:
            assert found["distribution_shift"].numbers["share"] > 0.8
            assert found["distribution_shift"].level == "warn"
    words = ["data=digits", "data.split=100/0/0", "procedure.tell_apart=true", "outputs=none"]
    assert main([*COMMON, *words]) == 2
    assert "needs 10 validation samples, not 0" in capsys.readouterr().err
