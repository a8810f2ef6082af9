"""Some columns of a table, in their order, and nothing else."""

import numpy as np
import pytest
import torch

from dlrun.__main__ import main
from dlrun.preprocessing import chain, fit
from dlrun.preprocessing.affine import standardize
from dlrun.preprocessing.columns import Columns


@pytest.mark.proves("preprocessing=columns")
def test_it_is_indexing_in_numpy():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    steps = chain([Columns([4, 0]), standardize()])
    fit(steps, lambda: x.split(20))
    kept = x.numpy()[:, [4, 0]]
    np.testing.assert_allclose(steps(x), (kept - kept.mean(0)) / kept.std(0), atol=1e-5)
    assert Columns()(x) is x


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preprocessing.columns.keep=[0,1]"], "keep is for the columns of a table"),
        (["preprocessing.columns.keep=[]"], "keep must be places from 0, each once"),
        (["preprocessing.columns.keep=[1,1]"], "keep must be places from 0, each once"),
        (["preprocessing.columns.keep=[-1]"], "keep must be places from 0, each once"),
        (
            ["data=arrays", "data.path=x.npz", "preprocessing.columns.keep=[0,3]"],
            "keep must be below 3, the columns that are there",
        ),
    ],
    ids=str,
)
def test_mistakes(words, said, here, capsys):
    np.savez("x.npz", x=np.random.rand(40, 3).astype("f4"), y=np.arange(40) % 2)
    assert main(["tracking=none", "preprocessing=[columns]", *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "preprocessing.columns.keep=" in shown
    assert not (here / "outputs").exists()
