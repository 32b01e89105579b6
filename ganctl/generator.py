"""`ganctl.load`: a trained generator in Python, and what `ganctl sample` draws with."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganctl import checkpoint, generate, images, latents, runs
from ganctl.devices import find_device
from ganctl.errors import UsageError, nearest
from ganctl.expressions import Point, require_truncation
from ganctl.networks.conditioning import can_mix_labels
from ganctl.snapshot import Snapshot

Label = int | str


class Generator:
    """A trained generator, ready to draw. `ganctl.load` makes one of a file.

    An image is a function of the weights, its label, its seed and the truncation: the same bytes whatever it
    is drawn together with, and the same as `ganctl sample` writes. Devices differ by one grey level at most.

    Args:
        snapshot: what a checkpoint holds.
        device: to draw on.
        trust_code: whether the class of the network may come from outside ganctl.

    Raises:
        UsageError: the network cannot be built.
    """

    def __init__(self, snapshot: Snapshot, device: torch.device, *, trust_code: bool = False) -> None:
        self.snapshot = snapshot
        self.device = device
        G = snapshot.build(trust_code=trust_code)
        self.network = G.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        facts = self.snapshot.facts
        size = f"{facts.channels} × {facts.resolution} × {facts.resolution}"
        return f"<ganctl generator {self.digest[:8]} of {facts.name!r}: {size}, {self.num_classes} labels>"

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the weights; the PNGs that they draw hold it."""
        return self.snapshot.digest

    @property
    def label_names(self) -> tuple[str, ...]:
        """Label y is called `label_names[y]`; empty for a generator without labels."""
        return tuple(self.snapshot.facts.label_names)

    @property
    def num_classes(self) -> int:
        """How many labels there are; 0 without labels."""
        return self.snapshot.facts.num_classes

    @property
    def channels(self) -> int:
        """1: grey, 3: RGB."""
        return self.snapshot.facts.channels

    @property
    def resolution(self) -> int:
        """Height and width in pixels."""
        return self.snapshot.facts.resolution

    @property
    def latent_dim(self) -> int:
        """Length of a latent."""
        return self.snapshot.latent_dim

    def sample(
        self,
        labels: Label | Iterable[Label] | Tensor | None = None,
        seeds: int | Iterable[int] | Tensor = 0,
        *,
        truncation: float = 1.0,
    ) -> Tensor:
        """One image for each pair of a label and a seed.

        Labels and seeds are paired one by one; one alone goes with all of the others, as numpy broadcasts:
        `sample([5, 6], [0, 1])` draws (5, 0) and (6, 1), and `sample(5, range(64))` sixty-four fives.

        Args:
            labels: numbers in [0, num_classes) or names; None for a generator without labels.
            seeds: integers in [0, 2**32). Of both one, or several in a list, array or tensor.
            truncation: ψ in (0, 1], by which latents are multiplied: below 1 less varied images.

        Returns:
            (N, C, H, W) uint8 on the CPU.

        Raises:
            UsageError: there is no such label or seed, their numbers do not fit, or there are too many.
        """
        given = [0] if labels is None else _several(labels)
        numbers = [operator.index(seed) for seed in _several(seeds)]
        if labels is None and self.num_classes:
            raise UsageError("no labels are given", f"give some of {self._some_names()}")
        if labels is not None and not self.num_classes:
            raise UsageError("this generator was trained without labels", "give seeds alone")
        if len(given) != len(numbers) and 1 not in (len(given), len(numbers)):
            raise UsageError(
                f"{len(given)} labels and {len(numbers)} seeds cannot be paired",
                "give as many of one as of the other, or one alone",
            )
        n = len(given) * len(numbers) if 1 in (len(given), len(numbers)) else len(given)
        y = [self.label(label) for label in given]
        points = [Point(y[i % len(y)], numbers[i % len(numbers)]) for i in range(n)]
        for point in points:
            latents.require_seeds(point.seed, 1)
        return self.draw(points, truncation=truncation)

    def pil(
        self,
        labels: Label | Iterable[Label] | Tensor | None = None,
        seeds: int | Iterable[int] | Tensor = 0,
        *,
        truncation: float = 1.0,
    ) -> list[Image.Image]:
        """`sample` as grey or RGB pictures."""
        return [images.to_pil(image) for image in self.sample(labels, seeds, truncation=truncation)]

    def interpolate(
        self, a: tuple[Label, int], b: tuple[Label, int], frames: int, *, truncation: float = 1.0
    ) -> Tensor:
        """From the image of `a`, a label and a seed, to that of `b`. Frame i depends on the weights, a, b, i,
        `frames` and the truncation alone; the first and the last are the images that `sample` draws.

        Latents go along the arc between them (`latents.slerp`). Between two labels the network is told
        `1 - t` of the one and `t` of the other.

        Returns:
            (frames, C, H, W) uint8 on the CPU.

        Raises:
            UsageError: there is no such label or seed, or the network cannot be told two labels at once.
        """
        if frames < 2:
            raise UsageError(f"{frames} frames cannot go from one image to another", "give 2 or more")
        generate.require_possible(frames)
        require_truncation(truncation)
        a, b = (Point(self.label(label), seed) for label, seed in (a, b))
        for point in (a, b):
            latents.require_seeds(point.seed, 1)
        ends = latents.from_seeds([a.seed, b.seed], self.latent_dim) * truncation
        if a.label != b.label and not can_mix_labels(self.network):
            raise UsageError(
                f"{self.snapshot.generator.get('_target_')} cannot draw between two labels",
                "give two seeds of one label, or a network with ganctl.networks.conditioning.ConcatLabel",
            )
        labels = torch.tensor([a.label, b.label])
        shares = None if a.label == b.label else F.one_hot(labels, self.num_classes).float()
        parts = []
        for start in range(0, frames, generate.MICRO_BATCH):
            steps = [i / (frames - 1) for i in range(start, min(start + generate.MICRO_BATCH, frames))]
            z = torch.stack([latents.slerp(ends[0], ends[1], t) for t in steps])
            if shares is None:
                y = torch.full((len(steps),), a.label)
            else:
                y = torch.stack([(1 - t) * shares[0] + t * shares[1] for t in steps])
            parts.append(generate.draw(self.network, z, y, self.device).cpu())
        return torch.cat(parts)

    def draw(self, points: Sequence[Point], *, truncation: float = 1.0) -> Tensor:
        """`sample` of points whose labels and seeds are known to be right."""
        generate.require_possible(len(points))
        require_truncation(truncation)
        if not points:
            return torch.empty(0, self.channels, self.resolution, self.resolution, dtype=torch.uint8)
        labels, seeds = [p.label for p in points], [p.seed for p in points]
        return generate.all_at_once(self.network, self.latent_dim, labels, seeds, self.device, truncation)

    def label(self, label: Label) -> int:
        """The number of a label: itself, or the place of the name.

        Raises:
            UsageError: there is no such label.
        """
        names = self.label_names
        if isinstance(label, str):
            if label in names:
                return names.index(label)
            raise UsageError(f"there is no label {label!r}", nearest(label, names))
        if not 0 <= label < max(self.num_classes, 1):
            raise UsageError(f"there is no label {label}", f"labels are {self._some_names()}")
        return operator.index(label)

    def _some_names(self) -> str:
        return f"0 to {self.num_classes - 1}, or names: {', '.join(self.label_names)}"


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def load(
    ckpt: str | os.PathLike[str] | None = None, device: str = "auto", *, trust_code: bool = False
) -> Generator:
    """A generator of a file, as `--ckpt` means it.

    Args:
        ckpt: a `.ckpt` or `.safetensors` file, a run folder, or `last.ckpt` or `best.ckpt` of the newest run
            below `runs/`; None means `last.ckpt`, and the bundled MNIST generator where there is no run.
        device: auto, cpu, cuda or mps.
        trust_code: import a network class from outside ganctl that the file names, which runs its code.

    Raises:
        UsageError: there is no such file or device, or the file is damaged or no checkpoint.
    """
    path = runs.find_checkpoint(None if ckpt is None else os.fspath(ckpt))
    return Generator(checkpoint.read(Path(path)), find_device(device), trust_code=trust_code)
