from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from ganctl.errors import GanctlError
from ganctl.metrics.frechet import Moments, frechet_distance


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Correlated, off-centre features (n, d) float64."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.arange(d)


def distance(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = Moments.of(x), Moments.of(y)
    return frechet_distance(a.mean, a.cov, b.mean, b.cov)


def by_sqrtm(x: torch.Tensor, y: torch.Tensor) -> float:
    """The textbook formula, through scipy's matrix square root."""
    a, b = x.numpy(), y.numpy()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root))


def test_shifted_gaussians_are_the_squared_shift_apart() -> None:
    x = features(200, 6)
    shift = torch.tensor([3.0, 0, 0, -4.0, 0, 0], dtype=torch.float64)
    assert distance(x, x + shift) == pytest.approx(25.0, rel=1e-9)
    assert distance(x, x) == pytest.approx(0.0, abs=1e-6)


def test_diagonal_covariances() -> None:
    s1, s2 = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([4.0, 2.0, 0.5])
    zero = torch.zeros(3)
    found = frechet_distance(zero, torch.diag(s1**2), zero, torch.diag(s2**2))
    assert found == pytest.approx(float(((s1 - s2) ** 2).sum()), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_scipy_on_unlike_inputs(seed: int) -> None:
    x, y = features(80, 12, seed), features(50, 12, seed + 100) * 1.7 - 2
    expected = by_sqrtm(x, y)
    assert expected > 1
    assert distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert distance(y, x) == pytest.approx(expected, rel=1e-6)


def test_fewer_features_than_dimensions() -> None:
    x, y = features(10, 30, 1), features(12, 30, 2)
    a, b = Moments.of(x), Moments.of(y)
    assert torch.linalg.cholesky_ex(a.cov).info > 0  # else the fallback is not what runs here
    # Independent answer for any rank: the roots are the singular values of X Yᵀ, rows centred.
    u, v = (x - x.mean(0)) / 9**0.5, (y - y.mean(0)) / 11**0.5
    cross = torch.linalg.svdvals(u @ v.T).sum()
    expected = (a.mean - b.mean).square().sum() + u.square().sum() + v.square().sum() - 2 * cross
    # Each of the ~20 zero eigenvalues rounds to up to 1e-16 of the largest, and then its root is taken.
    assert distance(x, y) == pytest.approx(float(expected), rel=1e-6)


def test_constant_features_of_a_collapsed_generator() -> None:
    x = features(100, 4)
    one = x[:1].repeat(100, 1)
    expected = (x.mean(0) - one[0]).square().sum() + x.T.cov().trace()
    assert distance(x, one) == pytest.approx(float(expected), rel=1e-6)
    assert distance(one, x) == pytest.approx(float(expected), rel=1e-6)


def test_streaming_in_uneven_batches_equals_the_whole() -> None:
    x = features(97, 5).float()
    moments = Moments.empty(5)
    for batch in x.split(10):
        moments.update(batch)
    array = x.double().numpy()
    np.testing.assert_allclose(moments.mean.numpy(), array.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.cov.numpy(), np.cov(array, rowvar=False), rtol=1e-9)
    assert moments.count == 97


def test_moments_of_two_ranks_add() -> None:
    x = features(60, 5)
    whole, parts = Moments.of(x), Moments.of(x[:13]) + Moments.of(x[13:])
    assert torch.allclose(whole.mean, parts.mean, rtol=1e-12)
    assert torch.allclose(whole.cov, parts.cov, rtol=1e-9)
    assert not torch.allclose(whole.cov, Moments.of(x[:13]).cov)


def test_adding_leaves_both_sides_alone() -> None:
    a, b = Moments.of(features(9, 3)), Moments.of(features(8, 3, 1))
    before = a.total.clone()
    _ = a + b
    assert torch.equal(a.total, before)
    assert a.count == 9


def test_too_few_features_have_no_moments() -> None:
    with pytest.raises(ValueError, match="at least one"):
        _ = Moments.empty(3).mean
    with pytest.raises(ValueError, match="at least two"):
        _ = Moments.of(torch.zeros(1, 3)).cov


def test_not_finite_and_wrong_shapes_are_refused() -> None:
    mean, cov = torch.zeros(3), torch.eye(3)
    with pytest.raises(GanctlError, match="not finite"):
        frechet_distance(mean, cov, torch.tensor([0.0, float("nan"), 0.0]), cov)
    with pytest.raises(ValueError, match="one d"):
        frechet_distance(mean, cov, torch.zeros(4), torch.eye(4))
