"""Distances between many points, block by block: memory doesn't grow with the number of pairs.

|x - y|² = |x|² + |y|² - 2 x·y makes them matrix products. In float32 the subtraction leaves under six
digits (2e-6 relative on Inception-like features, `torch.cdist` included); float64 takes twice the time,
leaves fourteen, and is exact on pixels. So blocks are widened to float64, and only blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ganctl.errors import GanctlError

MAX_ROWS = 2048
MAX_NUMBERS = 2**22  # of one widened block: 32 MiB


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|² of float64 points (n, d) and (m, d) -> (n, m) ≥ 0."""
    norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_min_(0)


def blocks(points: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cuts points (N, d) of any type into (rows, float64 points on the CPU), at most 32 MiB each."""
    rows = max(1, min(MAX_ROWS, MAX_NUMBERS // max(1, points.shape[1])))
    for start in range(0, len(points), rows):
        part = slice(start, min(start + rows, len(points)))
        # To the CPU first: not every accelerator knows float64.
        yield part, points[part].cpu().double()


def radii(points: Tensor, k: int, on_rows: Callable[[int], object] = lambda n: None) -> Tensor:
    """Squared distance of each point (N, d) to its k-th nearest other point, (N,) float64.

    Half of the pairs are computed, as the distances are symmetric.

    Args:
        on_rows: told the number of points done after each block of them.

    Raises:
        ValueError: fewer than k + 1 points.
    """
    if not 1 <= k < len(points):
        raise ValueError(f"the {k}-th neighbour needs at least {k + 1} points, got {len(points)}")
    # Column 0 becomes the point itself, at distance 0.
    nearest = torch.full((len(points), k + 1), torch.inf, dtype=torch.float64)

    def merge(rows: slice, found: Tensor) -> None:
        nearest[rows] = torch.cat([nearest[rows], found], dim=1).topk(k + 1, largest=False).values

    for rows, x in blocks(points):
        for columns, y in blocks(points[rows.start :]):
            distances = squared_distances(x, y)
            if columns.start == 0:
                merge(rows, distances.fill_diagonal_(0))
            else:
                merge(rows, distances)
                merge(slice(rows.start + columns.start, rows.start + columns.stop), distances.T)
        on_rows(len(x))
    return nearest[:, -1]  # topk sorts


def nearest(
    queries: Tensor, points: Tensor, on_rows: Callable[[int], object] = lambda n: None
) -> tuple[Tensor, Tensor]:
    """The nearest of points (M, d) to each query (N, d), in any feature space or flattened pixels.

    Args:
        on_rows: told the number of queries done after each block of them.

    Returns:
        distances (N,) float64, exactly 0 to a copy; indices (N,) int64 of the points, the first of several.

    Raises:
        ValueError: no points, or widths differ.
    """
    require_points(queries, points)
    distances = torch.empty(len(queries), dtype=torch.float64)
    indices = torch.empty(len(queries), dtype=torch.int64)
    for rows, x in blocks(queries):
        best = torch.full((len(x),), torch.inf, dtype=torch.float64)
        index = torch.zeros(len(x), dtype=torch.int64)
        for columns, y in blocks(points):
            found, where = squared_distances(x, y).min(dim=1)
            closer = found < best
            best[closer] = found[closer]
            index[closer] = where[closer] + columns.start
        indices[rows] = index
        # Again without the product, whose rounding would keep a copy from being at distance 0.
        distances[rows] = (x - points[index.to(points.device)].cpu().double()).norm(dim=1)
        on_rows(len(x))
    return distances, indices


def require_points(a: Tensor, b: Tensor) -> None:
    """Checks that two sets of points (N, d) and (M, d) can be compared.

    Raises:
        ValueError: a set is empty, or the widths differ.
        GanctlError: not every number is finite.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(f"points must be (N, d) and (M, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    for points in (a, b):
        # A sum of finite numbers could overflow, a minimum and a maximum can't.
        if points.is_floating_point() and not all(bool(v.isfinite()) for v in points.aminmax()):
            raise GanctlError(
                "the features are not finite, so they have no nearest neighbours",
                "look at the images: the generator may have diverged",
            )
