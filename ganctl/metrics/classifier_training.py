"""How classifiers are trained: the loop behind the bundled ones, users' own, and CAS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganctl.data.dataset import ImageSet
from ganctl.images import to_float
from ganctl.metrics.classifier_net import Classifier

LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
OPTIMISATION = (
    f"AdamW, one cycle up to {LEARNING_RATE:g}, weight decay {WEIGHT_DECAY:g}, "
    f"label smoothing {LABEL_SMOOTHING:g}"
)
SHIFT = 0.07  # of the width, each way


@torch.enable_grad()
def fit(
    net: Classifier,
    image_set: ImageSet,
    batches: Iterable[Tensor],
    steps: int,
    device: torch.device,
    *,
    augment: Callable[[Tensor], Tensor] = lambda images: images,
    ema_decay: float | None = None,
    bf16: bool = False,
    on_step: Callable[[int], object] = lambda n: None,
) -> Classifier:
    """Trains `net`, one batch a step.

    Args:
        net: with BatchNorm, freshly drawn.
        batches: at least `steps` of (B,) int64, the places of their images.
        device: where to train.
        augment: float images (B, C, H, W) in [-1, 1] on the CPU -> others of that shape.
        ema_decay: of the moving average of weights and running statistics; None takes the last weights.
        bf16: autocast.
        on_step: told 1 after each.

    Returns:
        The network of evaluation, on `device`, with BatchNorm folded.
    """
    net = net.to(device).to(memory_format=torch.channels_last)
    averaged = None if ema_decay is None else deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _, index in zip(range(steps), batches, strict=False):
        images, labels = image_set.take(index)
        x = augment(to_float(images)).to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits, _ = net(x)
        loss = F.cross_entropy(logits.float(), labels.to(device), label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if averaged is not None and ema_decay is not None:
            _average(averaged, net, ema_decay)
        on_step(1)
    return (averaged or net).cpu().folded().to(device)


@torch.no_grad()
def _average(averaged: nn.Module, net: nn.Module, decay: float) -> None:
    """Exponential moving average of parameters and running statistics."""
    for old, new in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)


def full_batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of `size` places out of n, epoch after epoch without end; each epoch leaves out what fills
    none."""
    while True:
        yield from torch.randperm(n, generator=generator)[: n // size * size].split(size)


@torch.inference_mode()
def predict(net: nn.Module, image_set: ImageSet, device: torch.device | str = "cpu") -> Tensor:
    """The labels (N,) int64 that `net`, on `device`, sees in the images."""
    parts = torch.arange(len(image_set)).split(500)
    batches = (to_float(image_set.take(part)[0].to(device)) for part in parts)
    return torch.cat([net(batch)[0].argmax(1).cpu() for batch in batches])


# -- of any data set ---------------------------------------------------------------------------------------


def batch_size(num_images: int) -> int:
    """32 for small sets: more steps of the same number of images; 128 from 4 096 images on."""
    return min(num_images, 128 if num_images >= 4096 else 32)


def default_steps(num_images: int) -> int:
    """Enough to learn a few hundred images, and no more of many than is worth the wait: twenty epochs, but at
    least 20 000 images and at most 500 000."""
    return max(1, min(max(20 * num_images, 20_000), 500_000) // batch_size(num_images))


def train(
    image_set: ImageSet,
    num_classes: int,
    *,
    seed: int,
    steps: int,
    device: torch.device,
    mirror: bool = False,
    bf16: bool = False,
    on_step: Callable[[int], object] = lambda n: None,
) -> Classifier:
    """Trains a classifier of any labelled images, with one recipe for all that looks at no other image.

    Batches of `batch_size`, shifted (and mirrored) at random; the weights averaged over about the last tenth
    of the steps, at most 500; rounded to half precision, as they are saved. The caller's random state stays.

    Args:
        image_set: images (N, C, H, W) uint8 of at least 8 × 8, labels in [0, num_classes).
        seed: of the first weights, of the order and of the shifts.
        mirror: whether the mirror image of a picture shows the same as the picture.

    Returns:
        In float32 on the CPU, without BatchNorm.
    """
    sample, _ = image_set.take(torch.zeros(1, dtype=torch.int64))
    _, channels, _, resolution = sample.shape
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # around all: folding draws weights too
        torch.manual_seed(seed)
        net = fit(
            Classifier(channels, resolution, num_classes, batch_norm=True),
            image_set,
            full_batches(len(image_set), batch_size(len(image_set)), generator),
            steps,
            device,
            augment=lambda images: shifted(images, generator, mirror),
            ema_decay=max(0.0, min(0.998, 1 - 10 / steps)),
            bf16=bf16,
            on_step=on_step,
        )
        return net.cpu().half().float()


def shifted(images: Tensor, generator: torch.Generator, mirror: bool = False) -> Tensor:
    """Shifts each image by up to `SHIFT` of its width each way, its edges repeated; mirrors half of them.

    images (N, C, H, W) float -> the same shape.
    """
    n, channels, height, width = images.shape
    if mirror:
        flip = torch.rand(n, generator=generator) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    reach = max(1, round(SHIFT * width))
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    dx, dy = torch.randint(0, 2 * reach + 1, (2, n), generator=generator)
    rows = (dy[:, None] + torch.arange(height))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]
