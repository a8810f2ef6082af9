"""LeNet-5 and VGG: the weights and sizes of the papers, and the networks written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlrun.activation import Maxout
from dlrun.engine.count import parameters
from dlrun.errors import Mistake
from dlrun.model.lenet import lenet
from dlrun.model.vgg import vgg


@pytest.mark.proves("model=lenet")
def test_weights_of_lenet_5():
    """LeNet-5 with full connections: 156 + 2,416 + 48,120 + 10,164 + 850."""
    for side in (28, 32, 8, 31):
        assert parameters(lenet([1, side, side], 10, nn.Tanh)) == 61_706
    layers = [m for m in lenet([1, 28, 28], 10, nn.Tanh) if list(m.parameters())]
    assert [parameters(m) for m in layers] == [156, 2_416, 48_120, 10_164, 850]


@pytest.mark.proves("model=lenet")
@pytest.mark.parametrize("shape", [[1, 28, 28], [1, 8, 8], [3, 32, 32], [2, 40, 20]])
def test_lenet_written_out(shape):
    torch.manual_seed(0)
    model = lenet(shape, 10, nn.Tanh).double()
    p = list(model.parameters())
    x = torch.randn(2, *shape, dtype=torch.float64)
    height, width = max(shape[1], 32), max(shape[2], 32)
    padded = torch.zeros(2, shape[0], height, width, dtype=torch.float64)
    top, left = (height - shape[1]) // 2, (width - shape[2]) // 2
    padded[:, :, top : top + shape[1], left : left + shape[2]] = x
    h = F.avg_pool2d(torch.tanh(F.conv2d(padded, p[0], p[1])), 2)
    h = F.avg_pool2d(torch.tanh(F.conv2d(h, p[2], p[3])), 2)
    if (height, width) == (32, 32):
        # The paper's third convolution sees 5×5 maps: the same as a dense layer.
        kernels = p[4].view(120, 16, 5, 5)
        h = torch.tanh(F.conv2d(h, kernels, p[5])).flatten(1)
    else:
        h = torch.tanh(h.flatten(1) @ p[4].T + p[5])
    h = torch.tanh(h @ p[6].T + p[7])
    torch.testing.assert_close(model(x), h @ p[8].T + p[9])


def test_sizes_inside_lenet():
    sizes = []
    model = lenet([1, 28, 28], 10, nn.Tanh)
    for layer in model:
        layer.register_forward_hook(lambda m, args, out: sizes.append(tuple(out.shape[1:])))
    model(torch.zeros(1, 1, 28, 28))
    assert sizes[0] == (1, 32, 32)
    assert sizes[1::3][:2] == [(6, 28, 28), (16, 10, 10)]
    assert sizes[3:7:3] == [(6, 14, 14), (16, 5, 5)]
    assert sizes[-1] == (10,)


STAGES = [[4, 4], [6], [8, 8]]


@pytest.mark.proves("model=vgg")
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_vgg_written_out(norm):
    torch.manual_seed(0)
    model = vgg([3, 9, 8], 5, nn.ReLU, STAGES, [7], norm).double().eval()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    rest = iter([m for m in model.modules() if list(m.parameters(recurse=False))])
    h = x
    for stage in STAGES:
        for channels in stage:
            convolution = next(rest)
            h = F.conv2d(h, convolution.weight, convolution.bias, padding=1)
            assert h.shape[1] == channels
            h = torch.relu(h if norm == "none" else next(rest)(h))
        h = F.max_pool2d(h, 2)
    assert h.shape == (2, 8, 1, 1)
    h = h.flatten(1)
    linear = next(rest)
    h = h @ linear.weight.T + linear.bias
    h = torch.relu(h if norm == "none" else next(rest)(h))
    last = next(rest)
    torch.testing.assert_close(model(x), h @ last.weight.T + last.bias)
    assert not list(rest)


@pytest.mark.proves("model=vgg")
def test_weights_of_vgg_16():
    """Configuration D of the paper, table 2: 138 million."""
    with torch.device("meta"):
        model = vgg([3, 224, 224], 1000, nn.ReLU,
                    [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3],
                    [4096, 4096], "none")  # fmt: skip
    assert parameters(model) == 138_357_544


def test_maxout_multiplies_the_weights():
    def three() -> nn.Module:
        return Maxout(3)

    assert parameters(lenet([1, 28, 28], 10, three)) == 3 * (156 + 2_416 + 48_120 + 10_164) + 850
    plain, wide = (vgg([3, 8, 8], 5, act, STAGES, [7], "none") for act in (nn.ReLU, three))
    assert parameters(wide) - 40 == 3 * (parameters(plain) - 40)
    assert wide(torch.randn(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, []), "stages must each name at least one"),
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, [[4], []]), "stages must each name at least one"),
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, [[4], [0]]), "stages must be whole numbers above 0"),
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, [[4]] * 4), "stages must be fewer: 4 poolings leave"),
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, [[4]], norm="x"), "norm must be one of"),
        (lambda: vgg([3, 8, 8], 5, nn.ReLU, [[4]], [0]), "hidden must be whole numbers"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_tables_are_no_images():
    with pytest.raises(Mistake, match="model=lenet needs images"):
        lenet([13], 2, nn.ReLU)
    with pytest.raises(Mistake, match="model=vgg needs images"):
        vgg([13], 2, nn.ReLU, [[4]])
