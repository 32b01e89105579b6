"""The files of a folder or of a zip: their names, and the bytes of each."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ganctl import untrusted
from ganctl.errors import UsageError

MAX_FILE_BYTES = 128 << 20
MAX_ZIP_DIRECTORY_BYTES = 32 << 20  # some 300 000 files


class UnreadableError(Exception):
    """A file that cannot be used; it is left out, and listed with the reason."""


@dataclass(frozen=True)
class Entry:
    """A file.

    Args:
        size: in bytes.
        stamp: another one when it was written again: its time in ns, or, in a zip, its CRC-32.
    """

    size: int
    stamp: int


class Tree(Protocol):
    """Files below one folder, without hidden ones.

    Args:
        name: of the folder or zip, without where it lies.
        files: by their paths below it, with `/`.
        folders: the paths of its folders; in a zip, of those that it names or that have files.
    """

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> Mapping[str, Entry]: ...
    @property
    def folders(self) -> frozenset[str]: ...

    def read(self, path: str) -> bytes:
        """
        Raises:
            UnreadableError: it is too large, gone or damaged.
        """
        ...


@contextmanager
def open_tree(src: Path) -> Iterator[Tree]:
    """A folder, or a zip of one; the single folder at a zip's top is looked through. Nothing is unpacked.

    Raises:
        UsageError: it is neither, or cannot be read.
    """
    with ExitStack() as stack:
        try:
            tree = _opened(src, stack)
        except OSError as error:
            raise UsageError(
                f"cannot read {error.filename or src}: {error.strerror or error}",
                "give a folder of pictures, or a zip of one",
            ) from error
        yield tree


def _opened(src: Path, stack: ExitStack) -> Tree:
    if src.is_dir():
        return _Folder(src)
    src.stat()
    if src.suffix.lower() != ".zip" or not src.is_file():
        raise UsageError(
            f"{src} is neither a folder nor a .zip", "give a folder of pictures, or a zip of one"
        )
    file = stack.enter_context(open(src, "rb"))
    try:
        archive = untrusted.open_zip(file, MAX_ZIP_DIRECTORY_BYTES)
    except OSError:
        raise
    except Exception as error:  # a damaged archive surfaces as any of a dozen types
        raise UsageError(f"cannot read {src}: {error}", "unpack it, and give the folder") from error
    return _Zip(src.name, stack.enter_context(archive))


class _Folder:
    def __init__(self, path: Path) -> None:
        self.name = path.resolve().name
        self._path = path
        self.files: dict[str, Entry] = {}
        folders: list[str] = []
        self._walk(path, "", (), folders)
        self.folders = frozenset(folders)

    def _walk(self, folder: Path, prefix: str, above: tuple[str, ...], folders: list[str]) -> None:
        own = os.path.realpath(folder)
        if own in above:  # a link back
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _visible(entry.name):
                    continue
                if entry.is_dir():
                    folders.append(prefix + entry.name)
                    self._walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, own), folders)
                elif entry.is_file():
                    stat = entry.stat()
                    self.files[prefix + entry.name] = Entry(stat.st_size, stat.st_mtime_ns)

    def read(self, path: str) -> bytes:
        try:
            with open(self._path / path, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error
        _check_size(len(content))
        return content


class _Zip:
    def __init__(self, name: str, archive: zipfile.ZipFile) -> None:
        self.name = name
        self._archive = archive
        self._lock = threading.Lock()  # ZipFile counts what it has open without one
        members = {m.filename: m for m in archive.infolist() if _all_visible(m.filename)}
        tops = {path.partition("/")[0] for path in members}
        self._top = ""
        if len(tops) == 1 and not (tops & members.keys()):
            self._top = f"{tops.pop()}/"
        below = {path[len(self._top) :]: m for path, m in members.items() if path != self._top}
        self.files = {path: Entry(m.file_size, m.CRC) for path, m in below.items() if not m.is_dir()}
        named = {path.rstrip("/") for path, m in below.items() if m.is_dir()}
        self.folders = frozenset(
            "/".join(parts[:n])
            for path in [*(f"{n}/" for n in named), *self.files]
            for parts in [path.split("/")]
            for n in range(1, len(parts))
        )

    def read(self, path: str) -> bytes:
        member = self._archive.getinfo(self._top + path)
        _check_size(member.file_size)
        try:
            with self._lock, self._archive.open(member) as file:
                return file.read()  # never more than the size that was checked
        except Exception as error:  # a dozen types, of zipfile and what unpacks
            raise UnreadableError(f"damaged in the zip: {error}") from error


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UnreadableError(f"more than {MAX_FILE_BYTES >> 20} MiB")


def _visible(name: str) -> bool:
    return not name.startswith(".") and name not in ("", "__MACOSX", "Thumbs.db", "desktop.ini")


def _all_visible(path: str) -> bool:
    return all(map(_visible, path.rstrip("/").split("/")))
