"""The scores that look at pixels themselves: memorisation, and a classifier trained on what was generated."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable

from ganctl import progress
from ganctl.data.dataset import Dataset
from ganctl.errors import GanctlError, UsageError
from ganctl.metrics.cas import RECIPE, classification_accuracy
from ganctl.metrics.memorisation import EXPECTED_SHARE, memorisation, pairs_figure, to_training
from ganctl.report import Metric
from ganctl.scoring import NO_LABELS, Run, over_repeats
from ganctl.sides import Side

log = logging.getLogger("ganctl")


def on_images(run: Run, name: str) -> None:
    """Adds the rows of one of `catalogue.ON_IMAGES`, or rows that say why not."""
    rows, compute = _ON_IMAGES[name]
    try:
        if run.reals.dataset is None:
            raise UsageError("needs the training images: give --data")
        run.add(dict(zip(rows, compute(run, run.reals.dataset), strict=True)))
    except GanctlError as error:
        run.add(dict.fromkeys(rows, Metric(None, None, reason=error.what)))


def _memorisation(run: Run, dataset: Dataset) -> tuple[Metric, ...]:
    train = dataset.train.images
    ratios, shares = [], []
    total = len(dataset.test) + run.request.repeats * run.fakes.num
    with progress.bar(total, "img", "nearest training images") as bar:
        test_distances = to_training(dataset.test.images, train, bar.update)
        for repeat, side in enumerate(run.drawn()):
            fakes = side.images()
            found = memorisation(fakes, train, test_distances, on_rows=bar.update)
            ratios.append(found.median_ratio)
            shares.append(found.share_close)
            if repeat == 0:
                closest, _ = dataset.train.take(found.train_index)
                run.pairs = pairs_figure(fakes[found.fake_index], closest)
    # The floors are what test images score, by definition.
    return over_repeats(ratios, 1.0), over_repeats(shares, EXPECTED_SHARE)


def _cas(run: Run, dataset: Dataset) -> tuple[Metric, ...]:
    def accuracy(side: Side, seed: int) -> float:
        if side.labels is None:
            raise UsageError(NO_LABELS)
        log.info("training a classifier on %d images", side.num)
        images, labels = side.images(), side.labels
        test, classes = dataset.test, dataset.facts.num_classes
        return classification_accuracy(
            images, labels, test.images, test.labels, classes, seed, device=run.device
        ).accuracy

    assert run.reals.floor is not None
    fakes, floors = [], []
    for repeat, side in enumerate(run.drawn()):
        fakes.append(accuracy(side, repeat))
        # The same real images each time, but another classifier.
        floors.append(accuracy(run.reals.floor, repeat))
    return (over_repeats(fakes, statistics.fmean(floors), settings={"recipe": RECIPE}),)


# The rows of each score, and what computes them.
_ON_IMAGES: dict[str, tuple[tuple[str, ...], Callable[[Run, Dataset], tuple[Metric, ...]]]] = {
    "memorisation": (("nn_distance_ratio", "nn_share_close"), _memorisation),
    "cas": (("cas",), _cas),
}
