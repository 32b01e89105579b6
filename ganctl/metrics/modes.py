"""Mode coverage: which labels the generator reaches, and how evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModeCoverage:
    """Labels as modes.

    Args:
        modes: labels that the classifier sees at least once among the fakes.
        num_classes: labels there are.
        kl: KL(fake label histogram ‖ real label histogram) in nats, ≥ 0; infinite where a fake has a label
            that no real image has.
    """

    modes: int
    num_classes: int
    kl: float


def mode_coverage(fake_predicted: Tensor, real_labels: Tensor, num_classes: int) -> ModeCoverage:
    """Counts modes as on Stacked-MNIST: Metz et al. 2017, "Unrolled GANs" (arXiv:1611.02163), §3.3.1.

    N fakes of the real distribution have a KL of about (num_classes - 1) / (2·N) nats, not 0; M real labels
    drawn at random add about (num_classes - 1) / (2·M).

    Args:
        fake_predicted: (N,) int64, the label that the classifier sees in each fake.
        real_labels: (M,) int64, of the real images, labelled or predicted; each label once for the uniform
            distribution.

    Raises:
        ValueError: a side is empty, or a label is out of range.
    """
    fake, real = (_histogram(labels, num_classes) for labels in (fake_predicted, real_labels))
    seen = fake > 0
    if bool((real[seen] == 0).any()):
        kl = math.inf
    else:
        kl = max(0.0, float((fake[seen] * (fake[seen] / real[seen]).log()).sum()))
    return ModeCoverage(int(seen.sum()), num_classes, kl)


def _histogram(labels: Tensor, num_classes: int) -> Tensor:
    """(N,) -> shares (num_classes,) float64."""
    if labels.dim() != 1 or not len(labels):
        raise ValueError(f"labels must be (N,) with at least one, got {tuple(labels.shape)}")
    if not (0 <= int(labels.min()) and int(labels.max()) < num_classes):
        raise ValueError(f"labels must be in [0, {num_classes})")
    return torch.bincount(labels.cpu(), minlength=num_classes).double() / len(labels)
