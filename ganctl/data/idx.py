"""The two forms in which MNIST-like sets travel: LeCun's IDX files, and pickles of numpy arrays."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ganctl.fetch import SourceError


class AlteredError(Exception):
    """A file that is not what it should be."""

    def __init__(self, reason: str, md5: str = "") -> None:
        super().__init__(reason)
        self.md5 = md5


@dataclass(frozen=True)
class IdxFile:
    """One file of LeCun's IDX format holding uint8 values.

    Args:
        name: without `.gz`.
        md5: of the uncompressed bytes, header included.
        shape: (N, H, W) for images, (N,) for labels.
    """

    name: str
    md5: str
    shape: tuple[int, ...]

    @property
    def header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    @property
    def raw_bytes(self) -> int:
        return self.header_bytes + prod(self.shape)


def read_checked(path: Path, file: IdxFile) -> bytes:
    """Returns the uncompressed bytes of a plain or gzipped file, never more than `file` has.

    Raises:
        AlteredError: the file is not what `file` says.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as handle:
            raw: bytes = handle.read(file.raw_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AlteredError("is truncated or not a gzip file") from error
    except OSError as error:
        raise AlteredError(f"cannot be read: {error.strerror}") from error
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if len(raw) != file.raw_bytes:
        more = "more than " if len(raw) > file.raw_bytes else f"{len(raw)} instead of "
        raise AlteredError(f"has {more}{file.raw_bytes} bytes", md5)
    if md5 != file.md5:
        raise AlteredError(f"is altered: its MD5 is {md5} instead of {file.md5}", md5)
    return raw


def encode_idx(array: np.ndarray) -> bytes:
    """An array of uint8 as an uncompressed IDX file: two zeros, type 8, rank, big-endian sizes, data."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def decode_pickle(data: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Reads a pickle of ((images, labels), …), images float32 (N, H·W) = grey level / 256.

    Returns:
        (images (N, H·W) uint8, labels (N,) uint8) of each part.

    Raises:
        SourceError: the pickle names anything but plain arrays, or does not hold such images.
    """
    parts = []
    try:
        for images, labels in ArrayUnpickler(io.BytesIO(data), encoding="latin1").load():
            grey = images * np.float32(256)
            if images.ndim != 2 or not np.array_equal(grey, grey.astype(np.uint8)):
                raise SourceError("the pickle's images are not whole grey levels")
            parts.append((grey.astype(np.uint8), labels.astype(np.uint8)))
    except SourceError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise SourceError(f"the pickle cannot be read: {error}") from error
    return parts


class ArrayUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and nothing else, so a pickle cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            # the public way to the function: its module has moved between numpy versions
            return np.empty(0).__reduce__()[0]
        raise SourceError(f"the pickle asks for {module}.{name}, which no data set needs")
