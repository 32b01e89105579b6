"""What a data set is: uint8 images, labels, and the facts a checkpoint keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

ROWS_AT_ONCE = 1024  # read out of a file


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


class MappedImageSet(ImageSet):
    """A split whose images stay in their file: those that are taken are read, and no others.

    Args:
        rows: (M, H, W, C) uint8, mapped from a file.
        places: (N,) int64, which of them this split has, in its order.
        labels: (N,) int64.
    """

    rows: Tensor
    places: Tensor

    def __init__(self, rows: Tensor, places: Tensor, labels: Tensor) -> None:
        for name, value in (("rows", rows), ("places", places), ("labels", labels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"<{len(self)} of {len(self.rows)} images in a file>"

    @property
    def images(self) -> Tensor:
        """All of them, read into memory."""
        return self._read(self.places)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self._read(self.places[index]), self.labels[index]

    def only(self, index: Tensor) -> MappedImageSet:
        """The images at `index` (M,) int64, in that order, none of them read."""
        return MappedImageSet(self.rows, self.places[index], self.labels[index])

    def read(self, device: torch.device) -> ImageSet:
        """All of it on `device`, through little memory of the machine's own."""
        return ImageSet(self._read(self.places, device), self.labels.to(device))

    @property
    def num_bytes(self) -> int:
        """Of its images."""
        return len(self) * self.rows[0].numel()

    def _read(self, places: Tensor, device: torch.device | None = None) -> Tensor:
        _, height, width, channels = self.rows.shape
        images = torch.empty(len(places), channels, height, width, dtype=torch.uint8, device=device)
        for start in range(0, len(places), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            images[part] = self.rows[places[part]].permute(0, 3, 1, 2)
        return images


@dataclass(frozen=True)
class DatasetFacts:
    """What networks, samplers and reports need to know of a data set without having it.

    Args:
        label_names: of the labels that a generator is asked for; empty for unconditional training.
        class_counts: training images of each of them.
        digest: SHA-256 over the images and labels of a set of the user's own; empty for sets that are known.
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

    def unlabelled(self) -> DatasetFacts:
        """As a generator sees the set that is asked for no labels."""
        return replace(self, label_names=(), class_counts=())


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


def split_validation(
    num_train: int, val_size: int, val_seed: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cuts a random validation part off `num_train` training images, the same for the same seed.

    Args:
        labels: (num_train,) int64; the last image of each class in the random order is then not cut off.

    Returns:
        The places of (training, validation) images, int64, sorted; disjoint, together all.
    """
    order = torch.randperm(num_train, generator=torch.Generator().manual_seed(val_seed))
    if labels is not None:
        last: dict[int, int] = {y: at for at, y in enumerate(labels[order].tolist())}
        kept = torch.zeros(num_train, dtype=torch.bool)
        kept[list(last.values())] = True
        order = torch.cat([order[~kept], order[kept]])
    return order[val_size:].sort().values, order[:val_size].sort().values
