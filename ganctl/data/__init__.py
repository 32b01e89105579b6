"""Data sets by name: resident uint8 tensors, split into train, validation and test."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ganctl.data import cifar10, digits, mnist, stacked
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet, split_validation
from ganctl.data.source import Source
from ganctl.errors import UsageError, nearest
from ganctl.label_names import LABEL_NAMES

__all__ = [
    "LABEL_NAMES",
    "NAMES",
    "Dataset",
    "DatasetFacts",
    "ImageSet",
    "Outline",
    "Source",
    "fetch",
    "load",
    "outline",
]

log = logging.getLogger("ganctl")

_IDX_SETS = {"mnist": mnist.MNIST, "fashion": mnist.FASHION, "stacked_mnist": mnist.MNIST}
NAMES = tuple(LABEL_NAMES)


def load(source: Source, val_size: int | None = None, val_seed: int = 0) -> Dataset:
    """Loads a data set, fetching it first if need be, and cuts the validation part off its training part.

    Args:
        source: its name is one of `NAMES`.
        val_size: images for validation (of `stacked_mnist`: digits to stack); without it 5 000, or 300 of
            `digits`. 0 leaves no validation part.
        val_seed: which images these are.

    Raises:
        UsageError: unknown name, a `val_size` that leaves nothing to train on, a `root` without the files,
            an altered file, or no source that can be reached.
    """
    name = source.name
    _check_name(name)
    if name == "digits":
        _no_root(source)
        train, test = digits.load()
    elif name == "cifar10":
        train, test = cifar10.load(source.root)
    else:
        train, test = mnist.load(_IDX_SETS[name], source.root)
    kept, held_out = _split(name, len(train), val_size, val_seed)
    if name == "stacked_mnist":
        return stacked.dataset(train, held_out, test)
    train, val = train.subset(kept), train.subset(held_out)
    label_names = LABEL_NAMES[name]
    facts = DatasetFacts(
        name=name,
        label_names=label_names,
        channels=train.images.shape[1],
        resolution=train.images.shape[2],
        class_counts=tuple(train.labels.bincount(minlength=len(label_names)).tolist()),
    )
    return Dataset(facts=facts, train=train, val=val, test=test)


@dataclass(frozen=True)
class Outline:
    """What `load` would return, without its images.

    Args:
        facts: with nothing counted in `class_counts`.
        num_train, num_val, num_test: images.
        place: the folder or file that holds it on this machine; None where it would be fetched.
    """

    facts: DatasetFacts
    num_train: int
    num_val: int
    num_test: int
    place: Path | None


def outline(source: Source, val_size: int | None = None, val_seed: int = 0) -> Outline:
    """What `load` would return for the same arguments. Fetches nothing; files that are there are checked.

    Raises:
        UsageError: as `load`, but for sources that cannot be reached.
    """
    name = source.name
    _check_name(name)
    place: Path | None
    if name == "digits":
        _no_root(source)
        train, test = digits.load()
        num_train, num_test, resolution = len(train), len(test), train.images.shape[2]
        channels, place = 1, digits.PATH
    elif name == "cifar10":
        num_train, num_test = cifar10.CIFAR10.num_train, cifar10.CIFAR10.num_test
        channels, resolution = 3, cifar10.CIFAR10.resolution
        there = cifar10.find(source.root)
        place = there.place if there else None
    else:
        spec = _IDX_SETS[name]
        num_train, resolution, _ = spec.train_images.shape
        num_test, channels = spec.test_images.shape[0], 1
        found = mnist.find(spec, source.root)
        place = found.folder if found else None
    kept, held_out = _split(name, num_train, val_size, val_seed)
    num_kept = len(kept)
    if name == "stacked_mnist":
        num_kept, channels = len(stacked.training_triples(num_train, held_out)), 3
        num_test = stacked.NUM_TEST
    facts = DatasetFacts(name, LABEL_NAMES[name], channels, resolution, class_counts=())
    return Outline(facts, num_kept, len(held_out), num_test, place)


def fetch(name: str, force: bool = False) -> Path:
    """Makes sure that a data set is on this machine.

    Args:
        force: fetch it anew into the cache, also when it is there already.

    Returns:
        The folder or file that holds it.

    Raises:
        UsageError: unknown name, an altered file (without `force`), or no source that can be reached.
    """
    _check_name(name)
    if name == "digits":
        log.info("digits comes with the package: nothing to fetch")
        return digits.PATH
    if name == "cifar10":
        return cifar10.fetch(force)
    return mnist.fetch(_IDX_SETS[name], force)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"there is no data set {name!r}", nearest(name, NAMES))


def _no_root(source: Source) -> None:
    if source.root is not None:
        raise UsageError("digits comes with the package and takes no root", "leave root out")


def _split(name: str, num_train: int, val_size: int | None, val_seed: int) -> tuple[Tensor, Tensor]:
    """The places of (training, validation) images among the official training images."""
    if val_size is None:
        val_size = 300 if name == "digits" else 5000
    if not 0 <= val_size < num_train:
        raise UsageError(
            f"val_size={val_size} does not fit: {name} has {num_train} training images",
            f"give a val_size from 0 to {num_train - 1}",
        )
    return split_validation(num_train, val_size, val_seed)
