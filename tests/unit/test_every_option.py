"""Every shipped option composes, validates, builds, and takes a step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganctl import build, config, config_tree, data, loggers
from ganctl.config_schema import Config
from ganctl.data import cifar10, mnist, stacked
from ganctl.data.dataset import ImageSet
from ganctl.errors import UsageError
from ganctl.train import train

pytestmark = pytest.mark.slow  # for all of it, which takes seconds

SMALL = {
    "dcgan": ["model.generator.width=4", "model.discriminator.width=4", "model.discriminator.features=8"],
    "mlp": ["model.generator.widths=[8]", "model.discriminator.width=8"],
    "resnet": ["model.generator.widths=[8,4]", "model.discriminator.widths=[8,4]"],
}
QUIET = {"data": ["data=digits"], "logger": ["logger=none"], "callbacks": ["callbacks=none"]}
REFUSED = {  # without a GPU, an extra or an account; composed all the same
    "trainer/gpu",
    "trainer/ddp",
    "logger/mlflow",
    "logger/comet",
    "logger/neptune",
}
SLOW = {"logger/wandb", "logger/many"}  # W&B is a process of its own
TWO_PROCESSES = {"trainer/ddp_cpu"}  # in tests/e2e


def options(wanted: bool) -> list[Any]:
    """Those that can take a step in this process, or the others."""
    found = []
    for option in config_tree.listing():
        name = option.full_name
        if wanted == (name not in REFUSED | TWO_PROCESSES):
            marks = [pytest.mark.slow] if name in SLOW else []
            found.append(pytest.param(option.group, option.name, id=name, marks=marks))
    return found


def composed(group: str, name: str, *others: str) -> Config:
    """A training with this option, tiny and quiet otherwise."""
    chosen = [f"{group}={name}"]
    networks = config.compose(chosen).model.generator["_target_"].split(".")[2]
    quiet = [override for other, words in QUIET.items() if other != group for override in words]
    few = ["trainer.max_steps=1", "data.batch_size=20", "data.val_size=40", "callbacks.progress_bar=false"]
    return config.compose([*chosen, *quiet, *SMALL[networks], *few, *others])


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few random images where MNIST, Fashion-MNIST and CIFAR-10 would be loaded."""
    generator = torch.Generator().manual_seed(0)

    def drawn(channels: int, side: int) -> tuple[ImageSet, ImageSet]:
        images = torch.randint(256, (260, channels, side, side), generator=generator, dtype=torch.uint8)
        whole = ImageSet(images, torch.arange(260) % 10)
        return whole.subset(torch.arange(200)), whole.subset(torch.arange(200, 260))

    monkeypatch.setattr(mnist, "load", lambda spec, root: drawn(1, 28))
    monkeypatch.setattr(cifar10, "load", lambda root: drawn(3, 32))
    monkeypatch.setattr(stacked, "NUM_TRAIN", 300)
    monkeypatch.setattr(stacked, "NUM_TEST", 30)


def own_images(folder: Path, kind: str) -> list[str]:
    """The overrides of a small set of one's own: 100 images of two classes; of other options none."""
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8)
    if kind == "data/npz":
        np.savez(folder / "own.npz", images=images, labels=np.arange(100) % 2)
        return [f"data.root={folder / 'own.npz'}"]
    if kind == "data/folder":
        for i, image in enumerate(images):
            place = folder / "own" / ("even", "odd")[i % 2] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place)
        return [f"data.root={folder / 'own'}", "data.resolution=8"]
    return []


@pytest.mark.parametrize(("group", "name"), options(True))
@pytest.mark.usefixtures("small_sets")
def test_every_option_takes_a_step(
    group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    grids = ["callbacks.evaluate.num_gen=64"] if (group, name) == ("callbacks", "default") else []
    own = own_images(tmp_path, f"{group}/{name}")
    cfg = composed(group, name, f"run.dir={tmp_path / 'run'}", *grids, *own)
    done = train(cfg)
    assert done is not None
    assert done.nimg == 20
    rows = [json.loads(line) for line in (done.run.path / "metrics.jsonl").read_text().splitlines()]
    (losses,) = [row for row in rows if "train/d_loss" in row]
    assert math.isfinite(losses["train/d_loss"])
    assert math.isfinite(losses["train/g_loss"])
    assert ("train/r1" in losses) == bool(cfg.loss.r1_gamma)
    assert ("train/gradient_penalty" in losses) == bool(cfg.loss.gp_weight)
    content = torch.load(done.run.checkpoint("last.ckpt"), weights_only=True)
    for optimizer in content["optimizer_states"]:  # both networks have learned
        assert any(bool(state["exp_avg"].any()) for state in optimizer["state"].values())
    assert content["ganctl"]["config"] == build.resolve_precision(cfg).model_dump()
    assert any(done.run.samples.glob("fakes_*.png")) == (cfg.callbacks.samples is not None)
    assert bool(done.scores) == (cfg.callbacks.evaluate is not None)
    assert any(done.run.path.glob("csv/*/metrics.csv")) == (cfg.logger.csv is not None)
    assert any(done.run.path.glob("tensorboard/**/events.*")) == (cfg.logger.tensorboard is not None)
    assert any(done.run.path.glob("wandb/*run-*")) == (cfg.logger.wandb is not None)


@pytest.mark.parametrize(("group", "name"), options(False))
def test_what_cannot_take_a_step_here_is_composed(
    group: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    cfg = composed(group, name)
    assert cfg.data.name == "digits"
    if f"{group}/{name}" in TWO_PROCESSES:
        with build.quiet_lightning():
            assert build.build_trainer(cfg, 1).world_size == 2
    elif group == "trainer":
        with build.quiet_lightning(), pytest.raises(UsageError, match=r"trainer\.accelerator=gpu"):
            build.build_trainer(cfg, 1)
    elif name == "neptune":
        with pytest.raises(UsageError, match="closed"):
            loggers.check(cfg.model_dump()["logger"])
    else:
        assert getattr(cfg.logger, name) is not None


def test_every_data_set_has_an_option() -> None:
    assert set(config_tree.options("data")) == set(data.NAMES)
