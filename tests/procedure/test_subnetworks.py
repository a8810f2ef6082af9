"""All subnetworks of a small network, against the same by hand, and against what theory says."""

import itertools

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.procedure import subnetworks as of
from dlrun.recipe import build

WORDS = ("procedure=subnetworks", "data=toy", "tracking=none", "epochs='20 steps'", "threads=1")
NETWORK = ("data=toy", "model.hidden=[2]", "activation=tanh", "regularization=[dropout]")
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def built(compose_recipe):
    """A run of 2 inputs and 2 hidden units, and 5 samples as the network takes them."""

    def make(*words):
        config = compose_recipe(*NETWORK, *words)
        run = build.build(config, Session().data(config))
        run.model.double().eval()
        x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return run.model, x

    return make


@pytest.mark.proves("procedure=subnetworks")
@pytest.mark.parametrize("scales", ["train", "test"])
def test_each_subnetwork_is_what_it_is_by_hand(built, scales):
    model, x = built(f"regularization.dropout.scales={scales}")
    with torch.no_grad():
        found = of.places(model, x[:1])
        z, odds = of.each(model, x, found), of.odds(found)
    w1, b1, w2, b2 = (value.detach().numpy() for value in model.parameters())
    visible, hidden = (1.0, 1.0) if scales == "test" else (0.8, 0.5)
    for place, (d, c, b, a) in enumerate(itertools.product((0, 1), repeat=4)):  # a counts fastest
        h = np.tanh(x.numpy() * (a, b) / visible @ w1.T + b1) * (c, d) / hidden
        np.testing.assert_allclose(z[place].numpy(), h @ w2.T + b2, atol=1e-12)
        expected = np.prod([(0.2, 0.8)[unit] for unit in (a, b)]) * 0.25
        assert float(odds[place]) == pytest.approx(expected, rel=1e-6)
    assert float(odds.sum()) == pytest.approx(1, rel=1e-6)
    assert all(place.hook.mask is None for place in found)


@pytest.mark.proves("procedure=subnetworks")
def test_seven_of_sixteen_have_no_path(built):
    """Goodfellow et al. 2016, figure 7.6: two inputs, two hidden units."""
    model, x = built()
    found = of.places(model, x[:1])
    assert len(of.masks(found)) == 16
    assert int((~of.connected(found)).sum()) == 7
    z = of.each(model, x, found)[~of.connected(found)]
    assert float((z - z[:, :1]).abs().max()) == 0  # they say the same of every sample


@pytest.mark.proves("procedure=subnetworks")
def test_weight_scaling_is_the_geometric_mean_below_the_softmax_alone(built):
    """Goodfellow et al. 2016, 7.12: exact where dropped units feed the softmax, else not."""
    for words, exact in ((("regularization.dropout.visible=0",), True), ((), False)):
        model, x = built(*words)
        with torch.no_grad():
            found = of.places(model, x[:1])
            z = of.each(model, x, found)
            means = of.means(z, of.odds(found).log())
            scaled = model(x).log_softmax(-1)
        assert torch.allclose(means[of.GEOMETRIC], scaled, atol=1e-9) is exact
        assert not torch.allclose(means[of.ARITHMETIC], scaled, atol=1e-9)
        p = z.softmax(-1)
        expected = (of.odds(found)[:, None, None] * p).sum(0)
        torch.testing.assert_close(means[of.ARITHMETIC].exp(), expected)


def test_what_a_gpu_says_is_averaged_on_the_cpu(built):
    model, x = built()
    found = of.places(model, x[:1])
    with FakeTensorMode():  # has a GPU, though no values
        z = of.each(lambda some: some, torch.empty(5, 2, device="cuda"), found)
        means = of.means(z, of.odds(found).log())
    assert {each.device.type for each in means.values()} == {"cpu"}


def test_the_shell_shows_the_means_and_draws_them(capsys):
    assert main([*WORDS, "model.hidden=[4]", "regularization=[dropout]"]) == 0
    said = capsys.readouterr().out
    assert "64 subnetworks, 19 of them without a path" in said
    [own] = [r for r in record.all_runs("outputs") if record.read_json(r / "run.json").get("chart")]
    values = record.read_points(own)[-1]["values"]
    assert values["subnetworks"] == 64
    # Of convex losses the mean is at least that of the mean answer.
    assert values["arithmetic mean loss"] <= values["mean subnetwork loss"]


def test_subnetworks_with_batch_norm_are_counted_too(capsys):
    words = ("model.hidden=[4]", "regularization=[dropout,batch_norm]")
    assert main([*WORDS, *words]) == 0
    assert "64 subnetworks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.hidden=[4]"], "nothing is dropped"),
        (["model.hidden=[40]", "regularization=[dropout]"], "42 units can be dropped"),
        (["data.kind=sine"], "has no softmax"),
    ],
)
def test_mistakes(words, said, capsys):
    assert main([*WORDS, *words]) == 2
    assert said in capsys.readouterr().err
