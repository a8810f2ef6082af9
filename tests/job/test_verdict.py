"""What is said of a training when it ends, and the command that helps."""

import shlex

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import preflight
from dlrun.finding import by_level
from dlrun.job import lab
from dlrun.job.verdict import _verdict
from dlrun.procedure import Outcome
from tests.conftest import sparsely
from tests.report.test_diagnosis import RECIPE, SOUND

COMMON = ("tracking=none", "threads=1")
pytestmark = pytest.mark.usefixtures("here")


def verdicts():
    run = record.find("outputs", "last")
    checked = record.read_json(run / "run.json").get("set_up", ())
    return [each for each in record.findings_of(run) if each.name not in checked]


def best():
    end = record.last_values(record.read_points(record.find("outputs", "last")))
    return end["best/val_accuracy"]


@pytest.mark.parametrize(
    ("words", "name"),
    sparsely(
        [
            (("epochs=5", "optimizer.lr=1e-5"), "rate_too_low"),
            (("epochs=3", "batch_size=full"), "still_improving"),
            (
                ("epochs=5", "regularization=[l1]", "regularization.l1.strength=0.5"),
                "too_much_regularization",
            ),
            (("epochs=3", "optimizer=sgd", "optimizer.lr=8"), "rate_too_high"),
        ],
        2,
    ),
    ids=str,
)
def test_the_command_that_is_proposed_does_better(words, name, capsys):
    assert main([*COMMON, *words]) == 0
    found, *_ = verdicts()
    assert found.name == name
    assert f"{name}: " in capsys.readouterr().out
    before = best()
    assert main(shlex.split(found.command)[1:]) == 0
    assert best() > before


def test_a_good_one_is_called_so():
    assert main([*COMMON, "epochs=4"]) == 0
    assert {each.name for each in verdicts()} <= {"good_fit", "inconclusive", "simpler_would_do"}
    seen = record.read_json(record.find("outputs", "last") / "run.json")["examined"]
    assert seen["train_eval/loss"] < seen["undecided"]


@pytest.mark.parametrize("scale", [40, 120])
def test_large_first_outputs_are_no_large_steps(scale):
    words = ("preprocessing=[rescale]", f"preprocessing.rescale.high={scale}", "optimizer.lr=1e-6")
    assert main([*COMMON, *words, "epochs=3"]) == 0
    run = record.find("outputs", "last")
    points = [point["values"] for point in record.read_points(run)]
    [first, *_] = [values["val/loss"] for values in points if "val/loss" in values]
    seen = record.read_json(run / "run.json")["examined"]
    assert seen["initial"] == pytest.approx(first, rel=0.3)
    assert seen["initial"] > 1.5 * seen["undecided"], "else nothing is proved"
    assert "rate_too_low" in {each.name for each in verdicts()}
    assert "rate_too_high" not in {each.name for each in verdicts()}


@pytest.mark.parametrize("rate", [0.5, 0.005])
def test_a_rare_class_makes_no_large_steps(rate, tmp_path):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(400, 6)).astype("float32"), np.zeros(400, int)
    y[draw.choice(400, 10, replace=False)] = 1
    np.savez(tmp_path / "rare.npz", x=x, y=y)
    words = ("data=arrays", "data.path=rare.npz", "epochs=1", "batch_size=128")
    assert main([*COMMON, *words, f"optimizer.lr={rate}"]) == 0
    assert "rate_too_high" not in {each.name for each in verdicts()}


def test_bias_is_not_said_beside_what_says_that_less_training_would_do():
    seen = SOUND | {"train_eval/accuracy": 0.9, "val/accuracy": 0.89, "same_target": 0.0}
    seen |= {"train_eval/metric_error": 0.005, "val/metric_error": 0.01}
    losses = [2.3, 0.5, *[0.1] * 8]
    points = [
        {"step": n, "epoch": float(n), "values": {"train/loss": loss, "val/loss": loss}}
        for n, loss in enumerate(losses)
    ]
    assert {each.name for each in _verdict(seen, points, RECIPE)} == {"good_fit", "plateau"}
    [found] = _verdict(seen, points, RECIPE | {"target_error": "1%"})
    assert (found.name, found.changes) == ("underfit", {"procedure": "find_lr"})


def test_one_that_diverges_says_how_to_go_on(capsys):
    words = ("epochs=4", "optimizer=sgd", "optimizer.lr=1e30", "loss=mse", "activation=identity")
    assert main([*COMMON, *words]) == 1
    found, *_ = verdicts()
    assert (found.name, found.level) == ("diverged", "fail")
    assert "optimizer.lr=1e+29" in found.command
    said = capsys.readouterr().out
    assert found.command in said
    assert "dlrun resume=" not in said, "it would diverge again"
    run = record.find("outputs", "last").name
    assert main([*COMMON, f"weights={run}"]) == 2
    assert "its loss diverged; name another run" in capsys.readouterr().err


def test_one_that_diverges_for_what_was_found_before_proposes_to_mend_that(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    np.savez(tmp_path / "large.npz", x=x, y=(3e6 + 2e5 * (x[:, :1] + x[:, 1:2])).astype("float32"))
    words = ("data=arrays", "data.path=large.npz", "data.scale_targets=false", "epochs=5")
    assert main([*COMMON, *words]) == 1
    first, second = by_level(record.findings_of(record.find("outputs", "last")))
    assert (first.name, second.name) == ("initial_loss", "diverged")
    assert "data.scale_targets=true" in first.command
    assert not second.command, "smaller steps mend nothing"


def test_what_made_it_diverge_is_said_first_and_no_smaller_rate_proposed(capsys):
    words = (
        "preprocessing=[rescale]",
        "preprocessing.rescale.high=1e6",
        "activation=identity",
        "epochs=1",
    )
    assert main([*COMMON, *words]) == 1
    first, *_ = found = record.findings_of(record.find("outputs", "last"))
    assert (first.name, first.level) == ("input_scale", "fail")
    assert [each.command for each in found if each.name == "diverged"] == [""]
    assert "mend input_scale first" in capsys.readouterr().err
    assert main(shlex.split(first.command)[1:]) == 0


@pytest.mark.parametrize(
    "words",
    sparsely(
        [
            ("schedule=exponential", "schedule.gamma=0.5", "schedule.by=step", "epochs=4"),
            ("regularization=[batch_norm]", "batch_size=2", "epochs=1"),
            (
                *("regularization=[label_smoothing]", "epochs=4"),
                "regularization.label_smoothing.amount=0.9",
            ),
            ("regularization=[dropout]", "regularization.dropout.hidden=0.95", "epochs=4"),
            ("clip_norm=0.001", "epochs=4"),
        ],
        3,
        names=1,
    ),
    ids=str,
)
def test_proposals_never_lead_back(words):
    seen, typed = [], [*COMMON, *words]
    for _ in range(3):
        main(typed)
        run = record.find("outputs", "last")
        seen.append(record.read_json(run / "run.json")["recipe"])
        command = next((each.command for each in verdicts() if each.command), "")
        typed = [word for word in shlex.split(command)[1:] if word]
        if not typed or any(word.startswith("procedure=") for word in typed):
            break
    assert len(seen) > 1, "else nothing is proved"
    assert len(set(seen)) == len(seen)


def test_a_procedure_whose_run_diverges_is_not_to_be_gone_on_with(capsys):
    words = ("procedure=ensemble", "procedure.seeds=2", "optimizer=sgd", "optimizer.lr=1e30")
    assert main([*COMMON, *words, "epochs=1", "loss=mse", "activation=identity"]) == 1
    shown = capsys.readouterr()
    assert "training loss became" in shown.err
    assert "dlrun resume=" not in shown.out


def test_a_later_verdict_takes_the_place_of_an_earlier_one():
    assert main([*COMMON, "epochs=1", "optimizer.lr=0.001", "activation=identity"]) == 0
    first, *_ = verdicts()
    assert first.name == "rate_too_low"
    assert main(["resume=last", "epochs=20"]) == 0
    assert verdicts()[0].numbers != first.numbers
    names = [each.name for each in record.findings_of(record.find("outputs", "last"))]
    assert names.count("linear_network") == 1, "what was found before training stays"


def test_a_command_that_would_change_nothing_is_not_proposed(tmp_path):
    (tmp_path / "bias.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.bias = torch.nn.Parameter(torch.zeros(10))\n\n"
        "    def forward(self, x):\n"
        "        return self.bias.expand(len(x), -1)\n"
    )
    words = (*COMMON, "model=custom", "model._target_=bias.Net", "epochs=1")
    found = {}
    for initializer in ("default", "he"):
        assert main([*words, f"initializer={initializer}"]) == 0
        run = record.find("outputs", "last")
        found |= {initializer: {one.name: one.command for one in record.findings_of(run)}}
    assert found["default"]["ignores_input"] == ""
    assert found["he"]["ignores_input"].endswith("initializer=default")


def test_off_measures_nothing():
    assert main([*COMMON, "epochs=1", "preflight=off"]) == 0
    assert verdicts() == []
    assert "examined" not in record.read_json(record.find("outputs", "last") / "run.json")


ODD = """
from torch import nn

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(64, 10)

    def forward(self, x):
        many = len(x)
        refused = {
            "only 32 and more": many < 32,
            "trains with 32 and more": self.training and many < 32,
            "never one": many == 1,
            "no thousand": many > 1000,
            "no evaluation": not self.training,
        }
        if refused[self.kind]:
            raise ValueError(f"{many} are refused")
        return self.layer(x.flatten(1))
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    sparsely(
        [
            ("only 32 and more", "some checks, which are left out (probabilities_into_loss,"),
            ("trains with 32 and more", None),
            ("never one", None),
            ("no thousand", "of the verdict, which is left out: 1078 are refused."),
        ],
        4,
    ),
)
def test_a_model_that_refuses_some_batches_trains_all_the_same(kind, said, tmp_path, capsys):
    (tmp_path / "odd.py").write_text(ODD)
    words = ("model=custom", "model._target_=odd.Net", f"+model.kind='{kind}'", "drop_last=true")
    assert main([*COMMON, *words, "epochs=1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("does not take the batches") == (said is not None)
    assert (said or "") in out
    assert record.read_status(record.find("outputs", "last"))["status"] == "FINISHED"


def test_a_model_that_cannot_be_evaluated_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "odd.py").write_text(ODD)
    words = ("model=custom", "model._target_=odd.Net", "+model.kind='no evaluation'")
    assert main([*COMMON, *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "are refused (" in err
    assert "odd.py:" in err


def test_an_error_of_a_check_itself_is_not_hidden(monkeypatch):
    first = preflight.CHECKS[0]

    def broken(seen):
        yield from first(None)  # raises inside dlrun, as a bug of it would

    monkeypatch.setattr(preflight, "CHECKS", (broken,))
    assert main([*COMMON, "epochs=1"]) == 1


def test_an_option_is_proposed_again_where_its_settings_are_what_is_wrong():
    words = ["initializer=he", "initializer.bias=-5", "epochs=1"]
    assert main([*COMMON, *words]) == 0
    found = {each.name: each for each in record.findings_of(record.find("outputs", "last"))}
    assert found["dead_units"].command == ("dlrun tracking=none threads=1 initializer=he epochs=1")


LARGE_INPUTS = ("data=arrays", "data.path=raw.csv", "data.target=y", "epochs=1")


@pytest.fixture
def large_inputs(tmp_path):
    """A table whose numbers are far from 0; its path is `raw.csv`."""
    rows = np.random.default_rng(0).normal(500, 100, (60, 3))
    lines = [f"{a:.1f},{b:.1f},{c:.1f},{'no' if a > 500 else 'yes'}" for a, b, c in rows]
    (tmp_path / "raw.csv").write_text("\n".join(["a,b,c,y", *lines]))


def proposed():
    """The commands of the last run's findings, by their names."""
    return {one.name: one.command for one in record.findings_of(record.find("outputs", "last"))}


def test_a_group_that_was_taken_out_is_put_back_where_it_helps(large_inputs):
    assert main([*COMMON, *LARGE_INPUTS, "~preprocessing"]) == 0
    command = proposed()["input_scale"]
    assert "~" not in command
    assert command.endswith(" 'preprocessing=[standardize]'")
    assert main(shlex.split(command)[1:]) == 0
    assert "input_scale" not in proposed()


def test_what_a_recipe_has_already_is_not_proposed_with_the_rest(large_inputs):
    assert main([*COMMON, *LARGE_INPUTS, "preprocessing=none"]) == 0
    assert "initializer=" not in proposed()["initial_loss"]


def test_the_columns_that_were_chosen_stay_where_inputs_are_to_be_scaled(large_inputs):
    chosen = ("preprocessing=[columns,center]", "preprocessing.columns.keep=[0,2]")
    assert main([*COMMON, *LARGE_INPUTS, *chosen]) == 0
    expected = {"preprocessing=[columns,standardize]", "preprocessing.columns.keep=[0,2]"}
    assert expected <= set(shlex.split(proposed()["input_scale"]))


def test_inputs_that_are_scaled_stay_so_where_the_first_weights_are_too_large():
    chosen = ("preprocessing=[whiten]", "initializer=large_normal", "model.hidden=[64,64]")
    assert main([*COMMON, *chosen, "epochs=1 step"]) == 0
    words = shlex.split(proposed()["initial_loss"])
    assert {"preprocessing=[whiten]", "initializer=default"} <= set(words)


OWN = """
from torch import nn

class Sigmoids(nn.Sequential):
    def __init__(self):
        layers = [nn.Flatten(), nn.Linear(64, 8)]
        for _ in range(6):
            layers += [nn.Sigmoid(), nn.Linear(8, 8)]
        super().__init__(*layers, nn.Sigmoid(), nn.Linear(8, 10))
"""


def test_a_model_with_its_own_activations_is_offered_no_other(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    assert main([*COMMON, "model=custom", "model._target_=own.Sigmoids", "epochs=1"]) == 0
    assert proposed()["vanishing_gradient"] == ""
    deep = "model.hidden=[8,8,8,8,8,8]"
    assert main([*COMMON, deep, "activation=sigmoid", "epochs=1"]) == 0
    assert proposed()["vanishing_gradient"].endswith("activation=relu epochs=1 initializer=he")


@pytest.mark.parametrize(("model", "stays"), [("linear", False), ("mlp", True)])
def test_an_activation_goes_with_the_model_that_has_it(model, stays, monkeypatch):
    made, typed = [], ["activation=leaky_relu", "activation.negative_slope=0.2"]
    monkeypatch.setattr(lab.Lab, "perform", lambda self: made.append(self) or Outcome())
    assert main([*COMMON, *typed]) == 0
    kept = [*COMMON, *typed * stays, f"model={model}"]
    assert shlex.split(made[0].command({"model": model})) == ["dlrun", *kept]
