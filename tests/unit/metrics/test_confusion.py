from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL.Image import Image

from ganctl.metrics.confusion import class_scores, class_scores_figure, confusion_figure, confusion_matrix

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
PREDICTED = torch.tensor([0, 0, 0, 1, 1, 0, 0])


def test_counts_by_hand() -> None:
    matrix = confusion_matrix(LABELS, PREDICTED, 4)
    assert matrix.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert matrix.dtype == torch.int64
    assert confusion_matrix(PREDICTED, LABELS, 4).tolist() == matrix.T.tolist()


def test_scores_by_hand() -> None:
    scores = class_scores(confusion_matrix(LABELS, PREDICTED, 4))
    assert scores.accuracy == pytest.approx(4 / 7)
    assert scores.precision.tolist() == pytest.approx([3 / 5, 1 / 2, 0, 0])
    assert scores.recall.tolist() == pytest.approx([3 / 4, 1 / 2, 0, 0])
    assert scores.f1.tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0])


def test_scores_equal_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(0)
    labels, predicted = torch.randint(0, 5, (2, 200), generator=g)
    scores = class_scores(confusion_matrix(labels, predicted, 5))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels.numpy(), predicted.numpy())
    np.testing.assert_allclose(scores.precision.numpy(), precision)
    np.testing.assert_allclose(scores.recall.numpy(), recall)
    np.testing.assert_allclose(scores.f1.numpy(), f1)


def test_nothing_counted_scores_zero() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert class_scores(confusion_matrix(empty, empty, 3)).accuracy == 0


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        confusion_matrix(torch.tensor([0, 2]), torch.tensor([0, 1]), 2)
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        confusion_matrix(torch.tensor([0, 1]), torch.tensor([-1, 1]), 2)
    with pytest.raises(ValueError, match="twice"):
        confusion_matrix(torch.tensor([0, 1]), torch.tensor([0]), 2)


@pytest.mark.parametrize("draw", [confusion_figure, class_scores_figure])
@pytest.mark.parametrize("num_classes", [3, 30])
def test_pictures_show_their_numbers(
    draw: Callable[[torch.Tensor, list[str]], Image], num_classes: int
) -> None:
    names = [f"class {k}" for k in range(num_classes)]
    good, bad = torch.eye(num_classes, dtype=torch.int64) * 8, torch.ones(num_classes, num_classes).long()
    picture = draw(good, names)
    assert picture.mode == "RGB"
    assert picture.size == (800, 800)
    assert picture.tobytes() == draw(good, names).tobytes()
    assert picture.tobytes() != draw(bad, names).tobytes()
