"""A run made anew from its record says what the trained one said, bit for bit."""

import shlex

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.evaluate import outputs
from dlrun.engine.feed import prepare
from dlrun.job.session import Session
from dlrun.job.training import trained
from dlrun.verb.asked import Asked
from dlrun.verb.opened import opened
from tests.conftest import in_suite

RECIPES = [
    "",
    "preprocessing=[standardize,whiten]",
    "model=cnn augmentation=[rotate,crop] batch_size=full class_weights=balanced",
    "regularization=[batch_norm,dropout,weight_average] test_augmentation=flip",
    "regularization=[weight_norm,max_norm] optimizer=adam drop_last=true accumulate=3",
    "model=autoencoder loss=mse initializer=lsuv",
    "warmup='10 steps' schedule=step sampling=stratified validate_on=100 train_eval=true",
    "regularization=[early_stopping,l2,input_noise] validate_every='11 steps'",
    "monitor=val/macro_f1 metric=[macro_f1] optimizer=nadam target_error=5%",
    "monitor=val/loss validate_on=100 regularization=[weight_average]",
]


def words(recipe):
    return [*shlex.split(recipe), "epochs=2", "tracking=none", "preflight=off"]


def answers(run, split):
    return outputs(run, prepare(split, run.evaluation, run.device, fixed=False))


@pytest.mark.parametrize("recipe", in_suite([*RECIPES[1:3], *RECIPES[-2:]], RECIPES))
def test_it_says_what_the_trained_run_said(recipe, here):
    assert main(words(recipe)) == 0
    [directory] = record.all_runs("outputs")
    with opened(Asked("evaluate")) as made:
        whole = trained(made.recorded, directory, Session())
        assert whole is not None
        split = made.data.test
        assert torch.equal(answers(made.run, split), answers(whole[0], split))


@pytest.mark.parametrize("verb", ["evaluate", "show", "predict", "export"])
def test_whoever_only_reads_a_checkpoint_names_a_damaged_one(verb, here, capsys):
    assert main(words("")) == 0
    [run] = record.all_runs("outputs")
    for name in ("last.pt", "previous.pt"):
        (run / "checkpoints" / name).write_bytes(b"cut")
    capsys.readouterr()
    given = ["x.npy"] if verb == "predict" else []
    np.save("x.npy", np.zeros((1, 1, 8, 8), np.uint8))
    assert main([verb, run.name, *given]) == 2
    said = "last.pt is damaged (File is not a zip file)"
    told = capsys.readouterr().err
    assert told.startswith(f"error: outputs/runs/{run.name}/checkpoints: {said}")
    assert told.count("\n") == 1
