"""What is said and drawn of weights, against a network whose weights are known."""

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.experiment.fit import linear
from dlrun.model.mlp import linear as affine
from dlrun.procedure import weights as of

WORDS = ("procedure=weights", "tracking=none", "threads=1", "preflight=off", "test=false")
pytestmark = pytest.mark.usefixtures("here")


def done(*words):
    """The figure's panels and the values."""
    assert main([*WORDS, *words]) == 0
    infos = {run: record.read_json(run / "run.json") for run in record.all_runs("outputs")}
    [(own, chart)] = [(run, info["chart"]) for run, info in infos.items() if info.get("chart")]
    return chart if isinstance(chart, list) else [chart], record.read_points(own)[-1]["values"]


@pytest.mark.proves("procedure=weights")
def test_sizes_are_those_of_the_weights():
    model = affine([2], 3)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0], [0.0, 0.0]]))
        model[1].bias.fill_(9)
    assert of.measured(model) == {"l1": 8.0, "l2": 26.0, "zeros": 0.5, "norm": 5.0}


@pytest.mark.proves("procedure=weights")
def test_the_plane_of_two_weights_is_that_of_the_loss():
    variants = (
        "procedure.variants={none: [], "
        "L1: 'regularization=[l1] regularization.l1.strength=1 regularization.l1.form=proximal', "
        "L2: 'regularization=[l2] regularization.l2.strength=1'}"
    )
    [panel], values = done(
        *("data=custom", "data._target_=dlrun.experiment.fit.linear", "+data.n_samples=100"),
        *("+data.weights=[0.2,1.5]", "+data.correlation=0.5", "+data.noise=0.3"),
        *("data.scale_targets=false", "preprocessing=none", "model=linear"),
        *("optimizer=sgd", "epochs='300 steps'", "batch_size=full", "schedule=constant"),
        *("validate_every='300 steps'", "log_every='300 steps'", variants),
    )
    assert values["L1 zeros"] == 0.5
    assert values["L2 zeros"] == values["none zeros"] == 0
    ground = {key: np.array(panel["ground"][key]) for key in ("x", "y", "values")}
    up, across = np.unravel_index(ground["values"].argmin(), ground["values"].shape)
    [none] = np.array(panel["dots"]["none"]).T
    step = ground["x"][1] - ground["x"][0]
    assert abs(none - (ground["x"][across], ground["y"][up])).max() <= step
    one, two = (np.array(path) for path in panel["paths"].values())
    assert np.allclose(abs(one).sum(0), values["L1 l1"])
    assert np.allclose((two**2).sum(0), values["L2 l2"])
    assert one[0, -1] == pytest.approx(0, abs=1e-6)  # where L1 has come to: on an axis
    apart = np.linalg.norm(two[:, -1] - none) / np.linalg.norm(none)
    assert values["L2 from none"] == pytest.approx(apart, rel=1e-5)


def test_weights_of_other_data_are_drawn_over_the_loss_of_these():
    """A line through one sample: the loss at (w₁, w₂), without a bias, is (x·w − y)²."""
    first, second = (f"data.x=[[{x}]] data.y=[{y}]" for x, y in (("1,2", 1.5), ("2,-1", 3.0)))
    panels, _ = done(
        *("data=custom", "data._target_=dlrun.experiment.fit.samples", "+data.x=[[0,1]]"),
        *("+data.y=[1]", "+data.copies=8", "data.task=regression", "data.scale_targets=false"),
        *(
            "data.val=0",
            "preprocessing=none",
            "model=linear",
            "freeze=['*bias']",
            "initializer=dirac",
        ),
        *("monitor=train/loss", "epochs='2 steps'", "optimizer=sgd"),
        f"procedure.variants={{a: '{first}', b: '{second}', again: '{first}'}}",
    )
    assert [list(panel["dots"]) for panel in panels] == [["a", "again"], ["b"]]
    for panel, (x, y) in zip(panels, (((1, 2), 1.5), ((2, -1), 3.0)), strict=True):
        ground = {key: np.array(panel["ground"][key]) for key in ("x", "y", "values")}
        across, up = np.meshgrid(ground["x"], ground["y"])
        expected = (x[0] * across + x[1] * up - y) ** 2
        np.testing.assert_allclose(ground["values"], expected, rtol=1e-4, atol=1e-4)


def test_weights_of_images_are_pictures():
    panels, values = done(
        "epochs='3 steps'", "model.hidden=[5]", "procedure.variants={a: [], b: []}"
    )
    assert [panel["title"] for panel in panels] == ["a", "b"]
    pixels = np.array(panels[0]["ground"]["values"], float)
    assert pixels.shape == (17, 26)  # 5 pictures of 8×8 in two rows of three
    assert np.nanmax(abs(pixels)) == pytest.approx(1)
    assert np.isnan(pixels[8]).all()
    assert np.isnan(pixels[:8, 18:]).all()  # where a sixth would be
    assert values["b from a"] == 0


def test_many_weights_are_drawn_by_size():
    [panel], values = done(
        *("data=gaussian", "data.features=30", "data.n_samples=60", "epochs='3 steps'"),
        "model.hidden=[4]",
    )
    [(shares, sizes)] = panel["paths"].values()
    assert sizes == sorted(sizes, reverse=True)
    assert shares[-1] == 1
    assert values["trained l2"] > 0


@pytest.mark.parametrize("components", [10, 64])  # 64 are as many as pixels, and yet none
def test_weights_of_images_that_are_projected_are_drawn_by_size(components):
    words = ("epochs='3 steps'", "preprocessing=[pca]", "model.hidden=[4]")
    [panel], _ = done(*words, f"preprocessing.pca.components={components}")
    assert panel["paths"]


def test_correlated_inputs_are_as_correlated_as_asked():
    x, y = linear(20000, [1.0, 2.0], 0.7, 0.1)
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(0.7, abs=0.01)
    found = np.linalg.lstsq(x, y[:, 0], rcond=None)[0]
    assert found == pytest.approx([1, 2], abs=0.01)
    assert (y[:, 0] - x @ [1, 2]).std() == pytest.approx(0.1, rel=0.02)
