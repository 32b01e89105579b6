"""The test part of data that come without one."""

from __future__ import annotations

import numpy as np

from ganctl.errors import UsageError


def test_places(
    labels: np.ndarray | None,
    num: int,
    fraction: float = 0.1,  # noqa: PT028
    seed: int = 0,  # noqa: PT028
) -> np.ndarray:
    """The images to test with: of each class about `fraction`, at random, the same for the same arguments.

    Every class of two images or more keeps at least one on each side; one of a single image has it to train.

    Args:
        labels: (num,) whole numbers from 0; None: all images are one class.

    Returns:
        Their places among `num`, (test,) int64, sorted.

    Raises:
        UsageError: no class has two images.
    """
    labels = np.zeros(num, np.int64) if labels is None else np.asarray(labels)
    # RandomState, whose draws NumPy never changes: what was test data must never be trained on
    order = np.random.RandomState(seed).permutation(num)
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels, minlength=1)
    chosen = []
    for end, count in zip(np.cumsum(counts), counts, strict=True):
        wanted = min(max(round(fraction * int(count)), 1), int(count) - 1)
        chosen.append(by_class[end - count :][: max(wanted, 0)])
    places = np.sort(np.concatenate(chosen)).astype(np.int64)
    if not len(places):
        raise UsageError("no class has two images: there is none to test with", "add images")
    return places


test_places.__test__ = False  # type: ignore[attr-defined]  # whatever its name says to pytest
