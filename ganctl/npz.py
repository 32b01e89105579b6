"""Arrays out of an `.npz` of strangers: no pickles, and no memory before the header is believed; and arrays
into one of ours, piece by piece.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import IO

import numpy as np

from ganctl import untrusted
from ganctl.errors import UsageError

MAX_BYTES = 4 << 30  # of one array
MAX_RATIO = 100  # unpacked size in sizes of the file; images that differ pack far less well
FREE_BYTES = 64 << 20  # may be unpacked out of any file
MAX_HEADER_BYTES = 16384  # numpy's own reader takes 10 000


@dataclass(frozen=True)
class Array:
    """What the header of an array says, which agrees with the sizes of the member and of the file.

    Args:
        offset: of its values in the file; None where they are packed, or lie there column by column.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def read(path: Path, names: tuple[str, ...]) -> list[np.ndarray | None]:
    """The arrays of these names, loaded whole, None for one that is not there.

    Raises:
        UsageError: the file is damaged, or an array is too large or made of pickled objects.
        OSError: the file cannot be read.
    """
    with _opened(path) as archive:
        return [_read(archive, path, name) for name in names]


def headers(path: Path) -> dict[str, Array]:
    """The arrays of a file, none of them loaded.

    Raises:
        UsageError: the file is damaged, or an array is made of pickled objects.
        OSError: the file cannot be read.
    """
    with _opened(path) as archive, path.open("rb") as file:
        found = {}
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            name = member.filename.removesuffix(".npy")
            shape, dtype, fortran, length = _checked(archive, path, member)
            offset = None
            if member.compress_type == zipfile.ZIP_STORED and not fortran:
                file.seek(member.header_offset + 26)
                before = sum(struct.unpack("<HH", file.read(4)))  # the member's name, and what is extra
                offset = member.header_offset + 30 + before + length
                if offset + prod(shape) * dtype.itemsize > archive.start_dir:
                    raise ValueError("an array ends behind the members")
            found[name] = Array(shape, dtype, offset)
        return found


def mapped(path: Path, array: Array) -> np.ndarray:
    """An array of `headers` that has an offset, as it lies in the file: what is looked at is read. Writing
    to it changes memory alone."""
    assert array.offset is not None
    return np.memmap(path, array.dtype, "c", array.offset, array.shape)


def chunks(path: Path, name: str, size: int = 1 << 22) -> Iterator[bytes]:
    """The values of an array in the order of the file, as bytes, `size` at a time. The archive's checksum is
    verified at the end.

    Raises:
        UsageError: the file is damaged.
        OSError: the file cannot be read.
    """
    with _opened(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        *_, length = _checked(archive, path, member)
        with archive.open(member) as handle:
            handle.read(length)
            while block := handle.read(size):
                yield block


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open(path, "rb") as file, untrusted.open_zip(file) as archive:
            yield archive
    except (UsageError, OSError):
        raise
    except Exception as error:
        # A damaged archive surfaces as any of a dozen exception types of zipfile, zlib, numpy and tokenize.
        raise UsageError(f"{path} is damaged or not an .npz", "write it again with numpy.savez") from error


def _read(archive: zipfile.ZipFile, path: Path, name: str) -> np.ndarray | None:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError:
        return None
    _checked(archive, path, member, MAX_BYTES)
    if member.file_size > max(path.stat().st_size * MAX_RATIO, FREE_BYTES):
        raise UsageError(
            f"{name} in {path} would unpack to more than {MAX_RATIO} times the size of the file",
            "write it with numpy.savez, which does not pack",
        )
    with archive.open(member) as handle:
        array: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
    return array


def _checked(
    archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo, max_bytes: float = inf
) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """(shape, dtype, whether column by column, bytes of the header). The header is read first: it must agree
    with the member's size, and that with the file's, so that no small file can ask for a large array."""
    name = member.filename.removesuffix(".npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{path} is packed in an unusual way", "write it with numpy.savez_compressed")
    with archive.open(member) as handle:
        start = io.BytesIO(handle.read(MAX_HEADER_BYTES))
    shape, fortran, dtype = _header(start)
    if dtype.hasobject:
        raise UsageError(
            f"{name} in {path} holds pickled objects, which are never loaded",
            "write a plain array of numbers",
        )
    wanted = prod(shape) * dtype.itemsize
    if wanted > max_bytes:
        raise UsageError(
            f"{name} in {path} would take {wanted / 2**30:.3g} GiB, more than {max_bytes / 2**30:.3g}",
            "give a folder of PNGs, which is read batch by batch",
        )
    if start.tell() + wanted != member.file_size:
        raise ValueError("the header asks for more or less than the file has")
    return shape, dtype, fortran, start.tell()


def _header(handle: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(handle)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown version {version}")
    first = version == (1, 0)
    read_rest = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read_rest(handle)
    except (MemoryError, RecursionError) as error:  # what Python's parser says of deep nesting
        raise ValueError("nested too deeply") from error
    if any(size < 0 for size in shape):
        raise ValueError("negative size")
    return shape, fortran, dtype


def header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What stands in an `.npy` in front of an array in C order."""
    out = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


@contextmanager
def member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype, *, packed: bool
) -> Iterator[IO[bytes]]:
    """A new array of an archive: what is written are its values, in C order. The same bytes every time.

    Args:
        packed: False: as they are, for who maps them into memory.
    """
    info = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the date would change the bytes
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.external_attr = 0o600 << 16
    with archive.open(info, "w", force_zip64=True) as file:
        file.write(header(shape, dtype))
        yield file
