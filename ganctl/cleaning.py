"""What can go below `runs/` and in the cache, and how it goes.

Only files that `ganctl` writes are ever removed, by their names and in run folders of ours; a folder goes
when nothing is left in it. Symbolic links are neither followed nor removed. A run that trains is left alone.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganctl import atomic, run_table, wording
from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.run_table import Run
from ganctl.runs import CHECKPOINTS, RunFolder

KINDS = {
    "temporary": "what killed processes left half written",
    "debug": "runs of debug=true",
    "empty": "runs without a checkpoint",
    "previous": "previous.ckpt of finished runs",
    "wandb": "offline W&B folders that were uploaded",
    "cache": "statistics of real images, which are computed again when they are needed",
}
DEFAULT = tuple(kind for kind in KINDS if kind != "cache")

STALE_S = 600  # what is younger may be being written

_CHECKPOINT = r"(last|previous|best)"
_FILES = {
    ".": re.compile(r"metrics\.jsonl|train\.log|slurm_job|config\.yaml"),
    "samples": re.compile(r"reals\.png|(fakes|confusion|class_scores)_[0-9]+\.png"),
    "checkpoints": re.compile(rf"{_CHECKPOINT}\.ckpt|{_CHECKPOINT}\.eval\.(json|[a-z_]+\.png)"),
}
_TREES = ("wandb", "csv", "tensorboard", "mlruns", "comet")


@dataclass(frozen=True)
class Item:
    """Something that can go.

    Args:
        kind: of `KINDS`.
        path: what people know it by.
        files: what is removed: files, and folders with all that is in them.
        run: the run that it is of, whose lock is held meanwhile.
        bytes: that become free; a file with another name elsewhere frees none.
    """

    kind: str
    path: Path
    files: tuple[Path, ...] = field(repr=False)
    run: RunFolder | None
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": str(self.path), "bytes": self.bytes}


def plan(root: Path, kinds: Collection[str] = DEFAULT, older_than_s: int = 0, keep: int = 0) -> list[Item]:
    """What can go, and nothing happens to it.

    Args:
        kinds: of `KINDS`.
        older_than_s: what was written to within that time stays.
        keep: so many of the runs started last stay as they are.

    Raises:
        UsageError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"there is nothing called {kind!r} to clean", nearest(kind, KINDS))
    before = time.time() - max(older_than_s, STALE_S)
    found: list[Item] = []
    for run in run_table.find(root)[0][keep:]:
        if run.state != "training" and run.written < before:
            found += _of_run(run, kinds, before)
    return found + (_cached(before) if "cache" in kinds else [])


def _of_run(run: Run, kinds: Collection[str], before: float) -> Iterator[Item]:
    folder = run.folder
    saved = any(os.path.lexists(folder.checkpoint(name)) for name in CHECKPOINTS)
    debug = run.config.get("debug") is True
    if debug and "debug" in kinds:
        yield _item("debug", folder.path, own_files(folder), folder)
    elif not debug and not saved and "empty" in kinds:
        yield _item("empty", folder.path, own_files(folder), folder)
    else:
        if "temporary" in kinds:
            for file in folder.half_written():
                if file.stat().st_mtime < before:
                    yield _item("temporary", file, [file], folder)
        previous = folder.checkpoint("previous.ckpt")
        if "previous" in kinds and run.state == "finished" and previous in own_files(folder):
            yield _item("previous", previous, [previous], folder)
        if "wandb" in kinds and not (folder.path / "wandb").is_symlink():
            for path, uploaded in run_table.offline_folders(folder).items():
                if uploaded:
                    yield _item("wandb", path, [path], folder)


def own_files(folder: RunFolder) -> list[Path]:
    """All that `ganctl train` and `ganctl eval` write into a run folder, `config.yaml` at the end: as long as
    that is there, the folder is known for what it is."""
    found = [p for name in _TREES if (p := folder.path / name).is_dir() and not p.is_symlink()]
    for place, names in reversed(_FILES.items()):
        part = folder.path / place
        if part.is_dir() and not part.is_symlink():
            found += [p for p in sorted(part.iterdir()) if names.fullmatch(p.name) and _is_file(p)]
    found += folder.half_written()
    return sorted(found, key=lambda p: p == folder.config)


def _cached(before: float) -> list[Item]:
    from ganctl.metrics import cache

    place = cache.entry_path({}).parent
    if place.is_symlink() or not place.is_dir():
        return []
    found = [p for p in place.iterdir() if re.fullmatch(r"[0-9a-f]{64}\.safetensors", p.name) and _is_file(p)]
    found += atomic.half_written(place)
    return [_item("cache", p, [p], None) for p in sorted(found) if p.stat().st_mtime < before]


def _item(kind: str, path: Path, files: Iterable[Path], run: RunFolder | None) -> Item:
    files = tuple(files)
    names: collections.Counter[tuple[int, int, int, int]] = collections.Counter()
    for file in files:
        inside = (os.path.join(at, name) for at, _, found in os.walk(file) for name in found)
        for each in inside if file.is_dir() else (file,):
            with contextlib.suppress(OSError):
                s = os.lstat(each)
                names[s.st_dev, s.st_ino, s.st_nlink, s.st_size] += 1
    free = sum(size for (_, _, links, size), count in names.items() if count >= links)
    return Item(kind, path, files, run, free)


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def remove(item: Item) -> bool:
    """Removes it.

    Returns:
        Whether nothing is left; False where a run folder holds files of others too.

    Raises:
        UsageError: the run trains since.
        GanctlError: something cannot be removed.
    """
    if item.run is None:
        _unlink(item.files)
        return True
    with item.run.held():
        _unlink(item.files)
    if item.path != item.run.path:
        return True
    for folder in (item.path / "samples", item.path / "checkpoints", item.path):
        if not folder.is_symlink():
            with contextlib.suppress(OSError):  # something of others is in it
                folder.rmdir()
    return not item.path.exists()


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        try:
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise GanctlError(
                f"cannot remove {file}: {error.strerror}", "make its folder writable"
            ) from error


def table(items: Collection[Item]) -> str:
    """A line for each."""
    return wording.columns([[item.kind, wording.size(item.bytes), str(item.path)] for item in items])
