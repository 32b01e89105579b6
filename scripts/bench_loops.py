"""What `bench.py` measures beside `ganctl train`, each in a process of its own; on the CPU.

    python scripts/bench_loops.py bare --warm-up 40 --steps 200 +experiment=dcgan

- `bare`: a training loop in plain PyTorch, as fast as it gets without Lightning, logging and callbacks.
  Networks, loss, penalties, optimisers, EMA, memory format and precision are those of the configuration.
- `classic`: the exercise as it is usually written: PIL transforms in a `DataLoader`, Lightning's manual
  optimisation, `log_dict` and `WandbLogger` (offline) at every step. The configuration's networks, float32.
- `sample`: `ganctl.sample` on untrained weights; a step is a batch of 1 024 images.

The overrides are those of `ganctl train`. The last line printed is JSON: images/s of each window after the
warm-up, and the precision.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from ganctl import checkpoint, data, ema, images, sample
from ganctl.build import build_gan, resolve_precision
from ganctl.config import compose
from ganctl.config_schema import Config
from ganctl.data.dataset import Dataset, ImageSet
from ganctl.gan import GAN
from ganctl.generator import Generator
from ganctl.losses import squared_gradient_norm

SAMPLE_BATCH = 1024


class Clock:
    """Seconds of each window of so many steps after the warm-up."""

    def __init__(self, warm_up: int, window: int) -> None:
        self.warm_up, self.window = warm_up, window
        self._marks: list[float] = []

    def step_done(self, steps: int) -> None:
        if steps >= self.warm_up and (steps - self.warm_up) % self.window == 0:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        return [end - start for start, end in itertools.pairwise(self._marks)]


class Bare:
    """The training step of `ganctl.gan` without Lightning: one pass of D over real and fake images, G's step
    on the same fakes. The caller seeds.

    Args:
        gan: gives networks, loss, numbers and optimisers; its own training step is not called.
        bf16: autocast.
    """

    def __init__(self, gan: GAN, bf16: bool) -> None:
        self.gan, self.bf16 = gan, bf16
        n = gan.numbers
        small_data = n.flip or n.lecam_weight or not isinstance(gan.augment, torch.nn.Identity)
        if n.d_steps_per_g != 1 or n.gp_weight or small_data:
            raise SystemExit(
                "the bare loop has one D step for a G step, images as they are, no penalty but R1 and R2"
            )
        self.d_adam, self.g_adam = gan.configure_optimizers()
        self.weights: list[Tensor] = [*gan.G.parameters()]
        self.averages: list[Tensor] = [*gan.G_ema.parameters()]
        self.buffers, self.kept = [*gan.G.buffers()], [*gan.G_ema.buffers()]
        self.nimg = self.steps = 0

    def step(self, pixels: Tensor, y: Tensor) -> None:
        """Trains D and G on images (N, C, H, W) uint8 of the labels y (N,)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            self._step(images.to_float(pixels), y)

    def _step(self, real: Tensor, y: Tensor) -> None:
        G, D, loss, n = self.gan.G, self.gan.D, self.gan.loss, self.gan.numbers
        now = {"lr": n.lr, "beta2": n.beta2, "r1_gamma": n.r1_gamma, "r2_gamma": n.r2_gamma}
        for key, schedule in n.schedules.items():
            now[key] = schedule.at(now[key], self.nimg / self.gan.total_images)
        for group in (*self.d_adam.param_groups, *self.g_adam.param_groups):
            group["lr"], group["betas"] = now["lr"], (float(n.beta1), float(now["beta2"]))

        fake = G(torch.randn(len(y), n.latent_dim), y).float()

        D.requires_grad_(True)
        penalised = bool(now["r1_gamma"] or now["r2_gamma"]) and self.steps % n.reg_interval == 0
        both = torch.cat([real, fake.detach()]).requires_grad_(penalised)
        logits, h = self.gan.judge(both, y.repeat(2))
        objective = loss.d(*logits.chunk(2)).mean()
        if penalised:
            r1, r2 = squared_gradient_norm(both, logits).chunk(2)
            objective = objective + n.reg_interval * 0.5 * (
                now["r1_gamma"] * r1.mean() + now["r2_gamma"] * r2.mean()
            )
        if h is not None:
            objective = objective + n.class_weight * self.gan.class_loss(h[: len(y)], y)
        self.d_adam.zero_grad()
        objective.backward()
        self.d_adam.step()

        D.requires_grad_(False)
        fake_logits, h = self.gan.judge(fake, y)
        real_logits = fake_logits
        if loss.g_uses_real:
            with torch.no_grad():
                real_logits, _ = self.gan.judge(real, y)
        g_loss = loss.g(real_logits, fake_logits).mean()
        if h is not None:
            g_loss = g_loss + n.class_weight * self.gan.class_loss(h, y)
        self.g_adam.zero_grad()
        g_loss.backward()
        self.g_adam.step()

        beta = ema.decay(len(y), n.ema_half_life_kimg, self.nimg)
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - beta)
            torch._foreach_copy_(self.kept, self.buffers)
        self.nimg += len(y)
        self.steps += 1


def shuffled(train: ImageSet, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches (images uint8, labels) without end, in a new order each epoch."""
    while True:
        order = torch.randperm(len(train))
        for index in order[: len(train) // batch_size * batch_size].split(batch_size):
            yield train.images[index], train.labels[index]


def bare(cfg: Config, dataset: Dataset, steps: int, clock: Clock) -> None:
    """So many steps."""
    batch = cfg.data.batch_size
    loop = Bare(build_gan(cfg, dataset.facts, steps * batch), cfg.trainer.precision == "bf16")
    torch.manual_seed(cfg.seed)
    for i, (pixels, y) in enumerate(itertools.islice(shuffled(dataset.train, batch), steps)):
        loop.step(pixels, y)
        clock.step_done(i + 1)


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """As `torchvision.datasets.MNIST` serves its images: a PIL picture of each, then the transforms."""

    def __init__(self, image_set: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.data, self.targets, self.transform = image_set.images[:, 0], image_set.labels, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[i].numpy())), int(self.targets[i])


class Classic(pl.LightningModule):
    """The conditional least-squares GAN of the exercises. Nothing in it is of ganctl but the two networks."""

    def __init__(
        self, G: nn.Module, D: nn.Module, latent_dim: int, num_classes: int, lr: float, b1: float, b2: float
    ):
        super().__init__()
        self.automatic_optimization = False
        self.G, self.D = G, D
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.lr, self.betas = lr, (b1, b2)
        self.criterion = nn.MSELoss()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(net.parameters(), lr=self.lr, betas=self.betas) for net in (self.G, self.D)]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        real, labels = batch
        n = len(real)
        g_adam, d_adam = cast("list[LightningOptimizer]", self.optimizers())
        valid, invalid = torch.ones(n, device=self.device), torch.zeros(n, device=self.device)
        z = torch.randn(n, self.latent_dim, device=self.device)
        wanted = torch.randint(0, self.num_classes, (n,), device=self.device)

        self.toggle_optimizer(g_adam)
        fake = self.G(z, wanted)
        g_loss = self.criterion(self.D(fake, wanted), valid)
        g_adam.zero_grad()
        self.manual_backward(g_loss)
        g_adam.step()
        self.untoggle_optimizer(g_adam)

        self.toggle_optimizer(d_adam)
        real_loss = self.criterion(self.D(real, labels), valid)
        fake_loss = self.criterion(self.D(fake.detach(), wanted), invalid)
        d_loss = (real_loss + fake_loss) / 2
        d_adam.zero_grad()
        self.manual_backward(d_loss)
        d_adam.step()
        self.untoggle_optimizer(d_adam)
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)


class Ticks(pl.Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(
        self, trainer: pl.Trainer, gan: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.clock.step_done(batch_idx + 1)


def classic(cfg: Config, dataset: Dataset, steps: int, clock: Clock) -> None:
    """So many steps."""
    m = cfg.model
    nets = build_gan(cfg, dataset.facts, 1)
    model = Classic(nets.G, nets.D, m.latent_dim, dataset.facts.num_classes, m.lr, m.beta1, m.beta2)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    loader = DataLoader(Pictures(dataset.train, transform), cfg.data.batch_size, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        logger = WandbLogger(project="classic", save_dir=folder, offline=True)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=steps,
            logger=logger,
            log_every_n_steps=1,
            callbacks=[Ticks(clock)],
            enable_checkpointing=False,
        )
        trainer.fit(model, loader)
        logger.experiment.finish()


def sampling(cfg: Config, dataset: Dataset, batches: int, clock: Clock) -> None:
    """So many batches of images."""
    facts = dataset.facts
    generator = dict(cfg.model.generator)
    weights = dict(build_gan(cfg, dataset.facts, 1).G.state_dict())
    snapshot = checkpoint.Snapshot({}, facts, cfg.model.latent_dim, generator, weights, 0, 0, None, {})
    G = Generator(snapshot, torch.device("cpu"))
    for i in range(batches):
        seeds = range(i * SAMPLE_BATCH, (i + 1) * SAMPLE_BATCH)
        sample.pixels(G, sample.Product([0], seeds), SAMPLE_BATCH)
        clock.step_done(i + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("loop", choices=["bare", "classic", "sample"])
    parser.add_argument("--warm-up", type=int, default=40, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=200, help="steps that are timed")
    parser.add_argument("--window", type=int, default=20, help="steps that are timed together")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    cfg = resolve_precision(compose(args.overrides))
    pl.seed_everything(cfg.seed, verbose=False)
    dataset = data.load(data.Source.of_config(cfg.data.model_dump()), cfg.data.val_size, cfg.data.val_seed)
    clock = Clock(args.warm_up, args.window)
    run = {"bare": bare, "classic": classic, "sample": sampling}[args.loop]
    run(cfg, dataset, args.warm_up + args.steps, clock)
    images = args.window * (SAMPLE_BATCH if args.loop == "sample" else cfg.data.batch_size)
    precision = cfg.trainer.precision if args.loop == "bare" else 32
    print(json.dumps({"windows": [images / s for s in clock.seconds()], "precision": precision}))


if __name__ == "__main__":
    main()
