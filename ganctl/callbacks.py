"""What happens around the training step: logging, the progress bar, sample grids, scores.

They run in the order in which `train` lists them; scores come before the checkpoint that follows them.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from tqdm import tqdm

from ganctl import generate, images, progress
from ganctl.data.dataset import DatasetFacts, ImageSet
from ganctl.data.module import ImageData
from ganctl.errors import UsageError
from ganctl.gan import GAN
from ganctl.loggers import RunLog
from ganctl.metrics import confusion
from ganctl.metrics.classifier import LoadedClassifier
from ganctl.metrics.extract import Extracted, extract_together, in_batches
from ganctl.metrics.features import ClassifierExtractor
from ganctl.metrics.modes import mode_coverage
from ganctl.runs import RunFolder

log = logging.getLogger("ganctl")

# Latents of grids and scores while training; far from the seeds people ask for.
FIRST_SEED = 1_000_000_000


class StepLog(pl.Callback):
    """Every optimisation step and every validation epoch, straight to the loggers."""

    def __init__(self, run_log: RunLog) -> None:
        self.run_log = run_log

    def on_train_batch_end(
        self, trainer: pl.Trainer, gan: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(gan, GAN)
        self.run_log.scalars(outputs, step=gan.steps, images_seen=gan.nimg)

    def on_validation_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        self._losses(trainer, gan, "val/")

    def on_test_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        self._losses(trainer, gan, "test/")

    def _losses(self, trainer: pl.Trainer, gan: pl.LightningModule, prefix: str) -> None:
        assert isinstance(gan, GAN)
        row = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(prefix)}
        self.run_log.metrics(row, gan.steps, gan.nimg)


class ProgressBar(pl.Callback):
    """One bar for the whole training: images/s, the losses, the time left. On stderr."""

    def __init__(self, run_log: RunLog, total_steps: int, refresh_every_steps: int = 20) -> None:
        self.run_log = run_log
        self.total_steps = total_steps
        self.refresh_every_steps = refresh_every_steps
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        self._bar = progress.bar(
            self.total_steps, "step", initial=gan.steps, hidden=not trainer.is_global_zero, leave=True
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, gan: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(gan, GAN)
        if self._bar is None or (gan.steps % self.refresh_every_steps and gan.steps < self.total_steps):
            return
        last = self.run_log.last
        shown = {"d": "train/d_loss", "g": "train/g_loss", "img/s": "train/images_per_s"}
        values = {k: f"{last[key]:.4g}" for k, key in shown.items() if key in last}
        self._bar.set_postfix(values, refresh=False)
        self._bar.update(gan.steps - self._bar.n)

    def on_train_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: pl.Trainer, gan: pl.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class SampleGrids(pl.Callback):
    """`samples/reals.png` once, `samples/fakes_<step>.png` on fixed latents: one column for each class, or a
    square of `per_class` columns where there are no classes."""

    def __init__(
        self,
        run: RunFolder,
        run_log: RunLog,
        reals: ImageSet,
        facts: DatasetFacts,
        per_class: int,
        every_epochs: int,
    ) -> None:
        self.run, self.run_log, self.facts = run, run_log, facts
        self.reals, self.per_class, self.every_epochs = reals, per_class, every_epochs

    def on_train_start(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        if not trainer.is_global_zero or gan.steps:
            return
        reals = self._reals()
        if len(reals):
            self._save("reals", reals, "real images", gan.steps)
        self._fakes(gan)

    def on_train_epoch_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        if trainer.is_global_zero and _due(trainer, self.every_epochs):
            self._fakes(gan)

    def _reals(self) -> torch.Tensor:
        if not self.facts.num_classes:
            return self.reals.images[: self.per_class**2]
        rows = [torch.nonzero(self.reals.labels == y).flatten() for y in range(self.facts.num_classes)]
        # The rarest class says how many rows there can be.
        height = min(self.per_class, *(len(r) for r in rows))
        return self.reals.images[torch.stack([r[:height] for r in rows], dim=1).flatten()]

    def _fakes(self, gan: GAN) -> None:
        k = self.facts.num_classes
        if k:
            seeds = [FIRST_SEED + row for row in range(self.per_class) for _ in range(k)]
            labels = list(range(k)) * self.per_class
        else:
            seeds = [FIRST_SEED + i for i in range(self.per_class**2)]
            labels = [0] * len(seeds)
        fakes = generate.all_at_once(gan.G_ema, gan.numbers.latent_dim, labels, seeds, gan.device)
        self._save(f"fakes_{gan.steps:06d}", fakes, f"{gan.nimg / 1000:.1f} kimg", gan.steps)

    def _save(self, name: str, pixels: torch.Tensor, caption: str, step: int) -> None:
        names = self.facts.label_names
        picture = images.class_grid(pixels, names) if names else images.enlarged_grid(pixels, self.per_class)
        _save_png(picture, self.run.samples / f"{name}.png")
        self.run_log.image(f"samples/{name.partition('_')[0]}", picture, caption, step)


class Scores(pl.Callback):
    """Classifier FD of the averaged generator against the validation part, and its label accuracy; without
    labels the modes that it reaches, and their divergence from those of real images (of Stacked-MNIST, from
    the uniform distribution).

    Never against test images: `best.ckpt` follows these numbers. The ranks share the work, and all have the
    scores in `latest`.
    """

    def __init__(
        self,
        run: RunFolder,
        run_log: RunLog,
        classifier: LoadedClassifier,
        val: ImageSet,
        facts: DatasetFacts,
        num_gen: int,
        every_epochs: int,
    ) -> None:
        self.run, self.run_log, self.facts, self.val = run, run_log, facts, val
        self.classifier, self.every_epochs = classifier, every_epochs
        self.labels = generate.proportional_labels(facts.class_counts, num_gen)
        self.seeds = range(FIRST_SEED, FIRST_SEED + num_gen)
        self.fd_key = f"val/{classifier.prefix}_fd"
        self.latest: dict[str, float] = {}
        self._evaluations_drawn = 0
        self._real: tuple[ClassifierExtractor, Extracted] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        if not _due(trainer, self.every_epochs):
            return
        self.run_log.flush()
        if self._real is None:  # the device is known only now
            extractor = ClassifierExtractor(self.classifier, gan.device)
            self._real = extractor, extract_together(extractor, len(self.val), self._reals)
        extractor, real = self._real
        fakes = extract_together(extractor, len(self.labels), lambda part: self._fakes(gan, part))
        self.latest = {self.fd_key: fakes.frechet_distance(real)}
        pictures = {}
        if self.facts.num_classes:
            wanted = torch.tensor(self.labels)
            matrix = confusion.confusion_matrix(wanted, fakes.predicted, self.facts.num_classes)
            self.latest["val/label_accuracy"] = confusion.class_scores(matrix).accuracy
            pictures = confusion.figures(matrix, self.facts.label_names) if trainer.is_global_zero else {}
        else:
            num_modes = self.classifier.module.num_classes
            # The literature's reference on Stacked-MNIST is uniform; of other sets, what real images show.
            uniform = self.facts.name == "stacked_mnist"
            modes = torch.arange(num_modes) if uniform else real.predicted
            found = mode_coverage(fakes.predicted, modes, num_modes)
            self.latest["val/modes"] = float(found.modes)
            if math.isfinite(found.kl):
                self.latest["val/mode_kl"] = found.kl
        if not trainer.is_global_zero:
            return
        self.run_log.metrics(self.latest, gan.steps, gan.nimg)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in self.latest.items())
        log.info("epoch %d, %.0f kimg: %s", _epoch(trainer), gan.nimg / 1000, shown)
        if pictures:
            self._evaluations_drawn += 1
            # matplotlib's figures hold themselves in circles, megabytes that Python frees by itself after
            # half an hour; looking for them takes a part of a second, hence not each time.
            if self._evaluations_drawn % 10 == 0:
                gc.collect()
        for name, picture in pictures.items():
            _save_png(picture, self.run.samples / f"{name}_{gan.steps:06d}.png")
            self.run_log.image(f"val/{name}", picture, f"{gan.nimg / 1000:.1f} kimg", gan.steps)

    def _reals(self, part: range) -> Iterator[torch.Tensor]:
        return in_batches(self.val.images[part.start : part.stop])

    def _fakes(self, gan: GAN, part: range) -> Iterator[torch.Tensor]:
        labels, seeds = self.labels[part.start : part.stop], self.seeds[part.start : part.stop]
        return generate.batches(gan.G_ema, gan.numbers.latent_dim, labels, seeds, gan.device)


def _save_png(picture: Image.Image, path: Path) -> None:
    """A picture that cannot be written costs itself alone."""
    try:
        images.save_png(picture, path)
    except UsageError as error:
        log.warning("%s; training goes on", error.what)


def _due(trainer: pl.Trainer, every_epochs: int) -> bool:
    """Every `every_epochs`-th epoch, and the last one."""
    return _epoch(trainer) % every_epochs == 0 or trainer.global_step >= trainer.max_steps


def _epoch(trainer: pl.Trainer) -> int:
    """The epoch that has just ended, from 1. Lightning counts those since the last resume."""
    resident = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(resident, ImageData)
    return math.ceil(trainer.global_step / resident.batches_per_epoch)
