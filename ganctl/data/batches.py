"""Batches of images that lie on the training device, or that are read out of a file a few batches ahead."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ganctl.data.dataset import ImageSet, MappedImageSet
from ganctl.errors import UsageError

READ_AHEAD = 4  # batches

Batch = tuple[Tensor, Tensor]


class Batches:
    """Iterates over one rank's part of a split: each iteration goes to the end of an epoch.

    The order of an epoch is a pure function of (seed, epoch), the same on all ranks; rank r takes every
    `world_size`-th image from the r-th on. All ranks get equally many: up to `world_size` - 1 images at the
    order's end are left out, others in each epoch when shuffled.

    Args:
        image_set: on the device where the batches are wanted; or in a file, and a thread then reads ahead.
        batch_per_device: images in a batch of one rank.
        seed: of the orders.
        shuffle: a new order each epoch, and an iteration goes on where the one before stopped; False: every
            iteration begins anew, in the order of `image_set`.
        drop_last: leave out a last batch that is not full.
        first: number, over all epochs, of the batch to begin with: those before it were trained on.
        until: number of the batch before which to end; None for no end.
        pin: batches from a file lie in pinned memory, from which a copy to a GPU holds nothing up.

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
        pin: bool = False,
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
        self.pin = pin
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
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Batches of the next iteration, equal on all ranks."""
        if not self.batches_per_epoch:
            return 0
        if not self.shuffle:
            return self.batches_per_epoch
        left = self.batches_per_epoch - self._next % self.batches_per_epoch
        return left if self._until is None else max(0, min(left, self._until - self._next))

    def __iter__(self) -> Iterator[Batch]:
        """Yields (images (B, C, H, W) uint8, labels (B,) int64).

        Its place is looked at before each batch: after `go_to` it goes on there, also into another epoch,
        for as many batches as it had left.
        """
        length = len(self)
        if not self.shuffle:
            self._next = 0
        if isinstance(self.image_set, MappedImageSet):
            yield from self._read_ahead(length)
            return
        for _ in range(length):
            # Counted before it is handed out: Lightning does not run an iterator of known length to its end.
            self._next += 1
            yield self._batch(self._next - 1)

    def go_to(self, batch: int) -> None:
        """`batch`, a number over all epochs, is the next one."""
        self._next = batch

    def refill(self, batch: Batch) -> None:
        """Puts the next batch in the place of one that was handed out, and will not be trained on."""
        for given, wanted in zip(batch, self._batch(self._next), strict=True):
            given.copy_(wanted)
        self._next += 1

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

    def _read_ahead(self, length: int) -> Iterator[Batch]:
        """The next `length` batches, read by a thread, which ends with the iteration."""
        ahead: deque[tuple[int, Future[Batch]]] = deque()
        reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        try:
            for left in range(length, 0, -1):
                if ahead and ahead[0][0] != self._next:  # gone back: what was read is not what is wanted
                    for _, future in ahead:
                        future.cancel()
                    ahead.clear()
                while len(ahead) < min(READ_AHEAD, left):
                    number = self._next + len(ahead)
                    ahead.append((number, reader.submit(self._batch, number)))
                _, future = ahead.popleft()
                batch = future.result()
                self._next += 1
                yield batch
        finally:
            reader.shutdown(cancel_futures=True)

    def _batch(self, number: int) -> Batch:
        """Batch `number` over all epochs."""
        epoch, batch = divmod(number, self.batches_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = self.order(epoch)
            if not isinstance(self.image_set, MappedImageSet):
                order = order.to(self.image_set.images.device)
            self._order = epoch, order
        _, order = self._order
        index = order[batch * self.batch_per_device : (batch + 1) * self.batch_per_device]
        images, labels = self.image_set.take(index)
        return (images.pin_memory(), labels.pin_memory()) if self.pin else (images, labels)
