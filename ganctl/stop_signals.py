"""Ctrl-C, SIGTERM and SLURM's SIGUSR1: noted while training, acted on between two steps."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from ganctl.errors import GanctlError

log = logging.getLogger("ganctl")


class InterruptedRunError(GanctlError):
    """The run was stopped from outside; ended with exit code 128 + the signal's number.

    Args:
        what: one line.
        fix: how to go on.
        signum: SIGINT, SIGTERM or SIGUSR1.
    """

    def __init__(self, what: str, fix: str, signum: int) -> None:
        super().__init__(what, fix)
        self.exit_code = 128 + signum


class StopSignals(pl.Callback):
    """The first signal is noted in `received`, a second Ctrl-C ends the process at once.

    In place of Lightning's handlers, which it installs just before: its SIGTERM handler waits for the other
    ranks inside the handler, and a SIGTERM to all of them never ends.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        signals = [signal.SIGINT, signal.SIGTERM]
        if slurm_job() is not None:
            signals.append(signal.SIGUSR1)
        self._before = {signum: signal.signal(signum, self._note) for signum in signals}

    def on_train_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, gan: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None and signum == signal.SIGINT:
            # Not even cleaning up: files are replaced whole or not at all, and services could take a minute.
            os.write(sys.stderr.fileno(), b"\nleft at once; the last checkpoint is whole\n")
            os._exit(128 + signum)
        self.received = signum

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}


def slurm_job() -> str | None:
    """The id by which SLURM knows this job, or its task of an array; None outside of SLURM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is not None:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> bool:
    """Puts the SLURM job into the queue again; says why where SLURM refuses."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("SLURM job %s is not requeued: %s", job, error)
        return False
    if done.returncode:
        log.warning("SLURM job %s is not requeued: %s", job, done.stderr.strip() or done.returncode)
    return done.returncode == 0
