"""Trains a bundled classifier and writes its weights and its card; `ganctl train-classifier` is for others.

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
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ganctl.data import Source, load
from ganctl.data.dataset import ImageSet
from ganctl.metrics import classifier
from ganctl.metrics.classifier_card import card
from ganctl.metrics.classifier_net import Classifier
from ganctl.metrics.classifier_training import OPTIMISATION, fit, full_batches, predict
from ganctl.metrics.confusion import confusion_matrix

BATCH_SIZE = 128
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


def train(images: ImageSet, num_classes: int, recipe: Recipe, epochs: int) -> Classifier:
    """Trains on all of `images` and returns the averaged network with BatchNorm folded, rounded to half."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    augment = AUGMENTATIONS[recipe.augmentation]
    _, channels, _, resolution = images.images.shape
    net = Classifier(channels, resolution, num_classes, recipe.width, batch_norm=True)
    steps = epochs * (len(images) // BATCH_SIZE)
    with tqdm(total=steps, unit="step") as bar:
        net = fit(
            net,
            images,
            full_batches(len(images), BATCH_SIZE, generator),
            steps,
            torch.device("cpu"),
            augment=lambda x: augment(x, generator),
            ema_decay=EMA_DECAY,
            bf16=True,
            on_step=bar.update,
        )
    # Rounded before it is measured: the accuracy on the card is the file's.
    return net.half().float()


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

    predicted = predict(net, data.test)
    matrix = confusion_matrix(data.test.labels, predicted, data.facts.num_classes)
    # in float32, as the files that come with the package have it
    accuracy = (predicted == data.test.labels).float().mean().item()
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

    arguments = ", ".join(f"{key}={value}" for key, value in net.arguments.items())
    parameters = sum(p.numel() for p in net.parameters())
    facts = {
        "data": args.name,
        "file": f"`{path.name}`, {path.stat().st_size / 1000:.0f} kB, half precision (read as float32)",
        "sha256": f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`",
        "network": f"`Classifier({arguments})`, {parameters:,} parameters, features (N, {net.feature_dim})",
        "test accuracy": f"{accuracy:.2%} of the {len(data.test):,} test images",
        "trained on": f"the {len(data.train):,} training images, no test image",
        "command": f"`python scripts/train_classifier.py {args.name}`",
        "time": f"{minutes:.1f} CPU minutes, {args.threads} thread(s), a CPU with bfloat16 instructions",
        "recipe": f"{epochs} epochs, batch {BATCH_SIZE}, {OPTIMISATION}, augmentation "
        f"`{recipe.augmentation}`, weights averaged with decay {EMA_DECAY:g}, bfloat16 autocast, "
        f"seed {SEED}; BatchNorm folded at the end",
        "choices": "none by test images: a fixed length and the last averaged weights; "
        "test images are scored after the training",
        "data licence": recipe.licence,
    }
    names = data.facts.label_names
    path.with_suffix(".md").write_text(card(args.name, recipe.prefix, facts, matrix, names))
    print(f"test accuracy {accuracy:.4%}  {minutes:.1f} CPU minutes  {path}")


if __name__ == "__main__":
    main()
