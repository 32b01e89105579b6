"""The scores that look at pixels themselves: memorisation, and a classifier trained on what was generated."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ganctl import progress
from ganctl.data.dataset import Dataset
from ganctl.errors import GanctlError, UsageError
from ganctl.metrics.cas import RECIPE, classification_accuracy
from ganctl.metrics.memorisation import EXPECTED_SHARE, memorisation, pairs_figure
from ganctl.report import Metric
from ganctl.scoring import NO_LABELS, Run

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
    fakes = run.fakes.side(run.request.seed).images()
    total = len(fakes) + len(dataset.test)
    with progress.bar(total, "img", "nearest training images") as bar:
        found = memorisation(fakes, dataset.train.images, dataset.test.images, on_rows=bar.update)
    closest, _ = dataset.train.take(found.train_index)
    run.pairs = pairs_figure(fakes[found.fake_index], closest)
    # What test images score, by definition.
    return Metric(found.median_ratio, 1.0), Metric(found.share_close, EXPECTED_SHARE)


def _cas(run: Run, dataset: Dataset) -> tuple[Metric, ...]:
    side, reals = run.fakes.side(run.request.seed), run.reals.floor
    if side.labels is None:
        raise UsageError(NO_LABELS)
    assert reals is not None
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
    return (Metric(accuracies[0], accuracies[1], settings={"recipe": RECIPE}),)


# The rows of each score, and what computes them.
_ON_IMAGES: dict[str, tuple[tuple[str, ...], Callable[[Run, Dataset], tuple[Metric, ...]]]] = {
    "memorisation": (("nn_distance_ratio", "nn_share_close"), _memorisation),
    "cas": (("cas",), _cas),
}
