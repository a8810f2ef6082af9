"""Two classes that a network has not seen, with few samples: trained weights beat drawn ones."""

import os
import statistics
from pathlib import Path

import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.evaluate import measure
from dlrun.engine.feed import prepare
from dlrun.job.session import Session

SCRATCH = ("freeze=null", "unfreeze_at=null", "lr_of=null")
TINY = ("tracking=none", "threads=1", "preflight=off")


def accuracy(capsys, *words):
    """Of the test split, of one run."""
    assert main([*TINY, *words]) == 0, capsys.readouterr().err
    run = record.all_runs("outputs")[-1]
    return run.name, record.last_values(record.read_points(run))["test/accuracy"]


@pytest.mark.proof
def test_on_digits(compose_recipe, train_recipe, tmp_path):
    """4 and 9, which share parts with other digits; drawn weights at the better of two rates."""
    model = ["model=cnn", "model.channels=[16,32,64]", "model.pool_every=3", "preflight=off"]

    def trained(*words):
        data = Session().data(compose_recipe(*words))
        run = train_recipe(*words, data=data).run
        return run, measure(run, prepare(data.test, run.evaluation, run.device, fixed=False))

    eight = ["data.classes=[0,1,2,3,5,6,7,8]", "epochs=10", "optimizer.lr=0.1"]
    run, found = trained(*model, *eight)
    assert found["accuracy"] > 0.95
    torch.save(run.model.state_dict(), tmp_path / "eight.pt")
    tuned = [f"weights={tmp_path / 'eight.pt'}", "freeze=[backbone]", "unfreeze_at=50%"]
    tuned += ["lr_of={head:5}", "optimizer.lr=0.02"]
    for seed in range(3):
        words = ["data.classes=[4,9]", "data.samples=6", "epochs='40 steps'", f"seed={seed}"]
        words += [*model, f"data.split_seed={seed}"]
        drawn = [trained(*words, f"optimizer.lr={rate}")[1]["accuracy"] for rate in (0.1, 0.02)]
        assert trained(*words, *tuned)[1]["accuracy"] > max(drawn)


@pytest.mark.proof
@pytest.mark.skipif("DLRUN_CIFAR10" not in os.environ, reason="needs CIFAR-10's images")
def test_the_experiment(here, capsys):
    """As its header says: three seeds, each with other 90 samples; drawn weights at two rates."""
    root = f"data.root={Path(os.environ['DLRUN_CIFAR10']).absolute()}"
    source, eight = accuracy(capsys, "+experiment=pretrain", root)
    assert eight > 0.78
    with_them, without = [], []
    for seed in range(3):
        words = ["+experiment=finetune", root, f"seed={seed}", f"data.split_seed={seed}"]
        with_them.append(accuracy(capsys, *words, f"weights={source}")[1])
        scratch = [
            accuracy(capsys, *words, *SCRATCH, f"optimizer.lr={rate}")[1] for rate in (0.001, 0.003)
        ]
        without.append(max(scratch))  # the best by test, in their favour
    assert all(a > b for a, b in zip(with_them, without, strict=True)), (with_them, without)
    assert statistics.mean(with_them) > statistics.mean(without) + 0.02, (with_them, without)
