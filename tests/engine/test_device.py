import pytest
import torch
from torch import nn

from dlrun.engine.device import caller, choose, without_cudnn
from dlrun.errors import Mistake

CPU = torch.device("cpu")


def test_cpu_is_always_there():
    assert choose("cpu") == CPU
    assert choose("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "tpu", "meta", ""])
def test_what_is_no_device(name):
    with pytest.raises(Mistake, match="auto, cpu, cuda, cuda:1 or mps"):
        choose(name)


def test_a_device_that_is_not_here():
    count = torch.cuda.device_count()
    with pytest.raises(Mistake, match=f"device=cuda:{count}: this machine has"):
        choose(f"cuda:{count}")


def test_float32_is_the_model_itself():
    model = nn.Linear(3, 2)
    assert caller(model, "float32", CPU, compiled=False) is model


def test_a_compiler_without_a_gpu_does_not_say_where_cuda_lies(monkeypatch, caplog):
    from torch.utils import cpp_extension

    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cpp_extension.logger, "propagate", False)
    monkeypatch.setattr(cpp_extension.logger, "handlers", [caplog.handler])
    caplog.clear()  # what it said as it was imported
    caller(nn.Linear(3, 2), "float32", CPU, compiled=True)
    cpp_extension._find_cuda_home()
    assert not caplog.records
    cpp_extension.logger.warning("another line")
    assert caplog.messages == ["another line"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_rounds_inside_and_gives_float32(precision):
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    seen = []

    class Layer(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            seen.append(y.dtype)
            return y

    model, x = Layer(30, 20), torch.randn(5, 30)
    y = caller(model, precision, CPU, compiled=False)(x)
    assert seen == [dtype]
    assert y.dtype == torch.float32
    exact = model.weight.double() @ x.double().T
    error = (y.double() - exact.T - model.bias.double()).abs().max()
    assert 0 < error < 0.05


def test_cudnn_is_left_alone_but_for_recurrent_layers_on_a_gpu(monkeypatch):
    """To ask for its flags makes torch 2.9 warn."""
    asked = []
    monkeypatch.setattr(torch.backends.cudnn, "flags", lambda **flags: asked.append(flags))
    for model in (nn.Conv2d(1, 2, 3), nn.LSTM(3, 4)):
        with without_cudnn(model):
            pass
    assert asked == []
