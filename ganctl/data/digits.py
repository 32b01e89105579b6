"""The embedded set: 1 797 real 8 × 8 digits, always there. See `ganctl/assets/digits.md`."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.family import Family, Outline, cut, of_parts
from ganctl.data.source import Source
from ganctl.errors import UsageError
from ganctl.label_names import LABEL_NAMES

log = logging.getLogger("ganctl")

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


def _load(source: Source, val_size: int | None, val_seed: int) -> Dataset:
    _no_root(source)
    train, test = load()
    return of_parts("digits", LABEL_NAMES["digits"], train, test, *_cut(len(train), val_size, val_seed))


def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
    _no_root(source)
    train, test = load()
    kept, held_out = _cut(len(train), val_size, val_seed)
    facts = DatasetFacts("digits", LABEL_NAMES["digits"], 1, train.images.shape[2], class_counts=())
    return Outline(facts, len(kept), len(held_out), len(test), PATH)


def _fetch(force: bool) -> Path:
    log.info("digits comes with the package: nothing to fetch")
    return PATH


def _cut(num_train: int, val_size: int | None, val_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return cut("digits", num_train, 300 if val_size is None else val_size, val_seed)


def _no_root(source: Source) -> None:
    if source.root is not None:
        raise UsageError("digits comes with the package and takes no root", "leave root out")


FAMILY = Family(_load, _outline, _fetch)
