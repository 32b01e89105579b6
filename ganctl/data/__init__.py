"""Data sets by name: uint8 images, split into train, validation and test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ganctl.data import digits, folder, mnist, npz_file, stacked
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.family import Family, Outline
from ganctl.data.source import Source
from ganctl.errors import UsageError, nearest
from ganctl.label_names import LABEL_NAMES

__all__ = [
    "FAMILIES",
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

FAMILIES: dict[str, Family] = {
    "digits": digits.FAMILY,
    "mnist": mnist.family(mnist.MNIST),
    "fashion": mnist.family(mnist.FASHION),
    "stacked_mnist": stacked.FAMILY,
    "folder": folder.FAMILY,
    "npz": npz_file.FAMILY,
}
NAMES = tuple(FAMILIES)


def load(source: Source, val_size: int | None = None, val_seed: int = 0) -> Dataset:
    """Loads a data set, fetching or preparing it first if need be, and cuts the validation part off its
    training part.

    Args:
        source: its name is one of `FAMILIES`.
        val_size: images for validation (of `stacked_mnist`: digits to stack); without it 5 000, 300 of
            `digits`, or of one's own pictures a tenth of those to train on, at most 5 000. 0 leaves no
            validation part.
        val_seed: which images these are.

    Raises:
        UsageError: unknown name, a `val_size` that leaves nothing to train on, a `root` without the files,
            an altered file, labels wanted of a set that has none, or no source that can be reached.
    """
    family = _family(source.name)
    dataset = family.load(source, val_size, val_seed)
    return replace(dataset, facts=_as_wanted(dataset.facts, source, family))


def outline(source: Source, val_size: int | None = None, val_seed: int = 0) -> Outline:
    """What `load` would return for the same arguments. Fetches and decodes nothing; known files that are
    there are checked.

    Raises:
        UsageError: as `load`, but for sources that cannot be reached.
    """
    family = _family(source.name)
    found = family.outline(source, val_size, val_seed)
    return replace(found, facts=_as_wanted(found.facts, source, family))


def fetch(name: str, force: bool = False) -> Path:
    """Makes sure that a data set is on this machine.

    Args:
        force: fetch it anew into the cache, also when it is there already.

    Returns:
        The folder or file that holds it.

    Raises:
        UsageError: unknown name, an altered file (without `force`), or no source that can be reached.
    """
    return _family(name).fetch(force)


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise UsageError(f"there is no data set {name!r}", nearest(name, NAMES))
    return FAMILIES[name]


def _as_wanted(facts: DatasetFacts, source: Source, family: Family) -> DatasetFacts:
    """Never without labels by accident: that is said, or refused."""
    if source.conditional and not facts.num_classes:
        raise UsageError(
            f"{facts.name} has no labels, and data.conditional=true wants them", family.label_fix
        )
    return facts.unlabelled() if source.conditional is False else facts
