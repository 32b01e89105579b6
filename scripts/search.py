"""Trains recipes that were tried, for equally many images, and scores each without looking at a test image.

    python scripts/search.py start "lr 2e-3"         # these rows; --list shows all
    python scripts/search.py dcgan --epochs 10 --seed 1

A row is `ganctl train +experiment=dcgan` with other settings; networks that lost are in
`search_networks.py`. The last checkpoint is scored, 5 000 images of its averaged generator:

- `FD-99`: Inception features in bf16 of images enlarged to 99 × 99, not 299 × 299, against 10 000 training
  images. Ten times as fast as FID, not comparable with it, and it saw the differences that FID saw later.
  Validation images score 5.4.
- `digit_fd` and `label_accuracy` on the bundled classifier, against the validation images.

Results are added to `docs/recipes.json`; the table of all that is there is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganctl import checkpoint, config, data, generate
from ganctl.data.dataset import Dataset
from ganctl.metrics import classifier, confusion, inception_weights
from ganctl.metrics.extract import Extracted, extract, in_batches
from ganctl.metrics.features import ClassifierExtractor, Extractor, InceptionExtractor

SCRIPTS = Path(__file__).parent
NUM_GEN, NUM_REAL, SIZE = 5_000, 10_000, 99
G, D = "model.generator", "model.discriminator"
# What each row changes in `+experiment=dcgan`. First what was tried before D had a class loss: where the
# search began, on the way to the recipe, then around it. Then what was tried with one.
PROJECTION = [f"{D}.head=projection"]
START = [f"{G}.tanh_gain=1.0", f"{D}.full_size_maps=0"]
HALF = "model.lr=5e-4"
OTHER_G = [f"{G}._target_=search_networks.Generator"]
OTHER_D = [f"{D}._target_=search_networks.Discriminator"]
UNSHUFFLED = [f"{D}._target_=search_networks.Unshuffled"]
BEFORE: dict[str, list[str]] = {
    "start": [*START, HALF],
    "start, lr 1e-3": START,
    "start, batch 128": [*START, "data.batch_size=128", "model.lr=7e-4"],
    "start, γ 0.03": [*START, HALF, "loss.r1_gamma=0.03", "loss.r2_gamma=0.03"],
    "start, gain 1.1": [f"{D}.full_size_maps=0", HALF],
    "start, linear output": [*OTHER_G, f"+{G}.linear=true", f"{D}.full_size_maps=0", HALF],
    "start, full-size maps": [f"{G}.tanh_gain=1.0", HALF],
    "lr 5e-4": [HALF],
    "lr 5e-4, batch 32": [HALF, "data.batch_size=32"],
    "no class loss": [],
    "lr 2e-3": ["model.lr=2e-3"],
    "no norm in G": [*OTHER_G, f"+{G}.norm=false"],
    "γ 0.3": ["loss.r1_gamma=0.3", "loss.r2_gamma=0.3"],
    "batch 32": ["data.batch_size=32"],
    "β2 0.9": ["model.beta2=0.9"],
    "ReLU in G": [*OTHER_G, f"+{G}.relu=true"],
    "D width 48": [f"{D}.width=48"],
    "D one layer deeper": OTHER_D,
    "32 full-size maps": [f"{D}.full_size_maps=32"],
    "G width 24": [f"{G}.width=24"],
    "G width 48": [f"{G}.width=48"],
    "D on unshuffled pixels": UNSHUFFLED,
    "D on unshuffled pixels, two convolutions": [*UNSHUFFLED, f"+{D}.convolutions=2"],
    "lr constant": ["schedules.lr=null"],
}


def gamma_falls(final: float, end: float) -> list[str]:
    """γ of both penalties to `final`, over the part `end` of the training."""
    return [f"schedules.r{k}_gamma={{final: {final}, begin: 0.0, end: {end}, shape: cosine}}" for k in (1, 2)]


FALLING = gamma_falls(0.01, end=1.0)
# What `+experiment=best` was when its rows were run, said here so that they stay what they were.
BEST = [*gamma_falls(0.03, end=0.5), "loss.class_weight=0.03", "loss.reg_interval=4"]
ROWS: dict[str, list[str]] = {name: [*PROJECTION, *own] for name, own in BEFORE.items()} | {
    "dcgan": [],
    "class loss × 10": ["loss.class_weight=1"],
    "class loss × 3": ["loss.class_weight=0.3"],
    "class loss × 0.3": ["loss.class_weight=0.03"],
    "class loss, batch 32": ["data.batch_size=32"],
    "class loss, G and D width 48": [f"{G}.width=48", f"{D}.width=48"],
    "class loss without projection": [f"{D}.head=acgan"],
    "D2D-CE": [f"{D}.head=d2dce"],
    "γ falls to a tenth": FALLING,
    "γ falls to a tenth, class loss × 0.3": [*FALLING, "loss.class_weight=0.03"],
    "γ falls to a tenth, penalties at one batch of four": [*FALLING, "loss.reg_interval=4"],
    "best": BEST,
    "best, lr falls all along": [*BEST, "schedules.lr.begin=0"],
    "best, G width 48": [*BEST, f"{G}.width=48"],
    "best, G and D width 48": [*BEST, f"{G}.width=48", f"{D}.width=48"],
    "best, G width 48, D width 24": [*BEST, f"{G}.width=48", f"{D}.width=24"],
    "best, ADA to 0.2": [*BEST, "augment=ada", "augment.target=0.2"],
}


class SmallInception(InceptionExtractor):
    """Inception on images enlarged to 99 × 99, in bf16: the kind of a score that ranks recipes, no FID."""

    def __init__(self) -> None:
        super().__init__(inception_weights.find_or_fetch(), precision="bf16")
        # torch-fidelity's layers take any size from 75 up.
        self._module.INPUT_IMAGE_SIZE = SIZE  # type: ignore[assignment]


@cache
def mnist() -> Dataset:
    d = config.compose(["+experiment=dcgan"]).data
    return data.load(data.Source.of_config(d.model_dump()), d.val_size, d.val_seed)


@cache
def real_sides() -> tuple[tuple[Extractor, Extracted], tuple[Extractor, Extracted]]:
    """(small Inception, training images) and (bundled classifier, validation images)."""
    train = mnist().train.images
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    loaded = classifier.load(mnist().facts.name)
    assert loaded is not None
    inception, domain = SmallInception(), ClassifierExtractor(loaded)
    return (
        (inception, extract(inception, in_batches(train[order[:NUM_REAL]]))),
        (domain, extract(domain, in_batches(mnist().val.images))),
    )


def score(ckpt: Path) -> dict[str, float]:
    """Of the averaged generator in a checkpoint, on images that no score of a report is made of."""
    snapshot, facts = checkpoint.read(ckpt), mnist().facts
    labels = generate.proportional_labels(facts.class_counts, NUM_GEN)
    # The weights were written a moment ago by this program.
    G = snapshot.build(trust_code=True).to(memory_format=torch.channels_last)
    parts = generate.batches(G, snapshot.latent_dim, labels, range(NUM_GEN), torch.device("cpu"))
    fakes: Tensor = torch.cat(list(parts))

    (inception, train), (domain, val) = real_sides()
    seen = extract(domain, in_batches(fakes))
    matrix = confusion.confusion_matrix(torch.tensor(labels), seen.predicted, facts.num_classes)
    return {
        "fd_99": extract(inception, in_batches(fakes)).frechet_distance(train),
        "val_digit_fd": seen.frechet_distance(val),
        "label_accuracy": confusion.class_scores(matrix).accuracy,
    }


def train(overrides: list[str], folder: Path) -> Path:
    """Trains with `ganctl train`; the last checkpoint."""
    quiet = ["logger=none", "callbacks.samples=null", "callbacks.progress_bar=false", f"run.dir={folder}"]
    path = os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS)])
    command = [sys.executable, "-m", "ganctl", "train", "+experiment=dcgan", *overrides, *quiet]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": path})
    return folder / "checkpoints" / "last.ckpt"


def table(results: list[dict[str, Any]]) -> str:
    """The rows of each length of training, best first."""
    lines = ["| row | epochs | seed | FD-99 | `digit_fd` | label accuracy |", "|---|---|---|---|---|---|"]
    for r in sorted(results, key=lambda r: (r["epochs"], r["fd_99"])):
        lines.append(
            f"| {r['row']} | {r['epochs']} | {r['seed']} | {r['fd_99']:.2f} | {r['val_digit_fd']:.4f} "
            f"| {r['label_accuracy']:.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="show the rows and what they change")
    parser.add_argument("--out", type=Path, default=SCRIPTS.parent / "docs" / "recipes.json")
    args = parser.parse_args()
    if args.list:
        for name, overrides in ROWS.items():
            print(f"{name:<24} {' '.join(overrides)}")
        return
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}")
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else []
    for row in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            own = [*ROWS[row], f"trainer.max_epochs={args.epochs}", f"seed={args.seed}"]
            scores = score(train(own, Path(folder) / "run"))
        key = {"row": row, "epochs": args.epochs, "seed": args.seed}
        results = [r for r in results if {k: r[k] for k in key} != key] + [key | scores]
        args.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
