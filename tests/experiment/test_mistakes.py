"""The broken networks do the damage that their names say, and their mended twins don't."""

import math

import pytest
import torch
import torch.nn.functional as F

from dlrun.experiment.mistakes import PROPERTIES, OneLabelOnly, network, properties


def gradients(model, batches):
    """What each of several backward passes leaves in `.grad`, after zero_grad before each."""
    found = []
    for x in batches:
        model.zero_grad()
        model(x).square().sum().backward()
        found.append([weight.grad.clone() for weight in model.parameters()])
    return found


def test_gradients_that_nobody_zeroes_add_up():
    x = torch.rand(3, 8, 6)
    torch.manual_seed(0)
    sound = gradients(network([6], 3), x)
    torch.manual_seed(0)
    broken = gradients(network([6], 3, zero_grad=False), x)
    for number in range(3):
        sums = [sum(each) for each in zip(*sound[: number + 1], strict=True)]
        for total, got in zip(sums, broken[number], strict=True):
            torch.testing.assert_close(got, total)


def test_the_sum_of_the_gradients_is_saved_with_the_weights():
    model = network([6], 3, zero_grad=False)
    gradients(model, torch.rand(2, 8, 6))
    again = network([6], 3, zero_grad=False)
    again.load_state_dict(model.state_dict())
    x = torch.rand(1, 8, 6)
    for got, expected in zip(gradients(again, x)[0], gradients(model, x)[0], strict=True):
        assert torch.equal(got, expected)


def test_a_network_that_is_never_evaluated_stays_in_training_mode():
    x = torch.rand(8, 6)
    broken = network([6], 3, inside="dropout", evaluated=False).eval()
    assert all(module.training for module in broken.modules())
    assert not torch.equal(broken(x), broken(x))
    mended = network([6], 3, inside="dropout").eval()
    assert torch.equal(mended(x), mended(x))


def test_softmax_before_cross_entropy_has_a_floor():
    """Of C classes: log(1 + (C − 1)/e), 1.461 for ten, where the network is sure and right."""
    sure = 1e6 * F.one_hot(torch.arange(10), 10).float()
    loss = F.cross_entropy(sure.softmax(1), torch.arange(10))
    assert loss.item() == pytest.approx(math.log(1 + 9 / math.e), abs=1e-6)


def test_the_sigmoids_of_labels_that_compete_are_a_softmax():
    z = 3 * torch.randn(16, 4, dtype=torch.float64)
    torch.testing.assert_close(OneLabelOnly()(z).sigmoid(), z.softmax(1))


def test_properties_of_digits():
    source = properties()
    assert source.labels
    assert source.y.shape == (1797, len(PROPERTIES))
    from sklearn.datasets import load_digits

    digit = load_digits(return_X_y=True)[1]
    for number, holds in {
        0: (1, 0, 0, 1),
        2: (1, 0, 1, 0),
        7: (0, 1, 1, 0),
        8: (1, 1, 0, 1),
    }.items():
        assert (source.y[torch.from_numpy(digit == number)] == torch.tensor(holds)).all()
