"""A checkpoint -> a report: every score with the same score of real images, and how both were made.

Fakes are compared with the official test split. The floor is the score that as many real training images
get in the generator's place: no generator can be expected to do better than real images do.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganctl import __version__, data, generate, progress
from ganctl.checkpoint import Snapshot
from ganctl.data.dataset import Dataset, ImageSet
from ganctl.errors import GanctlError, UsageError
from ganctl.metrics import classifier, confusion, inception_weights
from ganctl.metrics.extract import Extracted, extract, in_batches
from ganctl.metrics.features import ClassifierExtractor, Extractor, InceptionExtractor
from ganctl.metrics.inception_score import inception_score
from ganctl.metrics.kernel import kernel_distance
from ganctl.report import Metric, Report

log = logging.getLogger("ganctl")

SUBSET_SEED = 2020  # of KID's subsets and IS's splits: torch-fidelity's, so that the numbers can be compared


@dataclass(frozen=True)
class _Sides:
    """The three sets of images that a report compares."""

    fake_batches: Callable[[], Iterator[Tensor]]
    fake_labels: list[int]
    real: ImageSet  # test images
    floor: ImageSet  # training images in the generator's place


def evaluate(
    snapshot: Snapshot,
    device: torch.device,
    *,
    features: str = "classifier",
    num_gen: int = 10_000,
    seed: int = 0,
    data_root: Path | None = None,
    inception_path: Path | None = None,
    trust_code: bool = False,
) -> Report:
    """Scores the averaged generator of a checkpoint against the official test images.

    Args:
        features: `classifier` (the one that comes with the package for this data set) or `inception`.
        num_gen: images to generate, labels in the proportions of the training set.
        seed: of the first image (image k has seed + k), and of the choice of real images.
        data_root: a folder to look for the data set in first.
        inception_path: a file of Inception weights; otherwise the known places, then a download.

    Raises:
        UsageError: what was asked for cannot be done with this checkpoint.
        GanctlError: the work itself failed.
    """
    started = time.perf_counter()
    facts = snapshot.facts
    dataset = data.load(facts.name, data_root, val_size=0)
    sides = _sides(snapshot, dataset, num_gen, seed, device, trust_code)
    protocol: dict[str, Any] = {
        "data": facts.name,
        "real": f"{len(sides.real)} official test images, chosen at random with the seed",
        "num_real": len(sides.real),
        "floor": f"{len(sides.floor)} official training images in the generator's place",
        "num_gen": num_gen,
        "labels": "in the proportions of the training set",
        "seed": seed,
        "weights": "EMA",
        "checkpoint": snapshot.digest,
        "nimg": snapshot.nimg,
        "device": device.type,
        "versions": {
            "ganctl": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    if features == "classifier":
        report = _by_classifier(sides, dataset, protocol, device)
    else:
        report = _by_inception(sides, protocol, device, inception_path)
    report.protocol["timings"] = {"total": round(time.perf_counter() - started, 1)}
    return report


def _sides(
    snapshot: Snapshot, dataset: Dataset, num_gen: int, seed: int, device: torch.device, trust_code: bool
) -> _Sides:
    facts = snapshot.facts
    if (facts.channels, facts.resolution) != (dataset.facts.channels, dataset.facts.resolution):
        drawn, real = (f"{f.channels} × {f.resolution} × {f.resolution}" for f in (facts, dataset.facts))
        raise UsageError(
            f"the checkpoint draws {drawn} images, {facts.name} has {real}",
            "evaluate against the data set it was trained on",
        )
    G = snapshot.build(trust_code=trust_code).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = generate.proportional_labels(facts.class_counts, num_gen)
    return _Sides(
        lambda: generate.batches(G, snapshot.latent_dim, labels, range(seed, seed + num_gen), device),
        labels,
        _part(dataset.test, num_gen, seed),
        _part(dataset.train, num_gen, seed),
    )


def _part(images: ImageSet, n: int, seed: int) -> ImageSet:
    """n random images, or all: test sets are ordered, so that the first n would be others than the rest."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:n])


def _by_classifier(sides: _Sides, dataset: Dataset, protocol: dict[str, Any], device: torch.device) -> Report:
    loaded = classifier.load(dataset.facts.name)
    if loaded is None:
        raise UsageError(
            f"no classifier comes with the data set {dataset.facts.name}", "use --features inception"
        )
    extractor = ClassifierExtractor(loaded, device)
    fake, real, floor = _extract_all(extractor, sides, keep_features=False)
    num_classes = dataset.facts.num_classes
    matrix = confusion.confusion_matrix(torch.tensor(sides.fake_labels), fake.predicted, num_classes)
    real_matrix = confusion.confusion_matrix(sides.real.labels, real.predicted, num_classes)
    fake_is, real_is = _inception_score(fake), _inception_score(real)
    prefix = loaded.prefix
    by = extractor.name
    accuracy, real_accuracy = (confusion.class_scores(m).accuracy for m in (matrix, real_matrix))
    metrics = {
        "label_accuracy": Metric(accuracy, real_accuracy, extractor=by),
        f"{prefix}_fd": Metric(fake.frechet_distance(real), floor.frechet_distance(real), extractor=by),
        f"{prefix}_is": _is_row(fake_is, real_is, len(sides.fake_labels), by),
    }
    protocol["extractors"] = _stamp(extractor, "none: native size")
    return Report(metrics, protocol, matrix, dataset.facts.label_names)


def _by_inception(sides: _Sides, protocol: dict[str, Any], device: torch.device, path: Path | None) -> Report:
    weights = inception_weights.find_or_fetch(path)
    extractor = InceptionExtractor(weights.path, device)
    if len(sides.fake_labels) <= extractor.feature_dim:
        log.warning(
            "FID of %d images, fewer than the %d dimensions of the features: strongly biased upwards; "
            "compare it only with its floor",
            len(sides.fake_labels),
            extractor.feature_dim,
        )
    fake, real, floor = _extract_all(extractor, sides, keep_features=True)
    assert fake.features is not None
    assert real.features is not None
    assert floor.features is not None
    kid = kernel_distance(fake.features, real.features, np.random.RandomState(SUBSET_SEED))
    kid_floor = kernel_distance(floor.features, real.features, np.random.RandomState(SUBSET_SEED))
    by = extractor.name
    metrics = {
        "fid": Metric(fake.frechet_distance(real), floor.frechet_distance(real), extractor=by),
        "kid": Metric(kid[0], kid_floor[0], subset_std=kid[1], extractor=by),
    }
    if extractor.has_logits:
        fake_is, real_is = _inception_score(fake), _inception_score(real)
        metrics["is_mean"] = _is_row(fake_is, real_is, len(sides.fake_labels), by)
    else:
        reason = "these Inception weights have no last layer; torch-fidelity's own file has one"
        metrics["is_mean"] = Metric(None, None, reason=reason)
    protocol["extractors"] = _stamp(extractor, "TensorFlow bilinear to 299 × 299, inside the extractor")
    return Report(metrics, protocol)


def _stamp(extractor: Extractor, resize: str) -> dict[str, dict[str, str]]:
    precision = "float32 features, float64 statistics"
    return {extractor.name: {"sha256": extractor.digest, "resize": resize, "precision": precision}}


def _is_row(fake: tuple[float, float], real: tuple[float, float], num_gen: int, extractor: str) -> Metric:
    settings: dict[str, int | float | str] = {"splits": min(10, num_gen)}
    return Metric(fake[0], real[0], subset_std=fake[1], extractor=extractor, settings=settings)


def _extract_all(
    extractor: Extractor, sides: _Sides, keep_features: bool
) -> tuple[Extracted, Extracted, Extracted]:
    """(fake, real, floor), with one bar over all three."""
    total = len(sides.fake_labels) + len(sides.real) + len(sides.floor)
    sets: list[Iterable[Tensor]] = [
        sides.fake_batches(),
        in_batches(sides.real.images),
        in_batches(sides.floor.images),
    ]
    with progress.bar(total, "img", extractor.name) as bar:
        fake, real, floor = (extract(extractor, s, keep_features, bar.update) for s in sets)
    return fake, real, floor


def _inception_score(extracted: Extracted) -> tuple[float, float]:
    assert extracted.logits is not None
    if not bool(extracted.logits.isfinite().all()):
        raise GanctlError("the extractor's logits are not finite", "the generator may have diverged")
    splits = min(10, len(extracted.logits))
    return inception_score(extracted.logits, np.random.RandomState(SUBSET_SEED), splits)
