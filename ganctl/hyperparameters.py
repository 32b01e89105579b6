"""The numbers of the method, and how some change while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """From a start value to `final` between the fractions `begin` and `end` of the training."""

    final: float
    begin: float = 0.0
    end: float = 1.0
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, start: float, progress: float) -> float:
        """The value at `progress` in [0, 1]."""
        if progress >= self.end:
            return self.final
        if progress <= self.begin:
            return start
        t = (progress - self.begin) / (self.end - self.begin)
        if self.shape == "cosine":
            t = 0.5 - 0.5 * math.cos(math.pi * t)
        return start + (self.final - start) * t


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of the method. γ are applied as γ/2; the half-life is in thousands of images.

    R1 and R2 are taken at every `reg_interval`-th batch, and count as many times there. With `flip` half of
    the real images are mirrored.
    """

    latent_dim: int
    lr: float
    beta1: float
    beta2: float
    r1_gamma: float
    r2_gamma: float
    gp_weight: float
    ema_half_life_kimg: float
    d_steps_per_g: int
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    reg_interval: int = 1
    lecam_weight: float = 0.0
    class_weight: float = 1.0
    flip: bool = False
