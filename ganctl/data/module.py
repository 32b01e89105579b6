"""A data set as Lightning wants it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from ganctl.data.batches import ResidentBatches
from ganctl.data.dataset import Dataset, ImageSet


class ResidentData(pl.LightningDataModule):
    """Puts each split on the training device once, and hands every rank its batches of it.

    Args:
        dataset: the three splits, on the CPU.
        batch_per_device: images in a batch of one rank.
        seed: of the training order.
        total_steps: batches of the whole training; None for no end.
    """

    def __init__(
        self, dataset: Dataset, batch_per_device: int, seed: int, total_steps: int | None = None
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_per_device = batch_per_device
        self.seed = seed
        self.total_steps = total_steps
        self._resident: dict[str, ImageSet] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Of the training part, over all ranks at once."""
        assert self.trainer is not None
        return len(self.dataset.train) // (self.trainer.world_size * self.batch_per_device)

    def train_dataloader(self) -> ResidentBatches:
        """What is left of the epoch that the batches trained on have reached; shuffled, full batches only.

        To be asked for anew at each epoch (`reload_dataloaders_every_n_epochs=1`): a resumed run then goes on
        in the middle of one like in any other.
        """
        assert self.trainer is not None
        return self._batches("train", first=self.trainer.global_step, until=self.total_steps)

    def val_dataloader(self) -> ResidentBatches:
        """In order. For an empty split give the trainer `limit_val_batches=0`, or Lightning warns of it."""
        return self._batches("val", shuffle=False, drop_last=False)

    def test_dataloader(self) -> ResidentBatches:
        """In order."""
        return self._batches("test", shuffle=False, drop_last=False)

    def _batches(self, split: str, **options: Any) -> ResidentBatches:
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
            **options,
        )
