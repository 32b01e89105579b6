"""Configuration -> a trained run: runs Lightning on what `build` makes, and records what it does."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from tqdm.contrib.logging import logging_redirect_tqdm

from ganctl import atomic, build, callbacks, data, loggers, ranks, resume, runs, snapshot, watchdog
from ganctl.config_schema import Config
from ganctl.data.dataset import Dataset
from ganctl.data.module import ImageData
from ganctl.errors import DivergedError, GanctlError, PrintableFormatter, UsageError
from ganctl.gan import GAN
from ganctl.metrics import classifier
from ganctl.metrics.classifier import LoadedClassifier
from ganctl.resume import Resumed, TrainingState
from ganctl.saving import Checkpoints
from ganctl.stop_signals import InterruptedRunError, StopSignals, slurm_job

log = logging.getLogger("ganctl")


@dataclass(frozen=True)
class RunResult:
    """What a training left behind.

    Args:
        nimg: images seen.
        scores: the last ones.
        labelled: whether the generator takes labels.
    """

    run: runs.RunFolder
    nimg: int
    scores: dict[str, float]
    labelled: bool


def train(cfg: Config, resumed: Resumed | None = None, *, trust_code: bool = True) -> RunResult | None:
    """Trains a GAN, conditional where the data set has label names.

    Args:
        resumed: the run to go on with, where `cfg` alone (`ckpt_path`, a requeued SLURM job) does not say it.
        trust_code: import network classes from outside ganctl that the configuration names: the user's own
            configuration may, one from a checkpoint not.

    Returns:
        What the run left behind; None on every rank but 0.

    Raises:
        UsageError: something in the configuration cannot work.
        InterruptedRunError: the run was stopped from outside; `last.ckpt` is saved.
        DivergedError: the watchdog ended it; what is saved is good.
    """
    pl.seed_everything(cfg.seed, verbose=False)
    cfg = build.resolve_precision(cfg)
    resumed = resumed or _resumed(cfg)
    cfg = cfg.model_copy(update={"ckpt_path": None})  # where it began is no part of what the run is
    plain = cfg.model_dump()
    changes = resume.changes(resumed.config, plain) if resumed else {}
    state = resumed.state if resumed else None
    dataset = data.load(data.Source.of_config(cfg.data.model_dump()), cfg.data.val_size, cfg.data.val_seed)
    judge = build.load_classifier(cfg, dataset.facts)
    with build.quiet_lightning():
        steps = build.total_steps(cfg, len(dataset.train))
        trainer = build.build_trainer(cfg, steps)
        log.debug(
            "device %s, precision %s, %d processes, %d steps",
            trainer.strategy.root_device,
            cfg.trainer.precision,
            trainer.world_size,
            steps,
        )
        batch_per_device = build.batch_per_device(cfg, len(dataset.train), trainer.world_size)
        if state is not None and not trust_code:
            # Tried without memory: a file can ask for networks far larger than the weights that it holds.
            with torch.device("meta"):
                resume.load_weights(build.build_gan(cfg, dataset.facts, 1, trust_code=False), state)
        gan = build.build_gan(cfg, dataset.facts, steps * cfg.data.batch_size, trust_code=trust_code)
        resident = ImageData(dataset, batch_per_device, cfg.seed, steps, cfg.data.stream)

        if state is not None:
            _check_same_training(state, dataset, trainer.world_size)
        if not trainer.is_global_zero:
            # Rank 0 alone writes: the others neither make the folder nor log.
            folder, run_log = runs.RunFolder(Path(cfg.run.dir or cfg.run.root)), loggers.RunLog([])
            with ranks.quiet(), suppress(InterruptedRunError, DivergedError):
                _fit(cfg, trainer, gan, resident, judge, steps, folder, run_log, state)
            return None

        loggers.check(plain["logger"])
        in_place = resumed.run if resumed else None
        folder = in_place or runs.create(Path(cfg.run.root), cfg.name, _path(cfg.run.dir))
        with folder.locked(), _log_file(folder.log), logging_redirect_tqdm([log]):
            _record(plain, changes, folder, state)
            run_log = loggers.build(
                plain["logger"],
                folder.path,
                f"{cfg.name}/{folder.path.name}",
                plain,
                wandb_id=state.snapshot.wandb_id if state and in_place else None,
                metrics_bytes=state.progress.metrics_bytes if state and in_place else 0,
            )
            exit_code = 1
            try:
                result = _fit(cfg, trainer, gan, resident, judge, steps, folder, run_log, state)
                exit_code = 0
                return result
            except GanctlError as error:
                exit_code = error.exit_code
                raise
            finally:
                run_log.finish(exit_code)


def _resumed(cfg: Config) -> Resumed | None:
    """The run that `ckpt_path` names, or that this SLURM job trained before it was requeued."""
    if cfg.ckpt_path is not None:
        return resume.find(cfg.ckpt_path, Path(cfg.run.root))
    job = slurm_job()
    if job is not None and int(os.environ.get("SLURM_RESTART_COUNT", "0")):
        run = runs.run_of_slurm_job(Path(cfg.run.root), job)
        return resume.find(str(run.path)) if run else None
    return None


def _check_same_training(state: TrainingState, dataset: Dataset, world_size: int) -> None:
    before, now = state.snapshot.facts, dataset.facts
    if before.digest and before.digest == now.digest:  # the same pictures, whatever their file is called now
        now = replace(now, name=before.name)
    if before != now:
        raise UsageError(
            f"{state.path} was trained on other data: {before.name} has changed since",
            "restore the data, or start a new run",
        )
    if state.progress.world_size != world_size:
        log.warning(
            "%d ranks go on with a training of %d: with other noise than it would have had",
            world_size,
            state.progress.world_size,
        )


def _record(
    plain: dict[str, Any],
    changes: dict[str, tuple[Any, Any]],
    folder: runs.RunFolder,
    state: TrainingState | None,
) -> None:
    """Writes `config.yaml`, and into the log which run goes on and what changes."""
    log.info("run folder %s", folder.path)
    for key, (before, after) in changes.items():
        log.info("changed: %s from %s to %s", key, before, after)
    if state is not None:
        log.info("going on after %d images", state.snapshot.nimg)
    text = yaml.safe_dump(plain, sort_keys=False)
    atomic.write(folder.config, lambda file: file.write(text.encode()))
    job = slurm_job()
    if job is not None:
        folder.slurm_job.write_text(f"{job}\n", encoding="utf-8")


def _fit(
    cfg: Config,
    trainer: pl.Trainer,
    gan: GAN,
    resident: ImageData,
    judge: LoadedClassifier | None,
    steps: int,
    folder: runs.RunFolder,
    run_log: loggers.RunLog,
    state: TrainingState | None,
) -> RunResult:
    dataset = resident.dataset
    scores = _scores(cfg, judge, dataset, folder, run_log)

    def describe(gan: GAN) -> dict[str, Any]:
        return snapshot.entry(
            config=cfg.model_dump(),
            facts=dataset.facts,
            latent_dim=cfg.model.latent_dim,
            generator=dict(cfg.model.generator),
            ema=dict(gan.G_ema.state_dict()),
            nimg=gan.nimg,
            steps=gan.steps,
            wandb_id=run_log.wandb_id,
        )

    stops = StopSignals()
    limits = watchdog.Limits(**cfg.watchdog.model_dump())
    dog = watchdog.Watchdog(
        folder,
        run_log,
        dataset.val,
        dataset.facts,
        cfg.loss.name,
        scores,
        limits,
        roll_back=lambda: saves.roll_back(trainer, gan),
    )
    saves = Checkpoints(folder, run_log, describe, scores, dog, cfg.checkpoint.every_s, stops, state)
    around: list[pl.Callback] = [stops, callbacks.StepLog(run_log)]
    if cfg.callbacks.progress_bar:
        around.append(callbacks.ProgressBar(run_log, steps))
    if cfg.callbacks.samples is not None:
        grids = cfg.callbacks.samples
        around.append(
            callbacks.SampleGrids(
                folder, run_log, dataset.val, dataset.facts, grids.per_class, grids.every_epochs
            )
        )
    if scores is not None:
        around.append(scores)
    around += [dog, saves]
    trainer.callbacks.extend(around)  # type: ignore[attr-defined]
    run_log.watch(gan)
    try:
        trainer.fit(gan, datamodule=resident)
        trainer.test(gan, datamodule=resident, verbose=False)
    except SystemExit:
        # Lightning turns a Ctrl-C outside of the steps, where all is saved, into sys.exit(1).
        raise InterruptedRunError(
            f"interrupted after {gan.nimg} images", f"to go on: ganctl resume {folder.path}", signal.SIGINT
        ) from None
    if saves.failure is not None:
        raise saves.failure
    return RunResult(folder, gan.nimg, dict(scores.latest) if scores else {}, dataset.facts.num_classes > 0)


def _scores(
    cfg: Config,
    judge: LoadedClassifier | None,
    dataset: Dataset,
    folder: runs.RunFolder,
    run_log: loggers.RunLog,
) -> callbacks.Scores | None:
    if cfg.callbacks.evaluate is None:
        return None
    name = dataset.facts.name
    if judge is None:
        log.warning("%s: no scores while training, no best.ckpt; %s", *classifier.none_for(dataset.facts))
        return None
    if len(dataset.val) < 2:
        log.warning("%s has %d validation images: no scores while training", name, len(dataset.val))
        return None
    every, num_gen = cfg.callbacks.evaluate.every_epochs, cfg.callbacks.evaluate.num_gen
    return callbacks.Scores(folder, run_log, judge, dataset.val, dataset.facts, num_gen, every)


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What the program says goes to `train.log` as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # a full disk: its last lines are lost
            handler.close()
