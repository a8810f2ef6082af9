"""The drawn rates are those that training takes."""

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.procedure.draw_schedule import rates
from dlrun.recipe import build
from tests.conftest import sparsely

COMMON = ("tracking=none", "threads=1", "epochs=4", "log_every='1 steps'")


def drawn(*words: str) -> list[float]:
    """The rates of the newest run after a command."""
    assert main([*COMMON, *words]) == 0
    points = record.read_points(record.find("outputs", "last"))
    return [point["values"]["lr"] for point in points if "lr" in point["values"]]


@pytest.mark.figures
@pytest.mark.proves("procedure=draw_schedule")
@pytest.mark.parametrize(
    "words",
    sparsely(
        [
            ("schedule=cosine", "warmup='1 epochs'"),
            ("schedule=step", "schedule.every='1 epochs'"),
            ("schedule=one_cycle", "optimizer=adam"),
        ],
        3,
        names=1,
    ),
    ids=str,
)
def test_it_draws_what_training_does(here, capsys, words):
    trained = drawn(*words)
    assert "train on" in capsys.readouterr().out
    assert drawn("procedure=draw_schedule", *words) == trained
    assert "train on" not in capsys.readouterr().out
    before, directory = record.all_runs("outputs")
    assert record.find("outputs", "last") == before, "a drawing is not resumed"
    assert (directory / "figures" / "lr.png").is_file()
    assert not (directory / "checkpoints").exists()


def test_errors_that_no_schedule_watches_are_told(here, capsys):
    words = (*COMMON, "procedure=draw_schedule", "procedure.errors=[0.5,0.4,0.45]")
    assert main([*words, "schedule=cosine"]) == 0
    said = "procedure.errors: schedule=cosine watches no errors; they change nothing"
    assert said in capsys.readouterr().err
    assert main([*words, "schedule=plateau"]) == 0
    assert "procedure.errors" not in capsys.readouterr().err


@pytest.mark.proves("procedure=draw_schedule")
def test_a_schedule_that_watches_validation(compose_recipe, digits):
    words = ("schedule=halve_on_worse", "optimizer.lr=0.8", "epochs=4")
    run = build.build(compose_recipe(*words), digits)
    per_epoch = run.lengths.steps_per_epoch
    got = rates(run, [0.5, 0.6, 0.4])
    assert got[::per_epoch] == pytest.approx([0.8, 0.8, 0.4, 0.4])


def test_plateau_stalls_in_the_second_half(compose_recipe, digits):
    words = ("schedule=plateau", "schedule.patience='2 epochs'", "optimizer.lr=0.8", "epochs=8")
    run = build.build(compose_recipe(*words), digits)
    got = rates(run)[:: run.lengths.steps_per_epoch]
    assert got == pytest.approx([0.8] * 6 + [0.4] * 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["schedule=plateau"], "the first 2 of 4 validations were each better"),
        (["schedule=halve_on_worse", "validate_every=2"], "the first 1 of 2 validations"),
        (["schedule=plateau", "procedure.errors=[0.5,0.4]"], ""),
        (["schedule=plateau", "warmup=1"], "the first 2 of 4 validations were each better"),
        (["schedule=cosine", "warmup=1"], ""),
    ],
    ids=str,
)
def test_it_says_which_validations_it_takes_for_granted(here, capsys, words, said):
    drawn("procedure=draw_schedule", *words)
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == bool(said)


def test_several_schedules_are_shown_one_below_another(here, capsys):
    assert main(["-m", *COMMON, "procedure=draw_schedule", "schedule=step,cosine"]) == 0
    said = capsys.readouterr().out
    ranking = said.partition(": 2 finished\n")[2]
    step, cosine = (
        ranking.index("\nschedule=step\nlr  █"),
        ranking.index("\nschedule=cosine\nlr  █"),
    )
    assert step < cosine
    assert ranking.count(" at first, ") == 2
    assert "val/accuracy" not in ranking
    [report] = (here / "outputs").glob("sweeps/*/report.html")
    html = report.read_text(encoding="utf-8")
    assert "Learning rates" in html
    assert "schedule=cosine<" in html
    assert "Ranking" not in html
    assert "val/accuracy" not in html


def test_many_steps_become_about_a_thousand_points(here, capsys):
    got = drawn("procedure=draw_schedule", "schedule=linear", "epochs=300", "batch_size=32")
    assert 900 < len(got) < 1200
    assert got[0] > got[-1]
    shown = capsys.readouterr().out
    assert "lr  █" in shown
    assert "at first" in shown


def test_no_errors(here):
    assert main([*COMMON, "procedure=draw_schedule", "procedure.errors=[]"]) == 2
