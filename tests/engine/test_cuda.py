"""On a GPU: DLRUN_DEVICE=cuda make test ARGS=tests/engine/test_cuda.py"""

import copy

import pytest
import torch

from dlrun import record
from dlrun.data import Data, Split
from dlrun.engine import checkpoint, feed
from dlrun.engine.state import begin
from dlrun.engine.train import train
from dlrun.recipe import build
from tests.conftest import Watcher
from tests.states import differences, without_clock
from tests.test_contract import LARGE, OPTIONS, Stop, stop_at_third, words_for

if not torch.cuda.is_available():
    pytest.skip("needs CUDA and DLRUN_DEVICE=cuda", allow_module_level=True)

EQUAL = ("optimizer", "loss", "activation")
"""Groups whose options draw no random numbers on the device; natural_gradient does."""


@pytest.fixture(autouse=True)
def _same_kernels():
    """Kernels that add in one order, without TensorFloat."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="session")
def samples():
    """Digits, and colour images of 32×32, by whether a model is large."""
    generator = torch.Generator().manual_seed(0)

    def made(shape: tuple[int, ...], sizes: list[int]) -> Data:
        x = torch.randint(0, 256, (sum(sizes), *shape), generator=generator, dtype=torch.uint8)
        y = torch.randint(0, 10, (sum(sizes),), generator=generator)
        splits = [Split(x, y, rows) for rows in torch.arange(sum(sizes)).split(sizes)]
        return Data("made", *splits, shape, tuple("0123456789"), 10, "")

    return {False: made((1, 8, 8), [96, 32, 16]), True: made((3, 32, 32), [48, 16, 8])}


@pytest.fixture
def trained(compose_recipe, tmp_path):
    """trained(words, data, folder=..., change=...) is the last checkpoint of a run."""

    def made(words, data, folder, change=None):
        recipe = compose_recipe(*words)
        build.check(recipe)
        run = build.build(recipe, data)
        if change is not None:
            change(run)
        existing = record.all_runs(tmp_path / folder)
        kept = (
            record.open_existing(existing[0])
            if existing
            else record.create(tmp_path / folder, "", {}, "")
        )
        try:
            train(run, begin(run, kept), kept, Watcher())
        except Stop:
            return {}
        finally:
            kept.close()
        return without_clock(checkpoint.read(kept.directory / "checkpoints" / "last.pt"))

    return made


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=lambda value: str(value))
def test_every_option_repeats_itself_and_resumes(group, name, trained, samples):
    words = [*words_for(group, name), "device=cuda", "deterministic=true"]
    data = samples[(group, name) in LARGE]
    whole = trained(words, data, "whole")
    assert not differences(whole, trained(words, data, "again")), "the same seed differs"
    assert trained(words, data, "stopped", stop_at_third) == {}
    assert not differences(whole, trained(words, data, "stopped")), "a resumed run differs"
    assert next(iter(whole["model"].values())).device.type == "cpu"


@pytest.mark.parametrize(
    ("group", "name"),
    [(g, n) for g, n in OPTIONS if g in EQUAL and n != "natural_gradient"],
    ids=lambda value: str(value),
)
def test_cpu_and_gpu_agree(group, name, trained, samples):
    words = words_for(group, name)
    data = samples[(group, name) in LARGE]
    cpu = trained([*words, "device=cpu"], data, "cpu")["model"]
    gpu = trained([*words, "device=cuda"], data, "gpu")["model"]
    for key, value in cpu.items():
        torch.testing.assert_close(gpu[key].cpu(), value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("words", [[], ["model=cnn", "augmentation=[flip,crop]"]])
def test_batches_from_pinned_memory_are_those_that_lie_on_the_gpu(
    words, trained, samples, monkeypatch
):
    words = ["epochs=3", "batch_size=24", "device=cuda", "deterministic=true", *words]
    resident = trained(words, samples[False], "resident")
    monkeypatch.setattr(feed, "_fits", lambda size, device: False)
    streamed = trained(words, samples[False], "streamed")
    for key, value in resident["model"].items():
        torch.testing.assert_close(streamed["model"][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning")  # the compiler would rather round
@pytest.mark.parametrize(
    "words",
    [
        ["precision=bf16"],
        ["precision=fp16"],
        ["precision=bf16", "channels_last=true"],
        ["precision=fp16", "clip_norm=1", "accumulate=2"],
        ["compile=true"],
    ],
    ids=" ".join,
)
def test_faster_ways_train_and_resume(words, trained, digits):
    words = ["model=cnn", "epochs=2", "device=cuda", "deterministic=true", *words]
    whole = trained(words, digits, "whole")
    assert whole["position"]["best_score"] > 0.5
    if "compile=true" in words:
        torch.compiler.reset()  # as in a process of its own: it remembers shapes that varied
    assert trained(words, digits, "stopped", stop_at_third) == {}
    if "compile=true" in words:
        torch.compiler.reset()
    assert not differences(whole, trained(words, digits, "stopped"))


def test_overflowing_gradients_are_skipped_and_the_scale_falls(trained, samples):
    words = ["precision=fp16", "epochs='4 steps'", "batch_size=24", "device=cuda"]

    def overflow(run):
        run.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)

    end = trained(words, samples[False], "overflow", overflow)
    assert end["scaler"]["scale"] < 2.0**40
    assert all(value.isfinite().all() for value in end["model"].values())


def test_random_numbers_of_the_gpu_survive_a_checkpoint():
    generator = torch.Generator()
    state = copy.deepcopy(checkpoint.random_state(generator))
    first = torch.rand(4, device="cuda")
    checkpoint.restore_random_state(state, generator)
    assert torch.equal(torch.rand(4, device="cuda"), first)
