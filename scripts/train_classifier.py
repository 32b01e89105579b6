"""Trains a bundled classifier and writes its weights and its card.

    python scripts/train_classifier.py mnist

The official training split only; a fixed number of epochs; the last averaged weights. Test images are looked
at once, at the end: they choose nothing. One thread is the default, so that a run is the same on every CPU
of a kind.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganctl.data import Source, load
from ganctl.data.dataset import ImageSet
from ganctl.images import to_float
from ganctl.metrics import classifier

BATCH_SIZE = 128
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
EMA_DECAY = 0.998
SEED = 0


@dataclass(frozen=True)
class Recipe:
    """What differs between data sets.

    Args:
        prefix: of the metrics' names.
        epochs, width: length of the training and size of the network.
        augmentation: `affine` for written digits, `flip_crop` for pictures with a left and a right.
        licence: of the data.
    """

    prefix: str
    epochs: int
    width: int
    augmentation: str
    licence: str


RECIPES = {
    "mnist": Recipe("digit", 18, 48, "affine", "CC BY-SA 3.0 (Y. LeCun, C. Cortes)"),
    "digits": Recipe("digit", 120, 32, "affine", "CC BY 4.0 (E. Alpaydin, C. Kaynak; UCI repository)"),
    "fashion": Recipe("fashion", 16, 64, "flip_crop", "MIT (Zalando SE)"),
}


def augment_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotates by ±12°, scales by ±12 % each way, shears by ±0.15, shifts by ±8 % of the width.

    images (N, C, H, W) in [-1, 1] -> the same shape; what comes in from outside is black, -1.
    """

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(images), generator=generator) - 1) * limit

    angle, shear = uniform(math.radians(12)), uniform(0.15)
    scale_x, scale_y = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = angle.cos(), angle.sin()
    # grid_sample counts the width as 2, so a shift of 8 % is 0.16.
    row_x = torch.stack([cos * scale_x, (cos * shear - sin) * scale_y, uniform(0.16)], dim=1)
    row_y = torch.stack([sin * scale_x, (sin * shear + cos) * scale_y, uniform(0.16)], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def augment_flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors half of the images and shifts each by up to 2 pixels.

    images (N, C, H, W) in [-1, 1] -> the same shape; what comes in from outside is black, -1.
    """
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = F.pad(images, (2, 2, 2, 2), value=-1.0)
    dx, dy = torch.randint(0, 5, (2, n), generator=generator)
    rows = (dy[:, None] + torch.arange(height))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(width))[:, None, None, :]
    return padded[
        torch.arange(n)[:, None, None, None], torch.arange(images.shape[1])[:, None, None], rows, columns
    ]


AUGMENTATIONS = {"affine": augment_affine, "flip_crop": augment_flip_crop}


def train(images: ImageSet, num_classes: int, recipe: Recipe, epochs: int) -> classifier.Classifier:
    """Trains on all of `images` and returns the averaged network with BatchNorm folded, rounded to half."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    augment = AUGMENTATIONS[recipe.augmentation]
    _, channels, _, resolution = images.images.shape
    net = classifier.Classifier(channels, resolution, num_classes, recipe.width, batch_norm=True)
    net = net.to(memory_format=torch.channels_last)
    averaged = deepcopy(net).requires_grad_(False)
    steps = len(images) // BATCH_SIZE
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps)
    for epoch in range(epochs):
        start, running = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for i in range(steps):
            index = order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            batch = augment(to_float(images.images[index]), generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = net(batch)
            loss = F.cross_entropy(logits.float(), images.labels[index], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average(averaged, net)
            running += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{epochs}  loss {running / steps:.4f}  {seconds:.0f} s", flush=True)
    # Rounded before it is measured: the accuracy on the card is the file's.
    return averaged.folded().half().float()


@torch.no_grad()
def average(averaged: nn.Module, net: nn.Module) -> None:
    """Exponential moving average of parameters and running statistics."""
    for old, new in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - EMA_DECAY)


@torch.inference_mode()
def predict(net: classifier.Classifier, images: Tensor) -> Tensor:
    """images (N, C, H, W) uint8 -> predicted labels (N,) int64."""
    return torch.cat([net(to_float(batch))[0].argmax(1) for batch in images.split(500)])


def card(facts: dict[str, str], per_class: list[str], prefix: str) -> str:
    """The Markdown card that stands beside the weights: facts, then a table row for each class."""
    lines = [
        f"# Classifier for `{facts['data']}`",
        "",
        f"Labels and features behind `label_accuracy` and every metric named `{prefix}_…`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in facts.items()),
        "",
        "| class | test images | accuracy |",
        "|---|---|---|",
        *per_class,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--out", type=Path, default=classifier.ASSETS, help="folder to write to")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = RECIPES[args.name]
    epochs = args.epochs or recipe.epochs

    data = load(Source(args.name, args.data_root), val_size=0)
    start = time.process_time()
    net = train(data.train, data.facts.num_classes, recipe, epochs)
    minutes = (time.process_time() - start) / 60

    labels = data.test.labels
    right = predict(net, data.test.images) == labels
    accuracy = right.float().mean().item()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"classifier_{args.name}.safetensors"
    classifier.save(
        path,
        net,
        dataset=args.name,
        label_names=data.facts.label_names,
        prefix=recipe.prefix,
        accuracy=accuracy,
    )

    per_class = [
        f"| {name} | {int((labels == k).sum()):,} | {right[labels == k].float().mean():.2%} |"
        for k, name in enumerate(data.facts.label_names)
    ]
    arguments = ", ".join(f"{key}={value}" for key, value in net.arguments.items())
    parameters = sum(p.numel() for p in net.parameters())
    facts = {
        "data": args.name,
        "file": f"`{path.name}`, {path.stat().st_size / 1000:.0f} kB, half precision (read as float32)",
        "sha256": f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`",
        "network": f"`Classifier({arguments})`, {parameters:,} parameters, features (N, {net.feature_dim})",
        "test accuracy": f"{accuracy:.2%} of the {len(right):,} test images",
        "trained on": f"the {len(data.train):,} training images, no test image",
        "command": f"`python scripts/train_classifier.py {args.name}`",
        "time": f"{minutes:.1f} CPU minutes, {args.threads} thread(s), a CPU with bfloat16 instructions",
        "recipe": f"{epochs} epochs, batch {BATCH_SIZE}, AdamW, one cycle up to {LEARNING_RATE:g}, "
        f"weight decay {WEIGHT_DECAY:g}, label smoothing {LABEL_SMOOTHING:g}, augmentation "
        f"`{recipe.augmentation}`, weights averaged with decay {EMA_DECAY:g}, bfloat16 autocast, "
        f"seed {SEED}; BatchNorm folded at the end",
        "choices": "none by test images: a fixed length and the last averaged weights; "
        "test images are scored after the training",
        "data licence": recipe.licence,
    }
    path.with_suffix(".md").write_text(card(facts, per_class, recipe.prefix))
    print(f"test accuracy {accuracy:.4%}  {minutes:.1f} CPU minutes  {path}")


if __name__ == "__main__":
    main()
