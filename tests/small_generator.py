"""Untrained generators of 8 × 8 images."""

from __future__ import annotations

import torch

from ganctl.data.dataset import DatasetFacts
from ganctl.networks.mlp import Generator
from ganctl.snapshot import Snapshot

CLOTHES = ("t-shirt", "trouser", "ankle-boot")
CPU = torch.device("cpu")


def snapshot_of(names: tuple[str, ...] = CLOTHES, channels: int = 1, seed: int = 0) -> Snapshot:
    """Of these labels; without names, of none."""
    torch.manual_seed(seed)
    G = Generator(4, num_classes=len(names), channels=channels, resolution=8, widths=(16, 32))
    return Snapshot(
        config={},
        facts=DatasetFacts("x", names, channels, 8, tuple(range(5, 5 + len(names)))),
        latent_dim=4,
        generator={"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]},
        ema=dict(G.state_dict()),
        nimg=1,
        steps=1,
        wandb_id=None,
        versions={},
    )
