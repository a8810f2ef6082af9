"""Mixed samples and targets, by the formula on each of them."""

import numpy as np
import pytest
import torch
from scipy.stats import beta as exact
from scipy.stats import kstest

from dlrun.augmentation.mixing import beta, cutmix, mixup
from dlrun.errors import Mistake
from tests.conftest import seeded


@pytest.mark.proves("augmentation=mixup")
@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 8.0])
def test_shares_have_the_beta_distribution(alpha):
    drawn = beta(alpha, 50_000, seeded()).double().numpy()
    # Of the lower half alone: above it a small alpha draws what float32 rounds to 1.
    lower = drawn[drawn < 0.5]
    assert len(lower) / 50_000 == pytest.approx(0.5, abs=0.01)
    found = kstest(lower, lambda x: 2 * exact(alpha, alpha).cdf(x))
    assert found.statistic < 1.95 / len(lower) ** 0.5
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 50.0])
def test_shares_are_the_quantiles_of_the_uniform_draw(alpha):
    u = torch.rand(2000, generator=seeded(1)).double().numpy()
    np.testing.assert_allclose(beta(alpha, 2000, seeded(1)), exact.ppf(u, alpha, alpha), atol=3e-6)


@pytest.mark.proves("augmentation=mixup")
def test_mixup_blends_samples_and_targets_by_the_same_share():
    # Sample k is the number k, so that a blend of two says which and how.
    n, classes = 64, 64
    x = torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, 4, 4) / n
    y = torch.arange(n)
    out, mixed = mixup(x, y, seeded(), alpha=1.0, classes=classes)
    assert mixed.shape == (n, classes)
    torch.testing.assert_close(mixed.sum(1), torch.ones(n))
    by_hand = torch.einsum("nk,k->n", mixed.double(), torch.arange(n).double() / n)
    torch.testing.assert_close(out[:, 0, 0, 0].double(), by_hand, atol=1e-6, rtol=0)
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    # Each sample keeps the share λ, and each is a partner once.
    shares = beta(1.0, n, seeded())
    own = mixed[torch.arange(n), y]
    partner = torch.randperm(n, generator=after_beta(n))
    alone = partner != torch.arange(n)
    torch.testing.assert_close(own[alone], shares[alone])
    torch.testing.assert_close(mixed[torch.arange(n), partner][alone], (1 - shares)[alone])


def after_beta(n: int) -> torch.Generator:
    generator = seeded()
    torch.rand(n, generator=generator)
    return generator


def test_mixup_of_bytes_and_of_tables():
    x = torch.randint(0, 256, (8, 3, 4, 4), generator=seeded(1), dtype=torch.uint8)
    y = torch.arange(8) % 3
    first, _ = mixup(x, y, seeded(2), classes=3)
    second, _ = mixup(x / 255, y, seeded(2), classes=3)
    torch.testing.assert_close(first, second)
    table = torch.randn(8, 5, generator=seeded(3))
    out, _ = mixup(table, y, seeded(2), classes=3)
    share, partner = beta(0.2, 8, seeded(2)), torch.randperm(8, generator=after(2, 8))
    expected = share[:, None] * table + (1 - share)[:, None] * table[partner]
    torch.testing.assert_close(out, expected)


def after(seed: int, n: int) -> torch.Generator:
    generator = seeded(seed)
    torch.rand(n, generator=generator)
    return generator


@pytest.mark.proves("augmentation=cutmix")
@pytest.mark.parametrize("size", [(7, 9), (16, 16), (1, 1)])
def test_cutmix_mixes_targets_by_the_area_that_is_left(size):
    n = 500
    x = torch.arange(n).view(n, 1, 1, 1).expand(n, 2, *size).float()
    out, mixed = cutmix(x, torch.arange(n), seeded(), classes=n)
    for k in range(n):
        own = (out[k, 0] == k).double().mean()
        others = set(out[k].unique().tolist()) - {float(k)}
        if others:
            [other] = others
            covered = torch.nonzero(out[k, 0] == other)
            height, width = (covered.amax(0) - covered.amin(0) + 1).tolist()
            assert len(covered) == height * width  # one full rectangle
            assert torch.equal(out[k, 0], out[k, 1])
            assert float(mixed[k, int(other)]) == pytest.approx(float(1 - own), abs=1e-6)
        assert float(mixed[k, k]) == pytest.approx(float(own), abs=1e-6)


@pytest.mark.proves("augmentation=cutmix")
def test_cutmix_rectangles_have_the_sides_of_the_formula():
    n, side = 3000, 101
    x = torch.arange(n).view(n, 1, 1, 1).expand(n, 1, side, side).float()
    out, _ = cutmix(x, torch.zeros(n, dtype=torch.long), seeded(), alpha=2.0, classes=1)
    theirs = out[:, 0] != x[:, 0]
    height, width = theirs.any(2).sum(1), theirs.any(1).sum(1)
    expected = ((1 - beta(2.0, n, seeded())).sqrt() * side).floor()
    inner = (
        ~theirs[:, 0].any(1)
        & ~theirs[:, -1].any(1)
        & ~theirs[:, :, 0].any(1)
        & ~theirs[:, :, -1].any(1)
        & theirs.flatten(1).any(1)
    )
    assert inner.sum() > 100
    assert torch.equal(height[inner], expected[inner].to(torch.int64))
    assert torch.equal(width[inner], expected[inner].to(torch.int64))
    assert (height <= expected).all()
    assert (width <= expected).all()
    # Centres are uniform: what is covered on the left is covered on the right as often.
    sides = theirs.double().mean((0, 1))
    assert abs(float(sides[:50].mean() - sides[51:].mean())) < 0.03


def test_mixed_targets_are_mixed_again():
    x = torch.rand(16, 3, 8, 8, generator=seeded(1))
    generator = seeded(2)
    x, y = mixup(x, torch.arange(16) % 4, generator, alpha=1.0, classes=4)
    x, y = cutmix(x, y, generator, classes=4)
    assert y.shape == (16, 4)
    torch.testing.assert_close(y.sum(1), torch.ones(16))


def test_losses_take_mixed_targets():
    x, y = torch.rand(16, 3, 8, 8), torch.arange(16) % 4
    _, soft = mixup(x, y, seeded(), classes=4)
    logits = torch.randn(16, 4, generator=seeded(1))
    by_hand = -(soft * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, soft), by_hand)


@pytest.mark.parametrize("step", [mixup, cutmix])
def test_the_generator_alone_decides_and_the_input_stays(step):
    x = torch.randint(0, 256, (32, 3, 8, 8), generator=seeded(1), dtype=torch.uint8)
    y, before = torch.arange(32) % 5, x.clone()
    first = step(x, y, seeded(3), classes=5)
    torch.rand(5)
    again, other = step(x, y, seeded(3), classes=5), step(x, y, seeded(4), classes=5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(x, before)


def test_what_cannot_be_is_refused():
    x, y = torch.zeros(4, 1, 5, 5), torch.arange(4)
    for step in (mixup, cutmix):
        with pytest.raises(ValueError, match=r"alpha must be between 0\.01 and 100, got 0"):
            step(x, y, seeded(), alpha=0, classes=4)
        with pytest.raises(ValueError, match="classes must be given for class indices"):
            step(x, y, seeded())
    with pytest.raises(Mistake, match="augmentation=cutmix needs images"):
        cutmix(torch.zeros(4, 13), y, seeded(), classes=4)
