"""Trains the trials of a sweep, a few at once, until so many are finished.

What is known of the trials is in the storage and in their run folders alone, so that a sweep may die at any
moment, run on several machines, and go on: see `Study.claim`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from tqdm.contrib.logging import logging_redirect_tqdm

from ganctl import config, progress
from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.sweeps import trials
from ganctl.sweeps.search_space import short
from ganctl.sweeps.study import IMAGES, REASON, SECONDS, Study
from ganctl.sweeps.trials import DIVERGED, STOPPED, Trial

if TYPE_CHECKING:
    import optuna

log = logging.getLogger("ganctl")

POLL_S = 0.5
CLAIM_EVERY_S = 5.0  # while there is nothing to claim
PRUNE_FROM = 1 / 3  # of a training
STOPS = 3  # of one training by somebody else: then the trial is given up
FAILURES_IN_A_ROW = 3  # then something is wrong with all of them


class InterruptedSweepError(GanctlError):
    """The sweep was stopped from outside; ended with exit code 128 + the signal's number."""

    def __init__(self, what: str, fix: str, signum: int) -> None:
        super().__init__(what, fix)
        self.exit_code = 128 + signum


@dataclass
class _Running:
    """A trial that this process has."""

    process: Trial
    trial: optuna.Trial
    cfg: config.Config
    reported: set[int]
    seconds_before: float
    pruned: bool = False


@dataclass
class Scheduler:
    """Trains the trials of a study.

    Args:
        target: trials to finish in all.
        workers: trainings at once.
        again: the command that goes on, for messages.
    """

    study: Study
    target: int
    workers: int
    again: str
    _running: list[_Running] = field(default_factory=list)
    _failures: int = 0
    _stops: Counter[int] = field(default_factory=Counter)
    _signal: int | None = None
    _waits: bool = False

    def run(self) -> None:
        """Until all trials are finished.

        Raises:
            InterruptedSweepError: Ctrl-C or SIGTERM; the trainings have saved their state.
            UsageError: the objective is not among the rows.
            GanctlError: the trials fail.
        """
        hidden = not sys.stderr.isatty()  # in a file the lines about the trials say it all
        bar = progress.bar(self.target, "trial", initial=self.study.finished(), hidden=hidden)
        with bar, logging_redirect_tqdm([log]), self._stop_signals():
            try:
                claim_at = 0.0
                while self._signal is None:
                    if time.monotonic() >= claim_at:
                        claim_at = time.monotonic() + CLAIM_EVERY_S
                        while len(self._running) < self.workers and self._start():
                            pass
                        if not self._running and not self._others():
                            return
                    time.sleep(POLL_S)
                    if any([self._look_after(one) for one in list(self._running)]):
                        claim_at = 0.0
                        bar.update(self.study.finished() - bar.n)
            finally:
                self._stop_all()
        assert self._signal is not None
        what = f"stopped with {self.study.finished()} of {self.target} trials finished"
        raise InterruptedSweepError(what, f"to go on: {self.again}", self._signal)

    # -- one trial -----------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Another trial, if there is one to do."""
        from optuna.trial import TrialState

        claimed = self.study.claim(self.target)
        if claimed is None:
            return False
        trial, lock = claimed
        point = self.study.propose(trial)
        space = self.study.space
        shown = " ".join(f"{key.lstrip('+')}={short(value)}" for key, value in point.items())
        try:
            cfg = space.compose(point)
        except UsageError as error:  # values that don't go together
            log.info("trial %d: %s", trial.number, shown)
            os.close(lock)
            self._tell(trial, TrialState.FAIL, reason=error.what)
            return True
        arguments = trials.arguments(space, point, self.study.sweep, trial.number, cfg)
        process = Trial(self.study.sweep, trial.number, lock, arguments, self._threads())
        before = float(trial.user_attrs.get(SECONDS, 0.0))
        reported = set(self.study.frozen(trial.number).intermediate_values)
        self._running.append(_Running(process, trial, cfg, reported, before))
        log.info("trial %d %s: %s", trial.number, "goes on" if process.resumed else "begins", shown)
        return True

    def _others(self) -> bool:
        """Whether other processes train trials of this folder: should one die, its trial is ours."""
        beside = self.study.beside()
        if beside and not self._waits:
            self._waits = True
            shown = ", ".join(map(str, beside))
            log.info("waiting for trial %s, which another process trains", shown)
        return bool(beside)

    def _threads(self) -> dict[str, str]:
        """The cores are shared."""
        if self.workers == 1 or "OMP_NUM_THREADS" in os.environ:
            return {}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return {"OMP_NUM_THREADS": str(max(1, cores // self.workers))}

    def _look_after(self, one: _Running) -> bool:
        """Reports what is new of a trial; True once it has ended."""
        code = one.process.poll()
        self._report(one)
        if code is None:
            return False
        self._running.remove(one)
        self._ended(one, code)
        return True

    def _report(self, one: _Running) -> None:
        """Hands validation scores to the pruner, and stops the training where it says so."""
        objective = self.study.settings.objective
        if not objective.startswith("val/"):  # the others have a row for each step
            return
        for row in trials.rows(one.process.run, objective):
            if row.images in one.reported or row.value is None:
                continue
            one.reported.add(row.images)
            one.trial.report(row.value, row.images)
            # First scores say little of last ones, and after the last one there is nothing to stop.
            judged = PRUNE_FROM <= row.progress(one.cfg, objective) < 1.0
            if judged and not one.pruned and one.trial.should_prune():
                one.pruned = True
                one.process.stop()

    def _ended(self, one: _Running, code: int) -> None:
        from optuna.trial import TrialState

        trial, run, objective = one.trial, one.process.run, self.study.settings.objective
        trial.set_user_attr(SECONDS, round(one.seconds_before + one.process.seconds, 1))
        trial.set_user_attr(IMAGES, trials.images_seen(run))
        stopped = code in STOPPED or (code != 0 and self._signal is not None)
        found = trials.rows(run, objective)
        if one.pruned and (stopped or code == 0):
            self._tell(trial, TrialState.PRUNED, reason=f"pruned after {trials.images_seen(run)} images")
        elif stopped and self._stops[trial.number] < STOPS:
            # by a signal that may be on its way to us too; if not, the trial goes on
            self._stops[trial.number] += 1
            log.info("trial %d is stopped after %d images", trial.number, trials.images_seen(run))
        elif stopped:
            self._tell(trial, TrialState.FAIL, reason=f"stopped from outside {STOPS + 1} times")
        elif code == 0 and not found:
            names = trials.names(run)
            self._tell(trial, TrialState.FAIL, reason=f"no row has {objective}")
            raise UsageError(f"no row of a training has {objective!r}", nearest(objective, names))
        elif code == 0 and found[-1].value is not None:
            self._tell(trial, TrialState.COMPLETE, found[-1].value)
        elif code in (0, DIVERGED):
            said = one.process.last_words(code) if code else f"{objective} is not finite"
            self._tell(trial, TrialState.PRUNED, reason=f"diverged: {said}")
        else:
            self._tell(trial, TrialState.FAIL, reason=one.process.last_words(code))

    def _tell(
        self,
        trial: optuna.Trial,
        state: optuna.trial.TrialState,
        value: float | None = None,
        reason: str = "",
    ) -> None:
        if reason:
            trial.set_user_attr(REASON, reason)
        self.study.optuna.tell(trial, value, state=state)
        if value is not None:
            best = self.study.optuna.best_trial
            log.info(
                "trial %d: %s %.4g (best: trial %d, %.4g)",
                *(trial.number, self.study.settings.objective, value, best.number, best.value),
            )
        elif state.name == "PRUNED":
            log.info("trial %d: %s", trial.number, reason)
        else:
            log.warning("trial %d failed: %s", trial.number, reason)
        self._failures = self._failures + 1 if state.name == "FAIL" else 0
        if self._failures >= FAILURES_IN_A_ROW and not (self.study.settings.grid and self.study.scored()):
            raise GanctlError(
                f"{self._failures} trials in a row failed, the last: {reason}",
                f"see {trials.log_of(self.study.sweep, trial.number)}; afterwards: {self.again}",
            )

    # -- the end -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _stop_signals(self) -> Iterator[None]:
        """The first one is noted, a second Ctrl-C kills the trainings; their last checkpoints are whole."""

        def note(signum: int, frame: FrameType | None) -> None:
            if self._signal is not None and signum == signal.SIGINT:
                for one in self._running:
                    one.process.kill()
            self._signal = signum

        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _stop_all(self) -> None:
        """Every training saves and ends; what finishes meanwhile is finished."""
        for one in self._running:
            one.process.stop()
        for one in self._running:
            code = one.process.wait()
            with contextlib.suppress(GanctlError):  # why we stop is said already
                if code in (0, *STOPPED):
                    self._ended(one, code)
        self._running = []
