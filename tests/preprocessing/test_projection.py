"""Principal components and whitening against numpy and scikit-learn, in float64."""

import copy

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from dlrun.errors import Mistake
from dlrun.preprocessing import chain, fit, to_float
from dlrun.preprocessing.moments import covariance
from dlrun.preprocessing.projection import Projection, how_many, pca, principal_axes, whiten, zca


def correlated(n: int, d: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixed + 3


@pytest.fixture
def images():
    x = correlated(300, 3 * 4 * 5).reshape(300, 3, 4, 5)
    return (x - x.min()).div(x.max() - x.min()).mul(255).to(torch.uint8)


def fitted(step: Projection, x: torch.Tensor, size: int = 1000) -> torch.nn.Sequential:
    steps = chain([step])
    fit(steps, lambda: x.split(size))
    return steps


def spread(y: torch.Tensor) -> np.ndarray:
    return np.cov(y.flatten(1).double().numpy().T, bias=True)


@pytest.mark.parametrize("size", [1, 7, 50, 300])
def test_covariance_in_chunks_is_that_of_the_whole(size):
    x = correlated(300, 8)
    mean, found = covariance(x.split(size))
    np.testing.assert_allclose(mean, x.numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(found, np.cov(x.numpy().T, bias=True), rtol=1e-11, atol=1e-12)


def test_covariance_keeps_its_digits_far_from_zero():
    x = correlated(1000, 4) + 1e7
    _, found = covariance(x.split(64))
    np.testing.assert_allclose(found, np.cov(x.numpy().T, bias=True), rtol=1e-8)


def test_axes_diagonalize_the_covariance():
    x = correlated(500, 12)
    mean, found = covariance([x])
    variances, axes = principal_axes(found)
    np.testing.assert_allclose(axes @ axes.T, np.eye(12), atol=1e-12)
    turned = np.cov(((x - mean) @ axes.T).numpy().T, bias=True)
    np.testing.assert_allclose(turned, np.diag(variances), atol=1e-10)
    assert (variances.diff() <= 0).all()
    white = (x - mean) @ axes.T / variances.sqrt()
    np.testing.assert_allclose(np.cov(white.numpy().T, bias=True), np.eye(12), atol=1e-10)
    assert all(axis[axis.abs().argmax()] > 0 for axis in axes)


@pytest.mark.proves("preprocessing=pca")
@pytest.mark.parametrize("components", [None, 3, 0.9, 0.99, 1.0])
def test_pca_as_in_scikit_learn(components):
    x = correlated(400, 10)
    out = fitted(pca(components), x, 90)(x).numpy()
    # scikit-learn takes a share strictly between 0 and 1.
    theirs = PCA(None if components == 1.0 else components, svd_solver="full").fit_transform(x)
    assert out.shape == theirs.shape
    signs = np.sign((out * theirs).sum(0))
    np.testing.assert_allclose(out, theirs * signs, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.proves("preprocessing=pca")
def test_the_share_of_variance_is_reached_and_not_with_one_less():
    variances = torch.tensor([5.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    shares = {0.3: 1, 0.5: 1, 0.51: 2, 0.8: 2, 0.85: 3, 0.9: 3, 0.95: 4, 1.0: 4}
    assert {share: how_many(variances, share) for share in shares} == shares
    assert how_many(variances, None) == 4
    assert how_many(variances, 2) == 2


@pytest.mark.proves("preprocessing=pca")
@pytest.mark.parametrize("size", [7, 300])
def test_pca_of_images_is_decorrelated(images, size):
    out = fitted(pca(20), images, size)(images)
    assert out.shape == (300, 20)
    found = spread(out)
    expected = np.linalg.eigvalsh(spread(images / 255))[::-1][:20]
    np.testing.assert_allclose(np.diag(found), expected, rtol=1e-4)
    assert np.abs(found - np.diag(np.diag(found))).max() < 1e-5 * expected[0]


@pytest.mark.proves("preprocessing=whiten")
@pytest.mark.parametrize("step", [whiten(eps=0.0), zca(eps=0.0)])
@pytest.mark.parametrize("size", [31, 300])
def test_whitened_images_have_the_identity_as_covariance(images, step, size):
    out = fitted(step, images, size)(images)
    assert out.shape == (images.shape if step.turn_back else (300, 60))
    np.testing.assert_allclose(spread(out), np.eye(60), atol=2e-3)
    assert out.mean(0).abs().max() < 1e-3


@pytest.mark.proves("preprocessing=whiten")
@pytest.mark.parametrize("make", [whiten, zca])
def test_whitened_tables_in_float64(make):
    x = correlated(300, 6)
    step = make(eps=0.0)
    step.fit(x.split(77))
    assert spread(step.double()(x)) == pytest.approx(np.eye(6), abs=1e-5)


def test_eps_shrinks_what_has_little_variance():
    x = correlated(300, 6)
    variances = np.linalg.eigvalsh(spread(x))[::-1]
    out = fitted(whiten(eps=0.5), x)(x)
    np.testing.assert_allclose(np.diag(spread(out)), variances / (variances + 0.5), rtol=1e-4)


@pytest.mark.proves("preprocessing=zca")
def test_zca_is_the_formula_and_symmetric(images):
    x = images.numpy().reshape(300, -1) / 255
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    matrix = vectors @ np.diag((values + 0.01) ** -0.5) @ vectors.T
    steps = fitted(zca(eps=0.01), images, 45)
    expected = ((x - x.mean(0)) @ matrix.T).reshape(images.shape)
    np.testing.assert_allclose(steps(images), expected, atol=1e-4)
    torch.testing.assert_close(steps[1].weight, steps[1].weight.T)


def test_a_constant_feature_does_no_harm():
    x = torch.cat([correlated(100, 3), torch.full((100, 1), 7.0)], 1)
    for step in (pca(), whiten(), zca()):
        assert fitted(step, x)(x).isfinite().all()


@pytest.mark.parametrize("make", [whiten, zca])
def test_a_direction_without_variance_is_only_centred(make):
    """A constant and a copy: two of five directions; the others have variance 1."""
    plain = correlated(100, 3)
    x = torch.cat([plain, torch.full((100, 1), 7.0), plain[:, :1]], 1)
    out = fitted(make(eps=0.0), x)(x)
    values = np.sort(np.linalg.eigvalsh(spread(out)))
    np.testing.assert_allclose(values, [0, 0, 1, 1, 1], atol=1e-4)


@pytest.mark.parametrize("step", [pca(7), whiten(0.9), zca()])
def test_the_state_travels_and_is_exported(images, step):
    loaded = chain([copy.deepcopy(step)])
    steps = fitted(step, images)
    loaded.load_state_dict(steps.state_dict())
    assert torch.equal(loaded(images), steps(images))
    width = steps(images[:1]).numel()
    deployed = torch.nn.Sequential(steps, torch.nn.Flatten(), torch.nn.Linear(width, 2)).eval()
    batch = {0: torch.export.Dim("n")}
    program = torch.export.export(deployed, (images[:5],), dynamic_shapes=(batch,)).module()
    for n in (1, 5, 60):
        torch.testing.assert_close(program(images[:n]), deployed(images[:n]))


def test_images_as_floats_are_the_same_images(images):
    steps = fitted(whiten(5), images)
    torch.testing.assert_close(steps(to_float(images)), steps(images))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        pca(0)
    with pytest.raises(ValueError, match=r"components must be .* share in \(0, 1\], got 1\.5"):
        whiten(1.5)
    with pytest.raises(ValueError, match="components must be at most 6, got 7"):
        pca(7).fit([correlated(20, 6)])
    with pytest.raises(ValueError, match="eps must not be negative"):
        zca(-1.0)
    with pytest.raises(ValueError, match="no training sample"):
        pca().fit([])
    with pytest.raises(Mistake, match="150,528 numbers is too large"):
        zca().fit([torch.zeros(1, 3, 224, 224)])
