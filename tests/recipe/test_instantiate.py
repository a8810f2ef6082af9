"""What is said of arguments that torch refuses."""

import pytest
import torch

from dlrun.errors import Mistake
from dlrun.recipe.instantiate import explained

WRONG = [
    ("SGD", "lr", -1.0),
    ("SGD", "momentum", -1.0),
    ("Adagrad", "weight_decay", -1.0),
    ("Adagrad", "lr_decay", -1.0),
    ("Adagrad", "initial_accumulator_value", -1.0),
    ("AdamW", "eps", -1.0),
    ("AdamW", "betas", [0.9, 1.0]),
    ("Adadelta", "rho", 2.0),
    ("RMSprop", "alpha", -1.0),
    ("NAdam", "momentum_decay", -1.0),
    ("Rprop", "etas", [2.0, 3.0]),
]


@pytest.mark.parametrize(("name", "argument", "value"), WRONG)
def test_what_an_optimizer_refuses_is_named_as_it_is_typed(name, argument, value):
    values = {"_target_": f"torch.optim.{name}", argument: value}
    make = getattr(torch.optim, name)
    with pytest.raises(Mistake) as found, explained("optimizer", values):
        make([torch.nn.Parameter(torch.zeros(2))], **{argument: value})
    said = str(found.value)
    assert said.startswith(f"optimizer.{argument}={value}: ")
    assert "Invalid" not in said


def test_a_function_is_no_setting_that_has_its_name():
    def momentum():
        raise TypeError("momentum() got multiple values for argument 'parameters'")

    values = {"_target_": "dlrun.optimizer", "momentum": 0.9, "parameters": 1}
    with pytest.raises(Mistake, match=r"^optimizer.parameters=1: "), explained("optimizer", values):
        momentum()
