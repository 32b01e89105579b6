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
        label = y @ self.embedding.weight if y.is_floating_point() else self.embedding(y)
        return torch.cat([x, label.to(x.dtype)], dim=1)


def can_mix_labels(G: nn.Module) -> bool:
    """Whether a generator of labels takes their shares too."""
    return any(isinstance(module, ConcatLabel) and module.embedding is not None for module in G.modules())


class ProjectionHead(nn.Module):
    """Features -> logit: w·h + b + e(y)·h (Miyato & Koyama 2018, arXiv:1802.05637, eq. 5).

    h (N, features), y (N,) int64 -> (N,). With `num_classes` 0 the projection is left out.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(num_classes, features) if num_classes else None
        if self.embedding is not None:
            # At unit variance (PyTorch's default) the label term would drown w·h.
            nn.init.normal_(self.embedding.weight, std=features**-0.5)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        logits = self.linear(h).squeeze(1)
        if self.embedding is None:
            return logits
        return logits + (self.embedding(y).to(h.dtype) * h).sum(1)
