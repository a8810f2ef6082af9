"""Errors: what has led to one, however they hang together, and how a refusal is worded."""

import pickle
from pathlib import Path

import pytest

from dlrun.__main__ import main
from dlrun.engine.interrupt import within
from dlrun.errors import Interrupted, Mistake, led_to

MODELS = """
from torch import nn

def softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))

def frozen():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)

class detached(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, x):
        return super().forward(x.flatten(1)).detach()
"""


def ring(first: BaseException, second: BaseException) -> BaseException:
    """Each of them has led to the other."""
    first.__cause__, second.__context__ = second, first
    return first


def test_a_ring_of_errors_has_an_end():
    first, second = ValueError("first"), KeyError("second")
    assert list(led_to(ring(first, second))) == [first, second]
    assert within(ring(first, second)) is None


def test_a_signal_is_found_in_what_was_made_of_it():
    stopped = Interrupted(2)
    made = RuntimeError("a library's own")
    made.__context__ = stopped
    assert within(made) is stopped
    assert within(stopped) is stopped
    assert within(None) is None


def test_a_refusal_ends_with_the_name_of_what_was_found():
    mistake = Mistake("data.leaks=error: 2 samples of val are in train", "leak")
    assert str(mistake) == "data.leaks=error: 2 samples of val are in train (leak)"
    assert str(pickle.loads(pickle.dumps(mistake))) == str(mistake)
    with pytest.raises(AssertionError):
        Mistake("no", "such_name")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["loss=hinge", "model=autoencoder"], "wrong_loss"),
        (["loss=hinge", "augmentation=[mixup]"], "wrong_loss"),
        (["loss=bce", "model=autoencoder"], "label_range"),
        (["monitor=val/loss", "data.split=80/0/20"], "no_validation"),
        (["model=custom", "model._target_=refused.frozen"], "no_gradient"),
        (["model=custom", "model._target_=refused.detached"], "no_gradient"),
        (["model=custom", "model._target_=refused.softmax"], "probabilities_into_loss"),
        (["data=arrays", "data.path=one.csv", "data.target=y"], "class_missing"),
        (["data=arrays", "data.path=twice.csv", "data.target=y", "data.leaks=error"], "leak"),
        (["data=arrays", "data.path=numbers.csv", "data.target=y", "loss=hinge"], "wrong_loss"),
    ],
)
def test_what_cannot_train_is_refused_by_the_name_of_its_finding(words, name, here, capsys):
    Path("refused.py").write_text(MODELS)
    tables = {
        "one": [(n * n, "a") for n in range(40)],
        "twice": [(n % 10, "ab"[n % 2]) for n in range(40)],
        "numbers": [(n * n, n / 7) for n in range(40)],
    }
    for file, rows in tables.items():
        Path(f"{file}.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    assert main(["tracking=none", "threads=1", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.endswith(f" ({name})\n")
