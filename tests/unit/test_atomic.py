"""Files are whole or not there, and what fails leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from ganctl import atomic
from ganctl.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The only file of its folder."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"previous")
    return path


def names(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir()]


def test_write_makes_the_folder_and_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    for content in (b"a long previous file", b"new"):
        atomic.write(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        assert path.read_bytes() == content
        assert names(path) == ["a.bin"]


def test_previous_file_is_whole_until_the_new_one_is(path: Path) -> None:
    def content(file: IO[bytes]) -> None:
        file.write(b"half of the")
        file.flush()
        assert path.read_bytes() == b"previous"
        assert len(names(path)) == 2  # the new one grows beside it: renaming works within a file system only

    atomic.write(path, content)
    assert path.read_bytes() == b"half of the"


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError(), KeyboardInterrupt()])
def test_a_failure_leaves_the_previous_file_alone(path: Path, error: BaseException) -> None:
    def content(file: IO[bytes]) -> None:
        file.write(b"half of the")
        raise error

    with pytest.raises(type(error)) as caught:
        atomic.write(path, content)
    assert caught.value is error
    assert path.read_bytes() == b"previous"
    assert names(path) == ["a.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(5, "broken"), KeyboardInterrupt()])
def test_a_failure_of_the_disk_leaves_the_previous_file_alone(
    path: Path, call: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        atomic.write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"previous"
    assert names(path) == ["a.bin"]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut may not reorder: the synced inodes are those of the new file, then of the folder."""
    happened: list[tuple[str, int]] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        happened.append((f"sync of {found.st_size} bytes", found.st_ino))
        sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        happened.append(("rename", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    atomic.write(path, lambda file: file.write(b"new"))
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert happened[:2] == [("sync of 3 bytes", file), ("rename", file)]
    assert [inode for _, inode in happened[2:]] == [folder]


def test_a_folder_that_cannot_be_synced_is_no_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, folder = os.fsync, path.parent.stat().st_ino

    def fsync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == folder:
            raise OSError(22, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_new_files_are_as_readable_as_others(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    atomic.write(tmp_path / "ours", lambda file: file.write(b""))
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_link_stays_what_the_source_was(
    path: Path, hard_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    best = path.with_name("best.bin")
    best.write_bytes(b"former best")
    for _ in range(2):  # the second time both are one file already
        atomic.link(path, best)
        assert best.read_bytes() == b"previous"
        assert (best.stat().st_ino == path.stat().st_ino) == hard_links
        assert sorted(names(path)) == ["a.bin", "best.bin"]
    atomic.write(path, lambda file: file.write(b"new"))
    assert best.read_bytes() == b"previous"


def test_a_link_to_nothing_leaves_the_target_alone(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.link(path.with_name("nothing"), path)
    assert path.read_bytes() == b"previous"
    assert names(path) == ["a.bin"]


def test_a_full_disk_is_one_line_for_the_user(path: Path) -> None:
    def content(file: IO[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left on device") as caught:
        atomic.write_output(path, content)
    assert str(path) in caught.value.what
    assert caught.value.fix


def test_an_unwritable_place_is_known_before_and_a_writable_one_stays_as_it_was(path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*b\.png"):
        atomic.require_writable(path / "b.png")
    atomic.require_writable(path)
    assert path.read_bytes() == b"previous"
    assert names(path) == ["a.bin"]
