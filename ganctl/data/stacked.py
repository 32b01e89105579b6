"""Stacked MNIST: three random digits as the red, green and blue of one image, 1 000 modes.

Metz et al. 2017, "Unrolled GANs" (arXiv:1611.02163), §3.3.1. It measures whether a generator reaches all
modes, so the training has no labels: a label would hand the mode over.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ganctl.data import mnist
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.family import Family, Outline, cut
from ganctl.data.source import Source

# The sizes of PacGAN (Lin et al. 2018, arXiv:1712.04086): on average 128 images of a mode to train on, before
# those with validation digits are left out, and 26 to test with. The validation part has as many as digits.
NUM_TRAIN = 128_000
NUM_TEST = 26_000


def dataset(train: ImageSet, held_out: Tensor, test: ImageSet) -> Dataset:
    """Stacks each split for itself: no digit of one is in an image of another.

    Training images with a validation digit are left out, not drawn again: those trained on are then among
    those that there are without a validation part, where evaluation looks for memorised ones.

    Args:
        train, test: official digits, images (N, 1, H, W) uint8, labels in 0..9.
        held_out: (M,) int64, the places of the validation part in `train`.
    """
    val = train.subset(held_out)
    facts = DatasetFacts(
        name="stacked_mnist", label_names=(), channels=3, resolution=train.images.shape[2], class_counts=()
    )
    return Dataset(
        facts,
        train=stack(train, training_triples(len(train), held_out)),
        val=stack(val, draw(len(val), len(val), seed=1)),
        test=stack(test, draw(len(test), NUM_TEST, seed=2)),
    )


def training_triples(num_digits: int, held_out: Tensor) -> Tensor:
    """Those (n, 3) int64 of the training images, of `num_digits` digits without those at `held_out` (M,)."""
    triples = draw(num_digits, NUM_TRAIN, seed=0)
    validates = torch.zeros(num_digits, dtype=torch.bool)
    validates[held_out] = True
    return triples[~validates[triples].any(dim=1)]


def draw(num_digits: int, n: int, seed: int) -> Tensor:
    """n triples of independent uniform draws from `num_digits` digits: (n, 3) int64."""
    # randint wants a range even to draw nothing from it, as for an empty validation part
    return torch.randint(max(1, num_digits), (n, 3), generator=torch.Generator().manual_seed(seed))


def stack(digits: ImageSet, triples: Tensor) -> ImageSet:
    """The digits at `triples` (n, 3) int64 as the channels of n images.

    Returns:
        images (n, 3, H, W) uint8; labels (n,) int64, the mode 100·a + 10·b + c of the digits a, b, c in
        channels 0, 1, 2.
    """
    modes = (digits.labels[triples] * torch.tensor([100, 10, 1])).sum(dim=1)
    return ImageSet(digits.images[triples].squeeze(2), modes)


def _load(source: Source, val_size: int | None, val_seed: int) -> Dataset:
    train, test = mnist.load(mnist.MNIST, source.root)
    _, held_out = _cut(len(train), val_size, val_seed)
    return dataset(train, held_out, test)


def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
    num_digits, resolution, _ = mnist.MNIST.train_images.shape
    _, held_out = _cut(num_digits, val_size, val_seed)
    return Outline(
        DatasetFacts("stacked_mnist", (), 3, resolution, class_counts=()),
        len(training_triples(num_digits, held_out)),
        len(held_out),
        NUM_TEST,
        mnist.place(mnist.MNIST, source.root),
    )


def _cut(num_digits: int, val_size: int | None, val_seed: int) -> tuple[Tensor, Tensor]:
    return cut("stacked_mnist", num_digits, mnist.VAL_SIZE if val_size is None else val_size, val_seed)


FAMILY = Family(
    _load,
    _outline,
    partial(mnist.fetch, mnist.MNIST),
    label_fix="set data.conditional=false: a label would hand over the mode that a generator has to find",
)
