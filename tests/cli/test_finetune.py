"""Two classes that a network has not seen, with few samples: trained weights beat drawn ones."""

import os
import statistics
from pathlib import Path

import pytest

from dlrun import record
from dlrun.__main__ import main

SCRATCH = ("freeze=null", "unfreeze_at=null", "lr_of=null")
TINY = ("tracking=none", "threads=1", "preflight=off")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def accuracy(capsys, *words):
    """Of the test split, of one run."""
    assert main([*TINY, *words]) == 0, capsys.readouterr().err
    run = record.all_runs("outputs")[-1]
    return run.name, record.last_values(record.read_points(run))["test/accuracy"]


def test_on_digits(place, capsys):
    model = ["model=cnn", "model.channels=[8,16,32]"]
    source, eight = accuracy(
        capsys, *model, "data.classes=[0,1,2,3,4,5,6,7]", "epochs=6", "optimizer.lr=0.1"
    )
    assert eight > 0.95
    words = [*model, "data.classes=[8,9]", "data.samples=6", "epochs='30 steps'"]
    tuned = ["freeze=[backbone]", "unfreeze_at=50%", "lr_of={head:5}", f"weights={source}"]
    tuned += ["optimizer.lr=0.01"]
    with_them, without = [], []
    for seed in range(3):
        own = [*words, f"seed={seed}", f"data.split_seed={seed}"]
        with_them.append(accuracy(capsys, *own, *tuned)[1])
        without.append(max(accuracy(capsys, *own, f"optimizer.lr={r}")[1] for r in (0.1, 0.01)))
    assert statistics.mean(with_them) > statistics.mean(without) + 0.05, (with_them, without)


@pytest.mark.proof
@pytest.mark.skipif("DLRUN_CIFAR10" not in os.environ, reason="needs CIFAR-10's images")
def test_the_experiment(place, capsys):
    """As its header says: three seeds, each with other 90 samples; drawn weights at three rates."""
    root = f"data.root={Path(os.environ['DLRUN_CIFAR10']).absolute()}"
    source, eight = accuracy(capsys, "+experiment=pretrain", root)
    assert eight > 0.78
    with_them, without = [], []
    for seed in range(3):
        words = ["+experiment=finetune", root, f"seed={seed}", f"data.split_seed={seed}"]
        with_them.append(accuracy(capsys, *words, f"weights={source}")[1])
        scratch = [
            accuracy(capsys, *words, *SCRATCH, f"optimizer.lr={rate}")[1]
            for rate in (0.001, 0.003, 0.01)
        ]
        without.append(max(scratch))  # the best by test, in their favour
    assert all(a > b for a, b in zip(with_them, without, strict=True)), (with_them, without)
    assert statistics.mean(with_them) > statistics.mean(without) + 0.03, (with_them, without)
