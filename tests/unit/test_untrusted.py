"""Small files that ask for much, and archives that say different things to different readers."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch

from ganctl import untrusted


def archive_of(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode() * 9)
    return out.getvalue()


def test_an_archive_of_numpy_or_torch_is_opened() -> None:
    with untrusted.open_zip(io.BytesIO(archive_of("a", "b"))) as archive:
        assert archive.read("b") == b"b" * 9
    out = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, out)  # with the directory's 64-bit form
    with untrusted.open_zip(out) as archive:
        assert archive.read("archive/byteorder") in (b"little", b"big")


def twice(data: bytes) -> bytes:
    """Its members once more in the directory, under other names but in the same place."""
    start = data.index(b"PK\1\2")
    directory, end = data[start:-22], bytearray(data[-22:])
    end[8:20] = struct.pack("<2H2I", 4, 4, 2 * len(directory), start)
    return data[:start] + directory + directory.replace(b"a", b"c").replace(b"b", b"d") + end


@pytest.mark.parametrize(
    "data",
    [
        b"",
        archive_of("a")[:-1],
        archive_of("a") + b"\0",
        archive_of("a").replace(b"aPK", b"bPK", 1)[:30],
        archive_of("a", "b").replace(b"a", b"b"),
        twice(archive_of("a", "b")),
        archive_of("a", "b")[:30] + b"c" + archive_of("a", "b")[31:],
        archive_of("a")[:-2] + b"\2\0hi",
    ],
    ids=["empty", "cut", "longer", "start", "one name", "one place", "two headers", "comment"],
)
def test_other_archives_are_refused(data: bytes) -> None:
    with pytest.raises(zipfile.BadZipFile):
        untrusted.open_zip(io.BytesIO(data))


@pytest.mark.parametrize("wide", [False, True])
def test_a_long_directory_is_not_read(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    size = untrusted.MAX_DIRECTORY_BYTES + 1
    tail = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, 0 if wide else size, 0, 0)
    if wide:
        record = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, size, 0)
        tail = b"PK\6\6" + record + b"PK\6\7" + struct.pack("<IQI", 0, size, 1) + tail
    monkeypatch.setattr(zipfile, "ZipFile", lambda file: pytest.fail("it was read"))
    with pytest.raises(zipfile.BadZipFile, match="too large"):
        untrusted.open_zip(io.BytesIO(bytes(size) + tail))


@pytest.mark.parametrize("length", [9, 1 << 20, 10**12, 2**64 - 1])
def test_a_header_that_is_not_there_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="header"):
        untrusted.check_safetensors_header(io.BytesIO(struct.pack("<Q", length) + bytes(8)))


def test_a_header_longer_than_any_of_ours_is_refused() -> None:
    for length, fine in ((untrusted.MAX_HEADER_BYTES, True), (untrusted.MAX_HEADER_BYTES + 1, False)):
        file = io.BytesIO(struct.pack("<Q", length) + bytes(length))
        if fine:
            untrusted.check_safetensors_header(file)
        else:
            with pytest.raises(ValueError, match="header"):
                untrusted.check_safetensors_header(file)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def laughing(levels: int) -> Any:
    value: Any = [0] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


def test_plain_values_pass() -> None:
    untrusted.require_plain(
        {"a": [1, 0.5, True, None, "x", (2, {"b": torch.zeros(2), 3: 4})], "c": nested(40)}
    )


@pytest.mark.parametrize(
    "value",
    [nested(60), laughing(30), {"a": object()}, {"a": {(1,): 2}}, {"a": 2**63}, [b"x"], {1, 2}],
    ids=["deep", "laughing", "object", "tuple key", "large number", "bytes", "set"],
)
def test_others_do_not(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        untrusted.require_plain(value)


def test_a_list_in_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="too deep"):
        untrusted.require_plain(value)


def test_what_lies_beside_the_entries_is_removed() -> None:
    value = OrderedDict(a=1)
    value.items = 5  # type: ignore[method-assign, assignment]
    untrusted.require_plain({"x": value})
    assert list(value.items()) == [("a", 1)]
