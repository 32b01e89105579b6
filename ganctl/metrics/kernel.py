"""The kernel distance: Bińkowski et al. 2018, "Demystifying MMD GANs" (arXiv:1801.01401), §4.

On Inception features it is the KID; on any others it must not be called so.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def polynomial_mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel k(a, b) = (a·b / d + 1)³.

    Args:
        x, y: features (m, d), as many of one as of the other, m ≥ 2.

    Returns:
        Zero on average for samples of one distribution, so a small negative value is possible.

    Raises:
        ValueError: the shapes differ or there are fewer than two features.
    """
    if x.shape != y.shape or x.dim() != 2 or len(x) < 2:
        raise ValueError(f"features must be (m, d) twice with m of at least 2, got {x.shape} and {y.shape}")
    m, d = x.shape

    def kernel_sum(a: Tensor, b: Tensor, diagonal: bool) -> float:
        kernel = (a @ b.T / d + 1) ** 3
        rows = kernel.sum(dim=1) if diagonal else kernel.sum(dim=1) - kernel.diagonal()
        # float64 on the CPU: not every accelerator knows it.
        return float(rows.cpu().double().sum())

    within = (kernel_sum(x, x, diagonal=False) + kernel_sum(y, y, diagonal=False)) / (m * (m - 1))
    return within - 2 * kernel_sum(x, y, diagonal=True) / (m * m)


def kernel_distance(
    features1: Tensor,
    features2: Tensor,
    rng: np.random.RandomState,
    subsets: int = 100,
    subset_size: int = 1000,
) -> tuple[float, float]:
    """Mean and spread of `polynomial_mmd2` over random subsets.

    `RandomState(2020)` on Inception features gives torch-fidelity's number.

    Args:
        features1, features2: (N, d) and (M, d) float.
        rng: draws the subsets, without replacement within one; RandomState, because its streams never change
            between numpy versions.
        subsets: how many.
        subset_size: at most; smaller where there are fewer features.

    Returns:
        (mean, population standard deviation) over the subsets.

    Raises:
        ValueError: widths differ, or there are fewer than two features on a side.
    """
    size = min(subset_size, len(features1), len(features2))
    values = []
    for _ in range(subsets):
        index1 = torch.from_numpy(rng.choice(len(features1), size, replace=False)).to(features1.device)
        index2 = torch.from_numpy(rng.choice(len(features2), size, replace=False)).to(features2.device)
        values.append(polynomial_mmd2(features1[index1].float(), features2[index2].float()))
    return float(np.mean(values)), float(np.std(values))
