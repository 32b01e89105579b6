"""Variants of the `dcgan` pair that `search.py` tried and that lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganctl.networks import dcgan


class Generator(dcgan.Generator):
    """`dcgan.Generator` with another output, activation or none of its batch normalisation.

    Args:
        linear: no tanh: pixels are clamped only when they are written.
        relu: plain instead of leaky.
        norm: keep the batch normalisation; without it the convolutions have biases.
    """

    def __init__(
        self, *args: object, linear: bool = False, relu: bool = False, norm: bool = True, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)
        self.linear = linear
        for i, layer in enumerate(self.blocks):
            if relu and isinstance(layer, nn.LeakyReLU):
                self.blocks[i] = nn.ReLU()
            elif not norm and isinstance(layer, nn.BatchNorm2d):
                self.blocks[i] = nn.Identity()
            elif not norm and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is None:
                layer.bias = nn.Parameter(torch.zeros(layer.out_channels))

    def to_pixels(self, x: Tensor) -> Tensor:
        return x if self.linear else super().to_pixels(x)


class Discriminator(dcgan.Discriminator):
    """`dcgan.Discriminator` with a second 3 × 3 convolution on the smallest map."""

    def __init__(self, *args: object, width: int = 32, **kwargs: object) -> None:
        super().__init__(*args, width=width, **kwargs)
        at = next(i for i, layer in enumerate(self.layers) if isinstance(layer, nn.Flatten))
        more = [nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*self.layers[:at], *more, *self.layers[at:])
