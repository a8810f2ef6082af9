import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.__main__ import main
from dlrun.cli import completion
from dlrun.cli.completion import candidates
from dlrun.data import split
from dlrun.data.images import read, resize, samples
from dlrun.data.tables import cells, targets
from dlrun.recipe import schema
from dlrun.recipe.catalogue import Catalogue
from dlrun.sweep import plan

DLRUN = Path(sys.executable).with_name("dlrun")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with a recorded run, and an optimizer of the user."""
    (tmp_path / "outputs" / "runs" / "20260101-000000-abcd").mkdir(parents=True)
    folder = tmp_path / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("# Very slow\n_target_: x.y\nrate: 1e-9\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("dlrun ", "epochs="),
        ("dlrun ", "sync"),
        ("dlrun opt", "optimizer="),
        ("dlrun opt", "optimizer."),
        ("dlrun optimizer=", "optimizer=adamw"),
        ("dlrun -m optimizer=sgd,ada", "optimizer=sgd,adamw"),
        ("dlrun optimizer.", "optimizer.momentum="),
        ("dlrun optimizer=adam seed=1 optimizer.b", "optimizer.betas="),
        ("dlrun optimizer=adam optimizer.betas=", "optimizer.betas=[0.9,0.999]"),
        ("dlrun optimizer.lr=", "optimizer.lr=0.05"),
        ("dlrun regularization=", "regularization=["),
        ("dlrun regularization=[l1,dr", "regularization=[l1,dropout"),
        ("dlrun regularization=[l1,l2] regularization.l", "regularization.l2.strength="),
        ("dlrun metric=", "metric=["),
        ("dlrun metric=[recall,a", "metric=[recall,auroc"),
        ("dlrun metric=[calibration_error] metric.", "metric.calibration_error.bins="),
        ("dlrun monitor=", "monitor=val/loss"),
        ("dlrun metric=[recall,auroc] monitor=val/a", "monitor=val/auroc"),
        ("dlrun -m metric=[recall] sweep.objective=", "sweep.objective=val/recall"),
        ("dlrun test=", "test=false"),
        ("dlrun device=", "device=cuda"),
        ("dlrun precision=", "precision=bf16"),
        ("dlrun -m precision=bf16,f", "precision=bf16,fp16"),
        ("dlrun data=arrays data.decimal=", "data.decimal=comma"),
        ("dlrun data=arrays data.task=r", "data.task=regression"),
        ("dlrun data=arrays data.mis", "data.missing="),
        ("dlrun data=arrays data.g", "data.group="),
        ("dlrun data.sa", "data.samples="),
        ("dlrun data.t", "data.train_dev="),
        ("dlrun sweep.pruner=h", "sweep.pruner=hyperband"),
        ("dlrun hydra/", "hydra/launcher="),
        ("dlrun -m hydra/launcher=", "hydra/launcher=joblib"),
        ("dlrun exp", "experiment="),
        ("dlrun +experiment=", "+experiment=random_search"),
        ("dlrun +optimizer.m", "+optimizer.momentum="),
        ("dlrun ~pre", "~preprocessing="),
        ("dlrun --mul", "--multirun"),
        ("dlrun --cfg ", "job"),
        ("dlrun -m ep", "epochs="),
        ("dlrun resume=", "resume=last"),
        ("dlrun resume=2026", "resume=20260101-000000-abcd"),
        ("dlrun sync ", "20260101-000000-abcd"),
        ("dlrun --help opt", "optimizer="),
        ("dlrun data.root=./m", "data.root=./mine/"),
        ("dlrun --config-dir mine optimizer=", "optimizer=slow"),
        ("dlrun --config-dir=mine optimizer=slow optimizer.", "optimizer.rate="),
    ],
)
def test_what_a_word_can_become(line, among):
    found = candidates(line)
    assert among in found
    assert all(word.startswith(line.split(" ")[-1]) for word in found)


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("dlrun -cd 'my own' optimizer=sl", "optimizer=slow"),
        ('dlrun -cd "my own" optimizer=sl', "optimizer=slow"),
        ("dlrun -cd my\\ own optimizer=sl", "optimizer=slow"),
        ("dlrun --config-dir='my own' optimizer=slow optimizer.r", "optimizer.rate="),
        ("dlrun name='two words' 'optimizer=ada", "optimizer=adam"),
        ('dlrun name="it\'s" "regularization=[l1,dr', "regularization=[l1,dropout"),
        ("dlrun 'name=two words' epo", "epochs="),
    ],
)
def test_words_are_parted_as_the_shell_parts_them(line, among, place, tmp_path):
    (tmp_path / "mine").rename(tmp_path / "my own")
    assert among in candidates(line)


@pytest.mark.parametrize(
    "line",
    [
        "dlrun",
        "dlrun optimizer=xyz",
        "dlrun nosuch.",
        "dlrun activation.",
        "dlrun --config-dir ",  # the shell's own completion of files takes over
        "dlrun data.root=./nosuch/",
        "dlrun data.root=",
        "dlrun regularization=[l1,l1",
    ],
)
def test_where_nothing_fits(line):
    assert candidates(line) == []


def test_words_are_offered_for_settings_that_there_are():
    root = schema.Settings.__annotations__
    for key in completion._tables()["words"]:
        assert key in root or Catalogue().settings(key)


def test_they_are_the_words_that_the_settings_take():
    """Else a word that is right completes to nothing."""
    taken = {
        "data.leaks": split.LEAKS,
        "data.task": targets.TASKS,
        "data.decimal": cells.DECIMALS,
        "data.resize": resize.RESIZES,
        "data.channels": samples.CHANNELS,
        "data.background": read.BACKGROUNDS,
        "sweep.pruner": plan.PRUNERS,
        "sweep.export": plan.EXPORTS,
    }
    offered = {key: words.split() for key, words in completion._tables()["words"].items()}
    for key in ("short", "device"):
        del offered[key]  # flags, and what torch knows
    assert {key: {*words} for key, words in offered.items()} == {
        key: {*words} for key, words in taken.items()
    }


def test_options_of_the_user_only_with_their_directory():
    assert "optimizer=slow" not in candidates("dlrun optimizer=")


def test_a_line_that_is_wrong_so_far_completes_all_the_same():
    assert "optimizer=adam" in candidates("dlrun --nosuch 'epochs optimizer=")


def test_the_cursor_decides_not_the_end_of_the_line(monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "dlrun optimizer=ad seed=3")
    monkeypatch.setenv("COMP_POINT", str(len("dlrun optimizer=ad")))
    assert main(["-sc", "query=bash"]) == 0
    assert "optimizer=adam" in capsys.readouterr().out.split()


@pytest.mark.parametrize("words", [[], ["install"], ["install=csh"], ["instal=bash"]])
def test_a_wrong_request_says_what_to_write(words, capsys):
    assert main(["-sc", *words]) == 2
    assert "install=bash" in capsys.readouterr().err


def test_a_tab_imports_nothing_heavy_and_answers_at_once():
    line = "dlrun optimizer=adam optimizer."
    environment = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    ask = [DLRUN, "-sc", "query=bash"]
    done = subprocess.run(
        ask,
        env=environment | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "optimizer.lr=" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dlrun.cli.completion" in imported
    assert not imported & {"torch", "mlflow", "hydra", "omegaconf", "numpy", "sklearn", "rich"}

    def once():
        start = time.perf_counter()
        subprocess.run(ask, env=environment, capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(once() for _ in range(5)) < 0.5


PATHS = os.environ | {"PATH": f"{DLRUN.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("cut", "reply"),  # as bash cuts the line at its COMP_WORDBREAKS
    [
        (["dlrun", "optimizer", "=", "adamw"], "adamw"),
        (["dlrun", "optimizer=adamw"], "optimizer=adamw"),
    ],
)
def test_bash_gets_what_it_has_not_cut_off(cut, reply):
    words = " ".join(f"'{word}'" for word in cut)
    script = f"""
    eval "$(dlrun -sc install=bash)"
    COMP_LINE='dlrun optimizer=adamw' COMP_POINT=21 COMP_CWORD={len(cut) - 1}
    COMP_WORDS=({words})
    _dlrun
    printf '%s\\n' "${{COMPREPLY[@]}}"
    eval "$(dlrun -sc uninstall=bash)"
    complete -p dlrun 2>/dev/null || echo gone
    """
    done = subprocess.run(
        ["bash", "-c", script], env=PATHS, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [reply, "gone"], done.stderr


def test_an_equals_sign_alone_is_completed_in_bash():
    script = """
    eval "$(dlrun -sc install=bash)"
    COMP_LINE='dlrun loss=' COMP_POINT=11 COMP_CWORD=2 COMP_WORDS=(dlrun loss =)
    _dlrun
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script], env=PATHS, capture_output=True, text=True, timeout=60
    )
    assert "cross_entropy" in done.stdout.split(), done.stderr


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish(tmp_path):
    ask = 'dlrun -sc install=fish | source; complete -C "dlrun optimizer=adam"'
    done = subprocess.run(
        ["fish", "-c", ask],
        env=PATHS | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "optimizer=adamw" in done.stdout.split(), done.stderr


def test_what_is_installed_parses(tmp_path):
    for shell in filter(shutil.which, ("bash", "zsh", "fish")):
        script = tmp_path / shell
        script.write_text(completion.text([f"install={shell}"]))
        subprocess.run([shell, "-n", script], check=True, timeout=30)
