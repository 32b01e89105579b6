"""Exponential moving average of a network, its half-life measured in images."""

from __future__ import annotations

import torch
from torch import nn


def decay(batch_images: int, half_life_kimg: float, nimg: float, rampup: float = 0.05) -> float:
    """The β of `ema ← β·ema + (1 − β)·weights` for a step over `batch_images` images.

    After `half_life_kimg` thousand images an old weight counts half. Early on the half-life is at most
    `rampup` of the images seen, so the average does not remember the initialisation
    (Karras et al. 2020, arXiv:2006.06676, and its code).

    Args:
        batch_images: images of this step over all ranks.
        half_life_kimg: half-life in thousands of images; 0 makes the average a copy.
        nimg: images seen before this step over all ranks.

    Returns:
        β in [0, 1).
    """
    half_life = min(half_life_kimg * 1000, nimg * rampup)
    return 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, beta: float) -> None:
    """Moves `average` towards `network`: parameters lerped, buffers copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
