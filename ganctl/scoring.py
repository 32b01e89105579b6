"""What was asked for, and the scores on features: computed part by part, each value beside its floor."""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganctl import collectives, progress
from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.metrics import catalogue, classifier, inception_weights
from ganctl.metrics.cache import cached, save_statistics
from ganctl.metrics.catalogue import Rows, Score, Seen, Value, row_name
from ganctl.metrics.classifier import LoadedClassifier
from ganctl.metrics.extract import Extracted, extract_together, own_part
from ganctl.metrics.features import (
    ClassifierExtractor,
    Extractor,
    InceptionExtractor,
    Precision,
    ScriptExtractor,
)
from ganctl.report import Metric
from ganctl.sides import Fakes, Reals, Side

log = logging.getLogger("ganctl")

NO_LABELS = "the images have no labels, or none that are known"


@dataclass(frozen=True)
class Request:
    """What to compute.

    Args:
        metrics: names of `catalogue.NAMES`, or one of `catalogue.GROUPS`.
        features: extractors in this order: `classifier`, `inception`, or the path of a TorchScript file.
        seed: of the first generated image, and of the choice of real ones.
        repeats: evaluations with other generated images, at least 1; two or more give an uncertainty.
        precision: of Inception.
        use_cache: keep statistics of real images on disk for next time.
        classifier: the user's own; without it the one that comes with the data set.
        inception_path: a file of Inception weights; otherwise the known places, then a download.
        save_real: a file for the statistics of the real images under the one extractor of `features`.
        trust_code: whether a TorchScript file may be run. It is a program: among torch's operations is one
            that writes files.
    """

    metrics: tuple[str, ...] = ("default",)
    features: tuple[str, ...] = ("classifier", "inception")
    seed: int = 0
    repeats: int = 1
    precision: Precision = "float32"
    use_cache: bool = True
    classifier: LoadedClassifier | None = None
    inception_path: Path | None = None
    save_real: Path | None = None
    trust_code: bool = False

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in (*catalogue.NAMES, *catalogue.GROUPS):
                raise UsageError(
                    f"there is no metric {name!r}", nearest(name, [*catalogue.NAMES, *catalogue.GROUPS])
                )
        for name in self.features:
            if name in ("classifier", "inception"):
                continue
            if not os.path.isfile(name):
                raise UsageError(
                    f"there are no features {name!r}", "give classifier, inception, or a TorchScript file"
                )
            if not self.trust_code:
                raise UsageError(
                    f"{name} is a program, and computing features would run it",
                    "pass --trust-code if you trust where this file comes from",
                )
        if self.save_real is not None and len(self.features) != 1:
            raise UsageError("statistics are of one extractor", "choose it with --features inception")
        if "classifier" not in self.features and self.classifier is not None:
            raise UsageError("--classifier is given and not used", "add classifier to --features")
        if "classifier" not in self.features and set(self.metrics) & set(catalogue.ON_LABELS):
            raise UsageError(
                f"{', '.join(sorted(set(self.metrics) & set(catalogue.ON_LABELS)))} needs the classifier",
                "add classifier to --features",
            )

    def scores(self, features: str) -> dict[str, Score]:
        """The chosen scores that work on these features, by name."""
        known = (catalogue.ON_LABELS if features == "classifier" else {}) | catalogue.ON_FEATURES
        chosen = catalogue.choose(self.metrics, features == "classifier")
        return {name: known[name] for name in known if name in chosen}


@dataclass
class Run:
    """An evaluation in progress: what is finished stays, whatever happens then."""

    fakes: Fakes
    reals: Reals
    request: Request
    device: torch.device
    emit: Callable[[dict[str, Metric]], None]
    metrics: dict[str, Metric] = field(default_factory=dict)
    stamps: dict[str, dict[str, str]] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    confusion: Tensor | None = None
    pairs: Image.Image | None = None

    def drawn(self) -> Iterator[Side]:
        """The generated images of each repeat; no two of them share a seed."""
        for repeat in range(self.request.repeats):
            yield self.fakes.side(self.request.seed + repeat * self.fakes.num)

    def add(self, rows: dict[str, Metric]) -> None:
        self.metrics |= rows
        self.emit(rows)


# -- scores on features ----------------------------------------------------------------------------------


def on_features(run: Run, features: str) -> None:
    """Adds the rows of one extractor; where it or its images cannot be had, rows that say why."""
    scores = run.request.scores(features)
    if not scores:
        return
    try:
        _score_features(run, features, scores)
    except GanctlError as error:
        prefix = None if features == "inception" else Path(features).stem
        rows = [row_name(row, prefix) for score in scores.values() for row in score.rows]
        run.add({name: Metric(None, None, reason=error.what) for name in rows})


def _score_features(run: Run, features: str, scores: dict[str, Score]) -> None:
    keeps = any(score.keeps_features for score in scores.values())
    extractor = collectives.agree(lambda: _extractor(run, features))
    real, floor = _real_sides(run, extractor, keeps)
    run.stamps[extractor.name] = {
        "sha256": extractor.digest,
        "resize": extractor.resize,
        "precision": f"{extractor.precision} features, float64 statistics",
    }
    if run.request.save_real is not None and run.reals.side is not None:
        key = _statistics_key(extractor, run.reals.side, keeps)
        target = run.request.save_real
        collectives.from_first(lambda: save_statistics(target, real.extracted, key))
    drawn: list[Rows] = []
    for repeat, side in enumerate(run.drawn()):
        fake = Seen(_extract(extractor, side, keeps, "generated"), side.labels)
        drawn.append(_rows(scores, fake, real, extractor))
        if features == "classifier" and repeat == 0 and side.labels is not None:
            run.confusion = fake.confusion
    scored = {name: s for name, s in scores.items() if any(drawn[0][row].value is not None for row in s.rows)}
    floors = _floors(scored, floor, real, extractor)
    run.add(
        {
            row_name(row, extractor.prefix): _metric(
                [rows[row] for rows in drawn], floors.get(row), extractor
            )
            for row in drawn[0]
        }
    )
    fewest, kind = min((run.fakes.num, "generated"), (int(real.extracted.moments.count), "real"))
    if "fid" in scores and fewest <= extractor.feature_dim and "fd" in floors:
        log.warning(
            "%d %s images are fewer than the %d features: %s is biased upwards, by about %.3g here, "
            "which is what real images score; compare it with its floor only",
            fewest,
            kind,
            extractor.feature_dim,
            row_name("fd", extractor.prefix),
            floors["fd"],
        )


def _extractor(run: Run, features: str) -> Extractor:
    if features == "inception":
        weights = inception_weights.find_or_fetch(run.request.inception_path)
        return InceptionExtractor(weights, run.device, run.request.precision)
    if features == "classifier":
        loaded, dataset = run.request.classifier, run.reals.dataset
        if loaded is None and dataset is not None:
            loaded = classifier.load(dataset.facts.name)
        if loaded is not None:
            return ClassifierExtractor(loaded, run.device)
        if dataset is not None:
            raise UsageError("; ".join(classifier.none_for(dataset.facts)))
        raise UsageError(f"no classifier comes with {run.reals.protocol['data']}: give --classifier FILE")
    channels, resolution = run.fakes.shape
    log.warning("--trust-code: running the program %s", features)
    return ScriptExtractor(Path(features), run.device, channels=channels, resolution=resolution)


def _real_sides(run: Run, extractor: Extractor, keeps_features: bool) -> tuple[Seen, Seen | None]:
    """(real images, real images in the generator's place), from the cache where they are known."""
    if run.reals.statistics is not None:
        extracted, key = run.reals.statistics
        if key.get("extractor") != extractor.digest:
            raise UsageError(f"the statistics file was not made by {extractor.name}")
        if keeps_features and extracted.features is None:
            raise UsageError("the statistics file holds no features of single images")
        return Seen(extracted, None), None
    # The literature's reference on Stacked-MNIST: labels of real images are but a random sample of modes.
    uniform = run.reals.dataset is not None and run.reals.dataset.facts.name == "stacked_mnist"
    side, floor, use = run.reals.side, run.reals.floor, run.request.use_cache
    assert side is not None
    real = Seen(_cached(extractor, side, keeps_features, "real", use), side.labels, uniform)
    if floor is None:
        return real, None
    return real, Seen(_cached(extractor, floor, keeps_features, "floor", use), floor.labels)


def _statistics_key(extractor: Extractor, side: Side, keeps_features: bool) -> dict[str, str | int | None]:
    """What the statistics of real images depend on."""
    return {
        **(side.key or {}),
        "extractor": extractor.digest,
        "precision": extractor.precision,
        "features": int(keeps_features),
    }


def _cached(extractor: Extractor, side: Side, keeps_features: bool, name: str, use: bool) -> Extracted:
    key = _statistics_key(extractor, side, keeps_features)
    return cached(key, lambda: _extract(extractor, side, keeps_features, name), use)


def _extract(extractor: Extractor, side: Side, keeps_features: bool, name: str) -> Extracted:
    with progress.bar(len(own_part(side.num)), "img", f"{extractor.name}, {name}") as bar:
        return extract_together(extractor, side.num, side.batches, keeps_features, bar.update)


def _rows(scores: dict[str, Score], images: Seen, real: Seen, extractor: Extractor) -> Rows:
    rows: Rows = {}
    for score in scores.values():
        if score.needs_logits and not extractor.has_logits:
            reason = "the features have no last layer" + (
                "; torch-fidelity's own Inception file has one" if extractor.prefix is None else ""
            )
        elif score.needs_labels and images.labels is None:
            reason = NO_LABELS
        elif score.needs_real_labels and real.labels is None:
            reason = "the labels of the real images are unknown"
        else:
            rows |= score.compute(images, real)
            continue
        rows |= dict.fromkeys(score.rows, Value(None, reason=reason))
    return rows


def _floors(
    scores: dict[str, Score], floor: Seen | None, real: Seen, extractor: Extractor
) -> dict[str, float]:
    """The rows of real images."""
    found: Rows = {}
    for name, score in scores.items():
        images = real if score.floor_is_real else floor
        if images is not None:
            found |= _rows({name: score}, images, real, extractor)
    return {row: v.value for row, v in found.items() if v.value is not None}


def _metric(drawn: list[Value], floor: float | None, extractor: Extractor) -> Metric:
    """One row of the report from the same row of each repeat."""
    values = [v.value for v in drawn if v.value is not None]
    first = drawn[0]
    if len(values) < len(drawn):
        return Metric(None, None, reason=next(v.reason for v in drawn if v.reason))
    settings = dict(first.settings) or None
    return over_repeats(
        values, floor, subset_std=first.subset_std, extractor=extractor.name, settings=settings
    )


def over_repeats(values: Sequence[float], floor: float | None, **rest: Any) -> Metric:
    """The mean, and the standard deviation of two values or more; `rest` as `Metric` takes it."""
    if len(values) == 1:
        return Metric(values[0], floor, **rest)
    mean, std = statistics.fmean(values), statistics.stdev(values)
    return Metric(mean, floor, std=std, repeats=len(values), **rest)
