"""The embedded set: 1 797 real 8 × 8 digits, always there. See `ganctl/assets/digits.md`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ganctl.data.dataset import ImageSet

PATH = Path(__file__).resolve().parent.parent / "assets" / "digits.npz"


def load() -> tuple[ImageSet, ImageSet]:
    """Returns (1 500 training images, 297 test images), images (N, 1, 8, 8) uint8 in 0..255."""
    with np.load(PATH, allow_pickle=False) as arrays:
        train, test = (
            ImageSet(
                torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1),
                torch.from_numpy(arrays[f"{split}_labels"]).long(),
            )
            for split in ("train", "test")
        )
    return train, test
