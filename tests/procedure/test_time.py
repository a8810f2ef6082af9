"""The time of a step and its parts; a gain that is said is one, and noise is none."""

import shlex
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.engine import timing as engine_timing
from dlrun.procedure import time as timing
from dlrun.procedure.time import gain, is_faster
from tests.states import differences, without_clock

COMMON = ("tracking=none", "threads=1", "procedure=time", "procedure.seconds=50")


class Clock:
    """Time that passes by sleeping, and a little by every look: the same on a busy machine."""

    def __init__(self):
        self.now = 0.0

    def read(self):
        self.now += 1e-5
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def sleep(seconds):
    """As long as no clock stands in for it."""
    time.sleep(seconds)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Few rounds of one step each, and a clock of their own."""
    clock = Clock()
    for module in (timing, engine_timing):
        monkeypatch.setattr(module, "perf_counter", clock.read)
    monkeypatch.setattr(sys.modules[__name__], "sleep", clock.sleep)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "MOST", 6)
    monkeypatch.setattr(timing, "_TURN", 0.0)
    monkeypatch.setattr(timing, "_INSIDE", 0.1)
    return tmp_path


class Slow(torch.nn.Module):
    """A layer that takes its time: 20 ms, and 0.6 s with a batch of 31 samples."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = torch.nn.Linear(64, outputs)

    def forward(self, x):
        sleep(0.6 if len(x) == 31 else 0.02)
        return self.layer(x.flatten(1))


SLOW = ["model=custom", "model._target_=tests.procedure.test_time.Slow", "preflight=off"]
SLOW += ["+model.outputs=${facts.outputs}"]


def told(outputs="outputs"):
    """The only record, and what it says."""
    [run] = record.all_runs(outputs)
    return run, record.read_json(run / "run.json")


@pytest.mark.figures
@pytest.mark.proves("procedure=time")
def test_a_layer_that_sleeps_is_the_forward_pass_and_larger_batches_gain(here, capsys):
    assert main([*COMMON, *SLOW, "epochs='20 steps'"]) == 0
    run, info = told()
    [point] = record.read_points(run)
    values = point["values"]
    assert 0.02 <= values["time/forward"] < 0.06
    parts = [values[f"time/{part}"] for part in ("fetch", "backward", "update", "record")]
    assert values["time/forward"] > 0.8 * values["time/step"] > sum(parts)
    assert values["time/samples_per_second"] == pytest.approx(32 / values["time/step"], rel=0.5)
    assert values["time/whole"] == pytest.approx(20 * values["time/step"], rel=1.0)
    assert values["memory/peak"] > 2**20
    table = {row["setting"]: row for row in info["table"]}
    for size, times in (("64", 2), ("128", 4)):
        told_gain = float(table[f"batch_size={size}"]["times as fast"].partition(" ")[0])
        assert told_gain == pytest.approx(times, rel=0.35)
    [found] = info["findings"]
    assert (found["name"], found["level"]) == ("faster", "note")
    assert "batch_size=128 training is" in found["text"]
    assert "a larger batch means fewer updates" in found["text"]
    assert found["command"].endswith("batch_size=128")
    assert found["command"] in capsys.readouterr().out
    words = shlex.split(found["command"])[1:]
    assert main([*words, "--cfg", "job"]) == 0
    assert info["chart"]["bars"][0] == "as it is"
    assert (run / "figures" / "step.png").is_file()
    left = info["text"].splitlines()[-1]
    for what in ("precision=fp16 (needs a GPU)", "channels_last (no conv", "compile=true (compil"):
        assert what in left


def test_a_step_above_half_a_second_is_slow(here):
    assert main([*COMMON, *SLOW, "batch_size=31", "procedure.seconds=1"]) == 0
    _, info = told()
    found = {each["name"]: each for each in info["findings"]}["slow_step"]
    assert found["level"] == "warn"
    assert found["numbers"]["seconds"] > 0.6
    assert "% of it for forward" in found["text"]
    assert "procedure.seconds= gives more" in info["text"]


def test_typed_again_it_measures_again(here):
    words = [*COMMON, "epochs=2"]
    assert main(words) == 0
    assert main(words) == 0
    run, info = told()
    first, second = record.read_points(run)
    assert (first["step"], second["step"]) == (1, 2)
    assert first["values"].keys() == second["values"].keys()
    assert "The whole recipe, 68 steps, takes about" in info["text"]
    assert "The loss was better than chance (2.3" in info["text"]


def test_one_step_is_one_step():
    one = timing._Course({"forward": 0.5}, 8, 0.5, 1, 1, 0, 2.3, None, None, [0.5])
    assert "The whole recipe, 1 step, takes about 500 ms." in timing._how_long(one)
    assert "The 1 step taken so far cannot tell" in timing._curve(one)


class Hurried(Slow):
    """A layer that takes 60 ms, 30 ms less in bf16, and 20 ms less compiled."""

    both = True

    def forward(self, x, compiled=False):
        bf16 = torch.is_autocast_enabled("cpu")
        if bf16 and compiled and not self.both:
            raise RuntimeError("no kernel for both")
        sleep(0.06 - 0.03 * bf16 - 0.02 * compiled)
        return self.layer(x.flatten(1))


def test_a_later_training_is_the_same_to_the_last_bit(here):
    recipe = [*COMMON[:1], "epochs=2", "regularization=[dropout]", "augmentation=[noise]"]
    assert main([*recipe, "outputs=alone"]) == 0
    assert main([*recipe, *COMMON[2:], "procedure.seconds=1"]) == 0
    assert main(recipe) == 0
    trained, alone = record.find("outputs", "last"), record.find("alone", "last")
    assert trained != record.all_runs("outputs")[0]
    states = [checkpoint.read(run / "checkpoints" / "last.pt") for run in (trained, alone)]
    assert not differences(*map(without_clock, states))


def test_what_learns_the_same_is_tried_together(here, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: partial(model, compiled=True))
    monkeypatch.setattr(timing, "COMPILING", 0.0)
    words = [word.replace("Slow", "Hurried") for word in SLOW]
    assert main([*COMMON, *words, "epochs=3", "batch_size=full"]) == 0
    _, info = told()
    table = {row["setting"]: row for row in info["table"]}
    both = ("precision=bf16", "compile=true", "compile=true precision=bf16")
    assert [table[name][""] for name in both] == [""] * 3
    [found] = info["findings"]
    assert found["command"].endswith(" compile=true precision=bf16")
    assert found["numbers"]["gain"] > float(table["precision=bf16"]["times as fast"][:3])


def test_what_cannot_be_together_is_told_alone(here, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: partial(model, compiled=True))
    monkeypatch.setattr(timing, "COMPILING", 0.0)
    monkeypatch.setattr(Hurried, "both", False)
    words = [word.replace("Slow", "Hurried") for word in SLOW]
    assert main([*COMMON, *words, "epochs=3", "batch_size=full"]) == 0
    _, info = told()
    table = {row["setting"]: row for row in info["table"]}
    assert [table[name][""] for name in ("precision=bf16", "compile=true")] == [""] * 2
    assert "compile=true precision=bf16" not in table
    assert info["findings"][0]["command"].endswith(" precision=bf16")


def test_a_gain_is_the_median_of_pairs():
    base, other = [2.0, 4.0, 2.0, 2.0, 2.0], [1.0, 2.0, 1.0, 2.0, 1.0]
    times, error = gain(base, other)
    logs = np.log(np.array(base) / np.array(other))
    assert times == pytest.approx(2)
    assert error == pytest.approx(1.2533 * logs.std(ddof=1) / np.sqrt(5))


@pytest.mark.parametrize("rounds", [5, 10, 30])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.5])
def test_noise_is_no_gain(rounds, noise):
    random = np.random.default_rng(0)

    def said(times):
        """How often a machine with this noise is said to gain from being so many times as fast."""
        drawn = np.exp(random.normal(0, noise, (1000, 2, rounds)))
        return np.mean([is_faster(list(one), list(two / times)) for one, two in drawn])

    assert said(1.0) < 0.015
    if rounds == 30 and noise < 0.5:
        assert said(1.3) > 0.95


def test_few_rounds_decide_nothing():
    assert not is_faster([2.0], [1.0])
    assert not is_faster([2.0] * 4, [1.0] * 4)
    assert is_faster([2.0] * 5, [1.0] * 5)
    assert not is_faster([1.04] * 5, [1.0] * 5), "no gain that is worth a setting"


def test_images_of_half_the_size_are_tried(here, capsys):
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (here / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 255, (16, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "photos" / label / f"{number}.png")
    words = ["data=imagefolder", "data.root=photos", "data.split=60/20/20", "model=cnn"]
    words += ["model.channels=[8]", "batch_size=8", "epochs=1"]
    assert main([*COMMON, *words]) == 0, capsys.readouterr().err
    settings = [row["setting"] for row in told()[1]["table"]]
    assert "data.size=[8, 6]" in settings
    assert "channels_last=true" in settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=1e9"], "The loss was not yet better than chance"),
        (["optimizer=lbfgs", "batch_size=full"], "batch_size (the training split is not larger)"),
        (["data.split=100/0/0", "procedure.seconds=0.0001"], "(no time was left; "),
        (["model=autoencoder", "loss=mse", "accumulate=4"], "A step of 128 samples takes"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_other_recipes(here, capsys, words, said):
    assert main([*COMMON, "epochs=1", *words]) == 0, capsys.readouterr().err
    assert said in told()[1]["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["procedure.seconds=0"], "procedure.seconds=0: must be a number above 0"),
        (["procedure.seconds=-1"], "must be a number above 0"),
        (["procedure.seconds=inf"], "must be a finite number"),
        (["seconds=5"], "did you mean procedure.seconds=5?"),
        (["procedure.second=5"], "did you mean procedure.seconds=5?"),
    ],
    ids=str,
)
def test_mistakes(here, capsys, words, said):
    assert main([*COMMON[:3], *words]) == 2
    assert said in capsys.readouterr().err
