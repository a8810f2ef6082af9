"""Faulty files in a directory of one's own: which file it is, and what to write in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.__main__ import main
from dlrun.recipe import catalogue

GLOBAL = "# @package _global_\n"
FIRST = "`# @package _global_`; write it as the first line"
UP = "`# @package _global_`; move it up: it must be the first line"
OVERRIDE = "write `- override /optimizer: adam`"
DEFAULT = (catalogue.packaged() / "config.yaml").read_text(encoding="utf-8")
# the file, its content, what is typed, what is said of the file
FAULTY = [
    ("experiment/a", "optimizer:\n  lr: 0.01\n", FIRST),
    ("experiment/a", "defaults:\n  - override /optimizer: adam\n", FIRST),
    ("experiment/a", "# @package _gloabl_\nepochs: 3\n", FIRST),
    ("experiment/a", "", FIRST),
    ("experiment/a", f"# Mine\n{GLOBAL}epochs: 3\n", UP),
    ("experiment/a", f"# Mine\n\n{GLOBAL}defaults:\n  - override /optimizer: adam\n", UP),
    ("experiment/a", f"epochs: 3\n{GLOBAL}", UP),
    ("study/a", "epochs: 3\n", FIRST),
    ("experiment/a", f"{GLOBAL}epoch: 3\n", "epoch=3: there is no setting 'epoch'; did you mean"),
    ("experiment/a", f"{GLOBAL}seed: abc\n", "seed=abc: expected a whole number"),
    ("experiment/a", f"{GLOBAL}sweep: {{trial: 3}}\n", "sweep.trial=3: there is no setting"),
    ("experiment/a", f"{GLOBAL}defaults:\n  - optimizer: adam\n", OVERRIDE),
    ("experiment/a", f"{GLOBAL}defaults:\n  - /optimizer: adam\n", OVERRIDE),
    ("experiment/a", f"{GLOBAL}defaults:\n  - override optimizer: adam\n", OVERRIDE),
    ("experiment/a", f"{GLOBAL}defaults:\n  - override /optimizer: adamm\n", "did you mean adam?"),
    ("experiment/a", f"{GLOBAL}defaults:\n  - override /optimiser: adam\n", "no group 'optimiser'"),
    ("experiment/a", f"{GLOBAL}defaults: adam\n", "defaults must be a list"),
    ("experiment/a", f"{GLOBAL}defaults:\n", "defaults must be a list"),
    ("experiment/a", f"{GLOBAL}defaults:\n  - 5\n", "5 is not a line of a defaults list"),
    ("experiment/a", f"{GLOBAL}defaults:\n  - a\n", "lead back to itself: a → a"),
    ("experiment/a", f"{GLOBAL}- b\n", "must hold settings"),
    ("experiment/a", f"{GLOBAL}name: ${{\n", "cannot be read"),
    ("experiment/a", f"{GLOBAL}1: 3\n", ": 1: a key must be a name"),
    ("experiment/a", f"{GLOBAL}optimizer: [adam]\n", "optimizer: must hold settings"),
    ("experiment/a", f"{GLOBAL}optimizer:\n  ~: 3\n", "optimizer.null: a key must be a name"),
    ("experiment/a", f"{GLOBAL}expect: {{1: 2}}\n", "expect.1: a key must be a name"),
    ("optimizer/a", "lr: 0.1\n~: 3\n", ": null: a key must be a name"),
    ("optimizer/a", "lr: {0: 0.1, ~: 3}\n", ": lr.null: a key must be a name"),
    ("optimizer/a", "lr: 0.1\n.nan: 3\n", ": nan: a key must be a name"),
    ("optimizer/a", "lr: 0.1\non: 3\n", ": true: a key must be a name"),
    ("optimizer/a", "lr: 0.1\n[1]: 3\n", "line 2: a key must be a name"),
    ("optimizer/a", "- 1\n- 2\n", ": must hold settings"),
    ("optimizer/a", "adam\n", ": must hold settings"),
    ("regularization/a", "1: {_target_: mine.rule}\n", ": 1: a key must be a name"),
    ("regularization/a", "own: [l1, l2]\n", ": own: must hold settings"),
    ("regularization/a", "own:\n  2024-01-01: 1\n", ": own.2024-01-01: a key must be a name"),
    ("optimizer/a", f"{GLOBAL}lr: 0.1\n", "lr=0.1: there is no setting 'lr'"),
    ("optimizer/a", "defaults:\n  - a\nlr: 0.1\n", "lead back to itself: a → a"),
    ("optimizer/a", "defaults:\n  - adamm\nlr: 0.1\n", "no optimizer is called 'adamm'"),
    ("optimizer/a", f"lr: {'[' * 999}{']' * 999}\n", "nested too deeply"),
    ("regularization/a", "defaults:\n  - a\n", "lead back to itself: a → a"),
    ("config", "epochs: 3\n", "lacks its line `- schema`"),
    ("config", f"{DEFAULT}\nepoch: 3\n", "epoch=3: there is no setting 'epoch'"),
    ("config", DEFAULT.replace("seed: 0 ", "seed: x "), "seed=x: expected a whole number"),
    ("config", DEFAULT.replace("optimizer: momentum", "optimizer: momentun"), "mean momentum?"),
    ("config", DEFAULT.replace("- schema", "- schema\n  - config"), "itself: config → config"),
]
BINARY = [b"\xff\xfe\x00\x01", b"lr: \0\n", "lr: 1\n".encode("utf-16")]


@pytest.fixture
def typed(here, capsys):
    """typed(...) types a command beside the directory `mine`: the exit code and what it said."""
    (here / "mine").mkdir()

    def type_it(*words: str) -> tuple[int, str]:
        code = main(["--config-dir", "mine", *words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.err or shown.out

    return type_it


def write(option: str, content: str | bytes) -> Path:
    file = Path("mine", f"{option}.yaml").absolute()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("option", "content", "right", "also"),
    [(*case, ("--cfg", "job")) for case in FAULTY]
    + [(*case, ("-m", "batch_size=8,16", "tracking=none")) for case in FAULTY[::6]],
)
def test_the_file_is_named_with_what_to_write(option, content, right, also, typed):
    file = write(option, content)
    group = option.rpartition("/")[0]
    chosen = [] if not group else [f"{group}=[a]" if group == "regularization" else f"{group}=a"]
    code, said = typed(*chosen, *also)
    assert code == 2
    assert said.startswith(f"error: {file}")
    assert right in said
    assert len(said.splitlines()) == 1


def test_files_that_lead_to_each_other_are_named(typed):
    write("experiment/a", f"{GLOBAL}defaults:\n  - b\n")
    write("experiment/b", f"{GLOBAL}defaults:\n  - a\n")
    code, said = typed("experiment=a")
    assert code == 2
    assert "a → b → a" in said


@pytest.mark.parametrize("content", BINARY)
def test_a_binary_file_is_no_matter_until_it_is_chosen(content, typed):
    file = write("optimizer/a", content)
    assert typed("--cfg", "job")[0] == 0
    assert typed("--help")[0] == 0
    assert typed("--help", "optimizer")[0] == 0
    assert typed("optimizer.lrr=1")[1].endswith("did you mean optimizer.lr=1?\n")
    for words in (["optimizer=a"], ["optimizer=a", "epoch=3"], ["-m", "optimizer=adam,a"]):
        code, said = typed(*words)
        assert code == 2
        assert said.startswith(f"error: {file}: is not UTF-8 text")


@pytest.mark.parametrize("content", BINARY)
def test_a_binary_default_recipe_is_named_by_every_command(content, typed):
    file = write("config", content)
    for words in (["epochs=1"], ["-m", "seed=0,1"], ["--cfg", "job"]):
        code, said = typed(*words)
        assert code == 2
        assert said.startswith(f"error: {file}: ")
        assert "not UTF-8 text" in said


def test_only_files_are_options(typed):
    folder = write("optimizer/a", "lr: 1\n").parent
    (folder / "folder.yaml").mkdir()
    (folder / "gone.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.yaml")
    assert typed("--help", "optimizer")[0] == 0
    for name in ("folder", "gone", "pipe"):
        code, said = typed(f"optimizer={name}")
        assert code == 2
        assert f"no optimizer is called '{name}'" in said


@pytest.mark.parametrize(("flag", "level"), [("-O", ""), ("-OO", ""), ("-P", "1")])
def test_asserts_that_are_left_out_change_nothing(flag, level, tmp_path):
    words = ["-m", "sweep=random", "optimizer.lr=tag(log,interval(0.01,0.1))", "+model.more={a: 1}"]
    command = [sys.executable, flag, "-m", "dlrun", *words, "sweep.trials=0"]
    environment = os.environ | {"PYTHONOPTIMIZE": level}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.stderr == "error: sweep.trials=0: must be greater than 0\n"
    assert done.returncode == 2
