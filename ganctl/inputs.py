"""Images from files, as streams of uint8 batches: a folder of PNGs, or an `.npz`.

A folder is read in constant memory, batch by batch. The arrays of an `.npz` are loaded whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ganctl import npz, pngs, progress
from ganctl.errors import UsageError, nearest
from ganctl.images import file_name
from ganctl.label_names import numbered

_OTHER_PICTURES = (".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_LABEL_CHARS = 200

_OUR_NAME = re.compile(r"(.+)_seed\d+\.png", re.IGNORECASE)
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


@dataclass(frozen=True)
class ImageFolder:
    """PNGs of a folder, in the order of their names. Only one batch is decoded at a time.

    Args:
        files: one for each image; the rest as in `Images`.
    """

    name: str
    files: tuple[Path, ...] = field(repr=False)
    channels: int
    resolution: int
    labels: list[int] | None = field(repr=False)
    label_names: tuple[str, ...]
    digest: str

    @property
    def num_images(self) -> int:
        return len(self.files)

    def batches(self, index: Sequence[int], size: int = 64) -> Iterator[Tensor]:
        """As in `Images`.

        Raises:
            UsageError: a file that cannot be decoded, or that changed since the folder was opened.
        """
        shape = pngs.Shape(self.channels, self.resolution, self.resolution)
        for start in range(0, len(index), size):
            yield torch.stack([pngs.decode(self.files[i], shape) for i in index[start : start + size]])


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
            return _open_folder(path)
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


def _open_folder(path: Path) -> ImageFolder:
    files, in_classes = _find_files(path)
    sha = hashlib.sha256()
    shape: pngs.Shape | None = None
    chunks: list[str | None] = []
    with progress.bar(len(files), "img", f"checking {path.name}") as bar:
        for file in files:
            content = pngs.read(file)
            own, chunk = pngs.check(file, content)
            shape = shape or own
            if own != shape:
                raise UsageError(
                    f"{path} mixes images: {file} is {own}, {files[0]} is {shape}",
                    "give a folder with images of one size and mode",
                )
            chunks.append(chunk)
            place = file.relative_to(path).as_posix()
            sha.update(f"{place} {hashlib.sha256(content).hexdigest()}\n".encode())
            bar.update()
    assert shape is not None
    labels, label_names = _numbered(_label_of_each(files, chunks, in_classes))
    return ImageFolder(
        path.resolve().name, tuple(files), shape.channels, shape.height, labels, label_names, sha.hexdigest()
    )


def _find_files(path: Path) -> tuple[list[Path], bool]:
    """The PNGs in order, and whether they lie in class folders."""
    flat, others, folders = _listing(path)
    inside: list[Path] = []
    for folder in folders:
        found, more, _ = _listing(folder)
        inside += found
        others += more if found else []
    if flat and inside:
        raise UsageError(
            f"{path} has images in itself ({flat[0].name}) and in sub-folders ({inside[0].parent.name})",
            "keep all in one folder, or all in one folder per class",
        )
    files = flat or inside
    if others:
        raise UsageError(
            f"{others[0]} is not a PNG",
            f"make one file of all pictures: ganctl data prepare {path} --resolution PIXELS --out FILE.npz",
        )
    if not files:
        raise UsageError(f"there are no PNGs in {path}", "give a folder of PNGs, or of one folder per class")
    return files, bool(inside)


def _listing(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """(PNGs, other pictures, folders), each sorted by name, without hidden ones."""
    pngs, others, folders = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif suffix == ".png":
                pngs.append(Path(entry.path))
            elif suffix in _OTHER_PICTURES:
                others.append(Path(entry.path))
    return pngs, others, folders


def _label_of_each(files: Sequence[Path], chunks: Sequence[str | None], in_classes: bool) -> list[str] | None:
    if in_classes:
        return [file.parent.name for file in files]
    names = [match[1] for file in files if (match := _OUR_NAME.fullmatch(file.name))]
    if len(names) == len(files):
        return names
    numbers = [chunk for chunk in chunks if chunk is not None]
    return numbers if len(numbers) == len(files) else None


def _numbered(names: Sequence[str] | None) -> tuple[list[int] | None, tuple[str, ...]]:
    return (None, ()) if names is None else numbered(names)


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
    numbers, occurring = _numbered(names)
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
