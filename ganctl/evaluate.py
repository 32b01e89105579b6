"""Generated images against real ones -> a report: every score with its floor, and how both were made.

The floor is the score that real training images get in the generator's place: no generator can be expected to
do better than real images do.
"""

from __future__ import annotations

import logging
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganctl import __version__, progress
from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.metrics import catalogue, classifier, confusion, inception_weights
from ganctl.metrics.cache import cached, save_statistics
from ganctl.metrics.cas import RECIPE, classification_accuracy
from ganctl.metrics.catalogue import Rows, Score, Seen, Value, row_name
from ganctl.metrics.extract import Extracted, extract
from ganctl.metrics.features import (
    ClassifierExtractor,
    Extractor,
    InceptionExtractor,
    Precision,
    ScriptExtractor,
)
from ganctl.metrics.memorisation import EXPECTED_SHARE, memorisation, pairs_figure
from ganctl.report import Metric, Report
from ganctl.sides import Fakes, Reals, Side

log = logging.getLogger("ganctl")


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
        inception_path: a file of Inception weights; otherwise the known places, then a download.
        save_real: a file for the statistics of the real images under the one extractor of `features`.
    """

    metrics: tuple[str, ...] = ("default",)
    features: tuple[str, ...] = ("classifier", "inception")
    seed: int = 0
    repeats: int = 1
    precision: Precision = "float32"
    use_cache: bool = True
    inception_path: Path | None = None
    save_real: Path | None = None

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in (*catalogue.NAMES, *catalogue.GROUPS):
                raise UsageError(
                    f"there is no metric {name!r}", nearest(name, [*catalogue.NAMES, *catalogue.GROUPS])
                )
        for name in self.features:
            if name not in ("classifier", "inception") and not Path(name).is_file():
                raise UsageError(
                    f"there are no features {name!r}", "give classifier, inception, or a TorchScript file"
                )
        if self.save_real is not None and len(self.features) != 1:
            raise UsageError("statistics are of one extractor", "choose it with --features inception")
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
class _Run:
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

    def add(self, rows: dict[str, Metric]) -> None:
        self.metrics |= rows
        self.emit(rows)


def evaluate(
    fakes: Fakes,
    reals: Reals,
    request: Request,
    device: torch.device,
    emit: Callable[[dict[str, Metric]], None] = lambda rows: None,
) -> tuple[Report, bool]:
    """Computes what was asked for, the quick extractor first; what cannot be computed becomes a row that says
    why.

    Memory does not grow with the number of images, but for the scores that need every feature vector (kid,
    prdc, fid_infinity, intra_fid: 4 bytes for each feature) or every image (memorisation, cas).

    Args:
        emit: told the rows of each part as soon as they are there.

    Returns:
        The report, and whether it is complete: Ctrl-C ends the work and keeps what is finished.

    Raises:
        UsageError: nothing of what was asked for can be computed.
    """
    if request.repeats > 1 and not fakes.many:
        raise UsageError("files cannot be drawn again with another seed", "leave out --repeats")
    run = _Run(fakes, reals, request, device, emit)
    started = time.perf_counter()
    complete = True
    try:
        for features in request.features:
            _timed(run, Path(features).stem, lambda name=features: _on_features(run, name))  # type: ignore[misc]
        for name in catalogue.ON_IMAGES:
            if name in catalogue.choose(request.metrics, True):
                _timed(run, name, lambda name=name: _ON_IMAGES[name](run))  # type: ignore[misc]
    except KeyboardInterrupt:
        complete = False
        log.warning("interrupted: what is finished is kept")
    if complete and all(m.value is None for m in run.metrics.values()):
        reasons = dict.fromkeys(m.reason for m in run.metrics.values() if m.reason)
        raise UsageError(f"nothing could be computed: {'; '.join(reasons)}", "choose other --metrics")
    run.timings["total"] = round(time.perf_counter() - started, 1)
    protocol = reals.protocol | fakes.protocol | _circumstances(run)
    names = reals.dataset.facts.label_names if reals.dataset else ()
    return Report(run.metrics, protocol, run.confusion, names, run.pairs), complete


def _timed(run: _Run, part: str, work: Callable[[], None]) -> None:
    started = time.perf_counter()
    work()
    run.timings[part] = round(time.perf_counter() - started, 1)


def _circumstances(run: _Run) -> dict[str, Any]:
    return {
        "extractors": run.stamps,
        "seed": run.request.seed,
        "device": run.device.type,
        "versions": {
            "ganctl": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "timings": run.timings,
    }


# -- scores on features ----------------------------------------------------------------------------------


def _on_features(run: _Run, features: str) -> None:
    scores = run.request.scores(features)
    if not scores:
        return
    try:
        extractor = _extractor(run, features)
        real, floor = _real_sides(run, extractor, any(s.keeps_features for s in scores.values()))
    except GanctlError as error:
        prefix = None if features == "inception" else Path(features).stem
        rows = [row_name(row, prefix) for score in scores.values() for row in score.rows]
        run.add({name: Metric(None, None, reason=error.what) for name in rows})
        return
    run.stamps[extractor.name] = {
        "sha256": extractor.digest,
        "resize": extractor.resize,
        "precision": f"{extractor.precision} features, float64 statistics",
    }
    keeps = any(score.keeps_features for score in scores.values())
    if run.request.save_real is not None and run.reals.side is not None:
        key = _statistics_key(extractor, run.reals.side, keeps)
        save_statistics(run.request.save_real, real.extracted, key)
    drawn: list[Rows] = []
    for repeat in range(run.request.repeats):
        side = run.fakes.side(run.request.seed + repeat * run.fakes.num)
        fake = Seen(_extract(extractor, side, keeps, "generated"), side.labels)
        drawn.append(_rows(scores, fake, real, extractor))
        if features == "classifier" and repeat == 0 and side.labels is not None:
            classes = len(run.reals.dataset.facts.label_names) if run.reals.dataset else 0
            run.confusion = confusion.confusion_matrix(side.labels, fake.extracted.predicted, classes)
    floors = _floors(scores, floor, real, extractor)
    run.add(
        {
            row_name(row, extractor.prefix): _metric(
                [rows[row] for rows in drawn], floors.get(row), extractor
            )
            for row in drawn[0]
        }
    )
    if "fid" in scores and run.fakes.num <= extractor.feature_dim and "fd" in floors:
        log.warning(
            "%d images are fewer than the %d features: %s is biased upwards, by about %.3g here, "
            "which is what real images score; compare it with its floor only",
            run.fakes.num,
            extractor.feature_dim,
            row_name("fd", extractor.prefix),
            floors["fd"],
        )


def _extractor(run: _Run, features: str) -> Extractor:
    if features == "inception":
        weights = inception_weights.find_or_fetch(run.request.inception_path)
        return InceptionExtractor(weights.path, run.device, run.request.precision)
    if features == "classifier":
        data = run.reals.protocol["data"]
        loaded = classifier.load(data) if run.reals.dataset else None
        if loaded is None:
            raise UsageError(f"no classifier comes with {data}")
        return ClassifierExtractor(loaded, run.device)
    channels, resolution = run.fakes.shape
    return ScriptExtractor(Path(features), run.device, channels=channels, resolution=resolution)


def _real_sides(run: _Run, extractor: Extractor, keeps_features: bool) -> tuple[Seen, Seen | None]:
    """(real images, real images in the generator's place), from the cache where they are known."""
    if run.reals.statistics is not None:
        extracted, key = run.reals.statistics
        if key.get("extractor") != extractor.digest:
            raise UsageError(f"the statistics file was not made by {extractor.name}")
        if keeps_features and extracted.features is None:
            raise UsageError("the statistics file holds no features of single images")
        return Seen(extracted, None), None
    assert run.reals.side is not None
    seen = [
        None
        if side is None
        else Seen(_cached(extractor, side, keeps_features, name, run.request.use_cache), side.labels)
        for name, side in (("real", run.reals.side), ("floor", run.reals.floor))
    ]
    assert seen[0] is not None
    return seen[0], seen[1]


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
    with progress.bar(side.num, "img", f"{extractor.name}, {name}") as bar:
        return extract(extractor, side.batches(), keeps_features, bar.update)


def _rows(scores: dict[str, Score], images: Seen, real: Seen, extractor: Extractor) -> Rows:
    rows: Rows = {}
    for score in scores.values():
        if score.needs_logits and not extractor.has_logits:
            reason = "the features have no last layer" + (
                "; torch-fidelity's own Inception file has one" if extractor.prefix is None else ""
            )
        elif score.needs_labels and images.labels is None:
            reason = "the labels of the images are unknown"
        elif score.needs_labels and real.labels is None:
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
    repeated = len(values) > 1
    return Metric(
        statistics.fmean(values),
        floor,
        std=statistics.stdev(values) if repeated else None,
        repeats=len(values) if repeated else None,
        subset_std=first.subset_std,
        extractor=extractor.name,
        settings=dict(first.settings) or None,
    )


# -- scores on pixels ------------------------------------------------------------------------------------


def _memorisation(run: _Run) -> None:
    names = ("nn_distance_ratio", "nn_share_close")
    dataset = run.reals.dataset
    if dataset is None:
        reason = "needs the training images: give --data"
        run.add(dict.fromkeys(names, Metric(None, None, reason=reason)))
        return
    fakes = run.fakes.side(run.request.seed).images()
    total = len(fakes) + len(dataset.test)
    with progress.bar(total, "img", "nearest training images") as bar:
        found = memorisation(fakes, dataset.train.images, dataset.test.images, on_rows=bar.update)
    run.pairs = pairs_figure(fakes[found.fake_index], dataset.train.images[found.train_index])
    # What test images score, by definition.
    run.add({names[0]: Metric(found.median_ratio, 1.0), names[1]: Metric(found.share_close, EXPECTED_SHARE)})


def _cas(run: _Run) -> None:
    dataset, side = run.reals.dataset, run.fakes.side(run.request.seed)
    if dataset is None or side.labels is None or run.reals.floor is None:
        run.add({"cas": Metric(None, None, reason="needs labels and the training images: give --data")})
        return
    reals = run.reals.floor
    assert reals.labels is not None
    accuracies = []
    for images, labels in ((side.images(), side.labels), (reals.images(), reals.labels)):
        log.info("training a classifier on %d images", len(images))
        scores = classification_accuracy(
            images,
            labels,
            dataset.test.images,
            dataset.test.labels,
            dataset.facts.num_classes,
            device=run.device,
        )
        accuracies.append(scores.accuracy)
    run.add({"cas": Metric(accuracies[0], accuracies[1], settings={"recipe": RECIPE})})


_ON_IMAGES: dict[str, Callable[[_Run], None]] = {"memorisation": _memorisation, "cas": _cas}
