"""What it costs that images stay in their file: batches and training steps, streamed against resident.

    python scripts/bench_data.py --out streaming.json
    python scripts/bench_data.py --images 4000 --steps 20 --rounds 1 +experiment=quick

Writes a file of random RGB images and prepares nothing else: reads it once, so that the operating system has
it in its page cache, and then takes turns: an epoch of resident batches, one of streamed ones; some steps of
`ganctl train` on each. The ratio of a round is streamed by resident, of the same minute; the median of the
rounds is given, by the clock, which means something on a quiet machine alone, and by CPU time of all threads.
The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from ganctl import build, data
from ganctl.config import compose
from ganctl.config_schema import Config
from ganctl.data.batches import Batches
from ganctl.data.dataset import Dataset, MappedImageSet
from ganctl.data.module import ImageData

WARM_UP = 3  # steps that are not timed

Rates = tuple[float, float]  # images/s, images per second of CPU time


def write(path: Path, num: int, side: int) -> None:
    """Random images, a tenth of them to test with."""
    images = np.random.default_rng(0).integers(0, 256, (num, side, side, 3), np.uint8)
    labels, split = np.arange(num) // 10 % 10, (np.arange(num) % 10 == 9).astype(np.uint8)
    np.savez(path, images=images, labels=labels, split=split)


def of_batches(dataset: Dataset, resident: bool, batch: int) -> Rates:
    """Of an epoch of batches that nobody trains on."""
    train = dataset.train
    assert isinstance(train, MappedImageSet)
    batches = Batches(train.read(torch.device("cpu")) if resident else train, batch, seed=0)
    begun = _now()
    return _rates(sum(len(images) for images, _ in batches), begun)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _rates(images: int, begun: tuple[float, float]) -> Rates:
    wall, cpu = _now()
    return images / (wall - begun[0]), images / (cpu - begun[1])


class _Clock(pl.Callback):
    """When the warm-up had ended."""

    begun = 0.0, 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, i: int
    ) -> None:
        if i == WARM_UP:
            self.begun = _now()


def of_training(cfg: Config, dataset: Dataset, resident: bool, steps: int) -> Rates:
    """Of training steps."""
    pl.seed_everything(cfg.seed, verbose=False)
    with build.quiet_lightning():
        trainer = build.build_trainer(cfg, WARM_UP + steps)
        clock = _Clock()
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        gan = build.build_gan(cfg, dataset.facts, 10**6)
        held = ImageData(dataset, cfg.data.batch_size, cfg.seed, WARM_UP + steps, stream=not resident)
        trainer.fit(gan, datamodule=held)
    return _rates(steps * cfg.data.batch_size, clock.begun)


def rounds(measure: Callable[[bool], Rates], num: int) -> dict[str, dict[str, float]]:
    """Resident and streamed in turns: medians, and the median and extremes of the rounds' ratios."""
    pairs = []
    for i in range(num):
        first = measure(i % 2 == 0)  # who is first may have it harder
        second = measure(i % 2 == 1)
        pairs.append((first, second) if i % 2 == 0 else (second, first))
    found = {}
    for i, by in enumerate(("clock", "cpu_time")):
        ratios = [streamed[i] / resident[i] for resident, streamed in pairs]
        found[by] = {
            "resident_images_per_s": statistics.median(resident[i] for resident, _ in pairs),
            "streamed_images_per_s": statistics.median(streamed[i] for _, streamed in pairs),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="training steps of a round, after a warm-up")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        write(path, args.images, args.side)
        own = ["data=npz", f"data.root={path}", "trainer=cpu", "logger=none", "callbacks=none"]
        cfg = build.resolve_precision(compose([*args.overrides, *own]))
        dataset = data.load(data.Source.of_config(cfg.data.model_dump()), val_size=0)  # reads the file once
        load_before = os.getloadavg()[0]
        found = {
            "images": args.images,
            "shape": [3, args.side, args.side],
            "train_bytes": len(dataset.train) * 3 * args.side**2,
            "batch_size": cfg.data.batch_size,
            "page_cache": "warm",
            "precision": cfg.trainer.precision,
            "overrides": args.overrides,
            "batches": rounds(lambda r: of_batches(dataset, r, cfg.data.batch_size), args.rounds),
            "training": rounds(lambda r: of_training(cfg, dataset, r, args.steps), args.rounds),
            "load_average": [load_before, os.getloadavg()[0]],
            "cores": os.cpu_count(),
        }
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
