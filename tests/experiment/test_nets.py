"""What the experiments on networks bring along: data, measurements, small networks' algebra."""

import math

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.experiment.scaling import badly_scaled, bound
from dlrun.experiment.scattered import scattered

SHORT = ("tracking=none", "preflight=off", "test=false")
pytestmark = pytest.mark.usefixtures("here")


def _values():
    [own] = [
        each
        for each in record.all_runs("outputs")
        if record.read_json(each / "run.json").get("kind") == "procedure"
    ]
    return record.last_values(record.read_points(own)), own


def test_a_scattered_digit_is_the_digit_in_another_place(digits):
    found, again = scattered(side=12), scattered(side=12)
    assert found.x.shape == (1797, 1, 12, 12)
    assert torch.equal(found.x, again.x)
    small = digits.train.x.reshape(len(digits.train.x), -1).long().sum(1).sort().values
    assert torch.equal(found.x.flatten(1).long().sum(1).sort().values, small)
    assert len({tuple(each.nonzero()[0].tolist()) for each in found.x[:50]}) > 10
    assert found.digest != scattered(side=12, seed=1).digest


@pytest.mark.figures
def test_batch_norm_is_undone_to_the_last_bits():
    words = ["+experiment=batch_norm_identity", *SHORT, "model.hidden=[16,12]"]
    assert main(words) in (0, None)
    values, own = _values()
    assert values["γ = √Var, β = E difference"] < 1e-4
    assert values["γ = 1, β = 0 difference"] > 0.5
    assert (own / "figures" / "undo_norm.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=cnn"], "model=cnn: has batch norm of its own"),
        (["model=resnet"], "use model=mlp"),
        (["regularization=none"], "no batch norm to undo; use regularization=[batch_norm]"),
        (["regularization=[l2]"], "use regularization=[l2,batch_norm]"),
    ],
)
def test_batch_norm_that_cannot_be_left_out(words, said, capsys):
    assert main(["+experiment=batch_norm_identity", *SHORT, *words]) == 2
    assert said in capsys.readouterr().err


def test_steps_stay_below_the_bound_of_the_condition_number():
    source = badly_scaled(400)
    x = source.x.double().numpy()
    x = np.concatenate([x, np.ones((400, 1))], 1)
    found = np.linalg.lstsq(x, source.y.double().numpy(), rcond=None)[1]
    assert found == pytest.approx(0, abs=1e-6)  # a plane fits all of it

    assert main(["+experiment=whitening", *SHORT, "procedure.target=0.01"]) == 0
    values, _ = _values()
    assert values["whitened condition"] == pytest.approx(1, abs=0.05)
    assert values["PCA condition"] == pytest.approx(values["centred condition"], rel=1e-4)
    first = 15.0  # at most, of targets of variance 8.6 and mean 1
    for name in ("as it comes", "centred", "standardized", "whitened"):
        most = bound(values[f"{name} condition"], first, 0.01)
        assert values[f"{name} steps"] <= math.ceil(most) + 1


def test_the_first_loss_is_log_c():
    words = ["+experiment=initial_loss", *SHORT, "procedure.classes=[2,10]"]
    assert main(words) in (0, None)
    values, _ = _values()
    for classes in (2, 10):
        assert values[f"zeros {classes}"] == pytest.approx(math.log(classes), abs=1e-6)
        assert values[f"N(0, 1) {classes}"] > 3 * math.log(classes)


def test_the_first_loss_is_not_beside_log_c_where_it_is_no_cross_entropy():
    """Of one-hot targets and outputs of 0 the mean squared error is 1/C."""
    words = ["+experiment=initial_loss", *SHORT, "procedure.classes=[2,10]", "loss=mse"]
    assert main([*words, "procedure.variants={zeros: 'initializer=zeros'}"]) in (0, None)
    values, own = _values()
    assert values["zeros 10"] == pytest.approx(0.1)
    chart = record.read_json(own / "run.json")["chart"]
    assert "log C" not in chart["curves"]
    assert "log C" not in chart["title"]


@pytest.mark.proof
def test_the_plane_of_each_variant():
    words = ["+experiment=skip_surface", *SHORT, "model.depth=8", "model.width=2", "epochs=2 steps"]
    assert main(words) in (0, None)
    values, own = _values()
    assert 0 <= values["plain basin"] <= 1
    assert len(record.read_json(own / "run.json")["chart"]) == 2


def test_the_plane_of_a_variant_is_of_its_own_data_and_loss():
    """A guess has a cross-entropy of log C, and an mse to one-hot targets of (1 - 1/C)/C."""
    words = ["+experiment=skip_surface", *SHORT, "model.depth=8", "model.width=2", "epochs=1 step"]
    variants = "{skip connections: ['data.classes=[0,1]'], plain: ['loss=mse']}"
    assert main([*words, f"procedure.variants={variants}"]) in (0, None)
    _, own = _values()
    levels = [p["ground"]["level"] for p in record.read_json(own / "run.json")["chart"]]
    assert levels == pytest.approx([math.log(2), 0.09], rel=1e-3)
