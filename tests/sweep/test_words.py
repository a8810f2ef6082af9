"""A word of a sweep is judged by the points that it appears in, and so are those of a file."""

from pathlib import Path

import pytest

from dlrun import record
from tests.conftest import sparsely

GLOBAL = "# @package _global_\n"
BETAS = "optimizer.betas=[0.9,0.99]"
QUICK = "epochs='1 steps'"

# what is typed, and a setting of each of the recipes that are trained
KNOWN = [
    (["optimizer=adam,adamw", BETAS], ["optimizer.betas", [[0.9, 0.99]] * 2]),
    (["optimizer=glob(adam*)", BETAS], ["optimizer.betas", [[0.9, 0.99]] * 2]),
    (
        ["optimizer=adam,adamw", "optimizer.betas=[0.9,0.99],[0.8,0.9]"],
        ["optimizer.betas", [[0.8, 0.9], [0.8, 0.9], [0.9, 0.99], [0.9, 0.99]]],
    ),
    (
        [
            *("optimizer=adam,adamw", "optimizer.betas=[0.9,0.99],[0.8,0.9]"),
            "sweep.zip=[optimizer,optimizer.betas]",
        ],
        ["optimizer.betas", [[0.8, 0.9], [0.9, 0.99]]],
    ),
    (
        ["augmentation=[crop],[flip,crop]", "augmentation.crop.padding=2"],
        ["augmentation.crop.padding", [2, 2]],
    ),
    (["optimizer=adam,adamw", "~optimizer.eps", BETAS], ["optimizer.betas", [[0.9, 0.99]] * 2]),
    (
        ["sweep=random", "sweep.trials=2", "optimizer=adam,adamw", BETAS, "seed=range(0,99)"],
        ["optimizer.betas", [[0.9, 0.99]] * 2],
    ),
    (["optimizer=sgd", "optimizer=adam,adamw", BETAS], ["optimizer.betas", [[0.9, 0.99]] * 2]),
]
ONLY_SOME = [
    (["optimizer=adam,sgd", BETAS], BETAS, "optimizer=sgd has not"),
    (["optimizer=sgd,adam", BETAS], BETAS, "optimizer=sgd has not"),
    (["optimizer=sgd,adam,rprop", BETAS], BETAS, "optimizer=sgd, optimizer=rprop has not"),
    (["optimizer=sgd,adam", f"{BETAS},[0.8,0.9]"], BETAS, "optimizer=sgd has not"),
    (
        ["augmentation=[flip],[flip,crop]", "augmentation.crop.padding=1"],
        "augmentation.crop.padding=1",
        "augmentation=[flip] has not",
    ),
    (
        ["optimizer=adam,adamw", "model=mlp,linear", BETAS, "model.hidden=[3]"],
        "model.hidden=[3]",
        "model=linear has not",
    ),
    (["optimizer=adam,adamw", "optimizer.bets=1"], "optimizer.bets=1", "mean optimizer.betas=1?"),
    (["optimizer=adam", "optimizer=sgd", BETAS], BETAS, "optimizer=sgd has no setting 'betas'"),
]
INSTEAD = "`sweep: {params: {optimizer.lr: '0.1,0.2'}}`, or type -m 'optimizer.lr=0.1,0.2'"


def recipes(folder: Path, key: str) -> list[object]:
    from omegaconf import OmegaConf

    found = [OmegaConf.load(run / "recipe.yaml") for run in record.all_runs(folder / "outputs")]
    nodes = [OmegaConf.select(recipe, key) for recipe in found]
    plain = [OmegaConf.to_container(n) if OmegaConf.is_config(n) else n for n in nodes]
    return sorted(plain)


def write(name: str, content: str) -> None:
    folder = Path("mine", "experiment")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(GLOBAL + content)


@pytest.mark.parametrize(("words", "found"), sparsely(KNOWN, 3))
def test_what_all_points_know_is_right(words, found, sweep, tmp_path):
    assert sweep(*words, QUICK) == 0
    assert recipes(tmp_path, str(found[0])) == found[1]


@pytest.mark.parametrize(("words", "word", "right"), sparsely(ONLY_SOME, 3))
def test_what_some_points_do_not_know_is_refused_with_their_names(
    words, word, right, sweep, tmp_path, capsys
):
    assert sweep(*words, QUICK) == 2
    said = capsys.readouterr().err
    assert f"error: {word}: " in said
    assert right in said
    assert not (tmp_path / "outputs").exists()


def test_the_words_of_an_experiment_are_judged_by_its_points(sweep, tmp_path, capsys):
    from dlrun.__main__ import main

    (tmp_path / "mine").mkdir()
    lists = "{optimizer: 'adam,adamw', optimizer.betas: '[0.9,0.99],[0.8,0.9]'}"
    write("good", f"hydra: {{mode: MULTIRUN}}\nsweep: {{params: {lists}}}\n")
    words = ["--config-dir", "mine", "tracking=none", QUICK]
    assert main([*words, "experiment=good", "optimizer.betas=[0.5,0.6]"]) == 0
    assert recipes(tmp_path, "optimizer.betas") == [[0.5, 0.6]] * 2
    write("bad", f"hydra: {{mode: MULTIRUN}}\nsweep: {{params: {lists.replace('adamw', 'sgd')}}}\n")
    assert main([*words, "experiment=bad"]) == 2
    assert "optimizer=sgd has not" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "hydra.sweeper.params.optimizer.lr=0.1,0.2"],
        ["-m", "+hydra.sweeper.params.optimizer.lr=0.1,0.2"],
        ["hydra.sweeper.params.optimizer.lr=0.1,0.2"],
        ["-m", "hydra.sweeper.params={optimizer.lr: '0.1,0.2'}"],
        ["-m", "hydra.sweeper={params: {optimizer.lr: '0.1,0.2'}}", "seed=0,1"],
    ],
)
def test_what_hydras_sweeper_is_to_search_is_refused(words, sweep, capsys):
    from dlrun.__main__ import main

    assert main(words) == 2
    said = capsys.readouterr().err
    assert "sweep.params" in said
    assert INSTEAD in said


@pytest.mark.parametrize("how", ["-m", "mode", "one"])
def test_a_file_that_asks_hydras_sweeper_is_named(how, sweep, tmp_path, capsys):
    from dlrun.__main__ import main

    mode = "mode: MULTIRUN, " if how == "mode" else ""
    write("a", f"hydra: {{{mode}sweeper: {{params: {{optimizer.lr: '0.1,0.2'}}}}}}\n")
    words = ["--config-dir", "mine", "experiment=a", QUICK, "tracking=none"]
    assert main([*words, *(["-m", "seed=0,1"] if how == "-m" else [])]) == 2
    said = capsys.readouterr().err
    file = tmp_path / "mine" / "experiment" / "a.yaml"
    assert said.startswith(f"error: {file}: hydra.sweeper.params: ")
    assert INSTEAD in said
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("more", "told"), [([], True), (["hydra.mode=RUN"], False)])
def test_one_run_says_that_a_file_searches_nothing(more, told, sweep, capsys):
    from dlrun.__main__ import main

    write("a", "sweep: {params: {optimizer.lr: '0.1,0.2', seed: '0,1'}}\n")
    words = ["--config-dir", "mine", "experiment=a", QUICK, "tracking=none", "test=false"]
    assert main([*words, *more]) == 0
    line = (
        "warning: sweep.params: optimizer.lr and seed are searched with -m alone; this is one run\n"
    )
    assert (line in capsys.readouterr().err) == told


@pytest.mark.parametrize("word", ["hydra.sweeper.n_trials=9", "+hydra.sweeper.n_jobs=2"])
def test_other_settings_of_a_sweeper_are_those_of_a_search(word, sweep, capsys):
    assert sweep(word, "seed=0,1") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {word}: ")
    assert "sweep.trials=20" in said


@pytest.mark.parametrize("search", ["random", "qmc", "tpe", "gp", "cmaes"])
def test_a_search_needs_something_to_search(search, sweep, tmp_path, capsys):
    for words in ([], ["optimizer=choice(sgd)"]):
        assert sweep(f"sweep={search}", *words) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: sweep={search}: has nothing to search; ")
        assert "interval(1e-4,1)" in said
        assert "sweep.params" in said
    assert not (tmp_path / "outputs").exists()


@pytest.mark.proof
def test_a_stage_with_nothing_left_to_search_is_one_point(sweep, tmp_path, capsys):
    import shlex

    from dlrun.__main__ import main

    stages = "sweep.stages=[{trials: 2}, {batch_size: 64, around: 1}]"
    assert sweep("sweep=random", "optimizer=sgd,adam", QUICK, stages) == 0
    said = capsys.readouterr().out.splitlines()
    typed = next(line.partition("dlrun ")[2] for line in said if line.startswith("stage 2"))
    count = len(record.all_runs(tmp_path / "outputs"))
    assert main(shlex.split(typed)) == 0, "as printed"
    assert len(record.all_runs(tmp_path / "outputs")) == count


def test_what_a_file_searches_of_an_option_goes_with_it(here, sweep, capsys):
    file = here / "mine" / "experiment" / "few.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f"{GLOBAL}defaults:\n  - override /regularization: [l2]\nsweep:\n  params:\n"
        "    optimizer.lr: 0.1,0.2\n    regularization.l2.strength: 0.1,0.2\n"
    )
    words = ["--config-dir", "mine", "+experiment=few", "regularization=none", QUICK]
    assert sweep(*words) == 0
    assert len(record.all_runs("outputs")) == 2
    assert "regularization.l2.strength is of no option" in capsys.readouterr().err
