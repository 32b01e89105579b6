"""Variants of the `dcgan` pair that `search.py` tried and that lost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganctl.networks import dcgan, heads


class Generator(dcgan.Generator):
    """`dcgan.Generator` with another output, activation or none of its batch normalisation.

    Args:
        linear: no tanh: pixels are clamped only when they are written.
        relu: plain instead of leaky.
        norm: keep the batch normalisation; without it the convolutions have biases.
    """

    def __init__(
        self, *args: Any, linear: bool = False, relu: bool = False, norm: bool = True, **kwargs: Any
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        at = next(i for i, layer in enumerate(self.layers) if isinstance(layer, nn.Flatten))
        last = self.layers[at - 2]  # a leaky ReLU is between them
        assert isinstance(last, nn.Conv2d)
        maps = last.out_channels
        more = [nn.Conv2d(maps, maps, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*self.layers[:at], *more, *self.layers[at:])


class Unshuffled(nn.Module):
    """No map at full size: pixels are unshuffled 2 × 2 into channels, then `convolutions` of 3 × 3 follow."""

    def __init__(
        self,
        num_classes: int,
        channels: int,
        resolution: int,
        width: int = 32,
        features: int = 128,
        full_size_maps: int = 0,
        head: str = "projection",
        convolutions: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        before = 4 * channels
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.LeakyReLU(0.2)]
            before = width
        layers += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.LeakyReLU(0.2)]
        size = resolution // 4
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(2 * width * size**2, features), nn.LeakyReLU(0.2)
        )
        self.head = heads.build(head, features, num_classes)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(images), y)
        return logits
