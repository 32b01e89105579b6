"""Memorisation: are fakes closer to the training images than fresh real images are?

The comparison of train-to-generated with train-to-test distances follows Meehan et al. 2020, "A
Non-Parametric Test to Detect Data-Copying in Generative Models" (arXiv:2004.05675), in its simplest form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganctl.errors import GanctlError
from ganctl.images import class_grid
from ganctl.metrics.neighbours import nearest

if TYPE_CHECKING:
    from PIL import Image

EXPECTED_SHARE = 0.01


@dataclass(frozen=True)
class Memorisation:
    """Distances to the nearest training image, of fakes against those of test images.

    Args:
        median_ratio: median over the fakes / median over the test images; well below 1 for copies.
        share_close: of the fakes, those as near to a training image as the nearest 1 % of the test images
            are. `EXPECTED_SHARE` on average for fresh real images, 1 for copies.
        distances: (P,) float64 ascending, of the P closest pairs. Simple images lie closest without being
            copies (of digits, the ones): the picture shows what a distance means, the share is the verdict.
        fake_index, train_index: (P,) int64, the images of those pairs.
    """

    median_ratio: float
    share_close: float
    distances: Tensor
    fake_index: Tensor
    train_index: Tensor


def memorisation(
    fake: Tensor,
    train: Tensor,
    test_distances: Tensor,
    pairs: int = 16,
    on_rows: Callable[[int], object] = lambda n: None,
) -> Memorisation:
    """Compares the nearest training images of fakes and of test images.

    Give uint8 images: a copy is a copy of pixels, pixels need no network that has been trained on the same
    images, and on native-size images of one object the nearest pixels are a fair neighbour. Features (N, d)
    work as well, and find copies that were moved or recoloured. Beside its input it takes under 200 MiB; time
    grows with N · T.

    Args:
        fake, train: (N, …) and (T, …) of one shape per image; flattened here.
        test_distances: (M,) float64, `to_training` of the test images: the same for any fakes.
        pairs: of the closest, how many to tell, at most one a fake.
        on_rows: told the number of fakes done after each block.

    Raises:
        ValueError: a set is empty, or shapes differ.
        GanctlError: the features are not finite, or most test images are in the training set.
    """
    fake_distances, fake_nearest = nearest(fake.flatten(1), train.flatten(1), on_rows)
    median = float(test_distances.median())
    if median == 0:
        raise GanctlError(
            "most test images are in the training set, so they are no measure of copying",
            "compare with real images that the generator was not trained on",
        )
    limit = test_distances.quantile(EXPECTED_SHARE)
    closest = fake_distances.argsort(stable=True)[:pairs]
    return Memorisation(
        median_ratio=float(fake_distances.median()) / median,
        share_close=float((fake_distances <= limit).double().mean()),
        distances=fake_distances[closest],
        fake_index=closest,
        train_index=fake_nearest[closest],
    )


def to_training(images: Tensor, train: Tensor, on_rows: Callable[[int], object] = lambda n: None) -> Tensor:
    """(M,) float64: the distance of each of images (M, …) to the nearest of train (T, …); flattened here.

    Args:
        on_rows: told the number of images done after each block.

    Raises:
        ValueError: a set is empty, or shapes differ.
        GanctlError: the features are not finite.
    """
    return nearest(images.flatten(1), train.flatten(1), on_rows)[0]


def pairs_figure(fakes: Tensor, reals: Tensor, columns: int = 4, scale: int = 2) -> Image.Image:
    """A picture of pairs side by side, each fake left of its nearest training image.

    Args:
        fakes, reals: (P, C, H, W) uint8, pair by pair, P ≥ 1.
        columns: pairs in a row.
        scale: whole factor by which pixels are enlarged.

    Raises:
        ValueError: the two don't match.
    """
    if fakes.shape != reals.shape:
        raise ValueError(f"pairs must match, got {tuple(fakes.shape)} and {tuple(reals.shape)}")
    columns = min(columns, len(fakes))
    interleaved = torch.stack([fakes, reals], dim=1).flatten(0, 1)
    return class_grid(interleaved, ["made", "real"] * columns, scale)
