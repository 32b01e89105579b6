"""A release of a generator to and from the Hugging Face Hub."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tqdm import tqdm

from ganctl import atomic, checkpoint, progress
from ganctl.errors import GanctlError, UsageError
from ganctl.sharing import model_card, release
from ganctl.sharing.hub_client import Client, connect, explained
from ganctl.sharing.release import CARD, WEIGHTS
from ganctl.snapshot import Snapshot

log = logging.getLogger("ganctl")

MAX_BYTES = {WEIGHTS: 2 << 30, CARD: 1 << 20}  # of what is pulled

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"


@dataclass(frozen=True)
class Repo:
    """`user/name`, and a branch, tag or commit where one was given."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def find(text: str) -> Repo | Path:
    """`user/name`, `user/name@revision`; or a folder: `./folder`, `/folder`, `~/folder`, `file:` URL.

    Raises:
        UsageError: it is neither.
    """
    if text.startswith("file:"):
        url = urlsplit(text)
        if url.netloc in ("", "localhost") and url.path:
            return Path(url2pathname(url.path))
    elif text in (".", "..") or text.startswith(("./", "../", "/", "~")):
        return Path(os.path.expanduser(text))
    match = re.fullmatch(rf"({_NAME}/{_NAME})(?:@([\w./-]{{1,200}}))?", text)
    if match and not re.search(r"--|\.\.|\.git$", match[1]) and len(match[1]) <= 96:
        return Repo(match[1], match[2])
    raise UsageError(
        f"{text!r:.200} is no repository", "write user/name, or ./folder for a folder of this machine"
    )


def push(
    ckpt: Path,
    snapshot: Snapshot,
    target: Repo | Path,
    *,
    license_name: str | None = None,
    private: bool = False,
    force: bool = False,
    trust_code: bool = False,
    client: Client | None = None,
) -> str:
    """Uploads the generator in one commit; into a folder it writes exactly what would be uploaded.

    Args:
        ckpt: the file of the snapshot: beside it lies the report.
        client: what talks to the Hub; `connect` where none is given.

    Returns:
        The address of the commit, or the folder.

    Raises:
        UsageError: the target holds something else, is public where private was asked for, or cannot be
            written; nobody is logged in.
        GanctlError: the Hub cannot be reached, or fails.
    """
    if license_name is not None:
        model_card.require_license(license_name)
    if isinstance(target, Repo) and target.revision:
        raise UsageError(f"{target} names a revision", f"a push makes a new one: give {target.name}")
    if isinstance(target, Path):
        _require_free(target, force)
    else:
        client = client or connect(to_write=True)
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging)
        written = release.write(folder, ckpt, snapshot, license_name, trust_code)
        stale = [name for name in release.FILES if name not in written]
        if isinstance(target, Path):
            for name in written:
                _copy(folder / name, target / name)
            for name in stale:
                (target / name).unlink(missing_ok=True)
            return str(target)
        assert client is not None
        with explained(target.name):
            _make_ready(client, target.name, private, force)
            done = client.upload_folder(
                repo_id=target.name,
                folder_path=folder,
                commit_message=f"ganctl push: generator {snapshot.digest[:8]}",
                delete_patterns=stale,
            )
        return str(done.commit_url)


def pull(
    repo: Repo, folder: Path, *, force: bool = False, client: Client | None = None
) -> tuple[Path, Snapshot, str]:
    """Downloads weights and card, and writes them into `folder` once the weights have proved to be a
    generator that runs no code.

    Returns:
        The weights file, what it holds, and the commit it is from.

    Raises:
        UsageError: there is no such repository or revision, it holds no generator of ganctl, or too large a
            file; the files exist, or cannot be written.
        GanctlError: the Hub cannot be reached, or fails.
    """
    for name in (WEIGHTS, CARD):
        atomic.require_absent(folder / name, force)
    client = client or connect()
    with tempfile.TemporaryDirectory() as staging:
        with explained(str(repo)):
            info = client.model_info(repo.name, revision=repo.revision, files_metadata=True)
            sizes = {file.rfilename: file.size for file in info.siblings or ()}
            if WEIGHTS not in sizes:
                raise UsageError(f"{repo} has no {WEIGHTS}", "pull what ganctl push has made")
            pulled = {
                name: _download(
                    client, replace(repo, revision=str(info.sha)), name, sizes[name], Path(staging)
                )
                for name in (WEIGHTS, CARD)
                if name in sizes
            }
        try:
            snapshot = checkpoint.read(pulled[WEIGHTS])
        except UsageError as error:
            what = error.what.replace(str(pulled[WEIGHTS]), f"{WEIGHTS} of {repo}")
            raise UsageError(what, "pull what ganctl push has made") from error
        # What was verified, written anew: nothing else of the file arrives.
        checkpoint.write(folder / WEIGHTS, snapshot)
        if CARD in pulled:
            _copy(pulled[CARD], folder / CARD)
    return folder / WEIGHTS, snapshot, str(info.sha)


def _require_free(folder: Path, force: bool) -> None:
    """A folder keeps no history: what is there would be gone."""
    if folder.is_dir() and not os.listdir(folder):
        return
    if (folder.exists() or folder.is_symlink()) and not (force and folder.is_dir()):
        fix = "give another folder, or replace its files with --force" if folder.is_dir() else "give a folder"
        raise UsageError(f"{folder} exists", fix)


def _make_ready(client: Client, name: str, private: bool, force: bool) -> None:
    """Makes the repository, or finds that it may have another commit: its history keeps what it holds."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = client.model_info(name)
    except RepositoryNotFoundError:
        client.create_repo(name, private=private)
        return
    if private and not info.private:
        raise UsageError(f"{name} exists and is public", "make it private on the Hub, or choose another name")
    held = {file.rfilename for file in info.siblings or ()} - {".gitattributes"}
    if held and "ganctl" not in (info.tags or ()) and not force:
        raise UsageError(
            f"{name} exists and holds something else", "choose another name, or add a commit with --force"
        )
    if held:
        log.info("%s has a generator already: it stays as %s@%.8s", name, name, info.sha)


def _download(client: Client, repo: Repo, name: str, size: Any, staging: Path) -> Path:
    """One file, no longer than the Hub says, and no longer than ours are."""
    if not isinstance(size, int) or size > MAX_BYTES[name]:
        raise UsageError(f"{name} of {repo} has {size} bytes", f"{MAX_BYTES[name]:,} are taken at most")
    assert repo.revision is not None

    class Bounded(tqdm):
        """The bar of the download, which ends one that goes on for too long."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counted = 0
            super().__init__(*args, **(kwargs | progress.settings()))

        def update(self, n: float | None = 1) -> bool | None:
            self.counted += int(n or 0)
            if self.counted > size:
                raise UsageError(f"{name} of {repo} goes on beyond its {size} bytes", "try again later")
            shown: bool | None = super().update(n)
            return shown

    path = Path(
        client.hf_hub_download(repo.name, name, revision=repo.revision, local_dir=staging, tqdm_class=Bounded)
    )
    if path.stat().st_size != size:
        raise GanctlError(f"{name} of {repo} arrived incomplete", "try again")
    return path


def _copy(file: Path, target: Path) -> None:
    content = file.read_bytes()
    atomic.write_output(target, lambda out: out.write(content))
