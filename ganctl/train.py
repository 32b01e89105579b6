"""Configuration -> a trained run: builds every part, hands plain values down, runs Lightning."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from tqdm.contrib.logging import logging_redirect_tqdm

from ganctl import callbacks, data, launch, loggers, networks, ranks, runs, snapshot
from ganctl.checkpoint_io import AtomicCheckpointIO
from ganctl.config import Config
from ganctl.data.dataset import Dataset
from ganctl.data.module import ResidentData
from ganctl.errors import GanctlError, UsageError
from ganctl.gan import GAN, Hyperparameters, Schedule
from ganctl.losses import LOSSES
from ganctl.metrics import classifier

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


class InterruptedRunError(GanctlError):
    """Ctrl-C or SIGTERM: the state is saved."""

    exit_code = 130


def train(cfg: Config) -> RunResult | None:
    """Trains a GAN, conditional where the data set has label names.

    Returns:
        What the run left behind; None on every rank but 0.

    Raises:
        UsageError: something in the configuration cannot work.
        InterruptedRunError: the user stopped it; `last.ckpt` is saved.
    """
    pl.seed_everything(cfg.seed, verbose=False)
    cfg = resolve_precision(cfg)
    dataset = data.load(cfg.data.name, _path(cfg.data.root), cfg.data.val_size, cfg.data.val_seed)
    with _quiet_lightning():
        trainer = _trainer(cfg)
        batch_per_device = _batch_per_device(cfg, dataset, trainer.world_size)
        steps = _total_steps(cfg, dataset)
        gan = build_gan(cfg, dataset, total_images=steps * cfg.data.batch_size)

        if not trainer.is_global_zero:
            # Rank 0 alone writes: the others neither make the folder nor log.
            folder, run_log = runs.RunFolder(Path(cfg.run.dir or cfg.run.root)), loggers.RunLog([])
            with ranks.quiet():
                _fit(cfg, trainer, gan, dataset, batch_per_device, steps, folder, run_log)
            return None

        plain = cfg.model_dump()
        loggers.check(plain["logger"])
        folder = runs.create(Path(cfg.run.root), cfg.name, _path(cfg.run.dir))
        folder.config.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        with _log_file(folder.log), logging_redirect_tqdm([log]):
            log.info("run folder %s", folder.path)
            run_log = loggers.build(
                plain["logger"], folder.path, f"{cfg.name}/{folder.path.name}", plain, wandb_id=None
            )
            exit_code = 1
            try:
                result = _fit(cfg, trainer, gan, dataset, batch_per_device, steps, folder, run_log)
                exit_code = 0
                return result
            except InterruptedRunError as interrupted:
                exit_code = interrupted.exit_code
                raise
            finally:
                run_log.finish(exit_code)


def _fit(
    cfg: Config,
    trainer: pl.Trainer,
    gan: GAN,
    dataset: Dataset,
    batch_per_device: int,
    steps: int,
    folder: runs.RunFolder,
    run_log: loggers.RunLog,
) -> RunResult:
    scores = _scores(cfg, dataset, folder, run_log)

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

    around: list[pl.Callback] = [callbacks.StepLog(run_log)]
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
    around.append(callbacks.Checkpoints(folder, run_log, describe, scores))
    trainer.callbacks.extend(around)  # type: ignore[attr-defined]
    run_log.watch(gan)

    resident = ResidentData(dataset, batch_per_device, cfg.seed)
    try:
        trainer.fit(gan, datamodule=resident)
    except SystemExit as stop:
        # Lightning turns Ctrl-C into sys.exit(1), and SIGTERM into an exception of its own.
        interrupted = InterruptedRunError(
            f"interrupted after {gan.nimg} images",
            f"the state so far is in {folder.checkpoint('last.ckpt')}",
        )
        if isinstance(stop, SIGTERMException):
            interrupted.exit_code = 128 + signal.SIGTERM
        raise interrupted from None
    trainer.test(gan, datamodule=resident, verbose=False)
    return RunResult(folder, gan.nimg, dict(scores.latest) if scores else {}, dataset.facts.num_classes > 0)


def build_gan(cfg: Config, dataset: Dataset, total_images: int) -> GAN:
    facts = dataset.facts
    shared = {"num_classes": facts.num_classes, "channels": facts.channels, "resolution": facts.resolution}
    # The user's own configuration names the classes: they are the user's code.
    G = networks.build(cfg.model.generator, trust_code=True, latent_dim=cfg.model.latent_dim, **shared)
    D = networks.build(cfg.model.discriminator, trust_code=True, **shared)
    for net in (G, D):
        net.to(memory_format=torch.channels_last)
    schedules = {k: Schedule(**v) for k, v in cfg.schedules.model_dump().items() if v is not None}
    m, loss = cfg.model, cfg.loss
    numbers = Hyperparameters(
        latent_dim=m.latent_dim,
        lr=m.lr,
        beta1=m.beta1,
        beta2=m.beta2,
        r1_gamma=loss.r1_gamma,
        r2_gamma=loss.r2_gamma,
        gp_weight=loss.gp_weight,
        ema_half_life_kimg=m.ema_half_life_kimg,
        d_steps_per_g=m.d_steps_per_g,
        schedules=schedules,
    )
    return GAN(G, D, LOSSES[loss.name], numbers, total_images, cfg.seed)


def _scores(
    cfg: Config, dataset: Dataset, folder: runs.RunFolder, run_log: loggers.RunLog
) -> callbacks.Scores | None:
    if cfg.callbacks.evaluate is None:
        return None
    loaded = classifier.load(dataset.facts.name)
    if loaded is None:
        log.warning("no classifier comes with %s: no scores while training, no best.ckpt", cfg.data.name)
        return None
    every, num_gen = cfg.callbacks.evaluate.every_epochs, cfg.callbacks.evaluate.num_gen
    return callbacks.Scores(folder, run_log, loaded, dataset.val, dataset.facts, num_gen, every)


def resolve_precision(cfg: Config) -> Config:
    """`auto` becomes what this machine takes, so that the run's configuration says what it ran in."""
    trainer = cfg.trainer
    if trainer.precision != "auto":
        return cfg
    on_gpu = trainer.accelerator in ("auto", "gpu") and torch.cuda.is_available()
    if on_gpu:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif trainer.accelerator in ("auto", "cpu") and not torch.backends.mps.is_available():
        # Without these instructions bf16 is emulated, slower than float32. Older torch cannot tell.
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    else:
        native = False
    resolved = trainer.model_copy(update={"precision": "bf16" if native else 32})
    return cfg.model_copy(update={"trainer": resolved})


def _trainer(cfg: Config) -> pl.Trainer:
    t = cfg.trainer
    devices, num_nodes = launch.processes(t.devices, t.num_nodes)
    one = 1 if cfg.debug else None
    try:
        return pl.Trainer(
            accelerator=t.accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=launch.strategy(t.strategy, t.accelerator, devices, num_nodes),
            precision="bf16-mixed" if t.precision == "bf16" else "32-true",
            max_epochs=t.max_epochs,
            max_steps=t.max_steps or -1,
            # A run shorter than an epoch ends with a whole one: validation comes after its last batch.
            limit_train_batches=t.max_steps,
            limit_val_batches=one,
            limit_test_batches=one,
            num_sanity_val_steps=0,
            plugins=[AtomicCheckpointIO(), launch.environment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise UsageError(
            f"cannot run with trainer.accelerator={t.accelerator} trainer.devices={devices}: {error}",
            "try trainer=cpu, or trainer=auto",
        ) from error


def _batch_per_device(cfg: Config, dataset: Dataset, world_size: int) -> int:
    batch = cfg.data.batch_size
    if batch % world_size:
        raise UsageError(
            f"data.batch_size={batch} cannot be shared by {world_size} devices",
            f"choose a multiple of {world_size}, such as {-(-batch // world_size) * world_size}",
        )
    if batch > len(dataset.train):
        raise UsageError(
            f"data.batch_size={batch} is larger than the {len(dataset.train)} training images",
            f"choose at most {len(dataset.train)}",
        )
    return batch // world_size


def _total_steps(cfg: Config, dataset: Dataset) -> int:
    steps = cfg.trainer.max_epochs * (len(dataset.train) // cfg.data.batch_size)
    return min(steps, cfg.trainer.max_steps or steps)


def _path(text: str | None) -> Path | None:
    return Path(text) if text is not None else None


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What the program says goes to `train.log` as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's banners and hints are about Lightning; a user of this tool cannot act on them."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\b")
        try:
            yield
        finally:
            logger.setLevel(level)
