"""What each kind of data set can do, and how official parts become a `Dataset`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet, split_validation
from ganctl.data.source import Source
from ganctl.errors import UsageError


@dataclass(frozen=True)
class Outline:
    """What loading would give, without the images.

    Args:
        facts: with nothing counted in `class_counts`.
        num_train, num_val, num_test: images.
        place: the folder or file that holds it on this machine; None where it would be fetched or made.
        mapped: whether the images can stay in a file while they are trained on.
    """

    facts: DatasetFacts
    num_train: int
    num_val: int
    num_test: int
    place: Path | None
    mapped: bool = False


@dataclass(frozen=True)
class Family:
    """One kind of data set.

    Args:
        load: (source, val_size, val_seed) -> the set.
        outline: the same -> what `load` would give, fetching and decoding nothing.
        fetch: (force) -> the folder or file that holds it, fetched first if need be.
        label_fix: what the user can do when labels are wanted and there are none.
    """

    load: Callable[[Source, int | None, int], Dataset]
    outline: Callable[[Source, int | None, int], Outline]
    fetch: Callable[[bool], Path]
    label_fix: str = ""


def of_parts(
    name: str, label_names: tuple[str, ...], train: ImageSet, test: ImageSet, kept: Tensor, held_out: Tensor
) -> Dataset:
    """A labelled set of official parts in memory; the places of training and validation as from `cut`."""
    val, train = train.subset(held_out), train.subset(kept)
    facts = DatasetFacts(
        name=name,
        label_names=label_names,
        channels=train.images.shape[1],
        resolution=train.images.shape[2],
        class_counts=count(train.labels, label_names),
    )
    return Dataset(facts=facts, train=train, val=val, test=test)


def count(labels: Tensor, label_names: tuple[str, ...]) -> tuple[int, ...]:
    """Images of each class."""
    return tuple(labels.bincount(minlength=len(label_names)).tolist()) if label_names else ()


def cut(
    name: str, num_train: int, val_size: int, val_seed: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The places of (training, validation) images among the official training images.

    Args:
        labels: (num_train,) int64; the training part then keeps an image of each class.

    Raises:
        UsageError: nothing would be left to train on.
    """
    most = num_train - (1 if labels is None else max(1, len(labels.unique())))
    if not 0 <= val_size <= most:
        raise UsageError(
            f"val_size={val_size} does not fit: {name} has {num_train} training images",
            f"give a val_size from 0 to {most}",
        )
    return split_validation(num_train, val_size, val_seed, labels)


def cut_own(
    name: str, num_train: int, labels: Tensor | None, val_size: int | None, val_seed: int
) -> tuple[Tensor, Tensor]:
    """As `cut`, of a set of the user's own: without `val_size` a tenth, at most 5 000, and what the classes
    can spare."""
    if val_size is None:
        spare = num_train - (1 if labels is None else len(labels.unique()))
        val_size = min(max(1, num_train // 10), 5000, spare)
    return cut(name, num_train, val_size, val_seed, labels)
