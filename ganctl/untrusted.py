"""What is asked of a stranger's file before a library reads it, so that no small file takes much memory."""

from __future__ import annotations

import itertools
import struct
import zipfile
from typing import IO, Any

MAX_DIRECTORY_BYTES = 4 << 20  # of a zip: zipfile makes about twenty times as much of it
MAX_HEADER_BYTES = 1 << 20  # of a .safetensors: its reader makes about thirty times as much of it
MAX_VALUES = 1_000_000
MAX_DEPTH = 50


def open_zip(file: IO[bytes], max_directory_bytes: int = MAX_DIRECTORY_BYTES) -> zipfile.ZipFile:
    """Opens an archive whose members lie one behind the other, each under a name of its own.

    Its checksums are verified where its members are read to their end.

    Args:
        max_directory_bytes: of the list of its members.

    Raises:
        zipfile.BadZipFile: it is truncated, or not what torch and numpy write.
    """
    size = file.seek(0, 2)
    file.seek(max(size - 98, 0))
    tail = file.read()
    end = tail[-22:]
    if len(end) < 22 or not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise zipfile.BadZipFile("its end is missing")
    count, directory = struct.unpack("<HI", end[10:16])
    if tail[-42:-38] == b"PK\6\7" and tail[-98:-94] == b"PK\6\6":  # the 64-bit form, which torch writes
        count, directory = struct.unpack("<QQ", tail[-66:-50])
    if directory > max_directory_bytes:
        raise zipfile.BadZipFile("its directory is too large")
    archive = zipfile.ZipFile(file)
    members = sorted(archive.infolist(), key=lambda m: m.header_offset)
    if len(members) != count:  # zipfile does not compare them
        raise zipfile.BadZipFile("its directory is damaged")
    if len({m.filename for m in members}) < len(members):
        raise zipfile.BadZipFile("two of its members have one name")
    starts = [m.header_offset for m in members] + [archive.start_dir]
    for member, (start, following) in zip(members, itertools.pairwise(starts), strict=True):
        if start + 30 + len(member.filename) + member.compress_size > following:
            raise zipfile.BadZipFile("its members overlap")
        if member.flag_bits & 1:
            raise zipfile.BadZipFile("its members are encrypted")
        archive.open(member).close()  # compares the two headers that a member has
    return archive


def check_safetensors_header(file: IO[bytes]) -> None:
    """At the start of a file. safetensors compares offsets, shapes and the file's size, but takes headers of
    100 MB.

    Raises:
        ValueError: the header is longer than the file, or than any of ours.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > min(file.seek(0, 2) - 8, MAX_HEADER_BYTES):
        raise ValueError("its header is too long")


def require_plain(value: Any, max_values: int = MAX_VALUES) -> None:
    """Numbers, words, lists, mappings and tensors, few and flat enough to be copied, compared and printed.

    A value that is referred to ten times counts ten times: a few bytes can say "ten times" again and again.
    What torch notes beside the entries of an ordered mapping is removed: it may be anything.

    Raises:
        ValueError: it is something else.
    """
    pending, seen = [(value, 0)], 0
    while pending:
        value, depth = pending.pop()
        if isinstance(value, dict):
            if not all(type(key) in (str, int) for key in value):
                raise ValueError("the keys of a mapping are neither words nor numbers")
            getattr(value, "__dict__", {}).clear()
            inside = list(value.values())
        elif isinstance(value, list | tuple):
            inside = list(value)
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                raise ValueError("a number is too large")
            continue
        elif value is None or isinstance(value, str | float):
            continue
        else:
            from torch import Tensor  # here: what has none of them is checked without torch

            if not isinstance(value, Tensor):
                raise ValueError(f"it holds a {type(value).__name__}")
            continue
        seen += len(inside) + 1
        if seen > max_values or depth >= MAX_DEPTH:
            raise ValueError("it holds too much, or too deep inside")
        pending += [(v, depth + 1) for v in inside]
