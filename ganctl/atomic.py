"""Files that are there whole or not at all, whatever fails, and that outlive a power cut once they are there.

`write`, `link` and `move` raise what the operating system says (`OSError`): callers know what would help.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ganctl.errors import UsageError


def write(path: Path, content: Callable[[IO[bytes]], object], *, sync: bool = True) -> None:
    """Makes the folder of `path`, and `path` what `content` writes into the file that it is given.

    Until all is written `path` is the file it was; whatever `content` raises leaves it so.

    Args:
        sync: wait until a power cut could not take it. Who writes a million small files calls `os.sync` once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as temporary:
        with temporary.open("xb") as file:
            content(file)
        if sync:
            move(temporary, path)
        else:
            os.replace(temporary, path)


def write_output(path: Path, content: Callable[[IO[bytes]], object], *, sync: bool = True) -> None:
    """`write`, for a place that the user chose.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write(path, content, sync=sync)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextlib.contextmanager
def output(path: Path) -> Iterator[Path]:
    """`write_output` for what writes a file by its name: the file to write, which becomes `path` at the end
    of the block. If the block fails, `path` stays what it was.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path) as temporary:
            yield temporary
            move(temporary, path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def require_absent(path: Path, force: bool) -> None:
    """
    Raises:
        UsageError: there is something of that name, and `force` does not say to replace it.
    """
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists", "give another place with --out, or replace it with --force")


def require_writable(path: Path) -> None:
    """Finds out before long work, rather than after it, that a file cannot be written.

    Raises:
        UsageError: as `write_output` would.
    """
    probe = path.with_name(f"{path.name}.writable")
    write_output(probe, lambda file: None)
    probe.unlink()


def link(source: Path, target: Path) -> None:
    """`target` becomes the file that `source` now is; a copy where the file system has no hard links.

    `source` must only ever be replaced, never written into: the two may share one inode.
    """
    with _beside(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        move(temporary, target)


def half_written(folder: Path) -> list[Path]:
    """What `write` and `link` have begun in `folder`: being written now, or left by a killed process.
    Symbolic links are not followed."""
    if folder.is_symlink():
        return []
    return [
        file
        for file in folder.glob(".*")
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", file.name) and file.is_file() and not file.is_symlink()
    ]


def move(file: Path, target: Path) -> None:
    """Moves a finished file to its place in the same file system; readers see the whole old or new one."""
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(file, target)
    # Not every file system can sync a folder; the file is in its place already.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror or error}", "choose a place you can write to")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name of our own in the folder of `path`: machines that share the folder share process ids too. What
    is still there at the end, Ctrl-C included, is removed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
