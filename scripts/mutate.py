"""Good files, and damage of any file: what `fuzz_files.py` begins with."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CANARY = "executed"  # what a payload that runs leaves in the current folder


@dataclass(frozen=True)
class Good:
    """Files as the tool wrote them.

    Args:
        ckpt, other_ckpt: of two generators of one shape.
        safetensors, other_safetensors: the same two.
        npz: images, labels and seeds.
        png: one image.
    """

    ckpt: bytes
    other_ckpt: bytes
    safetensors: bytes
    other_safetensors: bytes
    npz: bytes
    png: bytes


# From a random source and the good files one variant: to be refused, unless it means what the original means.
Mutation = Callable[[random.Random, Good], bytes]


def flipped(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def overwritten(rng: random.Random, data: bytes) -> bytes:
    """A run of bytes lost, zeroed, doubled or replaced by noise."""
    start = rng.randrange(len(data))
    stop = min(start + rng.choice((1, 4, 16, 512)), len(data))
    middle = rng.choice((b"", bytes(stop - start), data[start:stop] * 2, rng.randbytes(stop - start)))
    return data[:start] + middle + data[stop:]


def spliced(rng: random.Random, one: bytes, other: bytes) -> bytes:
    """The start of one file and the end of another."""
    cut = rng.randrange(min(len(one), len(other)))
    return one[:cut] + other[cut:]


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {m.filename: archive.read(m) for m in archive.infolist()}


def zipped(content: Mapping[str, bytes], **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return out.getvalue()
