"""Run folders: where a training writes, and which run or checkpoint a name means."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ganctl import atomic
from ganctl.errors import UsageError

# `debug=true` trains there; it never counts as the newest run.
DEBUG = "debug"

# What `sample` and `eval` use where nothing was trained yet. See ganctl/assets/generator_mnist.md.
BUNDLED = Path(__file__).resolve().parent / "assets" / "generator_mnist.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def slurm_job(self) -> Path:
        """The id of the SLURM job that trains it, by which the job finds it again when it is requeued."""
        return self.path / "slurm_job"

    def checkpoint(self, name: str) -> Path:
        """`last.ckpt`, `previous.ckpt` or `best.ckpt`."""
        return self.path / "checkpoints" / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training in the folder; removes what a killed one left half written.

        Raises:
            UsageError: another process trains there.
        """
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is training in {self.path}", "wait for its end, or stop it"
                ) from None
            except OSError:
                pass  # not every file system has locks
            for part in (self.path, self.samples, self.path / "checkpoints"):
                atomic.sweep(part)
            yield
        finally:
            os.close(folder)


def create(root: Path, name: str, folder: Path | None = None) -> RunFolder:
    """Makes `root/name/<date>_<time>` for a new run, or exactly `folder`.

    Two runs that start in the same second get two folders.

    Raises:
        UsageError: the folder cannot be made, or `folder` holds a run already.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        if folder is not None:
            require_free(folder)
            folder.mkdir(parents=True, exist_ok=True)
            return RunFolder(folder)
        (root / name).mkdir(parents=True, exist_ok=True)
        for attempt in range(1000):
            path = root / name / (f"{stamp}_{attempt}" if attempt else stamp)
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return RunFolder(path)
    except OSError as error:
        raise UsageError(
            f"cannot make the run folder {folder or root / name}: {error.strerror}",
            "choose a folder you can write to with run.root=DIR or run.dir=DIR",
        ) from error
    raise UsageError(f"{root / name} has a thousand runs of this second", "choose run.dir=DIR")


def require_free(folder: Path) -> None:
    """
    Raises:
        UsageError: `folder` holds a run already.
    """
    if (folder / "config.yaml").exists():
        raise UsageError(f"{folder} already holds a run", "choose another folder with run.dir=DIR")


def newest(root: Path, file: str = "last.ckpt") -> Path | None:
    """That file of the run started last, among the runs that have it; debugging runs don't count."""
    started = [
        (config.stat().st_mtime_ns, config)
        for config in root.glob("**/config.yaml")
        if os.path.isfile(config.parent / "checkpoints" / file) and config.relative_to(root).parts[0] != DEBUG
    ]
    return max(started)[1].parent / "checkpoints" / file if started else None


def newest_run(root: Path) -> RunFolder | None:
    """The run started or resumed last, with or without a checkpoint; debugging runs don't count."""
    started = [
        (config.stat().st_mtime_ns, config)
        for config in root.glob("**/config.yaml")
        if config.relative_to(root).parts[0] != DEBUG
    ]
    return RunFolder(max(started)[1].parent) if started else None


def run_of(checkpoint: Path) -> RunFolder | None:
    """The run folder in which a checkpoint lies, if it lies in one."""
    run = RunFolder(checkpoint.parent.parent)
    return run if checkpoint.parent.name == "checkpoints" and run.config.is_file() else None


def run_of_slurm_job(root: Path, job: str) -> RunFolder | None:
    """The run that this job trained before it was requeued."""
    for marker in root.glob("**/slurm_job"):
        run = RunFolder(marker.parent)
        if run.config.is_file() and marker.read_text(encoding="utf-8").strip() == job:
            return run
    return None


def find_checkpoint(ckpt: str | None, root: Path = Path("runs")) -> Path:
    """What `--ckpt` means: that file if it exists; the `last.ckpt` of a run folder; a file of that name in
    the newest run. None means `last.ckpt` of the newest run, and `BUNDLED` where no run has one.

    Raises:
        UsageError: there is no such file.
    """
    if ckpt is None:
        return newest(root) or BUNDLED
    path = Path(ckpt)
    if os.path.isfile(path):  # unlike Path.is_file, False for what no file can be called
        return path
    if os.path.isfile(path / "checkpoints" / "last.ckpt"):
        return path / "checkpoints" / "last.ckpt"
    if path.name != ckpt:
        raise UsageError(f"there is no checkpoint {ckpt}", f"give a file, or a run folder below {root}/")
    found = newest(root, ckpt)
    if found is None:
        raise UsageError(
            f"no run below {root}/ has a {ckpt}",
            "train one: ganctl train +experiment=quick; or leave out --ckpt for the bundled generator",
        )
    return found


def outputs_of(checkpoint: Path, suffix: str) -> Path:
    """Where what is made of a checkpoint goes: `<stem><suffix>` beside it, or in the current folder for the
    bundled one, whose own folder is the package's."""
    beside = checkpoint.with_name(f"{checkpoint.stem}{suffix}")
    return Path(beside.name) if checkpoint.resolve() == BUNDLED else beside
