"""What is expected of a command: set beside what was got, and when that decides its exit code."""

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.recipe.experiment import disagreement
from dlrun.record.expected import compared, reached_by_all

COMMON = ("tracking=none", "threads=1", "test=false")
FILE = """# @package _global_
# Twenty steps on digits
# subject: the signal
epochs: 20 steps
test: false
preflight: "off"
expect:
  val/accuracy: [{value}, 0.15]
  epochs: [0.588, 0.001]
  finding/diverged: 0
short:
  words: "epochs='4 steps' optimizer.lr=1e-4"
  expect: {{val/accuracy: [0.1, 0.1]}}
"""
SWEPT = """# @package _global_
# Two rates
defaults:
  - override /sweep: grid
epochs: 20 steps
preflight: "off"
sweep:
  params: {{optimizer.lr: "0.0001,0.1"}}
hydra: {{mode: MULTIRUN}}
expect:
  best: [{value}, 0.15]
  optimizer.lr=0.0001 val/accuracy: [0.1, 0.1]
"""
RIGHT = 0.8
ZIP = "[[optimizer.lr, model.hidden]]"
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def typed(tmp_path, capsys):
    """typed("epochs=1") is the exit code of an experiment with these words, and what it said."""

    def run(*words, value=RIGHT, file=FILE):
        folder = tmp_path / "mine" / "experiment"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "few.yaml").write_text(file.format(value=value))
        words = ["--config-dir", "mine", "+experiment=few", "tracking=none", "threads=1", *words]
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_values_within_their_tolerances():
    got = {"val/accuracy": 0.9, "finding/plateau": 1.0, "low finding/plateau": 1.0, "lr": 0.1}
    expect = {
        "val/accuracy": [0.8, 0.1],
        "lr": 0.1,
        "finding/plateau": 0,
        "finding/overfit": 0,
        "low finding/overfit": 0,
        "lo finding/overfit": 0,
        "finding/overfitt": 0,
        "val/loss": [1, 1],
    }
    rows = compared(expect, got)
    assert [row["within"] for row in rows] == [True, True, False, True, True, False, False, False]
    assert [row["got"] for row in rows] == [0.9, 0.1, 1.0, 0.0, 0.0, None, None, None]
    said = disagreement(rows, got)
    assert said.startswith("not as expected: finding/plateau, lo finding/overfit (nothing has")
    assert compared({"val/loss": [1, 1]}, {"val/loss": float("nan")})[0]["within"] is False


def test_means_over_runs():
    runs = [{"val/loss": 1.0, "finding/plateau": 1.0, "test/loss": 3.0}, {"val/loss": 2.0}]
    means = {"val/loss": 1.5, "finding/plateau": 0.5, "test/loss": 3.0}
    assert reached_by_all(runs) == means


def test_a_command_is_judged_by_its_file(typed):
    code, out, _ = typed()
    assert code == 0
    assert "0.8 ± 0.15" in out
    info = record.read_json(record.find("outputs", "last") / "run.json")
    rows = info["expected"]["rows"]
    assert [(row["name"], row["within"]) for row in rows] == [
        ("val/accuracy", True),
        ("epochs", True),
        ("finding/diverged", True),
    ]
    assert info["expected"]["unjudged"] == ""


def test_what_is_not_as_expected_ends_with_exit_code_1(typed):
    code, out, err = typed(value=0.2)
    assert code == 1
    assert "error: not as expected: val/accuracy\n" in err
    assert record.read_status(record.find("outputs", "last"))["status"] == record.FINISHED
    assert "no\n" in out


@pytest.mark.parametrize("words", [["seed=1"], ["name=mine", "device=cpu", "outputs=there"]])
def test_what_changes_nothing_is_judged_too(typed, words):
    assert typed(*words, value=0.2)[0] == 1


def test_another_command_is_shown_and_not_judged(typed):
    code, out, _ = typed("optimizer.lr=0.05", "batch_size=64", value=0.2)
    assert code == 0
    assert "the command changes optimizer.lr, batch_size, so that this is shown" in out


def test_the_short_form_has_expectations_of_its_own(typed):
    code, out, _ = typed("short=true", value=0.2)
    assert code == 0
    assert "0.1 ± 0.1" in out
    info = record.read_json(record.find("outputs", "last") / "run.json")
    assert record.read_points(record.find("outputs", "last"))[-1]["step"] == 4
    assert info["overrides"][1:3] == ["epochs=4 steps", "optimizer.lr=1e-4"]
    assert info["expected"]["unjudged"] == ""
    code, out, _ = typed("short=true", "epochs='5 steps'", value=0.2)
    assert code == 0
    assert "changes epochs, optimizer.lr, so" in out or "changes optimizer.lr, epochs, so" in out


def test_expectations_are_no_part_of_the_recipe(typed):
    typed()
    first = record.read_json(record.find("outputs", "last") / "run.json")
    typed(value=0.81)
    second = record.read_json(record.find("outputs", "last") / "run.json")
    assert first["recipe"] == second["recipe"]


def test_a_sweep_is_judged_by_its_points(typed):
    code, out, _ = typed(file=SWEPT)
    assert (code, "optimizer.lr=0.0001 val/accuracy" in out) == (0, True)
    code, _, err = typed(file=SWEPT, value=0.2)
    assert code == 1
    assert "not as expected: best" in err
    assert typed("sweep.trials=1", file=SWEPT, value=0.2)[0] == 0


def test_what_is_typed_to_be_expected_is_judged(capsys):
    words = [*COMMON, "epochs='20 steps'", "preflight=off"]
    assert main([*words, "expect={val/accuracy: [0.8, 0.15]}"]) == 0
    assert main([*words, "expect={best/val_acuracy: [0.8, 0.15]}"]) == 1
    assert "nothing has this name; did you mean best/val_accuracy?" in capsys.readouterr().err


def test_the_mean_of_seeds_has_the_names_of_a_run(capsys):
    words = [*COMMON, "epochs='20 steps'", "preflight=off", "seed=0,1"]
    assert main(["-m", *words, "expect={val/accuracy: [0.8, 0.15]}"]) == 0
    assert main(["-m", *words, "expect={val/acuracy: [0.8, 0.15]}"]) == 1
    assert "did you mean val/accuracy?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["short=true"], "short=true: is the short form of an experiment; add one"),
        (["+experiment=pretrain", "short=true"], "+experiment=pretrain has none"),
        (["short=yes"], "short=yes: write short=true"),
        (["expect=3"], "expect=3: write values and tolerances by names"),
        (["expect={val/loss: 1, val/mae: [1, -1]}"], "expect: val/mae=[1,-1]: write a number, or"),
        (["expect={val/loss: [nan, 1]}"], "expect: val/loss=[nan,1]: write a number, or"),
        (["expect={val/loss: high}"], "expect: val/loss=high: write a number, or"),
        (["expect={finding/foo: 1}"], "expect: finding/foo: no finding is called 'foo'"),
        (["expect={low finding/overfitt: 1}"], "did you mean low finding/overfit?"),
        (["expect={val/accurcy: 1}"], "val/accurcy: is not measured; did you mean val/accuracy?"),
        (["expect={train/los: 1}"], "train/los: is not measured; did you mean train/loss?"),
        (["expect={test/auroc: 1}"], "test/auroc: is not measured; add metric=[auroc]"),
        (["expect={val/acc: 1}"], "val/acc: is not measured; did you mean val/accuracy?"),
    ],
)
def test_mistakes(words, said, capsys):
    assert main([*COMMON, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_short_form_that_is_none(typed):
    code, _, err = typed(file=FILE.replace("words:", "word:"))
    assert code == 2
    assert "short=" in err
    assert "write short=true, or in a file" in err


def test_a_point_that_diverges_is_no_disagreement_by_itself(typed):
    diverging = SWEPT.replace("0.0001,0.1", "0.0001,0.1,1e9")
    code, out, err = typed("sweep.stack=off", file=diverging)
    assert code == 0, err
    assert "1 failed: the training loss became" in out
    assert typed("batch_size=64", file=diverging)[0] == 1, "of another command nothing is expected"
    sizes = '0.0001,0.1,0.2", model.hidden: "[50],[50],[1000]'
    broken = SWEPT.replace("0.0001,0.1", sizes).replace("sweep:\n", f"sweep:\n  zip: {ZIP}\n")
    code, _, err = typed(file=f"{broken}\nmodel: {{{{max_parameters: 10000}}}}\n")
    assert (code, err.splitlines()[-1]) == (1, "error: 1 of 3 points failed")


def test_one_run_of_a_file_that_asks_for_a_sweep_says_so_in_its_record(typed):
    code, _, _ = typed("hydra.mode=RUN", "epochs='1 steps'", "test=false", file=SWEPT)
    assert code == 0
    [run] = record.all_runs("outputs")
    info = record.read_json(run / "run.json")
    assert "hydra.mode=RUN" in info["overrides"]
    assert "hydra" not in info["name"]


def test_each_point_of_a_sweep_over_files_is_judged_by_its_own(typed, tmp_path, capsys):
    typed("--help", file="# {value}")  # makes the folder
    folder = tmp_path / "mine" / "experiment"
    for name, rate, diverges in (("flat", 0.001, 0), ("steep", 0.101, 1)):
        (folder / f"{name}.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /procedure: surface\n"
            "  - override /optimizer: sgd\n  - override /schedule: constant\n"
            f"optimizer: {{lr: {rate}}}\nexpect: {{diverged: [{diverges}, 0.1]}}\n"
        )
    capsys.readouterr()
    words = ["--config-dir", "mine", "-m", "tracking=none", "threads=1"]
    assert main([*words, "experiment=flat,steep"]) == 0
    said = capsys.readouterr().out
    assert "+experiment=flat diverged" in said
    assert "+experiment=steep diverged" in said
    (folder / "steep.yaml").write_text(
        (folder / "steep.yaml").read_text().replace("diverged: [1", "diverged: [0")
    )
    assert main([*words, "experiment=flat,steep"]) == 1
    assert capsys.readouterr().err == "error: not as expected: +experiment=steep diverged\n"
    assert main([*words, "experiment=flat,steep", "short=true"]) == 2
    assert "each experiment has its own short form" in capsys.readouterr().err
