"""A data set as Lightning wants it."""

from __future__ import annotations

import pytorch_lightning as pl

from ganctl.data.batches import ResidentBatches
from ganctl.data.dataset import Dataset, ImageSet


class ResidentData(pl.LightningDataModule):
    """Puts each split on the training device once, and hands every rank its batches of it.

    Args:
        dataset: the three splits, on the CPU.
        batch_per_device: images in a batch of one rank.
        seed: of the training order.
    """

    def __init__(self, dataset: Dataset, batch_per_device: int, seed: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_per_device = batch_per_device
        self.seed = seed
        self._resident: dict[str, ImageSet] = {}

    def train_dataloader(self) -> ResidentBatches:
        """Shuffled anew each epoch, full batches only."""
        return self._batches("train", shuffle=True)

    def val_dataloader(self) -> ResidentBatches:
        """In order. For an empty split give the trainer `limit_val_batches=0`, or Lightning warns of it."""
        return self._batches("val", shuffle=False)

    def test_dataloader(self) -> ResidentBatches:
        """In order."""
        return self._batches("test", shuffle=False)

    def _batches(self, split: str, shuffle: bool) -> ResidentBatches:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        resident = self._resident.get(split)
        if resident is None or resident.images.device != device:
            on_host: ImageSet = getattr(self.dataset, split)
            resident = ImageSet(on_host.images.to(device), on_host.labels.to(device))
            self._resident[split] = resident
        return ResidentBatches(
            resident,
            self.batch_per_device,
            self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            shuffle=shuffle,
            drop_last=shuffle,
        )
