"""Watches a training for signs that it has failed, and warns, ends it, or sends it back to a checkpoint.

Cheap: rows are looked at when the log has read them from the device anyway, weights before they are saved,
and a few images are drawn at an epoch end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from ganctl import generate, symptoms
from ganctl.callbacks import FIRST_SEED, Scores
from ganctl.data.dataset import DatasetFacts, ImageSet
from ganctl.errors import DivergedError
from ganctl.gan import GAN
from ganctl.hyperparameters import Hyperparameters
from ganctl.loggers import RunLog
from ganctl.runs import RunFolder
from ganctl.symptoms import Alarm

log = logging.getLogger("ganctl")

CHECK_EVERY_STEPS = 20

# Images of an epoch end: so many seeds of so many labels at most.
SEEDS, MAX_LABELS = 16, 64


@dataclass(frozen=True)
class Limits:
    """What is wrong, and what is done about it.

    Args:
        action: `warn` says it, `stop` ends the run, `rollback` goes back to the last checkpoint. Non-finite
            values end the run under `warn` too: nothing trains on from them.
        max_rollbacks: after so many the next alarm ends the run.
        warmup_kimg: labels and diversity are judged from then on.
        saturated_kimg: for how long D may tell real from fake without fail.
        min_diversity: variance of the generated images of a class, as a share of that of the real ones.
    """

    action: Literal["warn", "stop", "rollback"]
    max_rollbacks: int
    warmup_kimg: float
    saturated_kimg: float
    min_diversity: float


class Watchdog(pl.Callback):
    """Raises each alarm once: a line for what, a line for what to try, `watchdog/<name>` = 1 in the logs.

    Lightning must call it after `StepLog` and `Scores`, before what saves checkpoints.

    Args:
        reals: whose variety is the measure.
        loss: its name in `ganctl.losses.LOSSES`.
        scores: whose label accuracy is judged; without it, whether pixels change with the label.
        roll_back: puts the training back to the last good checkpoint, between two steps, on every rank; False
            when there is none.

    Raises:
        DivergedError: from the hooks, on every rank at the same step, to end the run.
    """

    def __init__(
        self,
        run: RunFolder,
        run_log: RunLog,
        reals: ImageSet,
        facts: DatasetFacts,
        loss: str,
        scores: Scores | None,
        limits: Limits,
        roll_back: Callable[[], bool],
    ) -> None:
        self.run, self.run_log, self.facts, self.loss = run, run_log, facts, loss
        self.reals, self.scores, self.limits, self.roll_back = reals, scores, limits, roll_back
        diameter = 2 * (facts.channels * facts.resolution**2) ** 0.5
        self._saturation = symptoms.Saturation(loss, diameter, limits.saturated_kimg)
        self._raised: set[str] = set()
        self._row = run_log.last
        self._scored = scores.latest if scores else {}
        self._variety: Tensor | None = None

    # -- when it looks -------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: pl.Trainer, gan: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(gan, GAN)
        if trainer.is_last_batch:
            self.check(trainer, gan)  # what follows draws, scores and saves
        elif gan.steps % CHECK_EVERY_STEPS == 0:
            self._act(trainer, gan, self._row_alarm())

    def on_train_epoch_end(self, trainer: pl.Trainer, gan: pl.LightningModule) -> None:
        assert isinstance(gan, GAN)
        if gan.nimg < 1000 * self.limits.warmup_kimg:
            return
        alarms = self._picture_alarms(gan) if trainer.is_global_zero else []
        for name in ("collapsed", "labels_ignored"):  # not as many as were found: every rank asks each
            if not self._act(trainer, gan, next((a for a in alarms if a.name == name), None)):
                return

    def check(self, trainer: pl.Trainer, gan: GAN) -> bool:
        """For a step boundary ahead of a save, on every rank: all rows so far, and every weight.

        Returns:
            Whether this state may be saved; False when the training has gone back to a checkpoint.
        """
        self.run_log.flush()
        if not self._act(trainer, gan, self._row_alarm()):
            return False
        states = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
        weights = {**gan.state_dict(), "optimizers": states}
        return self._act(trainer, gan, symptoms.non_finite_tensors(weights))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, gan: pl.LightningModule, content: dict[str, Any]
    ) -> None:
        """The last resort: whoever saves without asking `check` gets no bad file."""
        bad = symptoms.non_finite_tensors([content["state_dict"], content.get("optimizer_states")])
        if trainer.strategy.reduce_boolean_decision(bad is not None, all=False):
            assert isinstance(gan, GAN)
            raise self._end(gan, bad)

    # -- what it sees, on rank 0 ---------------------------------------------------------------------------

    def _row_alarm(self) -> Alarm | None:
        row = self.run_log.last
        if row is self._row or not row:  # nothing new, or another rank than 0
            return None
        self._row = row
        return symptoms.non_finite_row(row) or self._saturation.seen(row)

    def _picture_alarms(self, gan: GAN) -> list[Alarm]:
        k = min(self.facts.num_classes, MAX_LABELS) or 1
        if self._variety is None:
            labels = self.reals.labels if self.facts.num_classes else torch.zeros(len(self.reals)).long()
            self._variety = symptoms.pixel_variance(self.reals.images, labels, k)
        seeds = [FIRST_SEED + i for i in range(SEEDS) for _ in range(k)]
        fakes = generate.all_at_once(
            gan.G_ema, gan.numbers.latent_dim, list(range(k)) * SEEDS, seeds, gan.device
        )
        variance = symptoms.pixel_variance(fakes, torch.arange(k).repeat(SEEDS), k)
        found = [
            symptoms.collapsed(variance, self._variety, self.limits.min_diversity, self.facts.label_names)
        ]
        if k > 1 and self.scores is None:
            found.append(symptoms.labels_invisible(fakes.unflatten(0, (SEEDS, k))))
        elif k > 1 and self.scores is not None and self.scores.latest is not self._scored:
            self._scored = self.scores.latest
            accuracy = self._scored.get("val/label_accuracy", 1.0)
            found.append(symptoms.labels_ignored(accuracy, self.facts.class_counts))
        return [alarm for alarm in found if alarm is not None]

    # -- what it does --------------------------------------------------------------------------------------

    def _act(self, trainer: pl.Trainer, gan: GAN, alarm: Alarm | None) -> bool:
        """Every rank asks; what rank 0 saw decides for all. True: the training goes on from where it is."""
        if alarm is not None and alarm.name in self._raised:
            alarm = None
        if alarm is not None:
            self._raised.add(alarm.name)
        wanted = alarm is not None and (self.limits.action != "warn" or alarm.name == "non_finite")
        if not trainer.strategy.reduce_boolean_decision(wanted, all=False):
            self._say(gan, alarm)
            return True
        if self.limits.action == "rollback" and gan.rollbacks < self.limits.max_rollbacks:
            self.run_log.flush()  # rows so far belong to what is given up
            step, kimg = gan.steps, gan.nimg / 1000
            if self.roll_back():
                self._say(gan, alarm)
                done = f"{gan.rollbacks} of {self.limits.max_rollbacks}"
                log.warning("rollback %s: from step %d (%.1f kimg) to step %d", done, step, kimg, gan.steps)
                self._raised.clear()
                self._saturation.forget()
                self._row = self.run_log.last
                return False
        self._say(gan, alarm)
        raise self._end(gan, alarm)

    def _say(self, gan: GAN, alarm: Alarm | None) -> None:
        if alarm is None or not gan.trainer.is_global_zero:
            return
        log.warning("step %d, %.1f kimg: %s", gan.steps, gan.nimg / 1000, alarm.what)
        log.warning("try %s", advice(alarm.name, self.loss, gan.numbers))
        self.run_log.metrics({f"watchdog/{alarm.name}": 1.0}, gan.steps, gan.nimg)

    def _end(self, gan: GAN, alarm: Alarm | None) -> DivergedError:
        if alarm is None:
            return DivergedError("the watchdog of another rank has ended the run")
        saved = self.run.checkpoint("last.ckpt").exists()
        back = f"; the last good state: ganctl resume {self.run.path}" if saved else "; nothing is saved yet"
        return DivergedError(alarm.what, f"{advice(alarm.name, self.loss, gan.numbers)}{back}")


def advice(name: str, loss: str, numbers: Hyperparameters) -> str:
    """What to try against an alarm: settings that exist, with their values now."""
    slower = f"a lower model.lr (now {numbers.lr:g})"
    if loss == "wgan_gp":
        smoother = f"a higher loss.gp_weight (now {numbers.gp_weight:g})"
    else:
        smoother = (
            f"a higher loss.r1_gamma and loss.r2_gamma (now {numbers.r1_gamma:g}, {numbers.r2_gamma:g})"
        )
    other = "loss=relativistic" if loss != "relativistic" else "model=dcgan"
    return {
        "non_finite": f"{slower}, {smoother}",
        "saturated": f"{smoother}, {slower}",
        "collapsed": f"{smoother}, {slower}, {other}",
        "labels_ignored": f"{other}, more trainer.max_epochs, or look at what your own networks do with y",
    }[name]
