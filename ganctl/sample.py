"""What one call of `ganctl sample` asks for -> pixels -> a picture that says how to draw it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ganctl import __version__, collectives, devices, generate, images, progress
from ganctl.errors import UsageError
from ganctl.expressions import Point, require_truncation, seeds_text
from ganctl.generator import Generator
from ganctl.pngs import Shape
from ganctl.snapshot import Snapshot

MAX_BYTES = 4 << 30  # of the pixels of one picture
MAX_FRAMES = 10_000
GAP = 2  # black pixels around each image of a grid


@dataclass(frozen=True)
class Product:
    """Every seed for every label, label by label: image (l, s) is number `l · len(seeds) + s`."""

    labels: Sequence[int]
    seeds: Sequence[int]
    truncation: float = 1.0

    def __post_init__(self) -> None:
        """Raises `UsageError` for more images than one call can draw, and a truncation that is none."""
        generate.require_possible(len(self))
        require_truncation(self.truncation)

    def __len__(self) -> int:
        return len(self.labels) * len(self.seeds)

    def __getitem__(self, i: int) -> Point:
        return Point(self.labels[i // len(self.seeds)], self.seeds[i % len(self.seeds)])


@dataclass(frozen=True)
class Way:
    """`frames` images from one point to another."""

    a: Point
    b: Point
    frames: int
    truncation: float = 1.0

    def __post_init__(self) -> None:
        """Raises `UsageError` for too few or too many frames, and a truncation that is none."""
        if not 2 <= self.frames <= MAX_FRAMES:
            raise UsageError(
                f"{self.frames} frames cannot be drawn", f"from one image to another are 2 to {MAX_FRAMES}"
            )
        require_truncation(self.truncation)

    def __len__(self) -> int:
        return self.frames


@dataclass(frozen=True)
class Layout:
    """How images become one picture.

    Args:
        columns: images in a row of a grid; 0: a single image without a frame.
        captions: the name of a label beside the row in which its images begin.
        scale: whole factor by which pixels are enlarged.
    """

    columns: int = 0
    captions: bool = False
    scale: int = 1


def grid_of(asked: Product | Way, *, captions: bool = False, scale: int = 1) -> Layout:
    """A row for each label, a square where there is one label, and a strip of the frames of a way."""
    if isinstance(asked, Way):
        return Layout(asked.frames, scale=scale)
    per_label = len(asked.seeds)
    columns = per_label if len(asked.labels) > 1 else math.ceil(math.sqrt(per_label))
    return Layout(columns, captions, scale)


def pixels(generator: Generator, asked: Product | Way, batch_size: int = 1024) -> Tensor:
    """What is asked for. Of a product only this rank's share; `collectives.gather` joins them.

    Args:
        batch_size: images drawn at a time; the pixels don't depend on it.

    Returns:
        (N, C, H, W) uint8 on the CPU, N = len(asked) where there is one rank.
    """
    if isinstance(asked, Way):
        return generator.interpolate(asked.a, asked.b, asked.frames, truncation=asked.truncation)
    part = collectives.share(len(asked), generate.MICRO_BATCH)
    drawn = [generator.draw([], truncation=asked.truncation)]
    with progress.bar(len(part), "img") as bar:
        for start in range(0, len(part), batch_size):
            points = [asked[i] for i in part[start : start + batch_size]]
            drawn.append(generator.draw(points, truncation=asked.truncation))
            bar.update(len(points))
    return torch.cat(drawn)


def shape_of(snapshot: Snapshot, asked: Product | Way, layout: Layout) -> Shape:
    """Of the picture, before anything is drawn.

    Raises:
        UsageError: it is too large: a file's own labels and sizes soon ask for that.
    """
    facts = snapshot.facts
    height = width = facts.resolution
    if layout.columns:
        rows = -(-len(asked) // layout.columns)
        height, width = (n * (facts.resolution + GAP) + GAP for n in (rows, layout.columns))
    size = height * width * layout.scale**2 * facts.channels
    if size > MAX_BYTES:
        raise UsageError(
            f"{len(asked):,} images of this generator in one picture take {size / 2**30:.0f} GiB",
            f"ask for fewer: {MAX_BYTES >> 30} GiB at most; --outdir and --format npy or npz take more",
        )
    width = width * layout.scale
    if layout.captions:
        width += images.band_width(_captions(snapshot, asked, layout))
    return Shape(facts.channels, height * layout.scale, width)


def picture(snapshot: Snapshot, asked: Product | Way, layout: Layout, drawn: Tensor) -> Image.Image:
    """All images that were asked for as one."""
    sheet = images.grid(drawn, layout.columns, GAP) if layout.columns else drawn[0]
    scaled = images.enlarged(images.to_pil(sheet), layout.scale)
    return images.captioned(scaled, _captions(snapshot, asked, layout)) if layout.captions else scaled


def _captions(snapshot: Snapshot, asked: Product | Way, layout: Layout) -> list[str]:
    """One for each row of a grid: the name of the label whose images begin in it."""
    assert isinstance(asked, Product)
    rows = [""] * -(-len(asked) // layout.columns)
    for i, label in enumerate(asked.labels):
        rows[i * len(asked.seeds) // layout.columns] = snapshot.facts.label_names[label]
    return rows


def provenance(generator: Generator, asked: Product | Way, layout: Layout) -> dict[str, str]:
    """The text chunks of a PNG: enough to draw the same picture again, which `replay` does.

    What has no effect is left out: the labels of a generator without any, the layout of a single image.
    """
    texts = {"version": __version__, "checkpoint": generator.digest}
    if isinstance(asked, Way):
        a, b = (f"{p.label}:{p.seed}" if generator.num_classes else f"{p.seed}" for p in (asked.a, asked.b))
        texts |= {"interpolate": f"{a} {b}", "frames": str(asked.frames)}
    else:
        if generator.num_classes:
            texts["label"] = ",".join(map(str, asked.labels))
        texts["seed"] = seeds_text(asked.seeds)
    texts["truncation"] = repr(float(asked.truncation))
    if layout.columns:
        texts |= {"columns": str(layout.columns), "scale": str(layout.scale)}
        texts |= {"captions": "rows"} if layout.captions else {}
    parameter = next(generator.network.parameters(), None)
    if parameter is not None:
        texts["precision"] = str(parameter.dtype).removeprefix("torch.")
    texts |= {"device": devices.describe(generator.device), "torch": str(torch.__version__)}
    return {f"ganctl:{key}": text for key, text in texts.items()}
