"""How a network is told which class it draws or judges."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatLabel(nn.Module):
    """Appends a learned label vector to each input vector (Mirza & Osindero 2014, arXiv:1411.1784).

    x (N, in_features), y (N,) int64 -> (N, out_features). With `num_classes` 0 the input passes unchanged.
    y can also be (N, num_classes) float, the shares of the labels: their vectors are then mixed so.
    """

    def __init__(self, in_features: int, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_dim) if num_classes else None
        self.out_features = in_features + (embedding_dim if num_classes else 0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.embedding is None:
            return x
        return torch.cat([x, self.vectors(y).to(x.dtype)], dim=1)

    def vectors(self, y: Tensor) -> Tensor:
        """The label vectors themselves, where there are classes: (N, embedding_dim)."""
        assert self.embedding is not None
        vectors: Tensor = y @ self.embedding.weight if y.is_floating_point() else self.embedding(y)
        return vectors


def can_mix_labels(G: nn.Module) -> bool:
    """Whether a generator of labels takes their shares too."""
    return any(isinstance(module, ConcatLabel) and module.embedding is not None for module in G.modules())


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain and bias depend on the label (de Vries et al. 2017, arXiv:1707.00683,
    section 3.2), linear in a label vector that all layers share (Brock et al. 2019, arXiv:1809.11096, section
    3): mixed label vectors give mixed gains. It begins as plain batch normalisation.

    x (N, maps, H, W), label (N, label_dim) -> the shape of x.
    """

    def __init__(self, maps: int, label_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, affine=False)
        self.gain, self.bias = (nn.Linear(label_dim, maps, bias=False) for _ in range(2))
        for linear in (self.gain, self.bias):
            nn.init.zeros_(linear.weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        gain, bias = (linear(label)[:, :, None, None] for linear in (self.gain, self.bias))
        return self.norm(x) * (1 + gain) + bias
