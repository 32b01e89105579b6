"""A data set as Lightning wants it."""

from __future__ import annotations

import logging
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from ganctl import devices, wording
from ganctl.data.batches import Batch, Batches
from ganctl.data.dataset import Dataset, ImageSet, MappedImageSet
from ganctl.errors import UsageError

log = logging.getLogger("ganctl")

Stream = Literal["auto", True, False]


def streams(num_bytes: int, stream: Stream, device: torch.device, processes: int = 1) -> bool:
    """Whether images that can stay in their file do: those that would take more than half of what is free.

    Args:
        num_bytes: of the images.
        processes: that share the memory of `device`.
    """
    if stream != "auto":
        return stream
    free = devices.free_bytes(device)
    return free is not None and num_bytes * processes > free / 2


def sharing(device: torch.device, processes: int) -> int:
    """How many of a machine's processes share the memory of a device: each has a GPU of its own."""
    return 1 if device.type == "cuda" else processes


class ImageData(pl.LightningDataModule):
    """Puts each split on the training device once, and hands every rank its batches of it. A split that does
    not fit stays in its file, and its batches are read when they are due.

    Args:
        dataset: the three splits, on the CPU or in a file.
        batch_per_device: images in a batch of one rank.
        seed: of the training order.
        total_steps: batches of the whole training; None for no end.
        stream: leave images in their file; `auto`: those that don't fit.

    Raises:
        UsageError: images are to be streamed that lie in no file they can be read from.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_per_device: int,
        seed: int,
        total_steps: int | None = None,
        stream: Stream = "auto",
    ) -> None:
        super().__init__()
        if stream is True and not isinstance(dataset.train, MappedImageSet):
            raise cannot_stream(dataset.facts.name)
        self.dataset = dataset
        self.batch_per_device = batch_per_device
        self.seed = seed
        self.total_steps = total_steps
        self.stream: Stream = stream
        self._resident: dict[str, ImageSet] = {}
        self._train: Batches | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Of the training part, over all ranks at once."""
        assert self.trainer is not None
        return len(self.dataset.train) // (self.trainer.world_size * self.batch_per_device)

    def train_dataloader(self) -> Batches:
        """What is left of the epoch that the batches trained on have reached; shuffled, full batches only.

        To be asked for anew at each epoch (`reload_dataloaders_every_n_epochs=1`): a resumed run then goes on
        in the middle of one like in any other.
        """
        assert self.trainer is not None
        self._train = self._batches("train", first=self.trainer.global_step, until=self.total_steps)
        return self._train

    def go_to(self, step: int, in_hand: Batch | None = None) -> None:
        """The batches from step `step` on come next, also within the epoch that has begun.

        Args:
            in_hand: a batch that was handed out and not trained on; it becomes the first of them.
        """
        assert self._train is not None
        self._train.go_to(step)
        if in_hand is not None:
            self._train.refill(in_hand)

    def val_dataloader(self) -> Batches:
        """In order. For an empty split give the trainer `limit_val_batches=0`, or Lightning warns of it."""
        return self._batches("val", shuffle=False, drop_last=False)

    def test_dataloader(self) -> Batches:
        """In order."""
        return self._batches("test", shuffle=False, drop_last=False)

    def _batches(self, split: str, **options: Any) -> Batches:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        image_set = self._resident.get(split)
        if image_set is None or not (
            isinstance(image_set, MappedImageSet) or image_set.images.device == device
        ):
            self._resident[split] = image_set = self._placed(split, device)
        return Batches(
            image_set,
            self.batch_per_device,
            self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            pin=isinstance(image_set, MappedImageSet) and device.type == "cuda",
            **options,
        )

    def _placed(self, split: str, device: torch.device) -> ImageSet:
        assert self.trainer is not None
        image_set: ImageSet = getattr(self.dataset, split)
        if not isinstance(image_set, MappedImageSet):
            return ImageSet(image_set.images.to(device), image_set.labels.to(device))
        processes = sharing(device, self.trainer.num_devices)
        if not streams(image_set.num_bytes, self.stream, device, processes):
            return image_set.read(device)
        size = wording.size(image_set.num_bytes)
        log.info("%s images stay in their file and are read batch by batch: %s", split, size)
        return image_set


def cannot_stream(name: str) -> UsageError:
    """What `data.stream=true` leads to where there is no file to read from."""
    return UsageError(
        f"data.stream=true: {name} lies in no file that batches can be read from",
        "leave it at data.stream=auto; folders stream, and an .npz that is not packed",
    )
