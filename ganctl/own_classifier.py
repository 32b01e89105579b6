"""A data set -> a classifier file of the user's own, and its card."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganctl import __version__, atomic, config_tree, data, progress
from ganctl.data.dataset import Dataset, DatasetFacts
from ganctl.devices import describe
from ganctl.errors import UsageError
from ganctl.metrics import classifier
from ganctl.metrics import classifier_training as training
from ganctl.metrics.classifier_card import card, worst_pairs
from ganctl.metrics.classifier_net import MIN_RESOLUTION, Classifier
from ganctl.metrics.confusion import class_scores, confusion_matrix
from ganctl.wording import markdown


@dataclass(frozen=True)
class OwnClassifier:
    """What `make` left behind.

    Args:
        path, card: the two files.
        dataset: name of the data set.
        prefix: of the metrics' names.
        matrix: (K, K) counts of the test images, row = label, column = recognised.
        num_train: images it was trained on.
        steps: of the training.
    """

    path: Path
    card: Path
    dataset: str
    prefix: str
    label_names: tuple[str, ...]
    matrix: Tensor
    num_train: int
    steps: int

    @property
    def accuracy(self) -> float:
        return class_scores(self.matrix).accuracy

    def text(self) -> str:
        """For people."""
        pairs = [
            f"{self.label_names[i]} taken for {self.label_names[j]} ({count})"
            for i, j, count in worst_pairs(self.matrix)
        ]
        rows = {
            "classifier": str(self.path),
            "card": str(self.card),
            "accuracy": f"{self.accuracy:.2%} of {int(self.matrix.sum())} test images, by chance "
            f"{chance(self.matrix):.2%}",
            "confused": ", ".join(pairs) or "nothing",
            "scores": f"{self.prefix}_fd, {self.prefix}_is, label_accuracy …",
        }
        return "\n".join(f"{name:<12} {value}" for name, value in rows.items())

    def to_dict(self) -> dict[str, Any]:
        recall = class_scores(self.matrix).recall.tolist()
        counts = self.matrix.sum(dim=1).tolist()
        return {
            "classifier": str(self.path),
            "card": str(self.card),
            "data": self.dataset,
            "prefix": self.prefix,
            "accuracy": self.accuracy,
            "per_class": {name: recall[k] if counts[k] else None for k, name in enumerate(self.label_names)},
            "num_train": self.num_train,
            "num_test": int(self.matrix.sum()),
            "steps": self.steps,
        }


def make(
    source: data.Source,
    out: Path | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    device: torch.device | str = "cpu",
    force: bool = False,
) -> OwnClassifier:
    """Trains a classifier on the training part of a data set, scores it once on the test part, and writes
    both files. The same data, seed, steps, device and number of threads give the same bytes.

    Args:
        out: the `.safetensors` file, without it `classifier_<prefix>.safetensors` here; the card lies beside
            it, as `.md`.
        steps: of the training; without it `classifier_training.default_steps`.
        force: replace what is there.

    Raises:
        UsageError: the data are pictures that are not prepared, have no labels, one class alone, too small
            images or no test images; or `out` exists or cannot be written.
    """
    if source.name == "folder" and source.resolution is None:
        raise UsageError(
            f"{source.root} holds pictures of any size",
            f"make one file of them: ganctl data prepare {source.root} --resolution 64 --out FILE.npz",
        )
    dataset = data.load(source, val_size=0)
    facts, place = dataset.facts, torch.device(device)
    _require_learnable(dataset)
    prefix = prefix_of(facts.name)
    path = out or Path(f"classifier_{prefix}.safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} is no name for a classifier", "give --out FILE.safetensors")
    for target in (path, path.with_suffix(".md")):
        atomic.require_absent(target, force)
        atomic.require_writable(target)
    num = len(dataset.train)
    steps = steps or training.default_steps(num)
    # Without such instructions bf16 is emulated, slower than float32.
    bf16 = place.type == "cpu" and any(_cpu().get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    mirror = config_tree.value_at(config_tree.defaults({"data": source.name}), "data.flip") is True
    with progress.bar(steps, "step", f"learning the labels of {facts.name}") as bar:
        net = training.train(
            dataset.train,
            facts.num_classes,
            seed=seed,
            steps=steps,
            device=place,
            mirror=mirror,
            bf16=bf16,
            on_step=bar.update,
        )
    matrix = confusion_matrix(dataset.test.labels, training.predict(net, dataset.test), facts.num_classes)
    made = OwnClassifier(
        path, path.with_suffix(".md"), facts.name, prefix, facts.label_names, matrix, num, steps
    )
    classifier.save(
        path,
        net,
        dataset=facts.name,
        label_names=facts.label_names,
        prefix=prefix,
        accuracy=made.accuracy,
    )
    how = f"shifts up to {training.SHIFT:.0%} of the width{', mirrored at random' if mirror else ''}"
    said = _facts(made, net, facts, f"{how}, {'bfloat16 autocast' if bf16 else 'float32'}, seed {seed}")
    said["made with"] += f", {markdown(describe(place))}"
    text = card(facts.name, prefix, said, matrix, facts.label_names)
    atomic.write_output(made.card, lambda file: file.write(text.encode()))
    return made


def prefix_of(dataset_name: str) -> str:
    """`folder:My cats` -> `My_cats`: what begins the names of its metrics."""
    stem = dataset_name.partition(":")[2] or dataset_name
    return re.sub(r"[^A-Za-z0-9]+", "_", stem)[:32].strip("_") or "own"


def chance(matrix: Tensor) -> float:
    """The accuracy of who always says the most frequent label of (K, K) counts."""
    counts = matrix.sum(dim=1)
    return float(counts.max() / counts.sum())


def _require_learnable(dataset: Dataset) -> None:
    facts = dataset.facts
    if not facts.label_names:
        raise UsageError(
            f"{facts.name} has no labels: there is nothing to classify",
            "sort the pictures into one folder per class, or give data with labels",
        )
    if facts.num_classes < 2:
        raise UsageError(
            f"{facts.name} has one class alone: there is nothing to tell apart",
            "give data of two classes or more",
        )
    if facts.resolution < MIN_RESOLUTION:
        raise UsageError(
            f"{facts.name} has images of {facts.resolution} × {facts.resolution} pixels",
            f"give images of at least {MIN_RESOLUTION} × {MIN_RESOLUTION}",
        )
    if not len(dataset.train) or not len(dataset.test):
        part = "training" if len(dataset.test) else "test"
        raise UsageError(f"{facts.name} has no {part} images", "give data with both parts")


def _cpu() -> dict[str, Any]:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    return capabilities


def _facts(made: OwnClassifier, net: Classifier, data: DatasetFacts, how: str) -> dict[str, str]:
    arguments = ", ".join(f"{key}={value}" for key, value in net.arguments.items())
    size = made.path.stat().st_size
    batch = training.batch_size(made.num_train)
    epochs = made.steps * batch / made.num_train
    return {
        "data": markdown(made.dataset) + (f", sha256 `{data.digest}`" if data.digest else ""),
        "file": f"{markdown(made.path.name)}, {size / 1000:.0f} kB, half precision (read as float32)",
        "sha256": f"`{hashlib.sha256(made.path.read_bytes()).hexdigest()}`",
        "network": f"`Classifier({arguments})`, {sum(p.numel() for p in net.parameters()):,} parameters, "
        f"features (N, {net.feature_dim})",
        "test accuracy": f"{made.accuracy:.2%} of the {int(made.matrix.sum()):,} test images; "
        f"the most frequent label alone: {chance(made.matrix):.2%}",
        "trained on": f"the {made.num_train:,} training images (a GAN's validation images are among them), "
        "no test image",
        "recipe": f"{made.steps:,} steps of {batch} ({epochs:.3g} epochs), {training.OPTIMISATION}, {how}; "
        "weights averaged, BatchNorm folded at the end",
        "choices": "none by test images: a fixed length and the last averaged weights; test images are "
        "scored once, after the training",
        "made with": f"ganctl {__version__}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)",
    }
