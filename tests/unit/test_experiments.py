"""Every experiment builds and takes a step on images of its own shape, without its data."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganctl import build, config, config_tree, data, probe
from ganctl.data import mnist

# Channels, resolution, classes: as each set is published, and of the folder that is made here.
SHAPES = {
    "best": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "dcgan": (1, 28, 10),
    "fashion": (1, 28, 10),
    "folder": (3, 64, 2),
    "mlp": (1, 28, 10),
    "quick": (1, 28, 10),
    "stacked_mnist": (3, 28, 0),
}


@pytest.mark.parametrize("name", config_tree.options("experiment"))
def test_every_experiment_steps_on_images_of_its_shape(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "SYSTEM_DIR", tmp_path / "none")
    monkeypatch.setattr(probe, "TIMED_S", 0.0)  # one step
    monkeypatch.setattr(probe, "BATCHES", 1)
    own = []
    if name == "folder":
        own = [f"data.root={tmp_path / 'own'}"]
        for i in range(20):
            place = tmp_path / "own" / ("left", "right")[i % 2] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (5 + i, 9), (i, 0, 0)).save(place)
    few = ["data.batch_size=4", "trainer=cpu", "trainer.precision=32"]
    cfg = config.compose([f"experiment={name}", *own, *few])
    assert cfg.name == name
    outline = data.outline(data.Source.of_config(cfg.data.model_dump()), cfg.data.val_size)
    facts = outline.facts
    assert (facts.channels, facts.resolution, facts.num_classes) == SHAPES[name]
    assert outline.place is None  # nothing is fetched or prepared for this
    with build.quiet_lightning():
        torch.manual_seed(0)
        gan = build.build_gan(cfg, facts, 10_000)
        before = copy.deepcopy(gan)
        assert probe.measure(cfg, gan, facts, 4).steps == 1
    assert gan.nimg == 4
    for now, then in ((gan.G, before.G), (gan.D, before.D)):
        pairs = list(zip(now.parameters(), then.parameters(), strict=True))
        assert all(bool(p.isfinite().all()) for p, _ in pairs)
        assert any(not torch.equal(p, q) for p, q in pairs)
    z, y = torch.randn(2, cfg.model.latent_dim), torch.zeros(2, dtype=torch.int64)
    assert gan.G_ema(z, y).shape == (2, facts.channels, facts.resolution, facts.resolution)
