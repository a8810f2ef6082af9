import os
import re
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from dlrun import finding
from dlrun.__main__ import main
from dlrun.cli import help
from dlrun.cli.completion import candidates
from dlrun.errors import Mistake
from dlrun.recipe import catalogue, compose
from dlrun.recipe.catalogue import Catalogue
from dlrun.recipe.schema import GROUPS, Settings

DLRUN = Path(sys.executable).with_name("dlrun")
CATALOGUE = Catalogue()


def shown(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_every_group_and_option_is_listed_with_its_first_line(capsys):
    text = shown(capsys, "--help")
    assert set(GROUPS) <= set(CATALOGUE.groups)
    for group in CATALOGUE.groups:
        assert re.search(rf"^  {group}( \[,\])?$", text, re.M)
        for name, option in CATALOGUE.options(group).items():
            lines = [
                li for li in option.file.read_text().splitlines() if not li.startswith("# @package")
            ]
            [start, *_] = textwrap.wrap(lines[0].removeprefix("# "), 60)
            assert re.search(rf"^  [* ] {name} +{re.escape(start)}", text, re.M)


def test_the_defaults_are_marked(capsys):
    marked = re.findall(r"^  \* (\w+)  ", shown(capsys, "-h"), re.M)
    usual = CATALOGUE.defaults
    assert marked == [usual[group][0] for group in (*GROUPS, "sweep")]
    assert usual["optimizer"] == ["momentum"]


def test_every_root_setting_is_listed_with_its_default(capsys):
    text = shown(capsys, "--help")
    for name in Settings.__dataclass_fields__:
        if name not in (*GROUPS, "sweep", "facts"):
            assert re.search(rf"^  {name}  +\S", text, re.M), name
    assert re.search(r"^  epochs +20 +how long", text, re.M)
    assert "facts.shape" not in text


OPTIMIZERS = CATALOGUE.options("optimizer")


@pytest.mark.parametrize("group", ["", *GROUPS, "sweep"])
def test_it_fits_100_columns(capsys, group):
    text = shown(capsys, "--help", *filter(None, [group]))
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"[ \t]$", text, re.M)


def test_what_a_header_says_fits_100_columns():
    """But for formulas and commands, which are indented and stay on one line."""
    options = [one for group in CATALOGUE.groups for one in CATALOGUE.options(group).values()]
    lines = [(one.typed, line) for one in options for line in one.header if line[:1] != " "]
    assert len(lines) > 1000
    assert not [each for each in lines if len(f"  {each[1]}") > help.WIDTH]


def test_a_group(capsys):
    text = shown(capsys, "--help", "optimizer")
    assert re.search(r"^  \* momentum ", text, re.M)
    assert re.search(r"^  optimizer\.momentum +0\.9 ", text, re.M)
    assert "_target_" not in text
    assert "several at once" not in text
    assert "regularization=[a,b]" in shown(capsys, "--help", "regularization")


def test_what_optimizers_track(capsys):
    """The course's table; an optimizer of the user's without the line is not in it."""
    lines = shown(capsys, "--help", "optimizer").splitlines()
    start = lines.index("What each tracks of its gradients") + 3
    columns = re.split(r"\s{2,}", lines[start].strip())
    assert columns == ["first moment", "second moment", "leaky", "bias correction"]
    rows = dict(line.split(maxsplit=1) for line in lines[start + 1 :][: len(OPTIMIZERS)])
    kept = {
        name: "".join("x" if one == "yes" else "." for one in rows[name].split()) for name in rows
    }
    assert kept.keys() == OPTIMIZERS.keys()
    expected = {"sgd": "....", "momentum": "x...", "nesterov": "x...", "adagrad": ".x.."}
    expected |= {"rmsprop": ".xx.", "adam": "xxxx"}
    assert {name: kept[name] for name in expected} == expected
    assert "What each tracks" not in shown(capsys, "--help", "schedule")


@pytest.mark.parametrize(
    "choice", [f"{group}={name}" for group in GROUPS for name in CATALOGUE.options(group)]
)
def test_an_option_shows_its_header_and_its_settings(capsys, choice):
    text = shown(capsys, "--help", choice)
    group, _, name = choice.partition("=")
    option = CATALOGUE.options(group)[name]
    for line in option.header:
        assert line in text
    for setting in option.settings:
        if setting.value and not setting.value.startswith("${") and "_" not in setting.key[:1]:
            own = setting.key.rpartition(".")[2]
            assert own.startswith("_") or f"{group}.{setting.key} " in text


def test_a_setting(capsys):
    assert shown(capsys, "--help", "epochs").startswith("  epochs  20  how long to train")


@pytest.mark.parametrize(
    ("word", "lines"),
    [
        (
            "optimizer.lr",
            ["optimizer.lr", "  \\* optimizer=momentum +0.05", "    optimizer=adam +0.001"],
        ),
        ("optimizer.lr=0.1", ["optimizer.lr", "  \\* optimizer=momentum +0.05"]),
        ("lr", ["optimizer.lr", "  \\* optimizer=momentum +0.05", "schedule.lr"]),
        ("seed", ["  seed +0 +of weights,.*", "  sweep.seed +0 +of the search itself"]),
        ("betas", ["optimizer.betas", "    optimizer=adam .*"]),
        (
            "regularization.l2.strength",
            [
                "regularization.l2.strength",
                r"    regularization=\[l2\] +1.0e-3",
                "    L2 penalty, .*",
            ],
        ),
        ("regularization.l2", [r"regularization=\[l2\]", "  regularization.l2.strength +1.0e-3"]),
        ("l2", [r"regularization=\[l2\]", "  regularization.l2.strength +1.0e-3"]),
        ("flip", [r"augmentation=\[flip\]", "test_augmentation=flip"]),
        ("regularization=[l1,l2]", [r"regularization=\[l1\]", r"regularization=\[l2\]"]),
        ("sweep.pruning", ["  sweep.pruning.startup +5 +.*", "  sweep.pruning.factor +3 +.*"]),
        ("facts.shape", [r"  facts.shape +\(required\) +of one sample.*"]),
        ("model._target_", ["model._target_", "  \\* model=mlp .*"]),
        ("model.outputs", ["model.outputs", r"  \* model=mlp +\$\{facts.outputs\}"]),
        ("hydra/launcher", ["hydra/launcher=joblib", "  hydra.launcher.n_jobs +-1 .*"]),
        ("hydra.launcher.n_jobs", ["hydra.launcher.n_jobs", "    hydra/launcher=joblib +-1 .*"]),
        ("sync", [r"dlrun sync \[run ...\].*", "  tracking.uri .*"]),
        ("resume", ["dlrun resume=last .*", "  resume  null  last, .*"]),
        ("+experiment", [r"\+experiment=option"]),
    ],
)
def test_any_key_a_user_may_have_seen(capsys, word, lines):
    text = shown(capsys, "--help", word)
    for line in lines:
        assert re.search(rf"^{line}$", text, re.M), text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.proof)])
def test_every_key_of_the_default_recipe_and_of_every_option_answers(every, capsys, compose_recipe):
    keys = [key for key in compose.keys(compose_recipe()) if not key.startswith("hydra")]
    for group in CATALOGUE.groups:
        for option in CATALOGUE.options(group).values():
            keys += [f"{group}.{s.key}" for s in option.settings if s.value and not option.across]
    for key in list(dict.fromkeys(keys))[::every]:
        assert key.rpartition(".")[2] in shown(capsys, "--help", key)


def test_what_all_options_of_a_group_have_is_said_once(capsys):
    text = shown(capsys, "--help", "sweep")
    assert len(re.findall(r"^  sweep.repeats ", text, re.M)) == 1
    assert len(re.findall(r"^  sweep.trials ", text, re.M)) == 7  # their defaults differ


def test_help_about_sync_delivers_nothing(capsys, here):
    assert shown(capsys, "sync", "--help") == shown(capsys, "--help", "sync")
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimiser", "did you mean optimizer?"),
        ("optimizer=adamm", "did you mean adam?"),
        ("loss=xyz", "; choose one of "),
        ("augmentation=[xyz]", "; choose one of none, "),
        ("epoch", "did you mean epochs?"),
        ("learning_rate", "did you mean optimizer.lr=...?"),
        ("scheduler", "here it is schedule=...; dlrun --help schedule lists them"),
        ("qqqq", "dlrun --help lists"),
    ],
)
def test_an_unknown_word_gets_the_nearest_one(word, message):
    with pytest.raises(Mistake) as caught:
        help.text([word])
    assert str(caught.value).startswith(f"--help {word}: ")
    assert message in str(caught.value)


def test_own_recipes_are_listed_and_replace_packaged_ones(capsys, tmp_path):
    folder = tmp_path / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("# Very slow\n_target_: x.y\nrate: 1e-9  # a tiny one\n")
    (folder / "adam.yaml").write_text("# My own Adam\n_target_: x.y\n")
    own = ["--config-dir", str(folder.parent)]
    text = shown(capsys, "--help", *own)
    assert re.search(r"^    slow +Very slow$", text, re.M)
    assert re.search(r"^    adam +My own Adam$", text, re.M)
    assert "optimizer.rate  1e-9  a tiny one" in shown(capsys, *own, "--help", "optimizer=slow")


def test_a_yaml_file_is_read_as_yaml_reads_it(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(
        "# @package _global_\n# What it is\n#\n#   x ← y\n\n"
        "a: 1   # first\nb:\n  c: 'x # y'\n  d: [1, 2]  # a list\ne: ${a}\nf: a#b\n"
    )
    option = catalogue.read(file)
    assert option.summary == "What it is"
    assert option.header == ("What it is", "", "  x ← y")
    found = {setting.key: (setting.value, setting.comment) for setting in option.settings}
    assert found == {
        "a": ("1", "first"),
        "b": ("", ""),
        "b.c": ("'x # y'", ""),
        "b.d": ("[1, 2]", "a list"),
        "e": ("${a}", ""),
        "f": ("a#b", ""),
    }


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_every_form_of_a_value_is_shown(tmp_path, monkeypatch, loader):
    """Lists and mappings over several lines are values as any other."""
    monkeypatch.setattr(catalogue, "LOADER", getattr(yaml, loader))
    file = tmp_path / "x.yaml"
    file.write_text(
        "defaults:\n  - base\nhidden:  # widths\n  - 64\n  - [3, 4]\n  # not the last\n  - - 1\n"
        "table: [[0, 1],\n        [5, 2]]  # pairs\nlow: {a: 1, b: {c: x}}  # both\nnone:\n"
        "text: >-\n  two\n  lines\nrate: &rate 1e-3  # named\nagain: *rate\n'a b': ünï  # é\n"
        "empty: {}\nstages:\n- epochs: 2\n  trials: 3\n"
    )
    option = catalogue.read(file)
    found = {setting.key: (setting.value, setting.comment) for setting in option.settings}
    assert found == {
        "hidden": ("[64, [3, 4], [1]]", "widths"),
        "table": ("[[0, 1], [5, 2]]", "pairs"),
        "low": ("", "both"),
        "low.a": ("1", ""),
        "low.b": ("", ""),
        "low.b.c": ("x", ""),
        "none": ("null", ""),
        "text": ("two lines", ""),
        "rate": ("1e-3", "named"),
        "again": ("1e-3", ""),
        "a b": ("ünï", "é"),
        "empty": ("{}", ""),
        "stages": ("[{epochs: 2, trials: 3}]", ""),
    }


def test_a_block_list_is_in_help_and_completion(capsys, tmp_path):
    folder = tmp_path / "mine" / "model"
    folder.mkdir(parents=True)
    text = "# Mine\n_target_: x.y\nhidden:  # widths\n  - 64\n  - 32\n"
    (folder / "deep.yaml").write_text(text)
    own = ["--config-dir", str(folder.parent)]
    line = "model.hidden  [64, 32]  widths"
    assert line in shown(capsys, *own, "--help", "model=deep")
    assert re.search(
        r"model=deep +\[64, 32\] +widths", shown(capsys, *own, "--help", "model.hidden")
    )
    words = f"dlrun --config-dir {folder.parent} model=deep model."
    assert candidates(words) == ["model.hidden="]
    assert candidates(f"{words}hidden=") == ["model.hidden=[64,32]"]


def test_aliases_of_aliases_are_not_written_out(capsys, tmp_path):
    folder = tmp_path / "mine" / "optimizer"
    folder.mkdir(parents=True)
    lines = "a0: &a0\n  - x\n  - x\n" + "".join(
        f"a{n}: &a{n}\n  - *a{n - 1}\n  - *a{n - 1}\n" for n in range(1, 40)
    )
    (folder / "bad.yaml").write_text(lines)
    text = shown(capsys, "--config-dir", str(folder.parent), "--help", "optimizer")
    assert "stands for more than 100,000 values" in " ".join(text.split())


def test_a_file_that_is_no_yaml_says_so_in_its_line(capsys, tmp_path):
    folder = tmp_path / "mine" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("# Bad\nlr: [1\n")
    text = shown(capsys, "--config-dir", str(folder.parent), "--help", "optimizer")
    assert "bad.yaml, line 3: " in " ".join(text.split())


def test_bold_only_on_a_terminal(monkeypatch):
    assert "\x1b" not in help.text([])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1moptimizer\x1b[0m" in help.text([])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in help.text([])


@pytest.mark.parametrize("words", [["--help"], ["--help", "optimizer=adam"]])
def test_it_imports_nothing_heavy(words):
    watched = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([DLRUN, *words], env=watched, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dlrun.cli.help" in imported
    heavy = {"torch", "mlflow", "hydra", "omegaconf", "numpy", "sklearn", "rich"}
    assert not imported & heavy


@pytest.mark.parametrize(("without", "times"), [("", 8), ("sys.modules['yaml._yaml'] = None", 20)])
def test_it_answers_at_once_with_and_without_libyaml(without, times):
    """In times of what Python takes for a few modules, each in seconds of the processor."""

    def lasts(code):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = min(lasts("import json, logging, pathlib, re") for _ in range(5))
    code = f"import sys; {without}\nfrom dlrun.__main__ import main; main(['--help'])"
    assert any(lasts(code) < times * bare for _ in range(20))


@pytest.mark.parametrize("group", ["data", "model", "sweep"])
def test_what_all_options_have_in_common_is_shown_with_each(capsys, group):
    common = yaml.safe_load((catalogue.packaged() / group / "common/settings.yaml").read_text())
    assert "common" not in CATALOGUE.options(group)
    for name in CATALOGUE.options(group):
        text = shown(capsys, "--help", f"{group}={name}")
        typed = candidates(f"dlrun {group}={name} {group}.")
        for key in common:
            assert len(re.findall(rf"^  {group}\.{key}[ .]", text, re.M)) >= 1, (name, key)
            assert any(each.startswith(f"{group}.{key}") for each in typed), (name, key)


def test_an_option_of_the_user_may_have_them_or_not(capsys, tmp_path):
    for folder, name, text in (
        ("data", "plain", "_target_: dlrun.data.digits.digits\n"),
        ("model", "big", "defaults: [mlp, _self_]\nhidden: [512]  # wide\n"),
        ("model", "loop", "defaults: [pool, _self_]\n"),
        ("model", "pool", "defaults: [loop, _self_]\n"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.yaml").write_text(f"# Mine\n{text}")
    own = ["--config-dir", str(tmp_path)]
    assert "data.leaks" not in shown(capsys, *own, "--help", "data=plain")
    text = shown(capsys, *own, "--help", "model=big")
    assert re.search(r"^  model.hidden +\[512\] +wide$", text, re.M)
    assert re.search(r"^  model.max_parameters +null", text, re.M)
    words = [*own, "data=plain", "model=big", "epochs=1 steps", "tracking=none", "threads=1"]
    assert main([*words, f"outputs={tmp_path}/outputs"]) == 0
    assert "model=loop" in shown(capsys, *own, "--help", "model=loop")


@pytest.mark.parametrize("words", [["--help"], ["--info", "searchpath"]])
def test_a_closed_pipe_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [DLRUN, *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == ""


def test_findings_are_listed_with_what_they_mean(capsys):
    text = shown(capsys, "--help", "findings")
    assert max(map(len, text.splitlines())) <= 100
    for name, (means, _) in finding.NAMES.items():
        assert re.search(rf"^  {name}  +{re.escape(means[:20])}", text, re.M), name
