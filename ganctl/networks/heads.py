"""The ends of discriminators: features and labels -> logits, and what of the label D is asked besides.

Every head takes h (N, features), y (N,) int64 and returns logits (N,), logit i of row i alone. A head that
classifies has `class_losses(h, y)` (N,) too, which D minimises for real images and G for its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganctl.errors import nearest


def build(name: str, features: int, num_classes: int) -> nn.Module:
    """The head of a name, a key of `HEADS`.

    Raises:
        ValueError: there is none, or it classifies and there are no classes.
    """
    if name not in HEADS:
        raise ValueError(f"there is no head {name!r:.100}: {nearest(str(name), HEADS)}")
    return HEADS[name](features, num_classes)


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


class AuxiliaryClassifierHead(nn.Module):
    """ACGAN (Odena et al. 2017, arXiv:1610.09585, section 3): w·h + b says whether an image is real, a second
    linear layer of which class it is. Its cross entropy is −L_C (eq. 3) of each image.

    h (N, features), y (N,) int64 -> (N,); y counts in `class_losses` alone.

    Raises:
        ValueError: there are no classes.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        _require_classes("acgan", num_classes)
        self.linear = nn.Linear(features, 1)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.linear(h).squeeze(1)
        return logits

    def class_losses(self, h: Tensor, y: Tensor) -> Tensor:
        """−log softmax(W·h + b)_y of each row: (N,) float32."""
        return F.cross_entropy(self.classifier(h).float(), y, reduction="none")


class ClassifyingProjectionHead(ProjectionHead):
    """The projection head, and ACGAN's classifier beside it: the label counts in the logit, and D learns to
    name it too. Dual Projection GANs (Han et al. 2021, arXiv:2108.09016) have a second one, for fake images.

    h (N, features), y (N,) int64 -> (N,).

    Raises:
        ValueError: there are no classes.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        _require_classes("projection_acgan", num_classes)
        super().__init__(features, num_classes)
        self.classifier = nn.Linear(features, num_classes)

    class_losses = AuxiliaryClassifierHead.class_losses


class DataToDataHead(nn.Module):
    """ReACGAN (Kang et al. 2021, arXiv:2111.01118): w·h + b says whether an image is real. In place of a
    classifier each class has a proxy v(y), and each image a place f(x), both on the unit sphere.

    h (N, features), y (N,) int64 -> (N,); y counts in `class_losses` alone.

    Raises:
        ValueError: there are no classes.
    """

    TEMPERATURE = 0.5  # τ, of the paper's CIFAR-10
    POSITIVE_MARGIN = 0.98  # m_p: closer to its proxy an image is not pulled
    NEGATIVE_MARGIN = 0.02  # m_n = 1 − m_p as in the authors' program: further apart images are not pushed

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        _require_classes("d2dce", num_classes)
        self.linear = nn.Linear(features, 1)
        self.embed = nn.Linear(features, features)
        self.proxies = nn.Embedding(num_classes, features)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.linear(h).squeeze(1)
        return logits

    def class_losses(self, h: Tensor, y: Tensor) -> Tensor:
        """The data-to-data cross-entropy (the paper's D2D-CE) of each row: (N,) float32. With
        [a]₋ = min(a, 0), [a]₊ = max(a, 0), and N(i) the rows of other labels than y_i,

            p_i = exp([f_i·v(y_i) − m_p]₋ / τ)
            L_i = −log( p_i / (p_i + Σ_{j ∈ N(i)} exp([f_i·f_j − m_n]₊ / τ)) )

        A row's loss depends on the whole batch; in one without another label it is 0.
        """
        # The margins lie nearer to ±1 and 0 than bf16 tells apart.
        with torch.autocast(h.device.type, enabled=False):
            f = F.normalize(self.embed(h.float()), dim=1)
            v = F.normalize(self.proxies(y), dim=1)
            positive = ((f * v).sum(1) - self.POSITIVE_MARGIN).clamp(max=0) / self.TEMPERATURE
            negative = (f @ f.T - self.NEGATIVE_MARGIN).clamp(min=0) / self.TEMPERATURE
            negative = negative.masked_fill(y[:, None] == y[None, :], -torch.inf)
            return torch.logsumexp(torch.cat([positive[:, None], negative], dim=1), dim=1) - positive


def _require_classes(name: str, num_classes: int) -> None:
    if not num_classes:
        raise ValueError(
            f"head={name} tells classes apart, and this data has none: head=projection does without"
        )


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "projection": ProjectionHead,
    "acgan": AuxiliaryClassifierHead,
    "projection_acgan": ClassifyingProjectionHead,
    "d2dce": DataToDataHead,
}
