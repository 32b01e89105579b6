"""The method: one discriminator step and one generator step a batch, as a LightningModule.

Everything here is about the mathematics of training. What is logged, drawn, scored and saved around it is in
`ganctl.callbacks`; what a checkpoint holds is in `ganctl.checkpoint`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from ganctl import augment, ema, images, latents
from ganctl.hyperparameters import Hyperparameters
from ganctl.losses import (
    AdversarialLoss,
    interpolate,
    lecam,
    one_centred_penalty,
    squared_gradient_norm,
)

LECAM_DECAY = 0.99  # of the moving averages of logits, each batch


class GAN(pl.LightningModule):
    """A conditional generator, its moving average, and the discriminator that teaches it.

    Args:
        G: z (N, latent_dim), y (N,) int64 -> images (N, C, H, W) in [-1, 1].
        D: images (N, C, H, W), y (N,) -> logits (N,). It gets real and fake images in one batch. Where it has
            a `head` with `class_losses`, features (N, F), y -> (N,), it learns to name the labels as well.
        loss: what D and G minimise.
        numbers: the numbers of the method.
        total_images: images of the whole training over all ranks, the span of the schedules.
        seed: of the latents, the dropout, the interpolations and the augmentation, with step and rank.
        augmentation: images -> what D sees of them while training; without it the images themselves.
    """

    lecam_anchors: Tensor

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        loss: AdversarialLoss,
        numbers: Hyperparameters,
        total_images: int,
        seed: int,
        augmentation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        # Two optimisers take turns on one batch, which Lightning's automatic loop cannot do.
        self.automatic_optimization = False
        self.G, self.D, self.loss, self.numbers = G, D, loss, numbers
        self.G_ema = copy.deepcopy(G).requires_grad_(False).eval()
        self.augment = augmentation or nn.Identity()
        if numbers.lecam_weight:
            self.register_buffer("lecam_anchors", torch.zeros(2))  # mean logits of real and of fake images
        self.total_images = total_images
        self.seed = seed
        self.nimg = 0  # images seen over all ranks
        self.judge_for_g = self.judge  # compiled or not; the one of D's step never is
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

    def compile_networks(self, mode: str = "default") -> None:
        """Lets `torch.compile` fuse G, and D as G's step sees it; names and values of the weights stay.

        D's own step stays as it is: penalties differentiate its gradient, which compiled code cannot.
        """
        self.G.compile(mode=mode)
        self.judge_for_g = torch.compile(self.judge, mode=mode)

    # -- training ------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor | float]:
        """One D step, and every `d_steps_per_g`-th time one G step, on (images uint8, labels)."""
        real, y = images.to_float(batch[0]), batch[1]
        # Noise and dropout masks are a function of (seed, step, rank): ranks differ, a resumed run does not.
        latents.seed_device(
            self.device, latents.step_seed(self.seed, self.steps, self.global_rank, self.rollbacks)
        )
        if self.numbers.flip:
            real = augment.flipped(real)
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
        # Lazy regularisation (Karras et al. 2020): at one batch of `interval`, and so many times as strong
        interval = self.numbers.reg_interval
        penalised = bool(now["r1_gamma"] or now["r2_gamma"]) and self.steps % interval == 0
        both = torch.cat([real, fake]).requires_grad_(penalised)
        logits, h = self.judge(both, y.repeat(2))
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
            objective = objective + interval * 0.5 * (now["r1_gamma"] * r1 + now["r2_gamma"] * r2)
            log |= {"train/r1": r1.detach(), "train/r2": r2.detach()}
        if self.numbers.gp_weight:
            between = interpolate(real, fake, torch.rand(len(y), device=self.device)).requires_grad_()
            norm = squared_gradient_norm(between, self.judge(between, y)[0])
            penalty = one_centred_penalty(norm).mean()
            objective = objective + self.numbers.gp_weight * penalty
            log["train/gradient_penalty"] = penalty.detach()
        if self.numbers.lecam_weight:
            self._move_anchors(real_logits, fake_logits)
            r_lc = lecam(real_logits, fake_logits, *self.lecam_anchors).mean()
            objective = objective + self.numbers.lecam_weight * r_lc
            log["train/lecam"] = r_lc.detach()
        if h is not None:
            class_loss = self.class_loss(h.chunk(2)[0], y)
            objective = objective + self.numbers.class_weight * class_loss
            log["train/d_class_loss"] = class_loss.detach()
        if isinstance(self.augment, augment.AdaptiveAugment):
            log["train/augment_p"] = self.augment.p.clone()
            signs = self.loss.sides(real_logits, fake_logits).detach()
            counted = torch.stack([signs.sum(), torch.ones_like(signs).sum()])
            self.augment.adapt(self._over_ranks(counted), self.steps)

        d_optimizer, _ = cast("list[LightningOptimizer]", self.optimizers())
        d_optimizer.zero_grad()
        self.manual_backward(objective)
        d_optimizer.step()
        return log

    def g_step(self, real: Tensor, fake: Tensor, y: Tensor) -> dict[str, Tensor]:
        """G learns to raise D's logits of `fake` (N, C, H, W), through which its gradient flows."""
        self.D.requires_grad_(False)
        fake_logits, h = self.judge_for_g(fake, y)
        real_logits = fake_logits
        if self.loss.g_uses_real:
            with torch.no_grad():
                real_logits, _ = self.judge(real, y)
        g_loss = self.loss.g(real_logits, fake_logits).mean()
        log, objective = {"train/g_loss": g_loss.detach()}, g_loss
        if h is not None:
            class_loss = self.class_loss(h, y)
            objective = objective + self.numbers.class_weight * class_loss
            log["train/g_class_loss"] = class_loss.detach()

        # The bare optimiser: Lightning's wrapper would count the batch a second time.
        _, g_optimizer = self._bare_optimizers()
        g_optimizer.zero_grad()
        self.manual_backward(objective)
        g_optimizer.step()
        return log

    def judge(self, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """D's logits (N,) of what it sees of `images`, and its features (N, F) where its head classifies."""
        seen = self.augment(images)
        D = cast("Any", self.D)
        if not hasattr(getattr(D, "head", None), "class_losses"):
            return D(seen, y).float(), None
        h = D.features(seen)
        return D.head(h, y).float(), h

    def class_loss(self, h: Tensor, y: Tensor) -> Tensor:
        """How badly D's head names the labels y (N,) by h (N, F): real images teach D so, fake ones G."""
        loss: Tensor = cast("Any", self.D).head.class_losses(h, y).float().mean()
        return loss

    def scheduled(self, progress: float) -> dict[str, float]:
        """The values in force at `progress` in [0, 1]; sets lr and β2 of both optimisers."""
        n = self.numbers
        start = {"lr": n.lr, "beta2": n.beta2, "r1_gamma": n.r1_gamma, "r2_gamma": n.r2_gamma}
        now = start | {k: s.at(start[k], progress) for k, s in n.schedules.items()}
        for optimizer in self._bare_optimizers():
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = now["lr"], (float(n.beta1), float(now["beta2"]))
        return now

    @torch.no_grad()
    def _move_anchors(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Towards the mean logits of this batch, on all ranks alike."""
        means = self._over_ranks(torch.stack([real_logits.mean(), fake_logits.mean()]))
        self.lecam_anchors.lerp_(means / self.trainer.world_size, 1 - LECAM_DECAY if self.steps else 1.0)

    def _over_ranks(self, tensor: Tensor) -> Tensor:
        """Its sum over all ranks."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

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
