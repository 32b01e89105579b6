"""The Fréchet distance of infinitely many fakes, extrapolated from fewer.

Chong and Forsyth 2020, "Effectively Unbiased FID and Inception Score and where to find them"
(arXiv:1911.07023): the bias of the distance is linear in 1/N, so a line through the distances of several
N meets 1/N = 0 at the unbiased one. On Inception features it is the FID∞.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganctl.metrics.frechet import Moments, frechet_distance


@dataclass(frozen=True)
class Extrapolated:
    """A line through distances against 1/N.

    Args:
        value: its height at 1/N = 0. Not clamped: slightly negative is possible where there is no distance.
        std_error: of that height, from the residuals of the line. The subsets share fakes, so it is a lower
            bound of the spread over fresh sets of fakes.
        sizes: the N of each distance, ascending.
        distances: measured with N fakes each.
    """

    value: float
    std_error: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_infinity(
    real: Moments,
    fake: Tensor,
    generator: torch.Generator,
    points: int = 15,
    on_point: Callable[[int], object] = lambda n: None,
) -> Extrapolated:
    """Extrapolates the distance between real moments and fake features (N, d).

    Subsets have `points` sizes at equal steps, from the smaller of 5 000 (the paper's) and N / 2 up to N.
    Only the bias of the number of fakes goes; that of the number of real images stays, so compare it with
    other generators against the same real images. A line needs N well above d / 2: far fewer fakes than
    dimensions leave a curve. Memory: one float64 copy of the features; time: `points` Fréchet distances.

    Args:
        generator: draws each subset afresh, without replacement.
        points: how many subsets, at least 3.
        on_point: told 1 after each distance.

    Raises:
        ValueError: fewer than 3 points or fakes too few for as many sizes.
    """
    n = len(fake)
    sizes = np.linspace(min(5000, n // 2), n, max(points, 2)).astype(int).tolist()
    if points < 3 or sizes[0] < 2 or len(set(sizes)) < points:
        raise ValueError(f"{n} fakes have no {points} different sizes of at least 2; at least 3 are needed")
    mean, cov = real.mean, real.cov
    distances = []
    for size in sizes:
        index = torch.randperm(n, generator=generator)[:size].to(fake.device)
        subset = Moments.of(fake[index])
        distances.append(frechet_distance(mean, cov, subset.mean, subset.cov))
        on_point(1)
    value, std_error = _intercept(1 / np.asarray(sizes), np.asarray(distances))
    return Extrapolated(value, std_error, tuple(sizes), tuple(distances))


def _intercept(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Height at 0 of the least-squares line through (x, y), and its standard error."""
    n, mean = len(x), x.mean()
    spread = ((x - mean) ** 2).sum()
    slope = ((x - mean) * y).sum() / spread
    value = y.mean() - slope * mean
    variance = ((y - value - slope * x) ** 2).sum() / (n - 2)
    return float(value), float(np.sqrt(variance * (1 / n + mean**2 / spread)))
