"""What a data set holds: how many images of each class, and a picture of some."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganctl import data, images, wording
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.source import Source
from ganctl.errors import printable

SPLITS = ("train", "val", "test")
MAX_ROWS = 100  # classes in the picture
ENLARGED_TO = 64  # pixels that an image in it is wide, where a whole factor makes it so


@dataclass(frozen=True)
class Contents:
    """
    Args:
        place: the folder or file that holds the set.
        counts: of each split, the images of each class; a single number where there are no label names.
        picture: some training images: a row for each class, a square without classes.
    """

    facts: DatasetFacts
    place: Path | None
    counts: dict[str, tuple[int, ...]]
    picture: Image.Image

    @property
    def resident_bytes(self) -> int:
        """Of all images and labels, as they lie on the device while training."""
        pixels = self.facts.channels * self.facts.resolution**2
        return (pixels + 8) * sum(map(sum, self.counts.values()))

    def text(self) -> str:
        """A line on the whole, and a table: a row for each class, a column for each split."""
        facts = self.facts
        kind = "grey" if facts.channels == 1 else "RGB"
        classes = f"{facts.num_classes} classes" if facts.label_names else "no labels"
        head = f"{facts.name}: {facts.resolution} × {facts.resolution} {kind}, {classes}, "
        head += f"{wording.size(self.resident_bytes)} as uint8, in {self.place}"
        columns = [["", *SPLITS]]
        for i, name in enumerate(facts.label_names):
            columns.append([name, *(f"{self.counts[split][i]:,}" for split in SPLITS)])
        columns.append(["all", *(f"{sum(self.counts[split]):,}" for split in SPLITS)])
        width = max(len(cell) for row in columns for cell in row[1:])
        rows = [[row[0], *(cell.rjust(width) for cell in row[1:])] for row in columns]
        return f"{head}\n\n{wording.columns(rows)}"

    def to_dict(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "name": facts.name,
            "place": str(self.place),
            "resolution": facts.resolution,
            "channels": facts.channels,
            "label_names": list(facts.label_names),
            "images": {split: sum(counts) for split, counts in self.counts.items()},
            "per_class": {
                name: {split: self.counts[split][i] for split in SPLITS}
                for i, name in enumerate(facts.label_names)
            },
            "resident_bytes": self.resident_bytes,
        }


def look(source: Source, per_class: int) -> Contents:
    """Loads a data set, fetching it first as training would, and counts it.

    Args:
        per_class: training images of each class in the picture, chosen at random, always the same; without
            classes its square.

    Raises:
        UsageError: as `data.load`.
    """
    before = data.outline(source).place
    dataset = data.load(source)
    return Contents(
        facts=dataset.facts,
        place=before or data.outline(source).place,
        counts={split: _counts(getattr(dataset, split), dataset.facts) for split in SPLITS},
        picture=_picture(dataset, per_class),
    )


def _counts(split: ImageSet, facts: DatasetFacts) -> tuple[int, ...]:
    if not facts.label_names:
        return (len(split),)
    return tuple(split.labels.bincount(minlength=facts.num_classes).tolist())


def _picture(dataset: Dataset, per_class: int) -> Image.Image:
    facts, train = dataset.facts, dataset.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    scale = max(1, ENLARGED_TO // facts.resolution)
    if not facts.label_names:
        some, _ = train.take(order[: per_class**2])
        return images.enlarged_grid(some, math.ceil(math.sqrt(len(some))), scale)
    names = [printable(name) for name in facts.label_names[:MAX_ROWS]]
    rows = [_row(train, order[train.labels[order] == y][:per_class], per_class) for y in range(len(names))]
    return images.captioned(images.enlarged_grid(torch.cat(rows), per_class, scale), names)


def _row(train: ImageSet, index: Tensor, width: int) -> Tensor:
    """The images at `index`, and black ones up to `width`: (width, C, H, W) uint8."""
    some, _ = train.take(index)
    return torch.cat([some, some.new_zeros(width - len(some), *some.shape[1:])])
