"""What passes through an untrained network, against hand-made networks."""

import math

import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine.layers import layers
from dlrun.engine.look import Seen
from dlrun.recipe import build
from tests.states import differences

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.proves("procedure=probe")
def test_statistics_are_those_of_the_tensors(compose_recipe, digits):
    run = build.build(compose_recipe("model.hidden=[16,12]", "activation=tanh"), digits)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    found = layers(run)
    assert [each.kind for each in found] == ["Flatten", *["Linear", "Tanh"] * 2, "Linear"]
    assert [each.units for each in found] == [64, 16, 16, 12, 12, 10]
    assert [each.distinct for each in found] == [None, 16, None, 12, None, 10]
    assert not differences(before, dict(run.model.state_dict()))

    seen = Seen(run)
    out = seen.x
    for each, module in zip(found, run.model, strict=True):
        out = module(out)
        values = out.detach()
        assert each.mean == pytest.approx(float(values.mean()), abs=1e-6)
        assert each.std == pytest.approx(float(values.std(correction=0)), rel=1e-5)
    out.retain_grad()
    torch.nn.functional.cross_entropy(out, seen.y).backward()
    expected = float((out.grad * len(out)).square().mean().sqrt())
    assert found[-1].gradient == pytest.approx(expected, rel=1e-5)


@pytest.mark.proves("procedure=probe")
def test_equal_units_and_zeros_are_seen(compose_recipe, digits):
    run = build.build(compose_recipe("initializer=zeros"), digits)
    _, first, relu, last = layers(run)
    assert (first.distinct, last.distinct) == (1, 1)
    assert relu.zeros == 1


class Attending(torch.nn.Module):
    """Has a layer that does not run as a module: the projection behind the attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(8, 16)
        self.attend = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x.flatten(1, 2))
        return self.out(self.attend(x, x, x)[0].mean(1))


def test_a_layer_that_does_not_run_as_a_module_is_left_out_of_the_comparison():
    words = ["model=custom", "model._target_=tests.procedure.test_probe.Attending"]
    assert main([*words, "procedure=probe", "tracking=none"]) == 0
    [own] = record.all_runs("outputs")
    [point], table = record.read_points(own), record.read_json(own / "run.json")["table"]
    assert "rms/3" in point["values"]
    assert "distinct/4" not in point["values"]
    assert [row["gradient"] is None for row in table] == [False, False, False, True]


@pytest.mark.figures
def test_the_shell_shows_a_table_and_a_figure(capsys):
    words = ["procedure=probe", "tracking=none", "model.hidden=[16,12]", "activation=identity"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "distinct" in said
    assert "linear_network" in said
    [own] = record.all_runs("outputs")
    assert (own / "figures" / "layers.png").stat().st_size > 5000
    info = record.read_json(own / "run.json")
    assert [row["units"] for row in info["table"]][-1] == 10
    rows = [row["layer"] for row in info["table"]]
    curves = info["chart"]["curves"]
    stds = [row["std"] for row in info["table"] if row["layer"] in info["chart"]["names"]]
    assert curves["activations (standard deviation)"] == stds
    assert info["chart"]["y"] == "size over a batch", "each line says its own statistic"
    assert info["chart"]["names"] == [name for name in rows if name.endswith("Linear")]


def test_variants_stand_side_by_side(capsys):
    words = ["procedure=probe", "tracking=none", "model.hidden=[32,32]", "activation=tanh"]
    words.append(
        "procedure.variants={zeros: 'initializer=zeros', lecun: 'initializer=lecun seed=1'}"
    )
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "lecun" in said
    [own] = record.all_runs("outputs")
    values = record.last_values(record.read_points(own))
    outputs, gradients = record.read_json(own / "run.json")["chart"]
    for statistic, panel in (("rms", outputs), ("gradient", gradients)):
        drawn = [values[f"lecun {statistic}/{k}"] for k in panel["at"]]
        assert panel["at"] == [1, 2, 3]
        assert panel["curves"]["lecun"] == drawn
    assert [values[f"zeros std/{k}"] for k in (1, 2, 3)] == [0, 0, 0]
    assert values["zeros distinct/1"] == 1
    assert values["lecun distinct/1"] == 32
    assert values["zeros loss"] == pytest.approx(math.log(10), abs=1e-6)
    assert values["zeros finding/symmetric_units"] == 1
    assert 0.3 < values["lecun std/2"] < values["lecun std/1"] < 0.8


def test_a_variant_that_cannot_be_is_named(capsys):
    words = ["procedure=probe", "tracking=none", "procedure.variants={bad: 'optimizer=addam'}"]
    assert main(words) == 2
    assert "procedure.variants.bad" in capsys.readouterr().err
