"""What a data set is: uint8 images, labels, and the facts a checkpoint keeps of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    Args:
        images: (N, C, H, W) uint8 in 0..255.
        labels: (N,) int64 in [0, num_classes); of a set without label names, the mode that each image shows,
            which evaluation knows and networks don't look at.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(images (M, C, H, W), labels (M,)) at `index` (M,) int64, in that order."""
        return self.images[index], self.labels[index]

    def subset(self, index: Tensor) -> ImageSet:
        """The images at `index` (M,) int64, in that order."""
        return ImageSet(*self.take(index))


@dataclass(frozen=True)
class DatasetFacts:
    """What networks, samplers and reports need to know of a data set without having it.

    Args:
        label_names: of the labels that a generator is asked for; empty for unconditional training.
        class_counts: training images of each of them.
    """

    name: str
    label_names: tuple[str, ...]
    channels: int
    resolution: int
    class_counts: tuple[int, ...]
    digest: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.label_names)


@dataclass(frozen=True)
class Dataset:
    """The three splits. `val` is cut from the official training images; `test` is the official one.

    Args:
        held_out: how `test` was chosen, of data that come without an official one.
    """

    facts: DatasetFacts
    train: ImageSet
    val: ImageSet
    test: ImageSet
    held_out: str = ""


def split_validation(num_train: int, val_size: int, val_seed: int) -> tuple[Tensor, Tensor]:
    """Cuts a random validation part off `num_train` training images, the same for the same seed.

    Returns:
        The places of (training, validation) images, int64, sorted; disjoint, together all.
    """
    order = torch.randperm(num_train, generator=torch.Generator().manual_seed(val_seed))
    return order[val_size:].sort().values, order[:val_size].sort().values
