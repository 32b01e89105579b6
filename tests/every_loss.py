"""Trains with every loss, on as many ranks as the environment says: `python every_loss.py FOLDER`.

Networks whose result cannot depend on how a batch is spread over ranks: G does not look at its noise, which
each rank draws for itself, and nothing normalises over a batch.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 6


class Generator(nn.Module):
    """An image for each label, whatever the noise."""

    def __init__(self, num_classes: int, channels: int, resolution: int, **_: Any) -> None:
        super().__init__()
        self.shape = (channels, resolution, resolution)
        self.label = nn.Embedding(num_classes, 16)
        self.pixels = nn.Linear(16, channels * resolution**2)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.pixels(torch.tanh(self.label(y)))).view(-1, *self.shape)


class Discriminator(nn.Module):
    """Smooth, for the penalties; no bias at the end, for which some losses have no gradient but rounding."""

    def __init__(self, num_classes: int, channels: int, resolution: int, **_: Any) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels * resolution**2, 24)
        self.label = nn.Embedding(num_classes, 24)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return (self.label(y) * torch.tanh(self.hidden(images.flatten(1)))).sum(1)


class LinearDiscriminator(nn.Module):
    """One weight for each label and pixel. WGAN-GP penalises the gradient at random points between real and
    fake images, other ones on every rank; here it is the same at all of them, so that they don't matter."""

    def __init__(self, num_classes: int, channels: int, resolution: int, **_: Any) -> None:
        super().__init__()
        self.label = nn.Embedding(num_classes, channels * resolution**2)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return (self.label(y) * images.flatten(1)).sum(1)


def main(folder: str) -> None:
    from ganctl import config
    from ganctl.losses import LOSSES
    from ganctl.train import train

    for name in LOSSES:
        discriminator = "LinearDiscriminator" if name == "wgan_gp" else "Discriminator"
        overrides = [
            f"loss={name}",
            f"run.dir={folder}/{name}",
            f"trainer.max_steps={STEPS}",
            f"model.discriminator._target_=every_loss.{discriminator}",
            "model.generator._target_=every_loss.Generator",
            "data=digits",
            "trainer=cpu",
            "trainer.precision=32",
            "logger=none",
            "callbacks=none",
            "loss.r1_gamma=1",
            "loss.r2_gamma=0.5",
        ]
        train(config.compose(overrides))


if __name__ == "__main__":
    from ganctl import ranks

    main(sys.argv[1])
    ranks.leave(0)
