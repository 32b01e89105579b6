"""Configuration -> the parts of a training: networks, method, Lightning's trainer, steps, batches."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from ganctl import augment, launch, networks
from ganctl.checkpoint_io import AtomicCheckpointIO
from ganctl.config_schema import Config
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import UsageError
from ganctl.gan import GAN
from ganctl.hyperparameters import Hyperparameters, Schedule
from ganctl.losses import LOSSES
from ganctl.metrics import classifier
from ganctl.metrics.classifier import LoadedClassifier

# Data sets whose pictures are signs.
_DIGITS = ("digits", "mnist", "stacked_mnist")


def build_gan(cfg: Config, facts: DatasetFacts, total_images: int, *, trust_code: bool = True) -> GAN:
    """The networks and the method.

    Args:
        total_images: of the whole training over all ranks, the span of the schedules.
        trust_code: import network classes from outside ganctl that `cfg` names.

    Raises:
        UsageError: a network cannot be built so, or the method does not fit the data or the loss.
    """
    check_method(cfg)
    shared = {"num_classes": facts.num_classes, "channels": facts.channels, "resolution": facts.resolution}
    G = networks.build(cfg.model.generator, trust_code=trust_code, latent_dim=cfg.model.latent_dim, **shared)
    D = networks.build(cfg.model.discriminator, trust_code=trust_code, **shared)
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
        reg_interval=loss.reg_interval,
        gp_weight=loss.gp_weight,
        ema_half_life_kimg=m.ema_half_life_kimg,
        d_steps_per_g=m.d_steps_per_g,
        schedules=schedules,
        lecam_weight=loss.lecam_weight,
        class_weight=loss.class_weight,
        flip=cfg.data.flip,
    )
    gan = GAN(G, D, LOSSES[loss.name], numbers, total_images, cfg.seed, build_augment(cfg))
    if cfg.trainer.compile:
        gan.compile_networks(cfg.trainer.compile)
    return gan


def build_augment(cfg: Config) -> nn.Module | None:
    """What D sees of images (N, C, H, W) while training; None for the images themselves."""
    if cfg.augment.name == "ada":
        return augment.AdaptiveAugment(cfg.augment.target, cfg.augment.speed_kimg)
    return augment.DiffAugment() if cfg.augment.name == "diffaug" else None


def check_method(cfg: Config) -> None:
    """
    Raises:
        UsageError: the method does not fit the data or the loss.
    """
    if cfg.data.flip and cfg.data.name in _DIGITS:
        raise UsageError(
            f"data.flip=true with data={cfg.data.name}: a mirrored digit is another sign",
            "leave it at data.flip=false",
        )
    if cfg.loss.lecam_weight and LOSSES[cfg.loss.name].g_uses_real:
        raise UsageError(
            f"loss.lecam_weight={cfg.loss.lecam_weight:g} with loss={cfg.loss.name}: LeCam holds logits to"
            " a level, and this loss only compares them",
            "leave it at loss.lecam_weight=0, or train with loss=hinge",
        )


def load_classifier(cfg: Config, facts: DatasetFacts) -> LoadedClassifier | None:
    """What scores images while training: the user's own, or else the one that comes with the data set.

    Raises:
        UsageError: the user's cannot be read, or is of other images or labels.
    """
    if cfg.callbacks.evaluate is None:
        return None
    loaded = classifier.choose(cfg.callbacks.evaluate.classifier, facts.name)
    if loaded is not None:
        names = facts.label_names or None
        loaded.require_fit(facts.name, (facts.channels, facts.resolution), names)
    return loaded


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


def build_trainer(cfg: Config, steps: int) -> pl.Trainer:
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
            max_epochs=-1,
            max_steps=steps,
            # Each epoch asks for the batches that are left of it: see ImageData.
            reload_dataloaders_every_n_epochs=1,
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


def batch_per_device(cfg: Config, num_train: int, world_size: int) -> int:
    batch = cfg.data.batch_size
    if batch % world_size:
        raise UsageError(
            f"data.batch_size={batch} cannot be shared by {world_size} devices",
            f"choose a multiple of {world_size}, such as {-(-batch // world_size) * world_size}",
        )
    if batch > num_train:
        raise UsageError(
            f"data.batch_size={batch} is larger than the {num_train} training images",
            f"choose at most {num_train}",
        )
    return batch // world_size


def total_steps(cfg: Config, num_train: int) -> int:
    steps = cfg.trainer.max_epochs * (num_train // cfg.data.batch_size)
    return min(steps, cfg.trainer.max_steps or steps)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's banners and hints are about Lightning; a user of this tool cannot act on them."""
    levels = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\b")
        # DDP, of weights with a single input channel: no error, and nothing that a user could change
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
