"""Paths mean the same in every word: `~`, the environment and the time, quotes or none."""

import importlib
import os
import pwd
import warnings
from pathlib import Path

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from tests.conftest import sparsely

with warnings.catch_warnings():  # MLflow's own, while it is imported
    warnings.simplefilter("ignore")
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")

QUICK = ("epochs=2 steps", "threads=1", "tracking=none")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home directory, in which the tests do not stand."""
    for folder in ("here", "home/mine/schedule"):
        (tmp_path / folder).mkdir(parents=True)
    text = "# Mine\n_target_: dlrun.schedule.constant\n_partial_: true\n"
    (tmp_path / "home/mine/schedule/mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCR", str(tmp_path / "home" / "scratch"))
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "home"
    assert not list((tmp_path / "here").glob("~*"))
    assert not list((tmp_path / "here").glob("*$*"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    sparsely(
        [
            pytest.param("~/x", "x", marks=pytest.mark.proof),
            pytest.param("'~/x'", "x", marks=pytest.mark.proof),
            pytest.param('"~/x y"', "x y", marks=pytest.mark.proof),
            pytest.param("${oc.env:SCR}/x", "scratch/x", marks=pytest.mark.proof),
            ("'${oc.env:SCR}/a (b)'", "scratch/a (b)"),
            pytest.param("~/${oc.env:NONE,else}", "else", marks=pytest.mark.proof),
        ],
        2,
    ),
)
def test_outputs_are_found_again_as_they_were_typed(typed, meant, home, capsys):
    where = f"outputs={typed}"
    assert main([*QUICK, where]) == 0
    [run] = record.all_runs(home / meant)
    assert main(["resume=last", where, "epochs=4 steps"]) == 0
    assert main([f"resume={home / meant}/runs/{run.name}", "epochs=6 steps"]) == 0
    assert record.read_points(run)[-1]["step"] == 6
    capsys.readouterr()
    assert main(["sync", where]) == 0
    assert capsys.readouterr().out == f"no tracked runs in {home / meant / 'runs'}\n"
    assert main(["-m", *QUICK, where, "seed=1,2"]) == 0
    assert len(record.all_runs(home / meant)) == 3


@pytest.mark.proof
def test_a_run_is_named_from_home(home):
    assert main([*QUICK, "outputs=~/x"]) == 0
    [run] = record.all_runs(home / "x")
    assert main([f"resume=~/x/runs/{run.name}", "epochs=4 steps"]) == 0
    assert main([f"resume=${{oc.env:HOME}}/x/runs/{run.name}", "epochs=6 steps"]) == 0
    me = pwd.getpwuid(os.getuid())
    assert main([f"resume=~{me.pw_name}/nowhere"]) == 2
    assert record.read_points(run)[-1]["step"] == 6


@pytest.mark.proof
def test_the_time_in_outputs_is_one_for_all(home, capsys):
    assert main(["-m", *QUICK, "seed=0,1", "outputs=by-${now:%Y-%f}"]) == 0
    [folder] = Path().glob("by-*")
    assert len(record.all_runs(folder)) == 2
    assert main([*QUICK[:2], "tracking.model=false", "outputs=one-${now:%f}"]) == 0
    [folder] = Path().glob("one-*")
    assert (folder / "mlflow.db").is_file()


def test_what_outputs_refer_to_must_be_known(home, capsys):
    assert main(["resume=last", "outputs=${oc.env:NOWHERE}/x"]) == 2
    assert "outputs=${oc.env:NOWHERE}/x: " in capsys.readouterr().err
    assert main(["sync", "outputs=${nowhere}/x"]) == 2
    assert "outputs=${nowhere}/x: " in capsys.readouterr().err


@pytest.mark.proof
def test_databases_below_home(home, monkeypatch, capsys):
    quick = [*QUICK[:2], "tracking.model=false", "tracking.checkpoints=false"]
    assert main([*quick, "tracking.uri=sqlite:///~/a b/one.db"]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/two.db")
    assert main([*quick]) == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync", "tracking.uri=sqlite:///${oc.env:HOME}/three.db"]) == 0
    assert "complete: " in capsys.readouterr().out
    assert (home / "a b" / "one.db").is_file()
    assert sorted(path.name for path in home.glob("*.db")) == ["three.db", "two.db"]


@pytest.mark.parametrize("typed", ["~/mine", "${oc.env:HOME}/mine", "../home/mine"])
@pytest.mark.parametrize("flag", ["--config-dir", "-cd="])
def test_recipes_below_home(typed, flag, home, capsys):
    words = [f"{flag}{typed}"] if flag.endswith("=") else [flag, typed]
    assert main([*words, "schedule=mine", "--cfg", "job"]) == 0
    assert main([*words, "--help", "schedule"]) == 0
    assert "Mine" in capsys.readouterr().out


def test_data_below_home(home, capsys):
    values = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
    (home / "data (1)").mkdir()
    np.savez(home / "data (1)" / "t.npz", x=values, y=np.arange(60) % 3)
    words = ["data=arrays", "data.path=~/data (1)/t.npz", "data.cache=~/kept"]
    assert main([*QUICK, *words]) == 0
    assert list((home / "kept").iterdir())
    assert main(["resume=last", "epochs=4 steps"]) == 0
    assert main(["data=imagefolder", "data.root=~/nowhere", "tracking=none"]) == 2
    assert "data.root=~/nowhere: there is no such folder" in capsys.readouterr().err


ORDERS = "\x1b[31mred\x07\n\rx\x9b2J"


@pytest.mark.proof
def test_no_name_orders_the_terminal_about(home, capsys, monkeypatch):
    from PIL import Image

    for name in ("one", ORDERS):
        for number in range(6):
            (Path("photos") / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(f"photos/{name}/{number}.png")
    (Path("photos") / "one" / f"{ORDERS}.png").write_bytes(b"no image")
    Path("table.csv").write_text('"\x1b[31mred",y\n1,2\n3,4\n')
    folder = ["data=imagefolder", "data.root=photos", "model=linear", "data.leaks=drop"]
    for color in ("", "1"):  # as if on a terminal, too
        monkeypatch.setenv("FORCE_COLOR", color) if color else None
        assert main([*QUICK, f"name='{ORDERS}'", f"outputs='{ORDERS}'"]) == 0
        assert main(["-m", *QUICK, f"outputs='{ORDERS}'", "seed=0", f"name='{ORDERS}'"]) == 0
        assert main([*QUICK, *folder]) == 2
        main([*QUICK, *folder, "data.skip_bad=true"])
        assert main([f"{ORDERS}=1"]) == 2
        assert main([f"optimizer={ORDERS}"]) == 2
        assert main([f"--{ORDERS}"]) == 2
        assert main([ORDERS]) == 2
        assert main(["--help", ORDERS]) == 2
        assert main(["sync", ORDERS]) == 2
        assert main([f"resume='{ORDERS}'"]) == 2
        assert main(["--config-dir", f"{ORDERS}z"]) == 2
        assert main(["data=arrays", "data.path=table.csv", "tracking=none"]) == 2
        shown = capsys.readouterr()
        for text in (shown.out, shown.err):
            assert not [order for order in ("\x1b[31m", "\x07", "\r", "\x9b") if order in text]
        assert "\\x1b[31mred" in shown.out
        assert "\\x1b[31mred\\x07\\n\\rx\\x9b2J.png (" in shown.err
