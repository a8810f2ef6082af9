"""Curves of activations, against their formulas."""

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.record import read_json
from tests.conftest import sparsely

CURVES = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "identity": lambda x: x,
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
}


def told(tmp_path, *words):
    code = main(["procedure=draw_activation", "tracking=none", f"outputs={tmp_path}", *words])
    runs = record.all_runs(tmp_path)
    return code, read_json(runs[-1] / "run.json") if runs else {}, runs


@pytest.mark.figures
@pytest.mark.proves("procedure=draw_activation")
@pytest.mark.parametrize("name", sparsely(CURVES, 3))
def test_curve_and_derivative(name, tmp_path):
    code, info, [run] = told(tmp_path, f"activation={name}")
    assert code == 0
    x = np.array(info["chart"]["at"])
    y, slope = map(np.array, info["chart"]["curves"].values())
    np.testing.assert_allclose(y, CURVES[name](x), atol=1e-12)
    numeric = (CURVES[name](x + 1e-6) - CURVES[name](x - 1e-6)) / 2e-6
    away = np.abs(x) > 1e-3  # from a corner
    np.testing.assert_allclose(slope[away], numeric[away], atol=1e-5)
    assert (run / "figures" / "activation.png").is_file()


def test_other_settings_are_said_to_do_nothing(tmp_path, capsys):
    assert told(tmp_path, "activation=elu", "epochs=3")[0] == 0
    assert "epochs=3: has no effect on procedure=draw_activation\n" in capsys.readouterr().err


def test_mistakes(tmp_path, capsys):
    assert told(tmp_path, "activation=maxout")[0] == 2
    assert "takes 2 numbers for each that it gives" in capsys.readouterr().err
    assert told(tmp_path, "procedure.reach=0")[0] == 2
    assert "procedure.reach=0: must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("reach", ["5", "0.7"])
def test_the_middle_is_zero(reach, tmp_path):
    _, info, _ = told(tmp_path, "activation=gelu", f"procedure.reach={reach}")
    assert info["text"].startswith("f(0) = 0, and")
    assert info["chart"]["at"][0] == -float(reach) == -info["chart"]["at"][-1]
