"""The training step against a loop written out in plain PyTorch, and what Lightning counts of it."""

from __future__ import annotations

import copy
import itertools
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ganctl.augment import AdaptiveAugment
from ganctl.data.batches import Batches
from ganctl.data.dataset import ImageSet
from ganctl.gan import GAN
from ganctl.hyperparameters import Hyperparameters, Schedule
from ganctl.latents import step_seed
from ganctl.losses import LOSSES

pytestmark = [
    # torch warns of Lightning's own use of torch's pytree
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    # Lightning expects held-out data wherever there is a `validation_step`
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    # those of G_ema, which is only drawn from: itself and its four layers
    pytest.mark.filterwarnings("ignore:Found 5 module.s. in eval mode at the start of training"),
]

LATENT_DIM, CLASSES, SIDE, BATCH, IMAGES = 5, 3, 4, 8, 40
EPOCH = IMAGES // BATCH


class Generator(nn.Module):
    """Small, but with BatchNorm, whose statistics every pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES, 3)
        self.hidden = nn.Linear(LATENT_DIM + 3, 12, bias=False)
        self.norm = nn.BatchNorm1d(12)
        self.pixels = nn.Linear(12, SIDE * SIDE)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.hidden(torch.cat([z, self.label(y)], 1))))
        return torch.tanh(self.pixels(h)).view(-1, 1, SIDE, SIDE)


class Discriminator(nn.Module):
    """Smooth, so that the penalties have second derivatives; no bias at the end, which some losses leave
    without a gradient but for rounding, and Adam would make whole steps of that."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(SIDE * SIDE, 16)
        self.dropout = nn.Dropout(dropout)
        self.label = nn.Embedding(CLASSES, 16)
        self.logit = nn.Linear(16, 1, bias=False)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        h = self.dropout(torch.tanh(self.hidden(images.flatten(1))))
        return self.logit(h).squeeze(1) + (self.label(y) * h).sum(1)


class NamingHead(nn.Module):
    """A logit, and the cross-entropy of the label, of features."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES, 16)
        self.names = nn.Linear(16, CLASSES)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.label(y) * h).sum(1)

    def class_losses(self, h: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.names(h), y, reduction="none")


class Naming(nn.Module):
    """A discriminator that classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(SIDE * SIDE, 16), NamingHead()

    @property
    def names(self) -> nn.Linear:
        return self.head.names

    def features(self, images: Tensor) -> Tensor:
        return torch.tanh(self.hidden(images.flatten(1)))

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return self.head(self.features(images), y)


def naming() -> tuple[Generator, Naming]:
    torch.manual_seed(0)
    return Generator(), Naming()


def networks(dropout: float = 0.0) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(), Discriminator(dropout)


def image_set(n: int = IMAGES) -> ImageSet:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (n, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % CLASSES)


def numbers(**changed: Any) -> Hyperparameters:
    usual: dict[str, Any] = {
        "latent_dim": LATENT_DIM,
        "lr": 1e-3,
        "beta1": 0.5,
        "beta2": 0.9,
        "r1_gamma": 0.0,
        "r2_gamma": 0.0,
        "gp_weight": 0.0,
        "ema_half_life_kimg": 0.02,
        "d_steps_per_g": 1,
    }
    return Hyperparameters(**usual | changed)


@dataclass
class Row:
    """What there is to see after a batch."""

    steps: int
    nimg: int
    logged: dict[str, float]
    lr: list[float]
    betas: list[tuple[float, float]]
    weights: dict[str, dict[str, Tensor]]


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, gan: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(gan, GAN)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.rows.append(
            Row(
                gan.steps,
                gan.nimg,
                {k: float(v) for k, v in outputs.items()},
                [group["lr"] for group in groups],
                [group["betas"] for group in groups],
                {name: copy.deepcopy(getattr(gan, name).state_dict()) for name in ("G", "D", "G_ema")},
            )
        )


def trainer_for(*callbacks: pl.Callback, **changed: Any) -> pl.Trainer:
    usual: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
    }
    return pl.Trainer(**usual | changed)


def train(
    loss: str,
    n: Hyperparameters,
    seed: int = 3,
    epochs: int = 1,
    nets: tuple[nn.Module, nn.Module] | None = None,
    total_images: int | None = None,
    augmentation: nn.Module | None = None,
    **changed: Any,
) -> tuple[GAN, list[Row]]:
    total = total_images or epochs * IMAGES
    gan = GAN(*(nets or networks()), LOSSES[loss], n, total, seed, augmentation)
    recorder = Recorder()
    trainer = trainer_for(recorder, max_epochs=epochs, **changed)
    trainer.fit(gan, Batches(image_set(), BATCH, seed=1))
    return gan, recorder.rows


# -- the same in plain PyTorch -----------------------------------------------------------------------------


def sigmoid_log(x: Tensor) -> Tensor:
    return torch.log(torch.sigmoid(x))


D_BY_HAND: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "lsgan": lambda r, f: ((r - 1) ** 2 + f**2).mean() / 2,
    "nonsaturating": lambda r, f: -sigmoid_log(r).mean() - sigmoid_log(-f).mean(),
    "hinge": lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(),
    "wgan_gp": lambda r, f: f.mean() - r.mean(),
    "relativistic": lambda r, f: -sigmoid_log(r - f).mean(),
}
G_BY_HAND: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "lsgan": lambda r, f: ((f - 1) ** 2).mean() / 2,
    "nonsaturating": lambda r, f: -sigmoid_log(f).mean(),
    "hinge": lambda r, f: -f.mean(),
    "wgan_gp": lambda r, f: -f.mean(),
    "relativistic": lambda r, f: -sigmoid_log(f - r).mean(),
}


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, net: nn.Module) -> None:
        self.weights = list(net.parameters())
        self.m = [torch.zeros_like(w) for w in self.weights]
        self.v = [torch.zeros_like(w) for w in self.weights]
        self.t = 0

    def step(self, loss: Tensor, lr: float, beta1: float, beta2: float) -> None:
        self.t += 1
        gradients = torch.autograd.grad(loss, self.weights)
        with torch.no_grad():
            for w, g, m, v in zip(self.weights, gradients, self.m, self.v, strict=True):
                m.copy_(beta1 * m + (1 - beta1) * g)
                v.copy_(beta2 * v + (1 - beta2) * g**2)
                m_hat, v_hat = m / (1 - beta1**self.t), v / (1 - beta2**self.t)
                w.sub_(lr * m_hat / (v_hat.sqrt() + 1e-8))


def own_gradient_norms(D: nn.Module, images: Tensor, y: Tensor) -> list[Tensor]:
    """‖∇D‖ of each image, one at a time."""
    norms = []
    for image, label in zip(images, y, strict=True):
        alone = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(D(alone, label[None])[0], alone, create_graph=True)
        norms.append((gradient**2).sum().sqrt())
    return norms


def by_hand(
    loss: str,
    n: Hyperparameters,
    seed: int = 3,
    epochs: int = 1,
    at: Callable[[int], dict[str, float]] = lambda step: {},
    nets: tuple[nn.Module, nn.Module] | None = None,
) -> tuple[list[dict[str, dict[str, Tensor]]], list[dict[str, float]]]:
    """Weights and losses after each batch. `at` tells the values a schedule has at a step."""
    G, D = nets or networks()
    real_anchor = fake_anchor = None
    G_ema = copy.deepcopy(G)
    g_adam, d_adam = Adam(G), Adam(D)
    batches = Batches(image_set(), BATCH, seed=1)
    weights, logged = [], []
    for step, (pixels, y) in enumerate(itertools.chain(*(batches for _ in range(epochs)))):
        now = {"lr": n.lr, "beta2": n.beta2, "r1_gamma": n.r1_gamma, "r2_gamma": n.r2_gamma} | at(step)
        adam = {"lr": now["lr"], "beta1": n.beta1, "beta2": now["beta2"]}
        real = pixels / 255 * 2 - 1
        torch.manual_seed(step_seed(seed, step, 0))
        z = torch.randn(BATCH, LATENT_DIM)
        fake = G(z, y)

        x = fake.detach()
        d_loss = D_BY_HAND[loss](D(real, y), D(x, y))
        row = {"train/d_loss": float(d_loss.detach())}
        objective = d_loss
        regularised = step % n.reg_interval == 0
        if now["r1_gamma"] and regularised:
            r1 = sum(g**2 for g in own_gradient_norms(D, real, y)) / BATCH
            objective = objective + n.reg_interval * now["r1_gamma"] / 2 * r1
        if now["r2_gamma"] and regularised:
            r2 = sum(g**2 for g in own_gradient_norms(D, x, y)) / BATCH
            objective = objective + n.reg_interval * now["r2_gamma"] / 2 * r2
        if n.gp_weight:
            u = torch.rand(BATCH)[:, None, None, None]
            between = own_gradient_norms(D, u * real + (1 - u) * x, y)
            objective = objective + n.gp_weight * sum((g - 1) ** 2 for g in between) / BATCH
        if n.lecam_weight:
            r, f = float(D(real, y).mean().detach()), float(D(x, y).mean().detach())
            real_anchor = r if real_anchor is None else 0.99 * real_anchor + 0.01 * r
            fake_anchor = f if fake_anchor is None else 0.99 * fake_anchor + 0.01 * f
            r_lc = ((D(real, y) - fake_anchor) ** 2).mean() + ((D(x, y) - real_anchor) ** 2).mean()
            row["train/lecam"] = float(r_lc.detach())
            objective = objective + n.lecam_weight * r_lc
        if isinstance(D, Naming):
            class_loss = -torch.log_softmax(D.names(D.features(real)), 1)[range(BATCH), y].mean()
            row["train/d_class_loss"] = float(class_loss.detach())
            objective = objective + n.class_weight * class_loss
        row |= {f"train/{k}_logit": float(D(i, y).mean().detach()) for k, i in (("real", real), ("fake", x))}
        d_adam.step(objective, **adam)

        if step % n.d_steps_per_g == n.d_steps_per_g - 1:
            g_loss = G_BY_HAND[loss](D(real, y).detach(), D(fake, y))
            row["train/g_loss"] = float(g_loss.detach())
            if isinstance(D, Naming):
                class_loss = -torch.log_softmax(D.names(D.features(fake)), 1)[range(BATCH), y].mean()
                row["train/g_class_loss"] = float(class_loss.detach())
                g_loss = g_loss + n.class_weight * class_loss
            g_adam.step(g_loss, **adam)
            half_life = min(1000 * n.ema_half_life_kimg, step * BATCH / 20)
            beta = 0.5 ** (BATCH * n.d_steps_per_g / half_life) if half_life else 0.0
            with torch.no_grad():
                for average, weight in zip(G_ema.parameters(), G.parameters(), strict=True):
                    average.copy_(beta * average + (1 - beta) * weight)
                for kept, current in zip(G_ema.buffers(), G.buffers(), strict=True):
                    kept.copy_(current)
        logged.append(row)
        trained = {"G": G, "D": D, "G_ema": G_ema}
        weights.append({name: copy.deepcopy(net.state_dict()) for name, net in trained.items()})
    return weights, logged


def assert_same_training(
    rows: list[Row], expected: tuple[list[dict[str, dict[str, Tensor]]], list[dict[str, float]]]
) -> None:
    assert len(rows) == len(expected[0])
    for row, weights, logged in zip(rows, *expected, strict=True):
        for name, state in weights.items():
            torch.testing.assert_close(row.weights[name], state, atol=2e-6, rtol=1e-5)
        assert {k: row.logged[k] for k in logged} == pytest.approx(logged, rel=1e-4, abs=1e-5)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one)


PENALTIES = [
    {},
    {"r1_gamma": 1.0},
    {"r2_gamma": 0.7},
    {"r1_gamma": 0.5, "r2_gamma": 2.0},
    {"gp_weight": 10.0},
    {"r1_gamma": 1.0, "r2_gamma": 1.0, "gp_weight": 1.0},
]


@pytest.mark.parametrize("penalties", PENALTIES, ids=lambda p: "-".join(p) or "none")
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_training_is_the_loop_written_out(loss: str, penalties: dict[str, float]) -> None:
    _, rows = train(loss, numbers(**penalties))
    expected = by_hand(loss, numbers(**penalties))
    assert_same_training(rows, expected)
    # and the training moved both networks
    first, last = expected[0][0], expected[0][-1]
    assert all(distance(first[name], last[name]) > 1e-3 for name in ("G", "D"))


def test_every_penalty_changes_the_training() -> None:
    trained = [train("relativistic", numbers(**penalties))[0].D.state_dict() for penalties in PENALTIES]
    for one, other in itertools.combinations(trained, 2):
        assert distance(one, other) > 1e-5


def test_logged_penalties_are_those_of_one_image_at_a_time() -> None:
    _, rows = train("nonsaturating", numbers(r1_gamma=1.0, r2_gamma=1.0, gp_weight=1.0), max_steps=1)
    G, D = networks()
    pixels, y = next(iter(Batches(image_set(), BATCH, seed=1)))
    real = pixels / 255 * 2 - 1
    torch.manual_seed(step_seed(3, 0, 0))
    fake = G(torch.randn(BATCH, LATENT_DIM), y).detach()
    u = torch.rand(BATCH)[:, None, None, None]
    for key, images, centre, power in (
        ("train/r1", real, 0, 2),
        ("train/r2", fake, 0, 2),
        ("train/gradient_penalty", u * real + (1 - u) * fake, 1, 2),
    ):
        terms = [(float(g.detach()) - centre) ** power for g in own_gradient_norms(D, images, y)]
        assert rows[0].logged[key] == pytest.approx(sum(terms) / BATCH, rel=1e-4)
    assert rows[0].logged["train/lr"] == 1e-3


def test_penalties_are_logged_only_where_there_are_some() -> None:
    _, rows = train("hinge", numbers())
    assert set(rows[0].logged) == {
        "train/d_loss",
        "train/g_loss",
        "train/real_logit",
        "train/fake_logit",
        "train/lr",
    }


# -- small data --------------------------------------------------------------------------------------------


class Dimmed(nn.Module):
    """An augmentation without chance."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.5 * images + 0.1


class DimmedDiscriminator(Discriminator):
    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return super().forward(0.5 * images + 0.1, y)


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating"])
def test_d_sees_all_images_through_the_augmentation_and_penalties_are_of_the_images(loss: str) -> None:
    n = numbers(**PENALTIES[-1], d_steps_per_g=2)
    gan, rows = train(loss, n, augmentation=Dimmed())
    torch.manual_seed(0)
    expected = by_hand(loss, n, nets=(Generator(), DimmedDiscriminator()))
    assert_same_training(rows, expected)
    assert distance(expected[0][-1]["D"], by_hand(loss, n)[0][-1]["D"]) > 1e-4
    # held-out losses are of the images themselves
    batches = Batches(image_set(20), BATCH, seed=1, shuffle=False, drop_last=False)
    seen = trainer_for().validate(gan, batches, verbose=False)
    gan.augment = nn.Identity()
    assert trainer_for().validate(gan, batches, verbose=False) == seen


@pytest.mark.parametrize("loss", ["hinge", "wgan_gp"])
def test_lecam_is_the_loop_written_out(loss: str) -> None:
    n = numbers(lecam_weight=0.3, r1_gamma=1.0)
    gan, rows = train(loss, n, epochs=2)
    expected = by_hand(loss, n, epochs=2)
    assert_same_training(rows, expected)
    assert distance(expected[0][-1]["D"], by_hand(loss, numbers(r1_gamma=1.0), epochs=2)[0][-1]["D"]) > 1e-4
    assert "lecam_anchors" in gan.state_dict()


def test_lazy_penalties_come_at_every_third_batch_three_times_as_strong() -> None:
    n = numbers(r1_gamma=1.0, r2_gamma=0.5, reg_interval=3)
    _, rows = train("relativistic", n, epochs=2)
    expected = by_hand("relativistic", n, epochs=2)
    assert_same_training(rows, expected)
    taken = [step for step, row in enumerate(rows) if "train/r1" in row.logged]
    assert taken == list(range(0, len(rows), 3))
    assert len(taken) > 2
    eager = by_hand("relativistic", numbers(r1_gamma=1.0, r2_gamma=0.5), epochs=2)
    assert distance(expected[0][-1]["D"], eager[0][-1]["D"]) > 1e-4


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_a_head_that_classifies_teaches_d_by_real_images_and_g_by_fake_ones(weight: float) -> None:
    n = numbers(class_weight=weight, r1_gamma=1.0, d_steps_per_g=2)
    _, rows = train("hinge", n, nets=naming())
    assert_same_training(rows, by_hand("hinge", n, nets=naming()))
    assert "train/d_class_loss" in rows[0].logged
    assert "train/g_class_loss" in rows[1].logged
    learned = distance(rows[-1].weights["D"], naming()[1].state_dict())
    names = {key: value for key, value in rows[-1].weights["D"].items() if "names" in key}
    assert (distance(names, naming()[1].state_dict()) > 1e-4) == (weight > 0)
    assert learned > 1e-3


class Certain(Discriminator):
    """The same logit whatever it sees."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.says = logit

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return 0 * super().forward(images, y) + self.says


@pytest.mark.parametrize(
    ("logit", "start", "expected"),
    [
        # four batches of 8 images are 0.032 of 1 kimg
        (1.0, 0.0, [0.0] * 4 + [0.032] * 4 + [0.064] * 2),
        (1.0, 0.98, [0.98] * 4 + [1.0] * 6),
        (-1.0, 0.05, [0.05] * 4 + [0.018] * 4 + [0.0] * 2),
    ],
)
def test_ada_follows_the_signs_of_the_real_logits(logit: float, start: float, expected: list[float]) -> None:
    ada = AdaptiveAugment(speed_kimg=1)
    ada.p.fill_(start)
    _, rows = train(
        "nonsaturating", numbers(), epochs=2, nets=(Generator(), Certain(logit)), augmentation=ada
    )
    assert [row.logged["train/augment_p"] for row in rows] == pytest.approx(expected, abs=1e-6)


def test_mirrored_images_are_drawn_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # on images that are their own mirror images, what is drawn is all that could differ
    same = image_set()
    same.images.copy_(torch.maximum(same.images, same.images.flip(3)))
    monkeypatch.setitem(globals(), "image_set", lambda: same)
    plain, flipped = (train("hinge", numbers(flip=flip))[1] for flip in (False, True))
    assert_same_training(plain, by_hand("hinge", numbers()))
    assert distance(plain[-1].weights["D"], flipped[-1].weights["D"]) > 1e-5


# -- counting ----------------------------------------------------------------------------------------------


def test_steps_count_batches_and_nimg_counts_images() -> None:
    gan, rows = train("hinge", numbers(), epochs=2)
    assert [row.steps for row in rows] == list(range(1, 2 * EPOCH + 1))
    assert [row.nimg for row in rows] == [BATCH * k for k in range(1, 2 * EPOCH + 1)]
    assert (gan.steps, gan.nimg) == (2 * EPOCH, 2 * IMAGES)


def test_max_steps_counts_batches() -> None:
    gan, rows = train("hinge", numbers(), max_steps=3)
    assert len(rows) == gan.steps == 3
    assert gan.nimg == 3 * BATCH


@pytest.mark.parametrize("penalties", [{}, {"r1_gamma": 1.0}])
def test_two_d_steps_for_one_g_step(penalties: dict[str, float]) -> None:
    n = numbers(d_steps_per_g=2, **penalties)
    start = {name: net.state_dict() for name, net in zip("GD", networks(), strict=True)}
    gan, rows = train("lsgan", n, epochs=2)
    assert_same_training(rows, by_hand("lsgan", n, epochs=2))
    assert [row.steps for row in rows] == list(range(1, 2 * EPOCH + 1))
    assert gan.nimg == 2 * IMAGES
    assert ["train/g_loss" in row.logged for row in rows] == [False, True] * EPOCH
    learned = [name for name, _ in gan.G.named_parameters()]
    before = start
    for k, row in enumerate(rows):
        same = {w: torch.equal(row.weights["G"][w], before["G"][w]) for w in learned}
        assert all(same.values()) if k % 2 == 0 else not any(same.values())
        assert distance(row.weights["D"], before["D"]) > 1e-5
        before = row.weights


# -- seeds -------------------------------------------------------------------------------------------------


def test_same_seed_same_weights_whatever_the_global_generator() -> None:
    n = numbers(r1_gamma=1.0, gp_weight=1.0)
    runs = []
    for seed, unrelated in ((3, 0), (3, 99), (4, 0)):
        nets = networks(dropout=0.3)
        torch.manual_seed(unrelated)
        runs.append(train("relativistic", n, seed=seed, nets=nets)[0].state_dict())
    same, again, other = runs
    assert all(torch.equal(same[key], again[key]) for key in same)
    assert distance(same, other) > 1e-3


def test_dropout_draws_another_mask_each_step() -> None:
    n = numbers(lr=0.0)
    _, with_dropout = train("lsgan", n, nets=networks(dropout=0.5), epochs=2)
    # nothing learns: what differs between the losses of a batch's two visits is noise
    assert distance(with_dropout[0].weights["D"], with_dropout[-1].weights["D"]) == 0
    assert len({row.logged["train/d_loss"] for row in with_dropout}) == 2 * EPOCH


def test_validation_does_not_disturb_training() -> None:
    alone, _ = train("relativistic", numbers(r1_gamma=1.0), nets=networks(dropout=0.3), epochs=2)
    gan = GAN(*networks(dropout=0.3), LOSSES["relativistic"], numbers(r1_gamma=1.0), 2 * IMAGES, 3)
    held_out = Batches(image_set(20), BATCH, seed=1, shuffle=False, drop_last=False)
    trainer = trainer_for(max_epochs=2)
    trainer.fit(gan, Batches(image_set(), BATCH, seed=1), held_out)
    assert "val/d_loss" in trainer.callback_metrics
    for key, value in alone.state_dict().items():
        assert torch.equal(gan.state_dict()[key], value)
    assert gan.G.training
    assert not gan.G_ema.training


# -- schedules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (Schedule(0.0), 0.0, 8.0),
        (Schedule(0.0), 0.25, 6.0),
        (Schedule(0.0), 1.0, 0.0),
        (Schedule(2.0, begin=0.5), 0.0, 8.0),
        (Schedule(2.0, begin=0.5), 0.5, 8.0),
        (Schedule(2.0, begin=0.5), 0.75, 5.0),
        (Schedule(2.0, begin=0.5), 1.0, 2.0),
        (Schedule(2.0, begin=0.2, end=0.6), 0.1, 8.0),
        (Schedule(2.0, begin=0.2, end=0.6), 0.4, 5.0),
        (Schedule(2.0, begin=0.2, end=0.6), 0.6, 2.0),
        (Schedule(2.0, begin=0.2, end=0.6), 0.9, 2.0),
        # upwards as well
        (Schedule(10.0), 0.5, 9.0),
        (Schedule(0.0, shape="cosine"), 0.0, 8.0),
        (Schedule(0.0, shape="cosine"), 0.5, 4.0),
        (Schedule(0.0, shape="cosine"), 1.0, 0.0),
        # ½ - ½ cos 60° = ¼ of the way, ½ - ½ cos 120° = ¾
        (Schedule(0.0, shape="cosine"), 1 / 3, 6.0),
        (Schedule(0.0, shape="cosine"), 2 / 3, 2.0),
        (Schedule(0.0, begin=0.4, end=0.8, shape="cosine"), 0.2, 8.0),
        (Schedule(0.0, begin=0.4, end=0.8, shape="cosine"), 0.6, 4.0),
        (Schedule(0.0, begin=0.4, end=0.8, shape="cosine"), 0.8, 0.0),
        # past the end, as a resumed and prolonged training is
        (Schedule(1.0), 1.5, 1.0),
    ],
)
def test_schedule_by_hand(schedule: Schedule, progress: float, expected: float) -> None:
    assert schedule.at(8.0, progress) == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedule_without_length_is_a_jump(shape: Any) -> None:
    jump = Schedule(2.0, begin=0.5, end=0.5, shape=shape)
    found = [jump.at(8.0, progress) for progress in (0.0, 0.49, 0.5, 0.51, 1.0)]
    assert found == pytest.approx([8.0, 8.0, 2.0, 2.0, 2.0])


def test_schedules_reach_the_optimisers_and_the_penalties() -> None:
    schedules = {
        "lr": Schedule(0.0, begin=0.5),
        "beta2": Schedule(0.99),
        "r1_gamma": Schedule(0.1, shape="cosine"),
        "r2_gamma": Schedule(0.0, end=0.5),
    }
    n = numbers(r1_gamma=1.0, r2_gamma=2.0, schedules=schedules)
    _, rows = train("relativistic", n, epochs=2)

    # ten batches: step k begins at k / 10 of the training
    lr = [1e-3] * 6 + [0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3]
    beta2 = [0.9 + 0.009 * k for k in range(10)]
    r1 = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)]
    r2 = [2.0, 1.6, 1.2, 0.8, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]
    for k, row in enumerate(rows):
        assert row.lr == pytest.approx([lr[k]] * 2)
        assert row.betas == [pytest.approx((0.5, beta2[k]))] * 2
        assert row.logged["train/lr"] == pytest.approx(lr[k])
    expected = by_hand(
        "relativistic",
        n,
        epochs=2,
        at=lambda k: {"lr": lr[k], "beta2": beta2[k], "r1_gamma": r1[k], "r2_gamma": r2[k]},
    )
    assert_same_training(rows, expected)


def test_without_schedules_nothing_changes() -> None:
    _, rows = train("hinge", numbers(beta1=0.0))
    assert all(row.lr == [1e-3, 1e-3] and row.betas == [(0.0, 0.9)] * 2 for row in rows)


# -- the average -------------------------------------------------------------------------------------------


def test_average_follows_the_generator() -> None:
    # the ramp-up makes the half-life 5 % of the images seen: 0, .4, .8 … images, of which a batch is 8
    _, rows = train("relativistic", numbers(ema_half_life_kimg=1.0, lr=5e-3), epochs=2)
    expected = rows[0].weights["G"]["pixels.weight"]
    for k, row in enumerate(rows):
        beta = 0.5 ** (BATCH / (0.05 * BATCH * k)) if k else 0.0
        expected = beta * expected + (1 - beta) * row.weights["G"]["pixels.weight"]
        torch.testing.assert_close(row.weights["G_ema"]["pixels.weight"], expected, atol=1e-6, rtol=0)
        for buffer in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
            assert torch.equal(row.weights["G_ema"][buffer], row.weights["G"][buffer])
    assert int(rows[-1].weights["G_ema"]["norm.num_batches_tracked"]) == 2 * EPOCH
    # two-sided: it is no copy
    assert distance(rows[-1].weights["G_ema"], rows[-1].weights["G"]) > 1e-4


def test_average_has_its_half_life_once_the_ramp_up_is_over() -> None:
    gan = GAN(*networks(), LOSSES["relativistic"], numbers(ema_half_life_kimg=0.016, lr=5e-3), 20_000, seed=3)
    gan.nimg = 10_000
    recorder = Recorder()
    expected = gan.G.state_dict()["pixels.weight"].clone()
    trainer_for(recorder, max_epochs=2).fit(gan, Batches(image_set(), BATCH, seed=1))
    for row in recorder.rows:
        # half of a half-life of 16 images for each batch of 8
        expected = 0.5**0.5 * expected + (1 - 0.5**0.5) * row.weights["G"]["pixels.weight"]
        torch.testing.assert_close(row.weights["G_ema"]["pixels.weight"], expected, atol=1e-6, rtol=0)
    assert recorder.rows[-1].nimg == 10_000 + 2 * IMAGES


def test_average_without_half_life_is_the_generator() -> None:
    _, rows = train("relativistic", numbers(ema_half_life_kimg=0.0))
    for row in rows:
        assert distance(row.weights["G_ema"], row.weights["G"]) == 0


def test_average_is_neither_trained_nor_given_to_an_optimiser() -> None:
    gan, _ = train("hinge", numbers())
    averaged = {id(p) for p in gan.G_ema.parameters()}
    assert all(not p.requires_grad and p.grad is None for p in gan.G_ema.parameters())
    groups = [group for optimizer in gan.trainer.optimizers for group in optimizer.param_groups]
    optimised = [{id(p) for p in group["params"]} for group in groups]
    assert optimised == [{id(p) for p in net.parameters()} for net in (gan.D, gan.G)]
    assert not any(averaged & of_one for of_one in optimised)


# -- precision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["relativistic", "wgan_gp"])
def test_bf16_trains_like_float32_up_to_its_rounding(loss: str) -> None:
    n = numbers(r1_gamma=0.5, r2_gamma=0.5, gp_weight=1.0)
    full, full_rows = train(loss, n, epochs=2)
    mixed, mixed_rows = train(loss, n, epochs=2, precision="bf16-mixed")
    for row in mixed_rows:
        assert all(math.isfinite(value) for value in row.logged.values())
    for key, value in mixed.state_dict().items():
        assert value.dtype == full.state_dict()[key].dtype
        assert value.isfinite().all()
    assert 0 < distance(mixed.state_dict(), full.state_dict()) < 0.05
    for key in ("train/d_loss", "train/g_loss", "train/r1", "train/r2"):
        assert mixed_rows[0].logged[key] != full_rows[0].logged[key]
        assert mixed_rows[0].logged[key] == pytest.approx(full_rows[0].logged[key], rel=0.03, abs=0.01)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler")
@pytest.mark.parametrize("head", [networks, naming])
def test_compiled_networks_train_as_they_would_without(
    head: Callable[[], tuple[Generator, nn.Module]], monkeypatch: pytest.MonkeyPatch
) -> None:
    n = numbers(r1_gamma=0.5, r2_gamma=0.7)
    expected, expected_rows = train("relativistic", n, nets=head())
    gan = GAN(*head(), LOSSES["relativistic"], n, IMAGES, seed=3)
    names = list(gan.state_dict())
    gan.compile_networks()
    ways: dict[str, int] = {}
    monkeypatch.setattr(gan, "judge_for_g", counted(gan.judge_for_g, "compiled", ways))
    monkeypatch.setattr(gan, "judge", counted(gan.judge, "as it is", ways))
    recorder = Recorder()
    trainer_for(recorder).fit(gan, Batches(image_set(), BATCH, seed=1))
    assert list(gan.state_dict()) == names
    for row, other in zip(recorder.rows, expected_rows, strict=True):
        assert row.logged == pytest.approx(other.logged, rel=1e-3, abs=1e-4)
    for name, value in gan.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], atol=1e-4, rtol=1e-3)
    # D's own step, whose gradient is differentiated, and the real images of G's stay as they are
    assert ways == {"compiled": len(recorder.rows), "as it is": 2 * len(recorder.rows)}


def counted(call: Callable[..., Any], name: str, counts: dict[str, int]) -> Callable[..., Any]:
    """The same, counting its calls under a name."""

    def wrapped(*args: Any) -> Any:
        counts[name] = counts.get(name, 0) + 1
        return call(*args)

    return wrapped


# -- held-out losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_held_out_losses_by_hand(loss: str, split: str) -> None:
    nets = networks(dropout=0.5)
    G, D = (copy.deepcopy(net).eval() for net in nets)
    gan = GAN(*nets, LOSSES[loss], numbers(), IMAGES, seed=11)
    held_out = image_set(20)
    batches = Batches(held_out, BATCH, seed=1, shuffle=False, drop_last=False)
    trainer = trainer_for()
    run = trainer.validate if split == "val" else trainer.test
    run(gan, batches, verbose=False)

    # batches of 8, 8 and 4 images in their order, every image counted alike
    d_loss, g_loss = 0.0, 0.0
    for k, part in enumerate((range(0, 8), range(8, 16), range(16, 20))):
        real, y = held_out.images[list(part)] / 255 * 2 - 1, held_out.labels[list(part)]
        z = torch.randn(len(part), LATENT_DIM, generator=torch.Generator().manual_seed(step_seed(11, k, 0)))
        with torch.no_grad():
            r, f = D(real, y), D(G(z, y), y)
        d_loss += float(D_BY_HAND[loss](r, f)) * len(part) / 20
        g_loss += float(G_BY_HAND[loss](r, f)) * len(part) / 20
    found = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert found == pytest.approx({f"{split}/d_loss": d_loss, f"{split}/g_loss": g_loss}, rel=1e-4, abs=1e-6)


def test_held_out_losses_repeat_while_the_networks_stay() -> None:
    gan = GAN(*networks(dropout=0.5), LOSSES["relativistic"], numbers(), IMAGES, seed=11)
    batches = Batches(image_set(20), BATCH, seed=1, shuffle=False, drop_last=False)
    runs = [trainer_for().validate(gan, batches, verbose=False) for _ in range(2)]
    assert runs[0] == runs[1]
