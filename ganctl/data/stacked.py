"""Stacked MNIST: three random digits as the red, green and blue of one image, 1 000 modes.

Metz et al. 2017, "Unrolled GANs" (arXiv:1611.02163), §3.3.1. It measures whether a generator reaches all
modes, so the training has no labels: a label would hand the mode over.
"""

from __future__ import annotations

import torch

from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet

# The sizes of PacGAN (Lin et al. 2018, arXiv:1712.04086): on average 128 images of a mode to train on, 26 to
# test with. The validation part has as many images as digits.
NUM_TRAIN = 128_000
NUM_TEST = 26_000


def dataset(train: ImageSet, val: ImageSet, test: ImageSet) -> Dataset:
    """Stacks each split of digits for itself: no digit of one split is in an image of another.

    Args:
        train, val, test: digits, images (N, 1, H, W) uint8, labels in 0..9.
    """
    facts = DatasetFacts(
        name="stacked_mnist", label_names=(), channels=3, resolution=train.images.shape[2], class_counts=()
    )
    return Dataset(
        facts,
        train=stack(train, NUM_TRAIN, seed=0),
        val=stack(val, len(val), seed=1),
        test=stack(test, NUM_TEST, seed=2),
    )


def stack(digits: ImageSet, n: int, seed: int) -> ImageSet:
    """n images of three independent uniform draws from `digits` each, the same for the same seed.

    Returns:
        images (n, 3, H, W) uint8; labels (n,) int64, the mode 100·a + 10·b + c of the digits a, b, c in
        channels 0, 1, 2.
    """
    generator = torch.Generator().manual_seed(seed)
    # randint wants a range even to draw nothing from it, as for an empty validation part
    index = torch.randint(max(1, len(digits)), (n, 3), generator=generator)
    modes = (digits.labels[index] * torch.tensor([100, 10, 1])).sum(dim=1)
    return ImageSet(digits.images[index].squeeze(2), modes)
