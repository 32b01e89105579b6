"""A PNG of `ganctl sample` -> the same picture again, from its text chunks and the weights they name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganctl import pngs, sample
from ganctl.devices import describe, find_device
from ganctl.errors import UsageError
from ganctl.expressions import Point, parse_seeds
from ganctl.generator import Generator
from ganctl.latents import MAX_SEED
from ganctl.sample import Layout, Product, Way
from ganctl.snapshot import Snapshot
from ganctl.weights import Weights

MAX_PIXELS = 32 << 20
MAX_SCALE = 64


@dataclass(frozen=True)
class Replayed:
    """What became of one picture.

    Args:
        file: the picture.
        picture: as it was drawn again, and
        texts: its text chunks.
        differing: pixels that differ from the file's.
        max_difference: by so many grey levels at most.
        circumstances: what differs between its making and now: (of what, then, now).
    """

    file: Path
    picture: Image.Image
    texts: dict[str, str]
    differing: int
    max_difference: int
    circumstances: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        if not self.differing:
            return f"{self.file}: identical"
        how = f"{self.differing} pixels differ, by {self.max_difference} grey levels at most"
        others = ", ".join(f"{what} {then!r:.80}, here {now!r:.80}" for what, then, now in self.circumstances)
        return f"{self.file}: {how}; " + (f"made with {others}" if others else "it was altered")

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": str(self.file),
            "identical": not self.differing,
            "differing_pixels": self.differing,
            "max_difference": self.max_difference,
            "circumstances": {what: {"then": then, "now": now} for what, then, now in self.circumstances},
        }


class Replay:
    """Draws pictures again, the weights found once.

    Args:
        ckpt: the file of the weights; without it they are looked for.
        device: auto, cpu, cuda or mps; None means the kind that made the picture, or the CPU without it.
        trust_code: as of `Generator`.
    """

    def __init__(
        self, ckpt: str | None = None, device: str | None = None, *, trust_code: bool = False
    ) -> None:
        self._weights = Weights(ckpt)
        self._device = device
        self._trust_code = trust_code
        self._generator: Generator | None = None

    def __call__(self, file: Path) -> Replayed:
        """
        Raises:
            UsageError: it cannot be read, does not say how it was made, or its weights are not there.
        """
        content = pngs.read(file)
        shape, said = pngs.header(file, content), pngs.texts(file, content)
        digest = said.get("ganctl:checkpoint", "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise UsageError(
                f"{file} does not say of which weights it is", "give a PNG that ganctl sample wrote"
            )
        snapshot = self._weights.find(digest)
        num_pixels = shape.height * shape.width
        if num_pixels > MAX_PIXELS:
            raise UsageError(f"{file} is too large to replay", f"{MAX_PIXELS >> 20} megapixels at most")
        asked, layout = parse(file, said, snapshot, num_pixels // snapshot.facts.resolution**2)
        if sample.shape_of(snapshot, asked, layout) != shape:
            raise UsageError(f"{file} is {shape}, and not what its texts say", "the file was altered")
        generator = self._generator_of(snapshot, said.get("ganctl:device", ""))
        picture = sample.picture(snapshot, asked, layout, sample.pixels(generator, asked))
        there = pngs.decode(file, shape).short()
        here = torch.from_numpy(np.array(picture)).reshape(shape.height, shape.width, shape.channels).short()
        difference = (there - here.permute(2, 0, 1)).abs().amax(0)
        now = sample.provenance(generator, asked, layout)
        return Replayed(
            file=file,
            picture=picture,
            texts=now,
            differing=int((difference > 0).sum()),
            max_difference=int(difference.max()),
            circumstances=tuple(
                (key.removeprefix("ganctl:"), said.get(key, "unknown"), text)
                for key, text in now.items()
                if said.get(key) != text
            ),
        )

    def _generator_of(self, snapshot: Snapshot, made_on: str) -> Generator:
        name = self._device or made_on.partition(" ")[0]
        try:
            device = find_device(name)
        except UsageError:
            if self._device:
                raise
            device = torch.device("cpu")
        made = self._generator
        if made is None or made.snapshot is not snapshot or describe(made.device) != describe(device):
            made = self._generator = Generator(snapshot, device, trust_code=self._trust_code)
        return made


def parse(file: Path, said: dict[str, str], snapshot: Snapshot, most: int) -> tuple[Product | Way, Layout]:
    """What `sample.provenance` wrote, of a file that anyone may have written.

    Args:
        most: images that the picture has room for.

    Raises:
        UsageError: it is not what `sample` writes, or asks for what these weights don't have.
    """
    num_classes = snapshot.facts.num_classes

    def number(name: str, text: str, least: int, most: int) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise UsageError(f"{file} has the {name} {text!r:.40}", f"{name}s are {least} to {most} here")
        return int(text)

    def get(name: str, default: str | None = None) -> str:
        text = said.get(f"ganctl:{name}", default)
        if text is None:
            raise UsageError(f"{file} does not say its {name}", "give a PNG that ganctl sample wrote")
        return text

    def point(text: str) -> Point:
        label, _, seed = text.rpartition(":")
        y = number("label", label, 0, num_classes - 1) if num_classes else 0
        return Point(y, number("seed", seed, 0, MAX_SEED))

    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?(e-[0-9]{1,3})?", get("truncation", "1.0")):
        raise UsageError(f"{file} has a truncation that is no number", "give a PNG that ganctl sample wrote")
    truncation = float(get("truncation", "1.0"))
    asked: Product | Way
    if "ganctl:interpolate" in said:
        a, _, b = get("interpolate").partition(" ")
        asked = Way(point(a), point(b), number("frame", get("frames"), 2, sample.MAX_FRAMES), truncation)
    else:
        labels = [0]
        if num_classes:
            parts = get("label").split(",")
            if len(parts) > num_classes:
                raise UsageError(f"{file} has {len(parts)} labels", f"these weights have {num_classes}")
            labels = [number("label", part, 0, num_classes - 1) for part in parts]
        asked = Product(labels, parse_seeds(get("seed"), most), truncation)
    if "ganctl:columns" not in said:
        if len(asked) != 1:
            raise UsageError(f"{file} does not say its columns", "give a PNG that ganctl sample wrote")
        return asked, Layout()
    columns = number("column", get("columns"), 1, len(asked))
    captions = get("captions", "") == "rows" and isinstance(asked, Product) and num_classes > 0
    return asked, Layout(columns, captions, number("scale", get("scale", "1"), 1, MAX_SCALE))
