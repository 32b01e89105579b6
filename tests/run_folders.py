"""Run folders as a training leaves them, with the metrics a test wants."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from ganctl.config import compose

CONFIG = yaml.safe_dump(compose(["experiment=quick", "data=digits"]).model_dump())
END = {"step": 4, "test/d_loss": 0.5, "images_seen": 64}


def rows(*scores: tuple[float, float]) -> list[dict[str, Any]]:
    """An epoch of two steps of 16 images for each (digit_fd, label_accuracy)."""
    found: list[dict[str, Any]] = []
    for epoch, (fd, accuracy) in enumerate(scores, 1):
        found += [{"step": s, "train/d_loss": 0.6, "images_seen": 16 * s} for s in (2 * epoch - 1, 2 * epoch)]
        score = {"val/digit_fd": fd, "val/label_accuracy": accuracy}
        found.append({"step": 2 * epoch, **score, "images_seen": 32 * epoch})
    return found


def make(
    folder: Path, *lines: dict[str, Any], age: float = 0, saved: bool = True, config: str = CONFIG
) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    os.utime(folder / "config.yaml", (1_000_000 - age, 1_000_000 - age))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if saved:
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
    return folder
