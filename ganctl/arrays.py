"""Any number of images as one array, in constant memory; an interrupted call goes on with the same arguments.

It grows unpacked. An `.npz` is packed when all images are there.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from ganctl import collectives, generate, npz, progress
from ganctl.generator import Generator
from ganctl.growing import Growing
from ganctl.sample import Layout, Product, provenance

log = logging.getLogger("ganctl")

COPY_BYTES = 1 << 20


def write(
    generator: Generator,
    asked: Product,
    out: Path,
    kind: str,
    *,
    batch_size: int = 1024,
    force: bool = False,
) -> None:
    """The images as one array; every rank draws, rank 0 writes.

    `.npy`: uint8 (N, H, W, C). `.npz`: `images` of the same form, `labels` int64 (N,) where there are any,
    `seeds` int64 (N,).

    Args:
        kind: `.npy` or `.npz`.
        force: begin anew, whatever an interrupted call left.

    Raises:
        UsageError: what an interrupted call left is of other arguments; the disk is too small, or cannot be
            written.
    """
    array = _Array(generator, asked, out, packed=kind == ".npz")
    growing = array.growing
    with contextlib.ExitStack() as stack:
        is_first = collectives.place()[0] == 0
        done = collectives.from_first(lambda: growing.open(stack, force))
        try:
            with progress.bar(len(asked), "img", initial=done) as bar:
                for start in range(done, len(asked), batch_size):
                    number = min(batch_size, len(asked) - start)
                    own = [asked[start + i] for i in collectives.share(number, generate.MICRO_BATCH)]
                    whole = collectives.gather(generator.draw(own, truncation=asked.truncation))
                    collectives.from_first(functools.partial(array.append, whole))
                    bar.update(number)
            collectives.from_first(array.finish)
        except KeyboardInterrupt:
            if is_first:
                growing.note()
                log.warning(
                    "interrupted: %d of %d images are in %s; the same command goes on",
                    *(growing.done, len(asked), growing.part),
                )
            raise


class _Array:
    """The whole, while it grows. Of rank 0."""

    def __init__(self, generator: Generator, asked: Product, out: Path, packed: bool) -> None:
        self.asked, self.packed = asked, packed
        self.has_labels = generator.num_classes > 0
        side = generator.resolution
        self.shape = (len(asked), side, side, generator.channels)
        image_bytes = side * side * generator.channels
        self.growing = Growing(
            out,
            npz.header(self.shape, np.dtype(np.uint8)),
            image_bytes,
            len(asked),
            provenance(generator, asked, Layout()) | {"shape": list(self.shape)},
            needs=len(asked) * image_bytes,
        )

    def append(self, drawn: Tensor | None) -> None:
        """(n, C, H, W) uint8: the next images."""
        assert drawn is not None
        self.growing.append(drawn.permute(0, 2, 3, 1).contiguous().numpy().data, len(drawn))

    def finish(self) -> None:
        """The parts become the whole."""
        self.growing.finish(self._pack if self.packed else None)

    def _pack(self, file: IO[bytes]) -> None:
        """As `numpy.savez_compressed` does, but piece by piece, and the same bytes every time."""
        asked, per_label, whole = self.asked, len(self.asked.seeds), self.growing
        bar = progress.bar(prod(self.shape), "B", f"packing {whole.out.name}", unit_scale=True)
        with zipfile.ZipFile(file, "w") as archive, bar:
            with npz.member(archive, "images", self.shape, np.dtype(np.uint8), packed=True) as member:
                whole.file.seek(len(whole.header))
                while piece := whole.file.read(COPY_BYTES):
                    member.write(piece)
                    bar.update(len(piece))
            columns: dict[str, Callable[[int], Any]] = {
                "labels": lambda label: np.full(per_label, label, dtype=np.int64),
                "seeds": lambda label: np.asarray(asked.seeds, dtype=np.int64),
            }
            for name in ["labels", "seeds"] if self.has_labels else ["seeds"]:
                with npz.member(archive, name, (len(asked),), np.dtype(np.int64), packed=True) as member:
                    for label in asked.labels:
                        member.write(columns[name](label).tobytes())
