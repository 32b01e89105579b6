"""Variants of the `dcgan` pair that `search.py` tried and that lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganctl.networks import dcgan
from ganctl.networks.conditioning import ConcatLabel


class Generator(nn.Module):
    """`dcgan.Generator` with another output, activation or none of its batch normalisation.

    Args:
        linear: no tanh: pixels are clamped only when they are written.
        relu: plain instead of leaky.
        norm: keep the batch normalisation.
    """

    def __init__(
        self,
        latent_dim: int,
        num_classes: int,
        channels: int,
        resolution: int,
        width: int = 32,
        linear: bool = False,
        relu: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()

        def after(maps: int) -> list[nn.Module]:
            activation = nn.ReLU() if relu else nn.LeakyReLU(0.2)
            return [nn.BatchNorm2d(maps), activation] if norm else [activation]

        doublings, self.size = dcgan.pyramid(resolution)
        self.resolution, self.linear = resolution, linear
        self.label = ConcatLabel(latent_dim, num_classes, embedding_dim=latent_dim // 2)
        self.stem = nn.Linear(self.label.out_features, 2 * width * self.size**2)
        small = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=not norm)
        blocks = [*after(2 * width), small, *after(2 * width)]
        for i in range(doublings):
            maps = width if i == doublings - 1 else 2 * width
            up = nn.ConvTranspose2d(2 * width, maps, 4, stride=2, padding=1, bias=not norm)
            blocks += [up, *after(maps)]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.stem(self.label(z, y)).view(len(z), -1, self.size, self.size)
        x = self.blocks(h)[:, :, : self.resolution, : self.resolution].float()
        return x if self.linear else (1.1 * torch.tanh(x)).clamp(-1, 1)


class Discriminator(dcgan.Discriminator):
    """`dcgan.Discriminator` with a second 3 × 3 convolution on the smallest map."""

    def __init__(self, *args: object, width: int = 32, **kwargs: object) -> None:
        super().__init__(*args, width=width, **kwargs)
        at = next(i for i, layer in enumerate(self.layers) if isinstance(layer, nn.Flatten))
        more = [nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*self.layers[:at], *more, *self.layers[at:])
