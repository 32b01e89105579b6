"""Run folders: where a training writes, and which run or checkpoint a name means."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ganctl import atomic
from ganctl.errors import UsageError

# `debug=true` trains there; it never counts as the newest run.
DEBUG = "debug"

# What a run saves, the newest first; `best.ckpt` is of any age.
CHECKPOINTS = ("last.ckpt", "previous.ckpt", "best.ckpt")

# What lies in a run folder holds no runs: W&B keeps a `config.yaml` of its own there.
_PARTS = frozenset(("checkpoints", "samples", "wandb", "csv", "tensorboard", "mlruns", "comet"))

ASK_S = 0.1  # `training` holds the lock far shorter

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
        """One of `CHECKPOINTS`."""
        return self.path / "checkpoints" / name

    @property
    def training(self) -> bool:
        """Whether a process trains there now, asked by taking the lock for an instant; False where that
        cannot be found out."""
        try:
            folder = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _take(folder, fcntl.LOCK_SH)
        finally:
            os.close(folder)

    def half_written(self) -> list[Path]:
        """What a killed process left of the files it wrote; while one writes, those."""
        parts = (self.path, self.samples, self.path / "checkpoints")
        return [file for part in parts for file in atomic.half_written(part)]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """`held`, for a training: removes what a killed one left half written.

        Raises:
            UsageError: another process trains there.
        """
        with self.held():
            for file in self.half_written():
                file.unlink()
            yield

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training in the folder.

        Raises:
            UsageError: another process trains there.
        """
        folder = os.open(self.path, os.O_RDONLY)
        try:
            if not _take(folder, fcntl.LOCK_EX):
                time.sleep(ASK_S)  # it may only have been asked for
                if not _take(folder, fcntl.LOCK_EX):
                    raise UsageError(
                        f"another process is training in {self.path}", "wait for its end, or stop it"
                    )
            yield
        finally:
            os.close(folder)


def _take(folder: int, lock: int) -> bool:
    """Whether nobody else holds a lock that excludes this one."""
    try:
        fcntl.flock(folder, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # not every file system has locks
    return True


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


def below(root: Path) -> list[RunFolder]:
    """Every folder at or below `root` with a `config.yaml`. Symbolic links are not followed."""
    found = []
    for folder, inside, files in os.walk(root):
        if "config.yaml" in files:
            found.append(RunFolder(Path(folder)))
            inside[:] = set(inside) - _PARTS
    return found


def newest(root: Path, file: str = "last.ckpt") -> Path | None:
    """That file of the run started last, among the runs that have it; debugging runs don't count."""
    having = [run for run in below(root) if os.path.isfile(run.checkpoint(file))]
    run = _newest(root, having)
    return run.checkpoint(file) if run else None


def newest_run(root: Path) -> RunFolder | None:
    """The run started or resumed last, with or without a checkpoint; debugging runs don't count."""
    return _newest(root, below(root))


def _newest(root: Path, among: list[RunFolder]) -> RunFolder | None:
    started = [
        (run.config.stat().st_mtime_ns, run.path)
        for run in among
        if run.config.relative_to(root).parts[0] != DEBUG
    ]
    return RunFolder(max(started)[1]) if started else None


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
