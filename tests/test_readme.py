import re
import shlex
import sys
import textwrap

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.verb import asked
from tests import readme
from tests.verb.conftest import write_houses, write_photos

TEXT = readme.README.read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for line in TEXT.splitlines()
    if re.match(r"    dlrun .*=", line)
    and line.split()[1] not in asked.verbs()
    and "resume=" not in line
    and "weights=last" not in line
    and "--help" not in line
    and "mine" not in line
]


def test_the_table_of_groups_is_of_today():
    assert readme.with_table(TEXT) == TEXT, "run make readme"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, capsys):
    words = shlex.split(command)[1:]
    if "-m" in words:  # the first of every choice
        words = [word.split(",")[0] for word in words if word != "-m"]
    assert main([*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_there_are_commands():
    assert len(COMMANDS) >= 8


def own_files(folder, name):
    """Write the files that the README shows of one's own `name`; the command below them."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)
    shown = next(block for block in blocks if re.search(rf"# (\S+/)?{name}\.(yaml|py)\n", block))
    parts = re.split(r"^# (\S+\.(?:py|yaml))$", textwrap.dedent(shown), flags=re.MULTILINE)
    for path, content in zip(parts[1::2], parts[2::2], strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in content.splitlines() if not line.startswith("dlrun ")]
        (folder / path).write_text("\n".join(kept).strip() + "\n", encoding="utf-8")
    [command] = re.findall(r"^dlrun (.*)$", textwrap.dedent(shown), re.MULTILINE)
    return shlex.split(command), sum(len(part.strip().splitlines()) for part in parts[2::2])


@pytest.mark.figures
def test_a_metric_of_ones_own_in_ten_lines(tmp_path, monkeypatch, capsys):
    words, lines = own_files(tmp_path, "within")
    monkeypatch.chdir(tmp_path)
    assert main([*words, "epochs=2", "tracking=none", "threads=1"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "best val/within " in shown
    assert "macro_f1" in shown
    [run] = record.all_runs("outputs")
    told = record.read_json(run / "run.json")["metrics"]
    assert told["within"] == {"higher_is_better": True, "share": False, "label": ""}
    points = record.read_points(run)
    found = [point["values"]["val/within"] for point in points if "val/within" in point["values"]]
    assert record.last_values(points)["best/val_within"] == max(found) > 0.5
    assert (run / "figures" / "within.png").exists()
    assert lines <= 12  # with the command and the comment on top
    assert main([*words[:2], "--help", "metric=within"]) == 0
    assert "metric.within.distance  1" in capsys.readouterr().out
    assert main([*words, "metric.within.distanc=2"]) == 2
    assert "did you mean metric.within.distance=2?" in capsys.readouterr().err


def test_a_set_of_ones_own_may_have_texts_for_classes(tmp_path, monkeypatch, capsys):
    words, _ = own_files(tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    rows = [f"{age},{age % 7 / 2},{'worse' if age % 2 else 'better'}" for age in range(20, 80)]
    (tmp_path / "trial.csv").write_text("\n".join(["age,dose,outcome", *rows, ""]))
    assert main([*words, "epochs=2", "tracking=none", "threads=1"]) == 0, capsys.readouterr().err
    told = record.read_json(record.find("outputs", "last") / "run.json")
    assert told["data"]["classes"] == ["better", "worse"]


def test_a_procedure_of_ones_own_in_ten_lines(tmp_path, monkeypatch, capsys):
    words, lines = own_files(tmp_path, "twice")
    assert lines <= 10  # with the command
    monkeypatch.chdir(tmp_path)
    assert main([*words, "tracking=none", "threads=1"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    told = {run: record.read_json(run / "run.json") for run in record.all_runs("outputs")}
    [own] = [run for run, info in told.items() if info.get("kind") == "procedure"]
    first, second = [run for run in told if run != own]
    assert [told[run]["name"] for run in (first, second)] == ["seed 0", "seed 1"]
    assert all(told[run]["tags"] == {"dlrun.parent": own.name} for run in (first, second))
    ends = [record.last_values(record.read_points(run)) for run in (first, second)]
    assert told[own]["value"] == min(end["best/val_accuracy"] for end in ends)
    assert f"value {told[own]['value']:.4f}" in shown
    assert main([*words, "procedure.seeds=[0]", "tracking=none", "threads=1"]) == 2
    assert main([*words, "+procedure.seeds=[0,1,2]", "tracking=none", "threads=1"]) == 0


@pytest.mark.proof
def test_what_is_done_after_training_runs_as_printed(here, capsys):
    write_photos("photos", 60, size=(8, 8))
    write_houses("houses.csv", 120)
    write_houses("newer.csv", 60, seed=1)
    section = TEXT.split("## After training\n")[1].split("\n## ")[0]
    commands = re.findall(r"^    dlrun (.*?)(?:  +#.*)?$", section, re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        words = shlex.split(command)
        more = [] if words[0] in asked.verbs() else ["tracking=none"]
        assert main([*words, *more]) == 0, capsys.readouterr().err
    assert len((here / "out.csv").read_text().splitlines()) == 121
    assert (here / "prices.parquet").exists()
