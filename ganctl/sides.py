"""The two sides of an evaluation: what was generated, and the real images it is held against."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ganctl import generate, inputs
from ganctl.data.dataset import Dataset, ImageSet
from ganctl.errors import UsageError
from ganctl.metrics.cache import load_statistics
from ganctl.metrics.extract import Extracted, in_batches
from ganctl.snapshot import Snapshot

log = logging.getLogger("ganctl")


@dataclass(frozen=True)
class Side:
    """A set of images that can be streamed as often as needed.

    Args:
        num: of images.
        batches: starts a stream of some of them, (n, C, H, W) uint8 each.
        labels: (num,) int64, what the images are; None where they have none or nobody knows.
        key: what the statistics of these images are kept under; None where they are not worth keeping.
    """

    num: int
    batches: Callable[[range], Iterator[Tensor]]
    labels: Tensor | None
    key: Mapping[str, str | int | None] | None = None

    def images(self) -> Tensor:
        """(num, C, H, W) uint8 on the CPU: all of them in memory."""
        return torch.cat([batch.cpu() for batch in self.batches(range(self.num))])


class Fakes(Protocol):
    """What was generated.

    Args:
        num: images of one evaluation.
        shape: (channels, resolution) of them.
        protocol: its entries in the report.
        many: whether another seed gives other images, so that an evaluation can be repeated.
    """

    num: int
    shape: tuple[int, int]
    protocol: dict[str, Any]
    many: bool

    def side(self, seed: int) -> Side:
        """The images of one evaluation."""
        ...

    def name_labels(self, names: tuple[str, ...]) -> None:
        """Their labels become places among `names`, those that the real side or a classifier has.

        Raises:
            UsageError: files have other labels.
        """
        ...


class CheckpointFakes:
    """Images of the averaged generator: image k has seed `seed + k`, labels as in the training set."""

    many = True

    def __init__(self, snapshot: Snapshot, num: int, device: torch.device, trust_code: bool) -> None:
        generate.require_possible(num)
        self.num = num
        self.shape = (snapshot.facts.channels, snapshot.facts.resolution)
        self._snapshot, self._device = snapshot, device
        G = snapshot.build(trust_code=trust_code)
        self._G = G.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._labels = generate.proportional_labels(snapshot.facts.class_counts, num)
        self._labelled = snapshot.facts.num_classes > 0
        self.protocol: dict[str, Any] = {
            "num_gen": num,
            "labels": "in the proportions of the training set" if self._labelled else "none: unconditional",
            "weights": "EMA",
            "checkpoint": snapshot.digest,
            "nimg": snapshot.nimg,
        }

    def name_labels(self, names: tuple[str, ...]) -> None:
        """Labels of other data mean something else: nothing is then said of them."""
        own = self._snapshot.facts.label_names
        if self._labelled and names and own != names:
            log.warning(
                "the generator knows other labels than the real images: scores of labels are left out"
            )
            self._labelled = False

    def side(self, seed: int) -> Side:
        seeds = range(seed, seed + self.num)
        latent_dim = self._snapshot.latent_dim

        def batches(part: range) -> Iterator[Tensor]:
            some = slice(part.start, part.stop)
            return generate.batches(self._G, latent_dim, self._labels[some], seeds[some], self._device)

        return Side(self.num, batches, torch.tensor(self._labels) if self._labelled else None)


class FileFakes:
    """Images of a folder or an `.npz`; their labels as places among `label_names`, if they have any."""

    many = False

    def __init__(
        self, path: Path, num: int | None, seed: int, label_names: tuple[str, ...] | None = None
    ) -> None:
        self._images = inputs.open_images(path)
        self.num = num or self._images.num_images
        self.shape = (self._images.channels, self._images.resolution)
        self._index = inputs.choose(self._images, self.num, seed)
        self._labels: Tensor | None = None
        self.protocol: dict[str, Any] = {
            "num_gen": self.num,
            "labels": "unknown",
            "images": self._images.name,
            "images_sha256": self._images.digest,
        }
        if label_names is not None:
            self.name_labels(label_names)

    def name_labels(self, names: tuple[str, ...]) -> None:
        """As in `Fakes`."""
        if self._images.labels is None or not names:
            return
        labels = inputs.labels_among(self._images, names, numbered=True)
        self._labels = torch.tensor(labels)[self._index]
        self.protocol["labels"] = "as in the files"

    def side(self, seed: int) -> Side:
        return Side(
            self.num,
            lambda part: self._images.batches(self._index[part.start : part.stop]),
            self._labels,
        )


@dataclass(frozen=True)
class Reals:
    """The real side.

    Args:
        protocol: its entries in the report.
        side: real images to compare with; None where only their statistics are there.
        statistics: of them, and the key they were made under, where they come from a file.
        floor: real images to put in the generator's place; None where there are none.
        dataset: whole, for the scores that need training images; None for a folder or a file.
    """

    protocol: dict[str, Any]
    side: Side | None
    statistics: tuple[Extracted, dict[str, str | int | None]] | None = None
    floor: Side | None = None
    dataset: Dataset | None = None


def of_dataset(dataset: Dataset, fakes: Fakes, seed: int) -> Reals:
    """Random test images, for the floor random training images: as many as there are fakes, or all.

    Raises:
        UsageError: the images have another shape than the fakes.
    """
    facts, num = dataset.facts, fakes.num
    _require_one_shape(facts.name, (facts.channels, facts.resolution), fakes.shape)
    real, floor = _part(dataset.test, num, seed), _part(dataset.train, num, seed)
    name = facts.name
    own = bool(dataset.held_out)
    protocol = {
        "data": name,
        "real": f"{f'held-out test images ({dataset.held_out})' if own else 'official test images'}, "
        "chosen at random with the seed",
        "num_real": len(real),
        "floor": f"{'as many' if len(floor) == num else 'all'} {'' if own else 'official '}training images",
    }
    if facts.digest:
        protocol["real_sha256"] = facts.digest
    return Reals(
        protocol,
        _of_images(real, {"data": name, "split": "test", "num": len(real), "seed": seed}),
        floor=_of_images(floor, {"data": name, "split": "train", "num": len(floor), "seed": seed}),
        dataset=dataset,
    )


def of_path(path: Path, shape: tuple[int, int], label_names: tuple[str, ...] = ()) -> Reals:
    """A folder or `.npz` of real images, all of them, or a statistics file; there is no floor then.

    Args:
        label_names: that a classifier knows: the labels of the images become places among them.

    Raises:
        UsageError: it cannot be read, or its images have another shape than the fakes, or other labels.
    """
    floor = "none: there are no other real images"
    if path.suffix == ".safetensors":
        extracted, key = load_statistics(path)
        count = int(extracted.moments.count)
        protocol = {"data": path.name, "real": "statistics of images", "num_real": count}
        return Reals(protocol | {"floor": floor}, None, statistics=(extracted, key))
    images = inputs.open_images(path)
    _require_one_shape(str(path), (images.channels, images.resolution), shape)
    labels = None
    if label_names and images.labels is not None:
        labels = torch.tensor(inputs.labels_among(images, label_names, numbered=True))
    return Reals(
        {
            "data": images.name,
            "real": "all images",
            "real_sha256": images.digest,
            "num_real": images.num_images,
            "floor": floor,
        },
        Side(
            images.num_images,
            images.batches,
            labels,
            {"data": images.name, "sha256": images.digest, "num": images.num_images},
        ),
    )


def _require_one_shape(name: str, real: tuple[int, int], fake: tuple[int, int]) -> None:
    if real != fake:
        shapes = [f"{channels} × {size} × {size}" for channels, size in (real, fake)]
        raise UsageError(
            f"{name} has {shapes[0]} images, the generated ones are {shapes[1]}",
            "compare images of one size",
        )


def _of_images(images: ImageSet, key: Mapping[str, str | int | None]) -> Side:
    content = hashlib.sha256(images.images.contiguous().numpy().tobytes()).hexdigest()

    def batches(part: range) -> Iterator[Tensor]:
        return in_batches(images.images[part.start : part.stop])

    return Side(len(images), batches, images.labels, {**key, "sha256": content})


def _part(images: ImageSet, n: int, seed: int) -> ImageSet:
    """n random images, or all: test sets are ordered, so that the first n would be others than the rest."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:n])
