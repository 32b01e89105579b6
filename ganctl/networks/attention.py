"""Self-attention between the places of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """x + γ · v(Σ_j β_j h(x_j)), β the softmax over places j of f(x_i)·g(x_j), γ zero at first (SAGAN,
    Zhang et al. 2019, arXiv:1805.08318, section 3). f, g, h, v are 1 × 1 convolutions, f and g to an eighth
    of the maps, h to half of them.

    x (N, maps, H, W) -> the same shape. N · (H · W)² weights in between.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        narrow, half = max(maps // 8, 1), max(maps // 2, 1)
        self.query, self.key = (nn.Conv2d(maps, narrow, 1, bias=False) for _ in range(2))
        self.value, self.out = nn.Conv2d(maps, half, 1, bias=False), nn.Conv2d(half, maps, 1, bias=False)
        # A module, so that whoever looks at the sizes of outputs sees that of the weights.
        self.weights = nn.Softmax(dim=1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (convolution(x).flatten(2) for convolution in (self.query, self.key, self.value))
        # Plain products: fused attention kernels cannot be differentiated twice, as gradient penalties need.
        weights = self.weights(key.transpose(1, 2) @ query)  # (N, j, i)
        mixed = (value @ weights).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(mixed)
