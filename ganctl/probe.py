"""How long a step of a training takes, and what memory it wants: tried on random images."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from ganctl import build
from ganctl.config_schema import Config
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.module import ImageData
from ganctl.gan import GAN

TIMED_S = 2.0  # of training steps, on random images
MAX_STEPS = 200
BATCHES = 8  # of random images


@dataclass(frozen=True)
class Measured:
    """Steps of this training on random images, on this machine and now, in one process.

    Args:
        steps: how many were timed, after those of the warm-up.
        seconds_per_step: their median.
        peak_bytes: of a GPU what torch had allocated at most; otherwise the memory of the whole process.
    """

    steps: int
    seconds_per_step: float
    peak_bytes: int


def measure(
    cfg: Config,
    gan: GAN,
    facts: DatasetFacts,
    batch: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Trains `gan` as `ganctl train` does, one process alone, on random images of the right size.

    Args:
        batch: images of a step of one process.
        clock: seconds; `time.process_time` leaves out what others do on the machine.
    """
    n = BATCHES * batch
    generator = torch.Generator().manual_seed(cfg.seed)
    shape = (n, facts.channels, facts.resolution, facts.resolution)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    random = ImageSet(images, torch.randint(max(1, facts.num_classes), (n,), generator=generator))
    few = random.subset(torch.arange(batch))
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    single = cfg.model_copy(update={"trainer": cfg.trainer.model_copy(update=alone)})
    trainer = build.build_trainer(single, MAX_STEPS)
    steps = _Steps(clock)
    trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    trainer.fit(gan, datamodule=ImageData(Dataset(facts, random, few, few), batch, cfg.seed))
    # The first steps make what the others use again.
    warm = steps.seconds[min(3, len(steps.seconds) // 2) :]
    return Measured(len(warm), statistics.median(warm), _peak_bytes(trainer.strategy.root_device))


class _Steps(pl.Callback):
    """Times steps, and ends the training when that has taken long enough."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: list[float] = []
        self._clock = clock
        self._started = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        _wait(trainer.strategy.root_device)
        self._started = self._clock()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        _wait(trainer.strategy.root_device)
        self.seconds.append(self._clock() - self._started)
        trainer.should_stop = sum(self.seconds) > TIMED_S


def _wait(device: torch.device) -> None:
    """A GPU works while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
