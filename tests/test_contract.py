"""What every option keeps: it composes, builds, trains, resumes and repeats itself."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun import record
from dlrun.cli import help
from dlrun.data import Data, Split
from dlrun.engine import checkpoint
from dlrun.engine.run import Run
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.recipe import build
from dlrun.recipe.catalogue import Catalogue
from dlrun.recipe.schema import GROUPS, SEVERAL
from tests.conftest import Watcher, sparsely
from tests.states import differences, without_clock

HERE = Path(__file__).parent
CATALOGUE = Catalogue()
OPTIONS = [
    (group, name)
    for group in GROUPS
    for name in CATALOGUE.options(group)
    if group not in ("data", "procedure", "tracking")  # these don't change how a step is taken
]
# What an option needs beside itself; all else is the default recipe on 96 digits.
WITH: dict[tuple[str, str], tuple[str, ...]] = {
    ("model", "custom"): (
        *("model=custom", "model._target_=tests.conftest.Net", "+model.width=8"),
    ),
    ("model", "torchvision"): ("model.name=squeezenet1_1",),
    ("model", "timm"): ("model.name=test_resnet",),
    ("optimizer", "rprop"): ("batch_size=full",),
    ("optimizer", "lbfgs"): ("batch_size=full",),
    ("loss", "bce"): ("model=linear",),
    ("metric", "mae"): ("model=autoencoder",),
    ("metric", "rmse"): ("model=autoencoder",),
    ("metric", "r2"): ("model=autoencoder",),
    ("initializer", "weight_norm"): ("regularization=[weight_norm]", "model.hidden=[16,16]"),
    ("initializer", "hanin_rolnick"): ("model=resnet", "model.depth=8"),
    ("initializer", "dirac"): ("model=cnn",),
    ("regularization", "stochastic_pooling"): ("model=cnn",),
    ("regularization", "stochastic_depth"): ("model=resnet", "model.depth=8"),
    ("regularization", "early_stopping"): (),
}
# Other forms of an option, which keep other things or move at other times.
FORMS: list[tuple[str, str, tuple[str, ...]]] = [
    ("optimizer", "adam", ("optimizer.eps_form=inside", "optimizer.bias_correction=false")),
    ("optimizer", "rmsprop", ("optimizer.eps_form=inside", "optimizer.centered=true")),
    ("optimizer", "adagrad", ("optimizer.eps_form=inside",)),
    ("optimizer", "adadelta", ("optimizer.window=2",)),
    ("optimizer", "momentum", ("optimizer.form=classical", "optimizer.momentum_start=0.5")),
    ("optimizer", "nesterov", ("optimizer.form=classical", "optimizer.momentum_start=0.5")),
    ("optimizer", "sam", ("optimizer.base=adamw", "optimizer.adaptive=true")),
    ("optimizer", "soap", ("optimizer.frequency=1",)),
    (
        *("optimizer", "schedulefree_adamw"),
        ("model.norm=batch", "optimizer.weight_decay=0.1", "warmup='3 steps'"),
    ),
    ("regularization", "lookahead", ("regularization.lookahead.every='2 steps'", "optimizer=adam")),
    (
        *("optimizer", "nesterov"),
        (
            *("optimizer.momentum_start=0.5", "optimizer.momentum_rise=switch"),
            "optimizer.momentum_patience='2 steps'",
        ),
    ),
]
LARGE = {("model", name) for name in ("lenet", "vgg", "torchvision", "timm")}
SEVERAL_MODELS = {"augmentation": ("model=cnn", "model.channels=[4,4]", "batch_size=32")}


@pytest.fixture(scope="session")
def small(digits):
    """A few digits."""
    train, val = digits.train, digits.val
    return Data(
        "digits",
        Split(train.x, train.y, train.rows[:96]),
        Split(val.x, val.y, val.rows[:32]),
        Split(val.x, val.y, val.rows[:0]),
        digits.shape,
        digits.classes,
        10,
        "",
    )


@pytest.fixture(scope="session")
def pictures():
    """A few colour images of 32×32."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (48, 3, 32, 32), generator=generator, dtype=torch.uint8)
    y = torch.arange(48) % 10
    rows = torch.arange(48)
    splits = [Split(x, y, part) for part in rows.split([32, 16, 0])]
    return Data("pictures", *splits, (3, 32, 32), tuple("0123456789"), 10, "")


def words_for(group: str, name: str) -> list[str]:
    """The command that tries one option."""
    chosen = f"{group}=[{name}]" if group in SEVERAL else f"{group}={name}"
    steps = ["epochs='4 steps'", "batch_size=24", "checkpoint_every='2 steps'"]
    steps += ["log_every='1 steps'", "validate_every='2 steps'"]
    needs = WITH.get((group, name), SEVERAL_MODELS.get(group, ()))
    return [*steps, *([] if name == "custom" else [chosen]), *needs]


class Stop(Exception):
    """Stands for a kill at the beginning of the third step."""


def stop_at_third(run: Run) -> None:
    kind = type(run.schedule)

    def stopping(self: Any, step: int, total_steps: int, steps_per_epoch: int) -> float:
        if step == 2:
            raise Stop
        return kind.__call__(self, step, total_steps, steps_per_epoch)

    # Of the same name and with all else, so that it hears and remembers as before.
    run.schedule.__class__ = type(kind.__name__, (kind,), {"__call__": stopping})


@pytest.mark.parametrize(
    ("group", "name", "form"), [*((*each, ()) for each in OPTIONS), *sparsely(FORMS, 3)], ids=str
)
def test_every_option(group, name, form, compose_recipe, small, pictures, tmp_path):
    recipe = compose_recipe(*words_for(group, name), *form)
    data = pictures if (group, name) in LARGE else small
    build.check(recipe)

    def run(folder: Path, change: Callable[[Run], None] | None = None) -> dict[str, Any]:
        made = build.build(recipe, data)
        if change is not None:
            change(made)
        existing = record.all_runs(folder)
        kept = record.open_existing(existing[0]) if existing else record.create(folder, "", {}, "")
        try:
            train(made, begin(made, kept), kept, Watcher())
        except Stop:
            return {}
        finally:
            kept.close()
        return without_clock(checkpoint.read(kept.directory / "checkpoints" / "last.pt"))

    whole = run(tmp_path / "whole")
    again = run(tmp_path / "again")
    assert not differences(whole, again), "the same seed gives another run"

    assert run(tmp_path / "stopped", stop_at_third) == {}
    resumed = run(tmp_path / "stopped")
    assert not differences(whole, resumed), "a resumed run is another one"
    assert whole["position"]["step"] == 4


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_in_the_help_with_its_line(group):
    text = help.text([], [])
    for name, option in CATALOGUE.options(group).items():
        assert option.summary, f"{option.file} opens with no comment"
        assert len(option.summary) <= 80, option.file
        assert any(name in line and option.summary in line for line in text.splitlines()), name


def proofs() -> dict[str, list[str]]:
    """The options that tests say they prove, and which tests these are, read from their marks."""
    found: dict[str, list[str]] = {}
    for path in HERE.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.proves":
                    for option in map(ast.literal_eval, mark.args):
                        found.setdefault(option, []).append(f"{path.name}::{node.name}")
    return found


def test_every_option_has_a_test_that_proves_it():
    """A numeric test of an option says so: @pytest.mark.proves("optimizer=adam")."""
    known = {f"{group}={name}" for group in (*GROUPS, "sweep") for name in CATALOGUE.options(group)}
    proven = proofs()
    assert {option for option in known - proven.keys() if not option.endswith("=none")} == set()
    assert {option: proven[option] for option in proven.keys() - known} == {}, "no such option"
