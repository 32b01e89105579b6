"""What an `.npz` of the user's own says it holds: all but the pixels, checked before it is believed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganctl import npz
from ganctl.data.dataset import DatasetFacts
from ganctl.data.family import cut_own
from ganctl.data.split import test_places
from ganctl.errors import UsageError, printable

MAX_CLASSES = 10_000
MAX_NAME = 200  # characters
MAX_ABOUT = 1 << 16  # characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # no checkpoint takes a name with one
_WRITE = "write it with ganctl data prepare, or with numpy.savez"


@dataclass(frozen=True)
class ImageFile:
    """An `.npz` of images, opened: all but its images is in memory.

    Args:
        images: (N, H, H, C) uint8, by their header.
        labels: (N,) int64; None where there are none.
        train, test: (n,) int64, which images are of the official parts.
        noted: the digest that the file notes of itself, or nothing.
        held_out: how the test images were chosen, in words.
    """

    path: Path
    images: npz.Array
    labels: Tensor | None
    label_names: tuple[str, ...]
    train: Tensor
    test: Tensor
    noted: str
    held_out: str

    def cut(self, name: str, val_size: int | None, val_seed: int) -> tuple[Tensor, Tensor]:
        """The places in the file of the (training, validation) images."""
        labels = None if self.labels is None else self.labels[self.train]
        kept, held_out = cut_own(name, len(self.train), labels, val_size, val_seed)
        return self.train[kept], self.train[held_out]

    def facts(self, name: str, class_counts: tuple[int, ...], digest: str) -> DatasetFacts:
        _, resolution, _, channels = self.images.shape
        return DatasetFacts(name, self.label_names, channels, resolution, class_counts, digest)


def open_file(path: Path) -> ImageFile:
    """Opens an `.npz` and checks all but the pixels.

    Raises:
        UsageError: it cannot be read, or is no set of images.
    """
    if path.suffix.lower() != ".npz" or not path.is_file():
        what = "is no .npz" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}", "give the .npz of your images as data.root, or use data=folder")
    try:
        arrays = npz.headers(path)
        images = _images(path, arrays)
        num = images.shape[0]
        for name, length in (("labels", num), ("split", num), ("label_names", None), ("about", ())):
            _check_header(path, name, arrays, length)
        labels, names, split, about = npz.read(path, ("labels", "label_names", "split", "about"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", _WRITE) from error
    numbers, label_names = _labels(path, labels, names)
    train, test = _split(path, num, split, numbers)
    if numbers is not None:
        missing = sorted(set(range(len(label_names))) - set(numbers[train].tolist()))
        if missing:
            shown = ", ".join(printable(label_names[y]) for y in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise UsageError(
                f"{path} has no training image of {shown}{more}",
                "add images of each class, or leave its name out and number the labels without gaps",
            )
    held_out = "a tenth of each class, cut once" if split is None else "the file's own split"
    return ImageFile(path, images, numbers, label_names, train, test, _noted(path, about), held_out)


def _images(path: Path, arrays: dict[str, npz.Array]) -> npz.Array:
    images = arrays.get("images")
    if images is None:
        raise UsageError(f"{path} has no array 'images'", "write one of uint8 (N, H, W, C) with numpy.savez")
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or shape[1] != shape[2]:
        raise UsageError(
            f"images in {path} are {images.dtype} {shape}",
            "give uint8 (N, H, W, C) with H = W and 1 or 3 channels C: ganctl data prepare makes them so",
        )
    if shape[0] < 2 or not shape[1]:
        raise UsageError(f"{path} has {shape[0]} image(s)", "give at least two: one to train on, one to test")
    return images


def _check_header(
    path: Path, name: str, arrays: dict[str, npz.Array], length: int | tuple[()] | None
) -> None:
    """Before it is loaded: as many numbers as images, or words that are few and short enough."""
    array = arrays.get(name)
    if array is None:
        return
    if isinstance(length, int):
        fits, fix = array.dtype.kind in "iu" and array.shape == (length,), f"give {length} whole numbers"
    else:
        most = MAX_CLASSES * MAX_NAME if length is None else MAX_ABOUT
        dimensions = 1 if length is None else 0
        fits = array.dtype.kind == "U" and len(array.shape) == dimensions and array.num_bytes <= 4 * most
        fix = _WRITE
    if not fits:
        raise UsageError(f"{name} in {path} are {array.dtype} {array.shape}", fix)


def _labels(
    path: Path, labels: np.ndarray | None, names: np.ndarray | None
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The numbers, and the name of each number."""
    if labels is None:
        return None, ()
    low, high = int(labels.min()), int(labels.max())
    num_classes = min(high + 1, MAX_CLASSES) if names is None else len(names)
    if low < 0 or high >= num_classes or num_classes > MAX_CLASSES:
        raise UsageError(
            f"labels in {path} go from {low} to {high}, of {num_classes} classes",
            f"number the classes from 0, {MAX_CLASSES} of them at most",
        )
    known = tuple(map(str, range(num_classes) if names is None else names.tolist()))
    if len(set(known)) < len(known) or any(not 0 < len(n) <= MAX_NAME or _CONTROL.search(n) for n in known):
        raise UsageError(
            f"label_names in {path} are empty, too long, with control characters, or not all different",
            "give each class a name of its own",
        )
    return torch.from_numpy(labels.astype(np.int64)), known


def _split(path: Path, num: int, split: np.ndarray | None, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """The places of the official (training, test) images."""
    if split is None:
        places = test_places(None if labels is None else labels.numpy(), num)
        split = np.zeros(num, np.uint8)
        split[places] = 1
    train, test = (torch.from_numpy(np.flatnonzero(split == part)) for part in (0, 1))
    if not len(train) or not len(test) or len(train) + len(test) < num:
        raise UsageError(
            f"split in {path} has {len(train)} training and {len(test)} test images of {num}",
            "give each image 0 (train) or 1 (test), some of both, or leave split out",
        )
    return train, test


def _noted(path: Path, about: np.ndarray | None) -> str:
    """The digest in `about`."""
    if about is None:
        return ""
    try:
        said: Any = json.loads(str(about))
        version, digest = said["format"], said["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"about in {path} is damaged", _WRITE) from error
    if version != 1:
        raise UsageError(f"{path} has format {version!r:.20}, this ganctl reads format 1", "prepare it again")
    return str(digest)
