"""When a training is saved: by the clock, at epoch ends, and when it is stopped."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ganctl import atomic, checkpoint, resume
from ganctl.callbacks import Scores
from ganctl.checkpoint_io import AtomicCheckpointIO
from ganctl.data.module import ImageData
from ganctl.errors import GanctlError
from ganctl.gan import GAN
from ganctl.loggers import RunLog
from ganctl.resume import Progress, TrainingState
from ganctl.runs import RunFolder
from ganctl.stop_signals import InterruptedRunError, StopSignals, requeue, slurm_job
from ganctl.watchdog import Watchdog

log = logging.getLogger("ganctl")

# Ranks ask each other whether one of them was told to stop; a question costs as much as a small step.
AGREE_EVERY_STEPS = 10


class Checkpoints(pl.Callback):
    """`last.ckpt` and `previous.ckpt`, the newest two; `best.ckpt` whenever the score improves.

    Saved between two steps or at an epoch's end after the scores, so that a resumed run goes on exactly.

    Args:
        describe: makes what lies under the key `ganctl`.
        scores: whose Fréchet distance says what is best; without it there is no `best.ckpt`.
        watchdog: whose consent a save needs.
        every_s: seconds from one save to the next within an epoch.
        stops: says when to stop.
        resumed: where the run goes on.
    """

    def __init__(
        self,
        run: RunFolder,
        run_log: RunLog,
        describe: Callable[[GAN], dict[str, Any]],
        scores: Scores | None,
        watchdog: Watchdog,
        every_s: float,
        stops: StopSignals,
        resumed: TrainingState | None,
    ) -> None:
        self.run, self.run_log, self.describe, self.scores = run, run_log, describe, scores
        self.watchdog, self.every_s, self.stops, self.resumed = watchdog, every_s, stops, resumed
        self.best: float | None = None
        self.best_steps = 0
        self._saved_at = 0.0
        self._saved_steps = -1
        self.failure: GanctlError | None = None
        """Why the latest save failed; None when it did not."""

    def on_fit_start(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        self._saved_at = time.monotonic()
        self._meet(trainer)
        if self.resumed is not None:
            self._restore(trainer, gan, self.resumed)
            self.resumed = None  # its weights would be kept in memory

    def _meet(self, trainer: pl.Trainer) -> None:
        """All ranks learn the run folder from rank 0, and go on from one state."""
        own = None if self.resumed is None else (str(self.resumed.path), self.resumed.snapshot.digest)
        folder, first = trainer.strategy.broadcast((str(self.run.path), own))
        self.run = RunFolder(Path(folder))
        if own != first:
            raise GanctlError(
                "another run began while the ranks looked for the newest one", "name it: ganctl resume RUN"
            )

    def _restore(self, trainer: pl.Trainer, gan: GAN, state: TrainingState) -> None:
        resume.restore(trainer, gan, state)
        self._saved_steps = gan.steps
        self.best, self.best_steps = state.progress.best, state.progress.best_steps
        if self.scores is not None:
            self.scores.latest = dict(state.progress.scores)
        if not trainer.is_global_zero:
            return
        last = self.run.checkpoint("last.ckpt")
        if state.path != last:  # a damaged `last` must not become `previous` at the next save
            last.parent.mkdir(parents=True, exist_ok=True)
            atomic.link(state.path, last)
        if self.best_steps == gan.steps:  # it may have been killed after `last` and ahead of `best`
            atomic.link(last, self.run.checkpoint("best.ckpt"))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, gan: pl.LightningModule, content: dict[str, Any]
    ) -> None:
        assert isinstance(gan, GAN)
        content[checkpoint.KEY] = self.describe(gan)
        content[resume.KEY] = Progress(
            best=self.best,
            best_steps=self.best_steps,
            scores=self.scores.latest if self.scores else {},
            metrics_bytes=self.run_log.mark(),
            world_size=trainer.world_size,
            rollbacks=gan.rollbacks,
        ).model_dump()

    def on_train_batch_start(
        self, trainer: pl.Trainer, gan: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Nothing of this batch has happened yet: what is saved here is the end of the step before."""
        assert isinstance(gan, GAN)
        signum, due = self._agreed(trainer, gan)
        if (signum or due) and self._saved_steps != gan.steps:
            if self.watchdog.check(trainer, gan):
                self._save(trainer, gan)
            else:  # the batch in hand is of the place that was given up
                _data(trainer).go_to(gan.steps, in_hand=batch)
        if signum:
            raise self._interrupted(trainer, gan, signum)

    def on_train_epoch_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        if self._saved_steps == gan.steps:  # the watchdog has just gone back to it
            return
        score = self.scores.latest.get(self.scores.fd_key) if self.scores else None
        if score is not None and (self.best is None or score < self.best):
            self.best, self.best_steps = score, gan.steps
        self._save(trainer, gan)
        if trainer.is_global_zero and self.failure is None:
            if self.best_steps == gan.steps:
                self._link("last.ckpt", "best.ckpt")
            self.run_log.checkpoint(self.run.checkpoint("last.ckpt"))

    def roll_back(self, trainer: pl.Trainer, gan: GAN) -> bool:
        """Goes back to the newest checkpoint, on every rank; False where there is none that can be read.

        Other noise from there on, or the same would happen again; the batches are those of that place.
        """
        state, rollbacks = resume.newest_state(self.run), gan.rollbacks + 1
        if state is None:
            return False
        self._restore(trainer, gan, state)
        gan.rollbacks = rollbacks
        _data(trainer).go_to(gan.steps)
        self.run_log.cut(state.progress.metrics_bytes)
        return True

    def _save(self, trainer: pl.Trainer, gan: GAN) -> None:
        """Called by all ranks; rank 0 writes, and notes in `failure` why it could not."""
        io = trainer.strategy.checkpoint_io
        assert isinstance(io, AtomicCheckpointIO)
        if trainer.is_global_zero and self.run.checkpoint("last.ckpt").exists():
            self._link("last.ckpt", "previous.ckpt")
        trainer.save_checkpoint(self.run.checkpoint("last.ckpt"))
        self._saved_at = time.monotonic()
        self.failure = io.failure
        if self.failure is None:
            self._saved_steps = gan.steps
        else:
            log.warning("%s; training goes on, %s", self.failure.what, self.failure.fix)

    def _link(self, name: str, other: str) -> None:
        # Saving replaces files and never writes into them: the two may share one inode.
        try:
            atomic.link(self.run.checkpoint(name), self.run.checkpoint(other))
        except OSError as error:
            log.warning("cannot make %s of %s: %s", other, name, error.strerror)

    def _agreed(self, trainer: pl.Trainer, gan: GAN) -> tuple[int, bool]:
        """(signal or 0, whether it is time to save), the same on all ranks."""
        due = time.monotonic() - self._saved_at >= self.every_s
        signum = self.stops.received or 0
        if trainer.world_size == 1:
            return signum, due
        if gan.steps % AGREE_EVERY_STEPS:
            return 0, False
        asked = torch.tensor([signum, int(due)], device=gan.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        signum, late = asked.tolist()
        return signum, bool(late)

    def _interrupted(self, trainer: pl.Trainer, gan: GAN, signum: int) -> InterruptedRunError:
        what, job = f"interrupted after {gan.nimg} images", slurm_job()
        if self.failure is not None:
            what += f", which are lost from the last save on: {self.failure.what}"
        if signum == signal.SIGUSR1 and job is not None and trainer.is_global_zero and requeue(job):
            return InterruptedRunError(what, f"SLURM job {job} is in the queue again and will go on", signum)
        return InterruptedRunError(what, f"to go on: ganctl resume {self.run.path}", signum)


def _data(trainer: pl.Trainer) -> ImageData:
    resident = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(resident, ImageData)
    return resident
