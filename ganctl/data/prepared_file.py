"""The file that `ganctl data prepare` writes: images of one size, to be mapped into memory.

An uncompressed `.npz`: `images` (N, H, W, C) uint8; `labels` (N,) int64 and `label_names` (K,), where there
are any; `split` (N,) uint8, 0 to train on, 1 to test with; `about`, a JSON text of how it was made, with the
SHA-256 over the bytes of images, labels and split.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ganctl import npz

FORMAT = 1
COPY_BYTES = 1 << 20


def write(
    file: IO[bytes],
    rows: Path,
    kept: np.ndarray,
    shape: tuple[int, int, int],
    labels: tuple[np.ndarray, Sequence[str]] | None,
    split: np.ndarray,
    about: Mapping[str, Any],
) -> str:
    """Writes such a file: the same bytes for the same arguments.

    Args:
        rows: a file of nothing but the pixels of images of that shape.
        kept: (N,) int64, those that come into it, sorted.
        shape: (H, W, C) of an image.
        labels: (N,) int64, and the names of the K labels; None where there are none.
        split: (N,) uint8.
        about: further plain values of `about`.

    Returns:
        The SHA-256 in hex.
    """
    row_bytes = int(np.prod(shape))
    every = np.memmap(rows, np.uint8, "r").reshape(-1, row_bytes)
    at_once = max(1, COPY_BYTES // row_bytes)
    sha = hashlib.sha256()
    arrays: dict[str, np.ndarray] = {"split": split}
    with zipfile.ZipFile(file, "w") as archive:
        with npz.member(archive, "images", (len(kept), *shape), np.dtype(np.uint8), packed=False) as member:
            for start in range(0, len(kept), at_once):
                piece = every[kept[start : start + at_once]].tobytes()
                sha.update(piece)
                member.write(piece)
        if labels is not None:
            sha.update(labels[0].tobytes())
            arrays |= {"labels": labels[0], "label_names": np.array(labels[1])}
        sha.update(split.tobytes())
        digest = sha.hexdigest()
        arrays["about"] = np.array(json.dumps({"format": FORMAT, **about, "sha256": digest}))
        for name, array in arrays.items():
            with npz.member(archive, name, array.shape, array.dtype, packed=False) as member:
                member.write(array.tobytes())
    return digest
