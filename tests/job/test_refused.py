"""What a procedure is refused before its first run leaves no record, and later ones end there."""

import pytest

from dlrun import record
from dlrun.__main__ import main

COMMON = ("threads=1", "tracking=none", "epochs='1 steps'", "test=false", "preflight=off")
pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["+experiment=initial_loss", "data=digits"],
            "data=digits: first_loss trains with data.n_classes=2: data.n_classes: digits takes no",
        ),
        (
            ["+experiment=initial_loss", "procedure.classes=[1]"],
            "procedure.classes=[1]: first_loss trains with data.n_classes=1: data.n_classes=1: ",
        ),
        (["procedure=contrast", "model.hidden=[0]", "procedure.variants={a: 'seed=1'}"], "hidden"),
    ],
)
def test_nothing_is_left_where_no_run_has_begun(words, said, capsys):
    assert main([*COMMON[:2], *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert "go on with it" not in told.out
    assert record.all_runs("outputs") == []


def test_a_mistake_after_the_first_run_proposes_nothing_that_fails_again(capsys):
    variants = "procedure.variants={a: 'seed=1', b: 'model=resnet model.depth=9'}"
    assert main([*COMMON, "procedure=contrast", variants]) == 2
    told = capsys.readouterr()
    kept = [run for run in record.all_runs("outputs") if record.read_status(run)]
    assert len(kept) == 2
    assert "failed: " in told.out
    assert "go on with it" not in told.out


OWN = """from dlrun.procedure import Outcome, Training


def nothing(lab):
    lab.data()


def five(lab):
    return 5


def word(lab):
    return Outcome(value="high")


def number(lab):
    lab.train([1])


def one(lab):
    lab.train(Training())


def alone():
    pass


def lacks(lab, times):
    pass


def other(lab):
    lab.do("find_rate")


def raises(lab):
    raise LookupError("no such thing")
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("nothing", 2, "gives None; it must give an Outcome"),
        ("five", 2, "gives an int; it must give an Outcome"),
        ("word", 2, "gives a str as its value, no number"),
        ("number", 2, "wants an int trained; it must be a Training"),
        ("one", 2, "wants a Training trained; it must be a list of Trainings"),
        ("alone", 2, "too many positional arguments; it is called as alone(lab)"),
        ("lacks", 2, "missing a required argument: 'times'; it is called as lacks(lab)"),
        ("other", 2, "procedure=find_rate: no procedure is called 'find_rate'"),
        ("raises", 1, "LookupError: no such thing ("),
    ],
)
def test_what_is_wrong_with_a_procedure_of_ones_own_names_it(name, code, said, tmp_path, capsys):
    (tmp_path / "faulty_procedures.py").write_text(OWN)
    target = f"procedure._target_=faulty_procedures.{name}"
    assert main(["tracking=none", "threads=1", target]) == code
    assert f"error: {target}: {said}" in capsys.readouterr().err
