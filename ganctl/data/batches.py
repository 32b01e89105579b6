"""Batches from images that lie on the training device: an index and a copy, no workers, no decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ganctl.data.dataset import ImageSet
from ganctl.errors import UsageError


class ResidentBatches:
    """Iterates over one rank's part of a split: each iteration goes to the end of an epoch.

    The order of an epoch is a pure function of (seed, epoch), the same on all ranks; rank r takes every
    `world_size`-th image from the r-th on. All ranks get equally many: up to `world_size` - 1 images at the
    order's end are left out, others in each epoch when shuffled.

    Args:
        image_set: on the device where the batches are wanted.
        batch_per_device: images in a batch of one rank.
        seed: of the orders.
        shuffle: a new order each epoch, and an iteration goes on where the one before stopped; False: every
            iteration begins anew, in the order of `image_set`.
        drop_last: leave out a last batch that is not full.
        first: number, over all epochs, of the batch to begin with: those before it were trained on.
        until: number of the batch before which to end; None for no end.

    Raises:
        UsageError: there are images, but not enough for one batch.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_per_device: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        first: int = 0,
        until: int | None = None,
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
        self.images_per_rank = len(image_set) // world_size
        extra = 0 if drop_last else batch_per_device - 1
        self.batches_per_epoch = (self.images_per_rank + extra) // batch_per_device
        if len(image_set) > 0 and self.batches_per_epoch == 0:
            raise UsageError(
                f"a batch of {batch_per_device} images on each of {world_size} device(s) is more than"
                f" the {len(image_set)} images of the split",
                f"give a batch size of at most {self.images_per_rank} per device",
            )
        self._next = first
        self._until = until

    def __len__(self) -> int:
        """Batches of the next iteration, equal on all ranks."""
        if not self.batches_per_epoch:
            return 0
        _, batch = self._position()
        left = self.batches_per_epoch - batch
        return left if self._until is None else max(0, min(left, self._until - self._next))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images (B, C, H, W) uint8, labels (B,) int64)."""
        length = len(self)
        if not length:
            return
        epoch, begin = self._position()
        order = self.order(epoch).to(self.image_set.images.device)
        for batch in range(begin, begin + length):
            # Counted before it is handed out: Lightning does not run an iterator of known length to its end.
            self._next += 1
            index = order[batch * self.batch_per_device : (batch + 1) * self.batch_per_device]
            yield self.image_set.take(index)

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

    def _position(self) -> tuple[int, int]:
        """(epoch, batch in it) of the next iteration's first batch."""
        return divmod(self._next, self.batches_per_epoch) if self.shuffle else (0, 0)
