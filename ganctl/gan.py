"""The method: one discriminator step and one generator step a batch, as a LightningModule.

Everything here is about the mathematics of training. What is logged, drawn, scored and saved around it is in
`ganctl.callbacks`; what a checkpoint holds is in `ganctl.checkpoint`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from ganctl import ema, images, latents
from ganctl.losses import (
    AdversarialLoss,
    interpolate,
    one_centred_penalty,
    squared_gradient_norm,
)


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
    """The numbers of the method. γ are applied as γ/2; the half-life is in thousands of images."""

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


class GAN(pl.LightningModule):
    """A conditional generator, its moving average, and the discriminator that teaches it.

    Args:
        G: z (N, latent_dim), y (N,) int64 -> images (N, C, H, W) in [-1, 1].
        D: images (N, C, H, W), y (N,) -> logits (N,). It gets real and fake images in one batch.
        loss: what D and G minimise.
        numbers: the numbers of the method.
        total_images: images of the whole training over all ranks, the span of the schedules.
        seed: of the latents, the dropout and the interpolations, with step and rank.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        loss: AdversarialLoss,
        numbers: Hyperparameters,
        total_images: int,
        seed: int,
    ) -> None:
        super().__init__()
        # Two optimisers take turns on one batch, which Lightning's automatic loop cannot do.
        self.automatic_optimization = False
        self.G, self.D, self.loss, self.numbers = G, D, loss, numbers
        self.G_ema = copy.deepcopy(G).requires_grad_(False).eval()
        self.total_images = total_images
        self.seed = seed
        self.nimg = 0  # images seen over all ranks
        self.rollbacks = 0  # how often the run went back; new noise each time, or it would do the same again

    @property
    def steps(self) -> int:
        """Batches trained on. Only D's optimiser advances Lightning's counter, once a batch."""
        return int(self.trainer.global_step)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        n = self.numbers
        # fused: one kernel for all parameters instead of several for each
        adam = [
            torch.optim.Adam(net.parameters(), lr=n.lr, betas=(float(n.beta1), float(n.beta2)), fused=True)
            for net in (self.D, self.G)
        ]
        return adam[0], adam[1]

    # -- training ------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor | float]:
        """One D step, and every `d_steps_per_g`-th time one G step, on (images uint8, labels)."""
        real, y = images.to_float(batch[0]), batch[1]
        # Noise and dropout masks are a function of (seed, step, rank): ranks differ, a resumed run does not.
        latents.seed_device(
            self.device, latents.step_seed(self.seed, self.steps, self.global_rank, self.rollbacks)
        )
        now = self.scheduled(self.nimg / self.total_images)
        trains_g = (self.steps + 1) % self.numbers.d_steps_per_g == 0

        z = torch.randn(len(y), self.numbers.latent_dim, device=self.device)
        with torch.set_grad_enabled(trains_g):
            fake = self.G(z, y).float()
        log = self.d_step(real, fake.detach(), y, now)
        if trains_g:
            log |= self.g_step(real, fake, y)
            batch_images = len(y) * self.trainer.world_size * self.numbers.d_steps_per_g
            beta = ema.decay(batch_images, self.numbers.ema_half_life_kimg, self.nimg)
            ema.update(self.G_ema, self.G, beta)
        self.nimg += len(y) * self.trainer.world_size
        return {**log, "train/lr": now["lr"]}

    def d_step(self, real: Tensor, fake: Tensor, y: Tensor, now: Mapping[str, float]) -> dict[str, Tensor]:
        """D learns to tell `real` from `fake` (N, C, H, W), both of the labels y (N,)."""
        self.D.requires_grad_(True)
        penalised = bool(now["r1_gamma"] or now["r2_gamma"])
        both = torch.cat([real, fake]).requires_grad_(penalised)
        logits = self.D(both, y.repeat(2)).float()
        real_logits, fake_logits = logits.chunk(2)

        d_loss = self.loss.d(real_logits, fake_logits).mean()
        log = {
            "train/d_loss": d_loss.detach(),
            "train/real_logit": real_logits.detach().mean(),
            "train/fake_logit": fake_logits.detach().mean(),
        }
        objective = d_loss
        if penalised:
            r1, r2 = (half.mean() for half in squared_gradient_norm(both, logits).chunk(2))
            objective = objective + 0.5 * (now["r1_gamma"] * r1 + now["r2_gamma"] * r2)
            log |= {"train/r1": r1.detach(), "train/r2": r2.detach()}
        if self.numbers.gp_weight:
            between = interpolate(real, fake, torch.rand(len(y), device=self.device)).requires_grad_()
            norm = squared_gradient_norm(between, self.D(between, y).float())
            penalty = one_centred_penalty(norm).mean()
            objective = objective + self.numbers.gp_weight * penalty
            log["train/gradient_penalty"] = penalty.detach()

        d_optimizer, _ = cast("list[LightningOptimizer]", self.optimizers())
        d_optimizer.zero_grad()
        self.manual_backward(objective)
        d_optimizer.step()
        return log

    def g_step(self, real: Tensor, fake: Tensor, y: Tensor) -> dict[str, Tensor]:
        """G learns to raise D's logits of `fake` (N, C, H, W), through which its gradient flows."""
        self.D.requires_grad_(False)
        fake_logits = self.D(fake, y).float()
        real_logits = fake_logits
        if self.loss.g_uses_real:
            with torch.no_grad():
                real_logits = self.D(real, y).float()
        g_loss = self.loss.g(real_logits, fake_logits).mean()

        # The bare optimiser: Lightning's wrapper would count the batch a second time.
        _, g_optimizer = self._bare_optimizers()
        g_optimizer.zero_grad()
        self.manual_backward(g_loss)
        g_optimizer.step()
        return {"train/g_loss": g_loss.detach()}

    def scheduled(self, progress: float) -> dict[str, float]:
        """The values in force at `progress` in [0, 1]; sets lr and β2 of both optimisers."""
        n = self.numbers
        start = {"lr": n.lr, "beta2": n.beta2, "r1_gamma": n.r1_gamma, "r2_gamma": n.r2_gamma}
        now = start | {k: s.at(start[k], progress) for k, s in n.schedules.items()}
        for optimizer in self._bare_optimizers():
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = now["lr"], (float(n.beta1), float(now["beta2"]))
        return now

    def _bare_optimizers(self) -> list[torch.optim.Optimizer]:
        return cast("list[torch.optim.Optimizer]", self.optimizers(use_pl_optimizer=False))

    # -- held-out losses -----------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        self._share_buffers()

    def on_test_start(self) -> None:
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Under manual optimisation DDP leaves each rank its own batch statistics; rank 0's are saved."""
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._held_out("val", batch, batch_idx)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._held_out("test", batch, batch_idx)

    def _held_out(self, split: str, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Losses of the networks as they stand on images they never saw, with latents fixed by the batch."""
        real, y = images.to_float(batch[0]), batch[1]
        generator = torch.Generator().manual_seed(latents.step_seed(self.seed, batch_idx, self.global_rank))
        z = torch.randn(len(y), self.numbers.latent_dim, generator=generator).to(self.device)
        fake_logits = self.D(self.G(z, y), y).float()
        real_logits = self.D(real, y).float()
        losses = {
            f"{split}/d_loss": self.loss.d(real_logits, fake_logits).mean(),
            f"{split}/g_loss": self.loss.g(real_logits, fake_logits).mean(),
        }
        self.log_dict(losses, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(y))
