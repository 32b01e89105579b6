"""Images from files, as streams of uint8 batches: a folder of PNGs, or an `.npz`.

A folder is read in constant memory, batch by batch. The arrays of an `.npz` are loaded whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ganctl import npz, pngs
from ganctl.errors import UsageError, nearest
from ganctl.images import file_name
from ganctl.label_names import numbered
from ganctl.png_folder import ImageFolder, open_folder

MAX_LABEL_CHARS = 200

_PATH_FIX = "give a folder of PNGs, or an .npz with images"
_LABEL_FIX = (
    "put the images into one folder per class, name them <label>_seed<number>.png, "
    "or give an .npz with labels"
)


class Images(Protocol):
    """Square uint8 images of one size and mode, in a fixed order.

    Args:
        name: of the folder or file, without where it lies.
        num_images: N.
        channels: 1 (grey) or 3 (RGB).
        resolution: height and width.
        labels: N places in `label_names`, or None where not every image has a label.
        label_names: the labels that occur, as the folder or file writes them.
        digest: SHA-256 in hex over what the images and labels are made from.
    """

    @property
    def name(self) -> str: ...
    @property
    def num_images(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def resolution(self) -> int: ...
    @property
    def labels(self) -> list[int] | None: ...
    @property
    def label_names(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> str: ...

    def batches(self, index: Sequence[int], size: int = 64) -> Iterator[Tensor]:
        """Yields the images at `index` in that order, (b, C, H, W) uint8 on the CPU, b ≤ size."""
        ...


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """The arrays of an `.npz`, held in memory.

    Args:
        images: (N, H, W, C) uint8; the rest as in `Images`.
    """

    name: str
    images: Tensor = field(repr=False)
    labels: list[int] | None = field(repr=False)
    label_names: tuple[str, ...]
    digest: str

    @property
    def num_images(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    @property
    def resolution(self) -> int:
        return self.images.shape[1]

    def batches(self, index: Sequence[int], size: int = 64) -> Iterator[Tensor]:
        """As in `Images`."""
        for start in range(0, len(index), size):
            chosen = self.images[list(index[start : start + size])]
            yield chosen.permute(0, 3, 1, 2).contiguous()


def open_images(path: Path) -> ImageFolder | ImageArrays:
    """Opens a folder of PNGs or an `.npz`, and checks all that can be checked without decoding pixels.

    A folder's PNGs lie in it, or in one sub-folder for each class. Without sub-folders the labels are those
    in the names that `ganctl sample --outdir` writes, or in its text chunks. Hidden files are left out.

    Raises:
        UsageError: names the file that cannot be used, why, and what to do.
    """
    try:
        if path.is_dir():
            return open_folder(path)
        if path.suffix.lower() == ".npz" and path.is_file():
            return _open_npz(path)
        path.stat()
    except OSError as error:
        raise UsageError(
            f"cannot read {error.filename or path}: {error.strerror or error}",
            _PATH_FIX,
        ) from error
    raise UsageError(
        f"{path} is neither a folder nor an .npz", "give a folder of PNGs, or an .npz with images"
    )


def choose(images: Images, n: int, seed: int) -> list[int]:
    """The places of n random images, in random order: folders are often sorted by class.

    Raises:
        UsageError: there are not that many.
    """
    if not 1 <= n <= images.num_images:
        raise UsageError(
            f"{images.name} has {images.num_images} images, {n} were asked for",
            f"ask for {images.num_images} at most",
        )
    return torch.randperm(images.num_images, generator=torch.Generator().manual_seed(seed))[:n].tolist()


def labels_among(images: Images, names: Sequence[str], *, numbered: bool) -> list[int]:
    """The label of each image as a place in `names`, for a metric that needs labels.

    Args:
        names: the labels to translate into: a data set's, or those of another folder.
        numbered: also take the number 3 as the place 3. Right for a data set, whose order is fixed; wrong for
            a folder, whose order is that of its names.

    Raises:
        UsageError: there are no labels, or one of them is not in `names`.
    """
    if images.labels is None:
        raise UsageError(f"{images.name} has no labels, and metrics of each class need them", _LABEL_FIX)
    # Names were made safe for the file system when the files were written.
    places = {file_name(name): i for i, name in enumerate(names)} | {name: i for i, name in enumerate(names)}
    translated = []
    for label in images.label_names:
        if label in places:
            translated.append(places[label])
        elif numbered and re.fullmatch(r"[0-9]{1,9}", label) and int(label) < len(names):
            translated.append(int(label))
        else:
            raise UsageError(f"{images.name} has the label {label!r}, not known here", nearest(label, names))
    return [translated[y] for y in images.labels]


def _open_npz(path: Path) -> ImageArrays:
    images, labels, label_names = npz.read(path, ("images", "labels", "label_names"))
    if images is None:
        raise UsageError(f"{path} has no array 'images'", "write one of uint8 (N, H, W, C) with numpy.savez")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise UsageError(
            f"images in {path} are {images.dtype} {images.shape}",
            "give uint8 (N, H, W, C) with 1 or 3 channels C",
        )
    pngs.require_square(path, images.shape[1], images.shape[2])
    images = np.ascontiguousarray(images)
    sha = hashlib.sha256(f"{images.shape}\n".encode())
    sha.update(images.data)
    names = None
    if labels is not None:
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
            raise UsageError(
                f"labels in {path} are {labels.dtype} {labels.shape}",
                f"give {len(images)} whole numbers from 0, one for each image",
            )
        words = _words(path, label_names, int(labels.max()))
        names = [str(y) if words is None else words[y] for y in labels.tolist()]
        sha.update(" ".join(names).encode())
    numbers, occurring = (None, ()) if names is None else numbered(names)
    return ImageArrays(path.name, torch.from_numpy(images), numbers, occurring, sha.hexdigest())


def _words(path: Path, label_names: np.ndarray | None, largest: int) -> list[str] | None:
    """The names of labels 0, 1, … as a file of `ganctl data prepare` has them; None where it has none.

    Raises:
        UsageError: they are not words, not of every label, or not all different.
    """
    if label_names is None:
        return None
    if label_names.dtype.kind != "U" or label_names.ndim != 1 or label_names.itemsize > 4 * MAX_LABEL_CHARS:
        raise UsageError(
            f"label_names in {path} are {label_names.dtype} {label_names.shape}",
            f"give a row of words of at most {MAX_LABEL_CHARS} letters",
        )
    words: list[str] = label_names.tolist()
    if largest >= len(words) or len(set(words)) < len(words):
        raise UsageError(
            f"label_names in {path} are {len(set(words))} different words, the largest label is {largest}",
            "give one word for each label, or leave label_names out",
        )
    return words
