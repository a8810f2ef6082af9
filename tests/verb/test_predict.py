"""`dlrun predict` says what the model says, of any input, and writes all of it or nothing."""

import csv
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.metrics import roc_auc_score

from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.errors import Failure
from dlrun.procedure import train
from dlrun.verb import inputs, predict
from dlrun.verb.asked import Asked
from dlrun.verb.opened import opened
from tests.verb.conftest import SHORT, write_houses, write_photos, write_trips
from tests.verb.test_evaluate import evaluated

X = digits().x.numpy()  # (n, 1, 8, 8) uint8


def predicted(capsys, *words, code=0):
    capsys.readouterr()
    assert main(["predict", *map(str, words)]) == code
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def numbers(rows, head):
    names = [name for name in rows[0] if name.startswith(head)]
    return np.array([[float(row[name]) for name in names] for row in rows])


NORMED = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        norm = nn.BatchNorm1d(8, track_running_stats=False)
        super().__init__(nn.Linear(2, 8), norm, nn.Linear(8, 1))
"""


def test_a_norm_over_the_batch_is_asked_for_no_sample_alone(here, capsys):
    """A lone last row joins the others, of its own table or of another; else it is refused."""
    Path("normed.py").write_text(NORMED)
    write_houses("houses.csv", 120)
    write_houses("one.csv", 1)
    many = inputs._ROWS + 1
    write_houses("many.csv", many)
    words = ["data=arrays", "data.path=houses.csv", "data.target=price"]
    assert main([*words, "model=custom", "model._target_=normed.Net", *SHORT]) == 0
    assert len(predicted(capsys, "last", "many.csv")) == many
    assert len(predicted(capsys, "last", "one.csv", "one.csv", "one.csv")) == 3
    for words in (["predict", "last", "one.csv"], ["evaluate", "last", "data.path=one.csv"]):
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "the model answers no sample alone (" in said
        assert said.endswith("name two or more at once")


def test_one_logit_is_two_classes_to_all_who_ask(here, capsys):
    """The model has one output; predict, evaluate, metrics and the MLflow model see two classes."""
    words = ["data.classes=[3,8]", "loss=bce", "loss.one_logit=true", "metric=[auroc,macro_f1]"]
    assert main([*words, "regularization=[target_noise]", "model=linear", *SHORT]) == 0
    with opened(Asked("predict"), "last") as made:
        x, y = (each[made.data.test.rows] for each in (made.data.test.x, made.data.test.y.numpy()))
        assert [tuple(p.shape) for p in made.run.model.parameters()] == [(1, 64), (1,)]
        train.export(made.run, SimpleNamespace(directory=here), 1)
    np.savez("test.npz", x=x.numpy())
    rows = predicted(capsys, "last", "test.npz")
    p = numbers(rows, "p_")
    assert p.sum(1) == pytest.approx(1)
    assert [row["prediction"] for row in rows] == ["38"[int(one > 0.5)] for one in p[:, 1]]
    logits = mlflow.pytorch.load_model(str(here / "model"))(x)
    assert p == pytest.approx(logits.softmax(1).detach().numpy(), abs=1e-5)
    assert p[:, 1] == pytest.approx(logits[:, 1].sigmoid().detach().numpy(), abs=1e-5)
    values = evaluated(capsys, "last")["values"]
    assert -np.log(p[np.arange(len(y)), y]).mean() == pytest.approx(values["loss"], abs=1e-5)
    assert (p.argmax(1) == y).mean() == pytest.approx(values["accuracy"])
    assert roc_auc_score(y, p[:, 1]) == pytest.approx(values["auroc"], abs=1e-6)


@pytest.mark.parametrize("form", ["npz", "npy", "safetensors", "columnwise"])
def test_arrays_of_any_form(form, runs, capsys, tmp_path):
    path, x = tmp_path / f"x.{form}", X[:70]
    if form == "npy":
        np.save(path, x)
    elif form == "safetensors":
        from safetensors.numpy import save_file

        save_file({"x": x, "y": np.zeros(70)}, path)
    else:
        path = path.with_suffix(".npz")
        np.savez(path, x=np.asfortranarray(x) if form == "columnwise" else x, y=np.zeros(70))
    whole = predicted(capsys, runs["digits"].name, path)
    parts = predicted(capsys, runs["digits"].name, path, "batch_size=16")
    assert [row["row"] for row in whole] == [str(row) for row in range(70)]
    assert [row["prediction"] for row in whole] == [row["prediction"] for row in parts]
    assert numbers(whole, "p_") == pytest.approx(numbers(parts, "p_"), abs=1e-6)
    assert numbers(whole, "p_").sum(1) == pytest.approx(1)


def test_photos_keep_their_names_and_bad_ones_are_named(runs, capsys, tmp_path):
    write_photos(tmp_path / "new", 3, size=(9, 7))
    (tmp_path / "new" / "dark" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "new" / "notes.txt").write_text("hello")
    out = tmp_path / "out.csv"
    assert main(["predict", str(runs["photos"]), str(tmp_path / "new"), "-o", str(out)]) == 1
    said = capsys.readouterr().err
    assert "1 cannot be read: dark/bad.png (not an image)" in said
    assert "6 images were not 6x6: scaled by their short sides, then cropped to the middle" in said
    rows = table(out)
    assert [row["file"] for row in rows][:3] == ["dark/0.png", "dark/1.png", "dark/2.png"]
    assert [row["prediction"] for row in rows] == [row["file"].split("/")[0] for row in rows]
    assert list(rows[0]) == ["file", "prediction", "p_dark", "p_light"]
    one = predicted(capsys, runs["photos"], tmp_path / "new" / "light" / "1.png")
    assert numbers(one, "p_") == pytest.approx(numbers(rows[4:5], "p_"), abs=1e-6)
    assert not list(tmp_path.glob(".*.part"))


def test_images_beyond_the_scale_of_the_run_are_named(here, capsys):
    draw = np.random.default_rng(0)
    for kind, most in (("a", 2000), ("b", 4095)):
        Path("photos", kind).mkdir(parents=True)
        for number in range(10):
            pixels = draw.integers(0, most, (6, 6), dtype=np.uint16)
            pixels[0, 0] = most
            Image.fromarray(pixels).save(f"photos/{kind}/{number}.png")
    assert main(["data=imagefolder", "data.root=photos", *SHORT]) == 0
    capsys.readouterr()
    assert main(["predict", "photos"]) == 0
    assert "outside" not in capsys.readouterr().err
    pixels[1, 1] = 60000
    Image.fromarray(pixels).save("new.png")
    assert main(["predict", "new.png", "photos/a/0.png"]) == 0
    said = "1 image has values outside of 0 to 4,095, which the run was trained on, up to 60,000"
    assert f"{said}: cut off" in capsys.readouterr().err


def test_the_last_run_predicts_where_none_is_named(runs, capsys, tmp_path):
    np.save(tmp_path / "x.npy", X[:3])
    named = predicted(capsys, runs["digits"].name, tmp_path / "x.npy")
    assert predicted(capsys, tmp_path / "x.npy") == named
    assert predicted(capsys, "last", tmp_path / "x.npy") == named


def test_parquet_has_the_same(runs, capsys, tmp_path):
    np.savez(tmp_path / "x.npz", x=X[:40], y=np.zeros(40))
    out = tmp_path / "out.parquet"
    assert main(["predict", str(tmp_path / "x.npz"), "-o", str(out), "batch_size=16"]) == 0
    assert "y is left out" in capsys.readouterr().err
    found, rows = pd.read_parquet(out), predicted(capsys, tmp_path / "x.npz")
    assert found["prediction"].tolist() == [row["prediction"] for row in rows]
    assert found.filter(like="p_").to_numpy() == pytest.approx(numbers(rows, "p_"), abs=1e-8)


def test_samples_that_are_no_numbers_are_named(runs, capsys, here):
    x = np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3)
    np.savez("train.npz", x=x, y=x.sum(1))
    assert main(["data=arrays", "data.path=train.npz", *SHORT, "batch_size=4"]) == 0
    x[3, 1] = np.nan
    np.save("x.npy", x)
    rows = predicted(capsys, "x.npy", code=1)
    assert [row["row"] for row in rows] == [str(row) for row in range(20) if row != 3]
    assert list(rows[0]) == ["row", "prediction"]


@pytest.mark.proof
def test_an_autoencoder_says_how_well_it_gives_a_sample_back(here, capsys):
    assert main(["model=autoencoder", "loss=mse", *SHORT]) == 0
    with opened(Asked("evaluate")) as made:
        rows = made.data.test.rows.numpy()
    np.save("x.npy", X[rows])
    errors = numbers(predicted(capsys, "x.npy"), "reconstruction_error")
    assert errors.mean() == pytest.approx(evaluated(capsys)["values"]["loss"], abs=1e-5)


@pytest.mark.proof
def test_views_are_averaged_as_the_recipe_says(here, capsys):
    assert main(["test_augmentation=flip", *SHORT]) == 0
    with opened(Asked("evaluate")) as made:
        test = made.data.test
    np.save("x.npy", X[test.rows.numpy()])
    assert main(["predict", "x.npy", "-o", "out.csv"]) == 0
    assert "test_augmentation=flip: each answer is the mean" in capsys.readouterr().err
    rows = table(Path("out.csv"))
    said = np.array([int(row["prediction"]) for row in rows])
    right = (said == test.y[test.rows].numpy()).mean()
    assert right == pytest.approx(evaluated(capsys)["values"]["accuracy"])


def test_what_answers_without_the_views_of_the_test_split_says_so(here, capsys):
    assert main(["test_augmentation=flip", *SHORT]) == 0
    with opened(Asked("predict")) as made:
        train.export(made.run, SimpleNamespace(directory=Path()), 1)
    saved = yaml.safe_load(Path("model/MLmodel").read_text())
    assert saved["metadata"]["test_augmentation"].startswith("flip is left out; ")
    capsys.readouterr()
    assert main(["export", "-o", "net.pt2"]) == 0
    assert "test_augmentation=flip is left out; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("6", ""),
        ("null", "center_crop of 8×8 is left out, 6×6 are seen; evaluate, predict and test/... "),
        ("[7,6]", "center_crop of 7×6 is left out, 6×6 are seen; "),
    ],
)
def test_a_middle_of_another_size_is_no_part_of_the_saved_network(here, size, said, capsys):
    crops = ["augmentation=[scale_crop]", "augmentation.scale_crop.size=6"]
    views = ["test_augmentation=center_crop", f"test_augmentation.size={size}"]
    assert main([*crops, *views, "model=cnn", "model.channels=[4]", *SHORT]) == 0
    with opened(Asked("predict")) as made:
        train.export(made.run, SimpleNamespace(directory=Path()), 1)
    saved = yaml.safe_load(Path("model/MLmodel").read_text())["metadata"]
    assert saved.get("test_augmentation", "").startswith(said)
    assert bool(said) == ("test_augmentation" in saved)
    capsys.readouterr()
    assert main(["export", "-o", "net.pt2"]) == 0
    assert ("test_augmentation=" in capsys.readouterr().out) == bool(said)


def test_what_was_there_stays_where_it_fails(tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("before")
    stale = tmp_path / ".out.csv.999999999.part"
    stale.write_text("half a r")

    def fail():
        with predict.written(out) as write:
            write({"row": ["1"], "prediction": ["a"]})
            assert not stale.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert out.read_text() == "before"


def test_a_read_only_place_is_one_message(tmp_path, monkeypatch):
    def refuse(*rest, **named):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("open", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    said = r"out\.csv: Read-only file system$"
    with pytest.raises(Failure, match=said) as failed, predict.written(tmp_path / "out.csv"):
        pass
    assert failed.value.__cause__.__context__ is None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_name_that_is_no_text_is_escaped(form, runs, tmp_path, capsys):
    write_photos(tmp_path / "new", 1)
    (tmp_path / "new/dark/0.png").rename(tmp_path / "new/dark" / os.fsdecode(b"\xfcber 1.png"))
    out = tmp_path / f"out.{form}"
    assert main(["predict", runs["photos"].name, str(tmp_path / "new"), "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "1 name has bytes that are not UTF-8, which are written as \\udcfc and the like" in said
    read = pd.read_csv if form == "csv" else pd.read_parquet
    assert read(out)["file"].tolist() == ["dark/\\udcfcber 1.png", "light/0.png"]


@pytest.mark.proof
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_leaves_no_half_rows(signum, runs, tmp_path):
    """Whenever it is killed, the output is not there or whole."""
    np.save(tmp_path / "x.npy", np.repeat(X, 100, 0))
    out = tmp_path / "out.csv"
    words = [sys.executable, "-m", "dlrun", "predict", "last", str(tmp_path / "x.npy")]
    process = subprocess.Popen([*words, "-o", str(out)])
    while not list(tmp_path.glob(".out.csv.*.part")) and process.poll() is None:
        pass
    process.send_signal(signum)
    process.wait()
    assert not out.exists()
    assert bool(list(tmp_path.glob(".*.part"))) == (signum == signal.SIGKILL)
    assert subprocess.run([*words, "-o", str(out)]).returncode == 0
    assert len(out.read_text().splitlines()) == 1 + 100 * len(X)
    assert not list(tmp_path.glob(".*.part"))


def write_inputs(folder):
    np.savez(folder / "two.npz", a=X[:2], b=X[:2])
    np.save(folder / "x.npy", X[:2])
    np.save(folder / "wide.npy", np.zeros((2, 9, 9), np.uint8))
    np.savez(folder / "one.npz", np.uint8(3))
    (folder / "empty").mkdir()
    (folder / "a.doc").write_text("")
    (folder / "torn.npz").write_bytes(b"PK")
    Image.new("L", (8, 8)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "predict: name what to predict, e.g. dlrun predict last photos/ -o out.csv"),
        (["last"], "predict: name what to predict"),
        (["fotos"], "predict: fotos is no file or folder here; name what to predict, e.g. dlrun"),
        (["nosuch", "x.npy"], "no run 'nosuch'"),
        (["x.nyp"], "x.nyp: there is no such file or folder"),
        (["last", "photos"], "photos: there is no such file or folder"),
        (["two.npz"], "two.npz: holds a, b; expected x"),
        (["torn.npz"], "torn.npz: it is cut off"),
        (["one.npz"], "one.npz: cannot be read: it is a single number, and no samples (n, ...)"),
        (["wide.npy"], "has samples of 1×9×9 uint8, the run takes 1×8×8 uint8"),
        (["empty"], "empty: has no image that can be read"),
        (["a.doc"], "a.doc: expected images or a folder"),
        (["x.npy", "a.png"], "x.npy (arrays) and a.png (images): predict one kind at a time"),
        (["x.npy", "-o", "out.txt"], "-o out.txt: write a file .csv or .parquet"),
        (["x.npy", "-o", "no/out.csv"], "-o no/out.csv: its directory is not there"),
        (["x.npy", "-o", "/proc/out.csv"], "-o /proc/out.csv: its directory cannot be written"),
        (["x.npy", "-o"], "-o needs a value"),
        (["x.npy", "--output", "a.csv"], "unknown flag --output of predict"),
        (["x.npy", "data=digits"], "data=digits: predict takes outputs="),
        (["x.npy", "device=gpu"], "device=gpu"),
    ],
)
def test_a_mistake_is_named(words, said, runs, home, tmp_path, monkeypatch, capsys):
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", f"outputs={home / 'outputs'}", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_table_is_no_picture(runs, tmp_path, monkeypatch, capsys):
    write_inputs(tmp_path)
    assert main(["predict", runs["prices"].name, str(tmp_path / "a.png")]) == 2
    assert (
        "a.png: is an image, the run takes a table with the columns rooms, area"
        in capsys.readouterr().err
    )


def test_a_table_with_texts_dates_and_holes(trips, capsys, tmp_path):
    frame = write_trips(tmp_path / "new.csv", 90, seed=1)
    rows = predicted(capsys, trips[1], tmp_path / "new.csv")
    assert list(rows[0]) == ["column_1", "prediction", "p_no", "p_yes"]
    assert [row["column_1"] for row in rows] == frame.index.tolist()
    found = evaluated(capsys, trips[1], f"data.path={tmp_path / 'new.csv'}")
    right = np.mean([row["prediction"] == late for row, late in zip(rows, frame.late, strict=True)])
    assert right == pytest.approx(found["values"]["accuracy"])
    assert found["samples"] == 90


@pytest.mark.proof
def test_parts_of_a_table_are_as_the_whole(trips, capsys, tmp_path, monkeypatch):
    write_trips(tmp_path / "new.csv", 90, seed=3)
    write_trips(tmp_path / "new.parquet", 90, seed=3)
    whole = predicted(capsys, trips[1], tmp_path / "new.csv")
    monkeypatch.setattr(inputs, "_ROWS", 7)
    parts = predicted(capsys, trips[1], tmp_path / "new.csv", "batch_size=1")
    stored = predicted(capsys, trips[1], tmp_path / "new.parquet")
    for other in (parts, stored):
        assert [row["prediction"] for row in other] == [row["prediction"] for row in whole]
        assert numbers(other, "p_") == pytest.approx(numbers(whole, "p_"), abs=1e-6)
    assert [row["trip id"] for row in stored] == [row["column_1"] for row in whole]


def test_what_is_odd_in_a_table_is_said(trips, capsys, tmp_path):
    lines = ["km,city,day,late,note", "12,Oslo,2024-02-01,no,a", "1,Rome,2024-02-01"]
    lines += ["many,Lima,2024-02-30,no,b", "3,Rome,2024-03-01,yes,c"]
    (tmp_path / "odd.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out.csv"
    assert main(["predict", str(trips[1]), str(tmp_path / "odd.csv"), "-o", str(out)]) == 1
    said = capsys.readouterr().err
    assert "the column late is the target, and is left out" in said
    assert "columns that the run does not take: note" in said
    assert "the column km has 1 value that could not be read, and counts as missing" in said
    assert "the column city has 1 value that could not be known from training" in said
    assert "1 cannot be read: line 3 (has 3 values, the first line names 5 columns)" in said
    assert [row["row"] for row in table(out)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("km,city\n1,Oslo\n", "new.csv: the table lacks the column day"),
        ("", "new.csv: "),
        ("km,city,day\n", "new.csv: it has no data below its first line"),
        (
            "km,city,day\nmany,Oslo,2024-02-01\nfew,Rome,2024-02-02\n",
            "new.csv: the column km has no value that can be read, of 2; the run was trained on "
            "numbers there",
        ),
        ("km,city,day\n1,Oslo,soon\n", "the column day has no value that can be read, of 1"),
    ],
)
def test_a_table_that_does_not_fit(content, said, trips, tmp_path, capsys):
    (tmp_path / "new.csv").write_text(content)
    assert main(["predict", str(trips[1]), str(tmp_path / "new.csv")]) == 2
    assert said in capsys.readouterr().err
    assert main(["evaluate", str(trips[1]), f"data.path={tmp_path / 'new.csv'}"]) == 2


def test_a_value_that_cannot_be_read_counts_as_missing_and_gives_code_1(trips, tmp_path, capsys):
    (tmp_path / "new.csv").write_text("km,city,day\nmany,Oslo,2024-02-01\n,Rome,2024-02-01\n")
    (tmp_path / "right.csv").write_text("km,city,day\n5,Oslo,2024-02-01\n")
    words = ["predict", str(trips[1]), str(tmp_path / "right.csv")]
    assert main(words) == 0
    assert main([*words, str(tmp_path / "new.csv")]) == 1
    said = capsys.readouterr().err
    assert "the column km has 1 value that could not be read, and counts as missing" in said


def test_an_array_without_samples_is_refused(runs, tmp_path, capsys):
    np.save(tmp_path / "none.npy", np.empty((0, 1, 8, 8), np.uint8))
    assert main(["predict", str(runs["digits"]), str(tmp_path / "none.npy")]) == 2
    assert "none.npy: it holds no samples" in capsys.readouterr().err


def test_several_targets_keep_their_names(here, capsys):
    write_photos("photos", 20)
    files = [f"photos/{kind}/{number}.png" for kind in ("dark", "light") for number in range(20)]
    rows = [f"{file},{'light' in file:d},{k % 2},{k / 7},{k / 3}" for k, file in enumerate(files)]
    Path("labels.csv").write_text("\n".join(["photo,cat,dog,x,y", *rows, ""]))
    for target, names in (
        ("[cat,dog]", ["cat", "dog", "p_cat", "p_dog"]),
        ("[x,y]", ["prediction_x", "prediction_y"]),
        ("[x]", ["prediction"]),
    ):
        words = ["data=imagetable", "data.path=labels.csv", f"data.target={target}"]
        assert main([*words, "model.hidden=[4]", *SHORT]) == 0
        assert list(predicted(capsys, "last", "photos/dark")[0]) == ["file", *names]


def test_shares_are_predicted_as_numbers_though_the_loss_has_a_sigmoid(here, capsys):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 3)), draw.uniform(size=(40, 2))
    np.savez("shares.npz", x=x.astype("float32"), y=y.astype("float32"))
    words = ["data=arrays", "data.path=shares.npz", "loss=bce", "model.hidden=[4]"]
    assert main([*words, *SHORT]) == 0
    rows = predicted(capsys, "last", "shares.npz")
    assert list(rows[0]) == ["row", "prediction_1", "prediction_2"]
    assert all(0 < float(row["prediction_1"]) < 1 for row in rows)


def test_an_image_run_takes_no_table(runs, trips, tmp_path, capsys):
    table = str(trips[0] / "trips.csv")
    assert main(["predict", str(runs["photos"]), table]) == 2
    assert "trips.csv: is a table, the run takes images or a folder" in capsys.readouterr().err
