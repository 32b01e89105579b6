"""Batches from images that lie on the training device: an index and a copy, no workers, no decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ganctl.data.dataset import ImageSet
from ganctl.errors import UsageError


class ResidentBatches:
    """Iterates over one rank's part of a split, epoch by epoch.

    The order of an epoch is a pure function of (seed, epoch), the same on all ranks; rank r takes every
    `world_size`-th image from the r-th on. All ranks get equally many: up to `world_size` - 1 images at the
    order's end are left out, others in each epoch when shuffled.

    Args:
        image_set: on the device where the batches are wanted.
        batch_per_device: images in a batch of one rank.
        seed: of the orders.
        shuffle: a new order each epoch; False keeps the order of `image_set`.
        drop_last: leave out a last batch that is not full.

    Raises:
        UsageError: there are images, but not enough for one batch.
    """

    batch_sampler = None  # Lightning reads it of everything that has a `sampler`

    def __init__(
        self,
        image_set: ImageSet,
        batch_per_device: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        if batch_per_device < 1:
            raise UsageError(
                f"a batch of {batch_per_device} images is no batch", "give a batch size of at least 1"
            )
        self.image_set = image_set
        self.batch_per_device = batch_per_device
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.images_per_rank = len(image_set) // world_size
        if len(image_set) > 0 and len(self) == 0:
            raise UsageError(
                f"a batch of {batch_per_device} images on each of {world_size} device(s) is more than"
                f" the {len(image_set)} images of the split",
                f"give a batch size of at most {self.images_per_rank} per device",
            )
        self.epoch = 0
        self._batch = 0  # batches handed out in this epoch
        self._resumed = False

    def __len__(self) -> int:
        """Batches of one epoch, equal on all ranks."""
        extra = 0 if self.drop_last else self.batch_per_device - 1
        return (self.images_per_rank + extra) // self.batch_per_device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images (B, C, H, W) uint8, labels (B,) int64).

        A finished epoch is followed by the next one, a broken-off one is begun anew, and after
        `load_state_dict` it goes on where the state was taken. Counting happens before each yield, as
        Lightning does not run a generator of known length to its end.
        """
        if self._batch >= len(self):
            self.epoch += 1
            self._batch = 0
        elif not self._resumed:
            self._batch = 0
        self._resumed = False
        order = self.order(self.epoch).to(self.image_set.images.device)
        for batch in range(self._batch, len(self)):
            self._batch = batch + 1
            index = order[batch * self.batch_per_device : (batch + 1) * self.batch_per_device]
            yield self.image_set.images[index], self.image_set.labels[index]

    def order(self, epoch: int) -> Tensor:
        """This rank's images in the order of `epoch`: (images_per_rank,) int64 indices on the CPU."""
        if self.shuffle:
            # hashed: neighbouring seeds and epochs must not share orders, as seed + epoch would
            key = hashlib.blake2b(f"order {self.seed} {epoch}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key, "big"))
            order = torch.randperm(len(self.image_set), generator=generator)
        else:
            order = torch.arange(len(self.image_set))
        return order[self.rank :: self.world_size][: self.images_per_rank]

    @property
    def sampler(self) -> ResidentBatches:
        """Itself: Lightning calls `loader.sampler.set_epoch(epoch)` before it iterates."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The next iteration runs this epoch from its start, or from a loaded state of the same epoch."""
        if epoch != self.epoch or not self._resumed:
            self.epoch = epoch
            self._batch = 0
            self._resumed = False

    def state_dict(self) -> dict[str, int]:
        """The epoch and the batches already handed out in it."""
        return {"epoch": self.epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on after the last batch of `state`."""
        self.epoch = state["epoch"]
        self._batch = state["batch"]
        self._resumed = True
