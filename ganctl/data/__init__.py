"""Data sets by name: resident uint8 tensors, split into train, validation and test."""

from __future__ import annotations

import logging
from pathlib import Path

from ganctl.data import digits, mnist, stacked
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet, split_validation
from ganctl.errors import UsageError, nearest

__all__ = ["LABEL_NAMES", "NAMES", "Dataset", "DatasetFacts", "ImageSet", "fetch", "find", "load"]

log = logging.getLogger("ganctl")

_IDX_SETS = {"mnist": mnist.MNIST, "fashion": mnist.FASHION, "stacked_mnist": mnist.MNIST}
NAMES = ("mnist", "fashion", "digits", "stacked_mnist")

_DIGITS = tuple("0123456789")
LABEL_NAMES: dict[str, tuple[str, ...]] = {
    "mnist": _DIGITS,
    "digits": _DIGITS,
    "stacked_mnist": (),  # its modes are for evaluation only
    # single words, so that they can be typed after --label
    "fashion": (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle-boot",
    ),
}


def load(
    name: str, root: str | Path | None = None, val_size: int | None = None, val_seed: int = 0
) -> Dataset:
    """Loads a data set, fetching it first if need be, and cuts the validation part off its training part.

    Args:
        name: one of `NAMES`.
        root: a folder that has the files; without it they are searched for and fetched.
        val_size: images for validation (of `stacked_mnist`: digits to stack); without it 5 000, or 300 of
            `digits`. 0 leaves no validation part.
        val_seed: which images these are.

    Raises:
        UsageError: unknown name, a `val_size` that leaves nothing to train on, a `root` without the files,
            an altered file, or no source that can be reached.
    """
    _check_name(name)
    if name == "digits":
        if root is not None:
            raise UsageError("digits comes with the package and takes no root", "leave root out")
        train, test = digits.load()
    else:
        train, test = mnist.load(_IDX_SETS[name], None if root is None else Path(root).expanduser())
    if val_size is None:
        val_size = 300 if name == "digits" else 5000
    if not 0 <= val_size < len(train):
        raise UsageError(
            f"val_size={val_size} does not fit: {name} has {len(train)} training images",
            f"give a val_size from 0 to {len(train) - 1}",
        )
    kept, held_out = split_validation(len(train), val_size, val_seed)
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


def find(name: str) -> Path | None:
    """The folder or file that holds a data set, checksums verified; None where it would have to be fetched.

    Raises:
        UsageError: unknown name, or an altered file.
    """
    _check_name(name)
    if name == "digits":
        return digits.PATH
    found = mnist.find(_IDX_SETS[name])
    return found.folder if found else None


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
    return mnist.fetch(_IDX_SETS[name], force)


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"there is no data set {name!r}", nearest(name, NAMES))
