"""The Fréchet distance between two Gaussians, and the streaming sums it needs.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium"
(arXiv:1706.08500), eq. 6. On Inception features it is the FID; on any others it must not be called so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.linalg import lapack
from torch import Tensor

from ganctl.errors import GanctlError


@dataclass
class Moments:
    """Streaming mean and covariance of features: three float64 sums.

    Sums of disjoint batches or ranks add: `a + b`, or an all-reduce of each of the three tensors.

    Args:
        count: () float64, number of feature vectors.
        total: (d,) float64, their sum.
        outer: (d, d) float64, the sum of their outer products.
    """

    count: Tensor
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, feature_dim: int) -> Moments:
        """No features seen yet."""
        return cls(
            torch.zeros((), dtype=torch.float64),
            torch.zeros(feature_dim, dtype=torch.float64),
            torch.zeros(feature_dim, feature_dim, dtype=torch.float64),
        )

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features (N, d)."""
        moments = cls.empty(features.shape[1])
        moments.update(features)
        return moments

    def update(self, features: Tensor) -> None:
        """Adds features (N, d) of any float type, on any device."""
        # To the CPU first: not every accelerator knows float64.
        x = features.detach().cpu().double()
        self.count += len(x)
        self.total += x.sum(dim=0)
        self.outer.addmm_(x.T, x)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """(d,) float64.

        Raises:
            ValueError: no features were seen.
        """
        if self.count < 1:
            raise ValueError("a mean needs at least one feature vector")
        return self.total / self.count

    @property
    def cov(self) -> Tensor:
        """(d, d) float64, unbiased (divided by N - 1).

        Raises:
            ValueError: fewer than two features were seen.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two feature vectors, got {int(self.count)}")
        mean = self.mean
        return (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians: |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½).

    Any factor C1 = L Lᵀ gives C1 C2 the eigenvalues of the symmetric Lᵀ C2 L, so the trace of the root is the
    sum of their roots. L comes from Cholesky, and LAPACK's `sygst` makes the product in a quarter of the
    operations; or from the eigenvectors where C1 is singular (no more features than dimensions).

    Args:
        mean1, mean2: (d,).
        cov1, cov2: (d, d) symmetric, positive semi-definite.

    Returns:
        The distance, at least 0 (rounding below it is clamped).

    Raises:
        GanctlError: a mean or covariance is not finite.
        ValueError: the shapes don't agree.
    """
    d = len(mean1)
    if mean1.shape != (d,) or mean2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        shapes = ", ".join(str(tuple(t.shape)) for t in (mean1, cov1, mean2, cov2))
        raise ValueError(f"means must be (d,) and covariances (d, d) with one d, got {shapes}")
    mean1, cov1, mean2, cov2 = (t.cpu().double() for t in (mean1, cov1, mean2, cov2))
    _require_finite(mean1, cov1, mean2, cov2)
    cholesky, failed = lapack.dpotrf(cov1.numpy(), lower=1)
    if failed:
        values, vectors = torch.linalg.eigh(cov1)
        factor = vectors * values.clamp_min(0).sqrt()
        product = factor.T @ cov2 @ factor
    else:
        # Only its lower triangle is filled, in Fortran's order: transposed, that is the upper one in C's.
        product = torch.from_numpy(lapack.dsygst(cov2.numpy(), cholesky, itype=2, lower=1)[0].T)
    roots = torch.linalg.eigvalsh(product, UPLO="U").clamp_min(0).sqrt()
    shift = (mean1 - mean2).square().sum()
    return max(0.0, float(shift + cov1.trace() + cov2.trace() - 2 * roots.sum()))


def frechet_distance_of_features(x: Tensor, y: Tensor) -> float:
    """`frechet_distance` of features (N, d) and (M, d); with fewer than d of them, without (d, d) matrices.

    With C1 = Xᵀ X / (N - 1) and C2 = Yᵀ Y / (M - 1), X and Y the features less their means, the roots of the
    eigenvalues of C1 C2 are the singular values of X Yᵀ / ((N - 1)(M - 1))^½: an (N, M) matrix.

    Raises:
        GanctlError: the features are not finite.
        ValueError: fewer than two features, or widths differ.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"features must be (N, d), at least two, got {tuple(x.shape)} and {tuple(y.shape)}")
    if max(len(x), len(y)) >= x.shape[1]:
        a, b = Moments.of(x), Moments.of(y)
        return frechet_distance(a.mean, a.cov, b.mean, b.cov)
    x, y = x.cpu().double(), y.cpu().double()
    _require_finite(x, y)
    mean1, mean2 = x.mean(dim=0), y.mean(dim=0)
    x, y = (x - mean1) / (len(x) - 1) ** 0.5, (y - mean2) / (len(y) - 1) ** 0.5
    roots = torch.linalg.svdvals(x @ y.T)
    shift = (mean1 - mean2).square().sum()
    return max(0.0, float(shift + x.square().sum() + y.square().sum() - 2 * roots.sum()))


def _require_finite(*values: Tensor) -> None:
    if not all(bool(t.isfinite().all()) for t in values):
        raise GanctlError(
            "the features are not finite, so they have no Fréchet distance",
            "look at the images: the generator may have diverged",
        )
