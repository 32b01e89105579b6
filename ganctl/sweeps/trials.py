"""One trial of a sweep: a `ganctl train` process, its run folder, and the lock that says that it lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

from ganctl import config
from ganctl.errors import UsageError, shortened
from ganctl.runs import RunFolder
from ganctl.sweeps.grammar import quoted
from ganctl.sweeps.search_space import Space, Value, short

PROGRAM = (sys.executable, "-m", "ganctl")

# How a training ends that was told to stop: by Ctrl-C or SIGTERM, with its state saved or too early for that.
STOPPED = (130, 143, -2, -15)
DIVERGED = 3


def folder_of(sweep: Path, number: int) -> Path:
    """The run folder of a trial."""
    return sweep / f"trial_{number:04d}"


def log_of(sweep: Path, number: int) -> Path:
    """What a trial says, and the file by whose lock it lives."""
    return sweep / f"trial_{number:04d}.log"


def arguments(
    space: Space, point: dict[str, Value], sweep: Path, number: int, cfg: config.Config
) -> list[str]:
    """What `ganctl train` gets for a trial; what the user gave comes last, and wins."""
    ours = [f"run.dir={quoted(str(folder_of(sweep, number)))}", "callbacks.progress_bar=false"]
    if cfg.logger.wandb is not None:
        values = [f"{key.lstrip('+')}={short(value)}" for key, value in point.items()]
        tags = ",".join(quoted(tag[:64]) for tag in ["sweep", *values])
        ours += [
            f"logger.wandb.group={quoted(sweep.name)}",
            f"logger.wandb.name={quoted(' '.join([f'trial_{number:04d}', *values])[:128])}",
            f"logger.wandb.tags=[{tags}]",
        ]
    return space.arguments(point, *ours)


@contextlib.contextmanager
def only_one(sweep: Path) -> Iterator[None]:
    """Waits until no other process hands out trials of this sweep.

    Raises:
        UsageError: the file system has no locks.
    """
    lock = _open_lock(sweep / "lock")
    try:
        _flock(lock, sweep, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def take(sweep: Path, number: int) -> int | None:
    """The lock of a trial, or None where a living process has it: a sweep, or a training whose sweep died.

    The training inherits it, so that nobody takes a trial whose training goes on alone.
    """
    folder_of(sweep, number).mkdir(exist_ok=True)
    lock = _open_lock(log_of(sweep, number))
    try:
        _flock(lock, sweep, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "choose a place with run.root=DIR"
        ) from None


def _flock(lock: int, sweep: Path, how: int) -> None:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise UsageError(
            f"{sweep} cannot be locked ({error.strerror}): trials could be done twice",
            "choose a file system with locks: run.root=DIR",
        ) from None


@dataclass(frozen=True)
class Row:
    """One evaluation of a training.

    Args:
        step: batches.
        images: seen.
        value: the objective; None where it was not finite.
        epoch: evaluations so far, this one included.
    """

    step: int
    images: int
    value: float | None
    epoch: int

    def progress(self, cfg: config.Config, objective: str) -> float:
        """The share of the training that is done, in (0, 1]."""
        evaluate = cfg.callbacks.evaluate
        every = 1 if evaluate is None or objective.endswith("_loss") else evaluate.every_epochs
        by_steps = self.step / cfg.trainer.max_steps if cfg.trainer.max_steps is not None else 0.0
        return min(1.0, max(self.epoch * every / cfg.trainer.max_epochs, by_steps))


def rows(run: Path, objective: str) -> list[Row]:
    """The rows of `metrics.jsonl` that have the objective. What is half written is left for the next time."""
    found: list[Row] = []
    needle = json.dumps(objective).encode()
    for line in _lines(run):
        if needle in line:
            row = json.loads(line)
            value = row[objective]
            finite = value if value is not None and math.isfinite(value) else None
            found.append(Row(row["step"], int(row["images_seen"]), finite, len(found) + 1))
    return found


def names(run: Path) -> list[str]:
    """What the rows of a training have that may be an objective."""
    found = {key for line in _lines(run) for key in json.loads(line)}
    return sorted(key for key in found if key.startswith(("train/", "val/")))


def images_seen(run: Path) -> int:
    """By the training, so far."""
    lines = _lines(run)
    return int(json.loads(lines[-1]).get("images_seen", 0)) if lines else 0


def _lines(run: Path) -> list[bytes]:
    try:
        return (run / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


class Trial:
    """A training that runs.

    Args:
        sweep: the folder of the sweep.
        lock: from `take`; closed when the training has ended.
        arguments: of `ganctl train`, for a run that has not begun; one that has is resumed as it is.
        environment: variables that differ from this process's.
    """

    def __init__(
        self, sweep: Path, number: int, lock: int, arguments: Sequence[str], environment: dict[str, str]
    ) -> None:
        self.number, self.run = number, folder_of(sweep, number)
        self.resumed = RunFolder(self.run).config.is_file()
        self._lock, self._began = lock, time.monotonic()
        self._log = log_of(sweep, number)
        self._said_before = self._log.stat().st_size
        verb = ["resume", str(self.run)] if self.resumed else ["train", *arguments]
        try:
            with self._log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*PROGRAM, *verb],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=_alone(os.environ) | environment,
                    pass_fds=[lock],
                )
        except BaseException:
            os.close(lock)
            raise

    @property
    def seconds(self) -> float:
        """Since it was started, or resumed."""
        return time.monotonic() - self._began

    def poll(self) -> int | None:
        """Its exit code, minus a signal's number where one killed it; None while it runs."""
        code = self._process.poll()
        if code is not None and self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        return code

    def stop(self) -> None:
        """It saves, and ends."""
        self._process.send_signal(SIGTERM)

    def kill(self) -> None:
        self._process.send_signal(SIGKILL)

    def wait(self) -> int:
        self._process.wait()
        code = self.poll()
        assert code is not None
        return code

    def last_words(self, code: int) -> str:
        """Why it failed, in one line."""
        if code < 0:
            by = Signals(-code).name
            memory = ": by hand, or because the machine's memory ran out" if -code == SIGKILL else ""
            return f"killed by {by}{memory}"
        with self._log.open("rb") as log:
            log.seek(self._said_before)
            lines = log.read().decode("utf-8", "replace").splitlines()
        said = [line for line in lines if line.startswith("Error: ")] or [x for x in lines if x.strip()]
        return shortened(said[-1].removeprefix("Error: ")) if said else f"exit code {code}"


def _alone(environ: Any) -> dict[str, str]:
    """A trial is a training by itself, even where a cluster's launcher started the sweep."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK")
    return {
        k: v for k, v in environ.items() if k not in ours and not k.startswith(("SLURM_", "TORCHELASTIC_"))
    }
