"""Which scores there are, what each needs, and what its rows are called.

A score compares a set of images with real ones, as one extractor sees both. The same function gives the value
(generated images) and the floor (real training images in their place).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ganctl.metrics import confusion
from ganctl.metrics.extract import Extracted
from ganctl.metrics.fid_infinity import frechet_infinity
from ganctl.metrics.inception_score import inception_score
from ganctl.metrics.intraclass import intra_class_distances
from ganctl.metrics.kernel import kernel_distance
from ganctl.metrics.modes import mode_coverage
from ganctl.metrics.prdc import prdc

SUBSET_SEED = 2020  # of KID's subsets and IS's splits: torch-fidelity's, so that the numbers can be compared
KID_SUBSET_SIZE = 1000
IS_SPLITS = 10
NEIGHBOURS = 5


@dataclass(frozen=True)
class Seen:
    """A set of images as one extractor sees it.

    Args:
        extracted: features and logits.
        labels: (N,) int64, what the images were made as; None where nobody knows.
        uniform_modes: whether `mode_kl` is the divergence from the uniform distribution over modes, as on
            Stacked-MNIST, and not from the labels of these images.
    """

    extracted: Extracted
    labels: Tensor | None
    uniform_modes: bool = False

    @property
    def features(self) -> Tensor:
        assert self.extracted.features is not None
        return self.extracted.features

    @property
    def num_classes(self) -> int:
        """K, the labels that the extractor tells apart."""
        assert self.extracted.logits is not None
        return self.extracted.logits.shape[1]

    @cached_property
    def confusion(self) -> Tensor:
        """(K, K) int64 counts, row = wanted label, column = recognised."""
        assert self.labels is not None
        return confusion.confusion_matrix(self.labels, self.extracted.predicted, self.num_classes)


@dataclass(frozen=True)
class Value:
    """One number of a set of images against real ones.

    Args:
        value: None where it cannot be computed.
        subset_std: over subsets or splits within this one evaluation.
        settings: further numbers that it depends on.
        reason: why there is no value.
    """

    value: float | None
    subset_std: float | None = None
    settings: Mapping[str, int | float | str] = field(default_factory=dict)
    reason: str | None = None


Rows = dict[str, Value]


@dataclass(frozen=True)
class Score:
    """One choice of `--metrics` that works on features.

    Args:
        rows: the names of its rows, of which each extractor makes its own.
        compute: (a set of images, real images) -> its rows.
        keeps_features: whether every feature vector is needed, rather than their moments.
        needs_logits: whether the extractor must have a last layer.
        needs_labels: whether the labels of the images must be known.
        needs_real_labels: whether those of the real images must be, too.
        floor_is_real: the floor is the score of the real images themselves, not of training images.
    """

    rows: tuple[str, ...]
    compute: Callable[[Seen, Seen], Rows]
    keeps_features: bool = False
    needs_logits: bool = False
    needs_labels: bool = False
    needs_real_labels: bool = False
    floor_is_real: bool = False


def _too_few(images: Seen, real: Seen, least: int) -> str | None:
    """Why there is no score of so few images, if there is none."""
    fewest = min(int(images.extracted.moments.count), int(real.extracted.moments.count))
    return None if fewest >= least else f"needs at least {least} images on both sides, one has {fewest}"


def _frechet(images: Seen, real: Seen) -> Rows:
    if reason := _too_few(images, real, 2):
        return {"fd": Value(None, reason=reason)}
    return {"fd": Value(images.extracted.frechet_distance(real.extracted))}


def _kernel(images: Seen, real: Seen) -> Rows:
    if reason := _too_few(images, real, 4):
        return {"kd": Value(None, reason=reason)}
    # Subsets as large as the sets would all be the same: half of them at most.
    size = min(KID_SUBSET_SIZE, len(images.features) // 2, len(real.features) // 2)
    mean, std = kernel_distance(
        images.features, real.features, np.random.RandomState(SUBSET_SEED), subset_size=size
    )
    return {"kd": Value(mean, std, {"subset_size": size, "subsets": 100})}


def _inception(images: Seen, real: Seen) -> Rows:
    logits = images.extracted.logits
    assert logits is not None
    splits = min(IS_SPLITS, len(logits))
    mean, std = inception_score(logits, np.random.RandomState(SUBSET_SEED), splits)
    return {"is": Value(mean, std, {"splits": splits})}


def _prdc(images: Seen, real: Seen) -> Rows:
    if reason := _too_few(images, real, NEIGHBOURS + 1):
        missing = Value(None, reason=reason)
        return dict.fromkeys(("precision", "recall", "density", "coverage"), missing)
    shares = prdc(real.features, images.features, NEIGHBOURS)
    return {name: Value(share, settings={"k": NEIGHBOURS}) for name, share in vars(shares).items()}


def _infinity(images: Seen, real: Seen) -> Rows:
    if reason := _too_few(images, real, 2):
        return {"fd_infinity": Value(None, reason=reason)}
    generator = torch.Generator().manual_seed(SUBSET_SEED)
    try:
        found = frechet_infinity(real.extracted.moments, images.features, generator)
    except ValueError as error:
        return {"fd_infinity": Value(None, reason=str(error))}
    return {"fd_infinity": Value(found.value, found.std_error, {"points": len(found.sizes)})}


def _intra(images: Seen, real: Seen) -> Rows:
    assert images.labels is not None
    assert real.labels is not None
    num_classes = int(max(images.labels.max(), real.labels.max())) + 1
    found = intra_class_distances(real.features, real.labels, images.features, images.labels, num_classes)
    if found.mean is None:
        return {"intra_fd": Value(None, reason=next(r for r in found.reasons if r))}
    return {"intra_fd": Value(found.mean)}


def _accuracy(images: Seen, real: Seen) -> Rows:
    return {"label_accuracy": Value(confusion.class_scores(images.confusion).accuracy)}


def _modes(images: Seen, real: Seen) -> Rows:
    reals = real.extracted.predicted if real.labels is None else real.labels
    if real.uniform_modes:
        reals = torch.arange(images.num_classes)
    found = mode_coverage(images.extracted.predicted, reals, images.num_classes)
    reason = None if np.isfinite(found.kl) else "a label was generated that no real image has"
    settings = {"from": "uniform"} if real.uniform_modes else {}
    return {
        "modes": Value(float(found.modes), settings={"of": found.num_classes}),
        "mode_kl": Value(found.kl if reason is None else None, settings=settings, reason=reason),
    }


# On the features of any extractor.
ON_FEATURES: dict[str, Score] = {
    "fid": Score(("fd",), _frechet),
    "is": Score(("is",), _inception, needs_logits=True, floor_is_real=True),
    "kid": Score(("kd",), _kernel, keeps_features=True),
    "prdc": Score(("precision", "recall", "density", "coverage"), _prdc, keeps_features=True),
    "fid_infinity": Score(("fd_infinity",), _infinity, keeps_features=True),
    "intra_fid": Score(("intra_fd",), _intra, keeps_features=True, needs_labels=True, needs_real_labels=True),
}
# On what a classifier of the data set's own labels sees.
ON_LABELS: dict[str, Score] = {
    "label_accuracy": Score(
        ("label_accuracy",), _accuracy, needs_logits=True, needs_labels=True, floor_is_real=True
    ),
    "modes": Score(("modes", "mode_kl"), _modes, needs_logits=True),
}
# On the pixels themselves; computed in `ganctl.evaluate`, which has them.
ON_IMAGES = ("memorisation", "cas")

NAMES = (*ON_LABELS, *ON_FEATURES, *ON_IMAGES)
GROUPS = ("default", "fast", "all")
_OF_CLASSIFIER = {
    "default": ("label_accuracy", "fid", "is"),
    "fast": ("label_accuracy", "fid", "is", "modes", "intra_fid"),
    "all": NAMES,
}
_OF_OTHERS: dict[str, tuple[str, ...]] = {"default": ("fid", "kid", "is"), "fast": (), "all": NAMES}


def choose(metrics: Iterable[str], classifier: bool) -> set[str]:
    """The names meant by names and groups: `fast` is what our own classifier does in seconds.

    Args:
        classifier: whether for our own classifier, or for Inception and others.
    """
    groups = _OF_CLASSIFIER if classifier else _OF_OTHERS
    return {name for metric in metrics for name in groups.get(metric, (metric,))}


_INCEPTION_NAMES = {
    "fd": "fid",
    "kd": "kid",
    "is": "is_mean",
    "fd_infinity": "fid_infinity",
    "intra_fd": "intra_fid",
}


def row_name(row: str, prefix: str | None) -> str:
    """What a row of an extractor is called: only Inception's (prefix None) may be called FID, KID, IS.

    Args:
        row: from `Score.rows`.
        prefix: of the extractor's metrics, such as `digit`.
    """
    if row in ("label_accuracy", "modes", "mode_kl"):
        return row
    return _INCEPTION_NAMES.get(row, row) if prefix is None else f"{prefix}_{row}"
