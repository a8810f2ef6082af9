"""Several models as one network say what each says alone, here and as a program."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from dlrun.data.depth import raw_example
from dlrun.procedure.train import deployable
from dlrun.recipe import build
from dlrun.tracking import program
from dlrun.tracking.together import can_be_saved, together

saved = pytest.mark.skipif("not can_be_saved()", reason="torch saves no program of vmap")

CONF = Path(__file__).parents[2] / "conf"
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def named(group):
    """The options that need no table."""
    return sorted({path.stem for path in (CONF / group).glob("*.yaml")} - {"columns", "none"})


class Own(nn.Module):
    """A class of the user's."""

    def forward(self, x):
        return 2 * x


def made(kind, many=4):
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Flatten(), nn.Linear(6, 8), kind(), nn.Linear(8, 3)).eval()
        for _ in range(many)
    ]


def test_where_its_program_cannot_be_saved_they_stay_apart(monkeypatch):
    assert (together(made(nn.ReLU), X) is None) == (not can_be_saved())
    monkeypatch.setattr("dlrun.tracking.together.can_be_saved", lambda: False)
    assert together(made(nn.ReLU), X) is None


@saved
@pytest.mark.parametrize("kind", [nn.ReLU, nn.PReLU, nn.Dropout, nn.Identity])
def test_they_say_what_each_says(kind):
    models = made(kind)
    found = together(models, X)
    assert found is not None
    alone = torch.stack([model(X) for model in models])
    torch.testing.assert_close(found(X), alone)
    file = io.BytesIO()
    torch.export.save(program.traced(found, X[:2]), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(X), alone)


@saved
def test_its_program_does_not_grow_with_the_models():
    sizes = [
        len(program.traced(together(made(nn.ReLU, many), X), X[:2]).graph.nodes) for many in (2, 20)
    ]
    assert sizes[0] == sizes[1]


@saved
@pytest.mark.parametrize(
    "words",
    [
        ("activation=maxout", "regularization=[dropout]"),
        *(
            pytest.param(words, marks=pytest.mark.proof)
            for words in [
                *((f"activation={name}",) for name in named("activation")),
                *((f"preprocessing=[{name}]",) for name in named("preprocessing")),
                ("regularization=[weight_norm]",),
                ("regularization=[batch_norm]",),
                ("model=linear",),
            ]
        ),
    ],
    ids=str,
)
def test_of_every_ingredient_its_program_takes_batches_of_any_size(words, compose_recipe, digits):
    runs = [build.build(compose_recipe(*words, f"seed={seed}"), digits) for seed in range(3)]
    models = [deployable(run) for run in runs]
    x = raw_example(digits)
    found = together(models, x)
    if found is None:
        assert words[0].startswith("regularization"), words
        return
    some = digits.test.x[:7]
    alone = torch.stack([model(some) for model in models])
    torch.testing.assert_close(program.traced(found, x[:2]).module()(some), alone)


def test_what_differs_in_more_than_weights_stays_apart():
    assert together([*made(nn.ReLU), *made(nn.Tanh)], X) is None
    assert together([nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)], X) is None
    assert together([nn.Linear(6, 3), nn.Linear(6, 3, bias=False)], X) is None


def test_other_kinds_stay_apart():
    for kind in (Own, lambda: nn.BatchNorm1d(6)):
        assert together([nn.Sequential(kind(), nn.Linear(6, 2)) for _ in range(2)], X) is None
    images = torch.randn(2, 1, 4, 4)
    assert together([nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)], images) is None
