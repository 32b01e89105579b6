"""A folder of PNGs as images of one size and mode, read batch by batch in constant memory."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ganctl import pngs, progress
from ganctl.errors import UsageError
from ganctl.label_names import numbered

_OTHER_PICTURES = (".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_OUR_NAME = re.compile(r"(.+)_seed\d+\.png", re.IGNORECASE)


@dataclass(frozen=True)
class ImageFolder:
    """PNGs of a folder, in the order of their names. Only one batch is decoded at a time.

    Args:
        files: one for each image; the rest as in `inputs.Images`.
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
        """As in `inputs.Images`.

        Raises:
            UsageError: a file that cannot be decoded, or that changed since the folder was opened.
        """
        shape = pngs.Shape(self.channels, self.resolution, self.resolution)
        for start in range(0, len(index), size):
            yield torch.stack([pngs.decode(self.files[i], shape) for i in index[start : start + size]])


def open_folder(path: Path) -> ImageFolder:
    """As `inputs.open_images`."""
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
    names = _label_of_each(files, chunks, in_classes)
    labels, label_names = (None, ()) if names is None else numbered(names)
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
