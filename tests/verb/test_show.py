"""`dlrun show` draws a run and writes its page."""

import webbrowser
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import surface
from tests.verb.conftest import SHORT

ALWAYS = {"predictions", "mistakes", "weights", "activations", "loss_line", "loss_plane"}
IMAGES = {"filters", "inputs"}
CLASSES = {"confusion", "reliability"}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(surface, "ALONG", 5)
    monkeypatch.setattr(surface, "ACROSS", 3)


@pytest.mark.parametrize(
    ("name", "figures"), [("digits", ALWAYS | IMAGES | CLASSES), ("prices", ALWAYS)]
)
def test_it_draws(name, figures, runs, capsys):
    before = record.read_json(runs[name] / "run.json")
    assert main(["show", runs[name].name]) == 0
    printed = capsys.readouterr().out.splitlines()
    drawn = {path.stem for path in (runs[name] / "figures").glob("*.png")}
    assert figures <= drawn
    assert not (IMAGES | CLASSES | ALWAYS) - figures & drawn
    assert printed == [
        *(f"outputs/runs/{runs[name].name}/figures/{each}.png" for each in sorted(drawn)),
        f"outputs/runs/{runs[name].name}/report.html",
    ]
    page = (runs[name] / "report.html").read_text()
    assert page.count("<img") == len(drawn)
    assert record.read_json(runs[name] / "run.json") == before
    assert record.read_status(runs[name])["status"] == "FINISHED"


def test_it_says_again_what_training_has_kept(runs):
    kept = record.read_arrays(runs["photos"] / record.VALIDATION)
    (runs["photos"] / record.VALIDATION).unlink()
    assert main(["show", "photos"]) == 2  # a run goes by its id
    assert main(["show", runs["photos"].name]) == 0
    found = record.read_arrays(runs["photos"] / record.VALIDATION)
    assert found.keys() == kept.keys()
    for name, values in kept.items():
        assert np.array_equal(values, found[name])


def test_what_it_draws_goes_to_mlflow(here):
    assert main([*SHORT, "tracking=mlflow"]) == 0
    assert main(["show"]) == 0
    [run] = record.all_runs("outputs")
    found = record.read_json(run / "tracking.json")
    assert found["done"]
    [artifacts] = Path("outputs").glob(f"artifacts/**/{found['run_id']}/artifacts")
    for name in ("report.html", "figures/filters.png", "figures/mistakes.png"):
        assert (artifacts / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "seed=0,1", "optimizer.lr=1e-5"),
        ("procedure=ensemble", "procedure.seeds=2", "optimizer.lr=1e-5"),
    ],
    ids=["sweep", "members"],
)
def test_of_a_run_that_ended_without_a_verdict_it_makes_one(words, here, capsys):
    assert main([*words, "epochs=8", "tracking=none", "threads=1"]) == 0
    trained = [run for run in record.all_runs("outputs") if (run / "checkpoints").exists()]
    alone = next(run for run in trained if not record.findings_of(run))
    seed = OmegaConf.load(alone / "recipe.yaml").seed
    capsys.readouterr()
    assert main(["show", alone.name]) == 0
    [found] = record.findings_of(alone)
    assert found.name == "rate_too_low"
    said = capsys.readouterr().err
    assert found.text in said
    assert f"\n  {found.command}\n" in said
    assert f"seed={seed}" in found.command
    assert found.text.partition("%")[0] in (alone / "report.html").read_text()
    assert main(["show", alone.name]) == 0
    assert found.text not in capsys.readouterr().err  # it is known


def test_without_checks_it_makes_no_verdict(here, capsys):
    assert main([*SHORT, "optimizer.lr=1e-5"]) == 0
    capsys.readouterr()
    assert main(["show"]) == 0
    [run] = record.all_runs("outputs")
    assert not record.findings_of(run)
    assert "rate_too_low" not in capsys.readouterr().err


def test_it_opens_the_page(runs, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main(["show", runs["digits"].name, "--open"]) == 0
    assert opened == [(runs["digits"] / "report.html").as_uri()]


def test_what_cannot_be_shown(runs, capsys):
    for words, said in (
        (["show", "nosuch"], "no run 'nosuch'"),
        (["show", "last", "epochs=3"], "epochs=3: show takes"),
        (["show", runs["digits"].name, runs["photos"].name], "show takes one run, not 2"),
        (["show", "--opn"], "did you mean --open?"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_path_with_an_equals_sign_is_no_setting(here, capsys):
    with closing(record.create("o=u", "", {}, "epochs: 1\n")) as made:
        run = made.directory.relative_to(here)
    assert main(["list", f"./{run}"]) == 0
    assert run.name in capsys.readouterr().out
    assert main(["list", str(run)]) == 2
    said = f"error: {run}: list takes outputs= and sort=; to name the path, write ./{run}\n"
    assert capsys.readouterr().err == said


def test_of_a_run_that_may_not_be_written_it_names_what_was_drawn(runs, read_only, capsys):
    run = runs["prices"]
    assert main(["show", run.name]) == 0
    drawn = capsys.readouterr().out
    pages = [*run.rglob("*.png"), run / "report.html"]
    before = [path.stat().st_mtime_ns for path in pages]
    read_only(run)
    assert main(["show", run.name]) == 0
    printed = capsys.readouterr()
    assert printed.out == drawn
    assert printed.err.startswith(f"warning: cannot write outputs/runs/{run.name}: Permission")
    assert [path.stat().st_mtime_ns for path in pages] == before
    for path in pages:
        path.unlink()
    assert main(["show", run.name]) == 2
    assert "copy the run to a folder of yours" in capsys.readouterr().err
