from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganctl.metrics import cas
from ganctl.metrics.cas import classification_accuracy


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cas, "STEPS", 25)
    monkeypatch.setattr(cas, "WIDTH", 8)


def bars(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes of 8 × 8 images: a bright band above, in the middle or below, in noise."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 100, (n, 1, 8, 8), generator=g)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 1 + 2 * label : 3 + 2 * label] += 120
    return images.to(torch.uint8), labels


TEST, TEST_LABELS = bars(150, 1)


def test_good_fakes_teach_and_wrong_labels_mislead() -> None:
    images, labels = bars(200, 0)
    good = classification_accuracy(images, labels, TEST, TEST_LABELS, 3)
    assert good.accuracy > 0.97
    assert good.recall.min() > 0.9
    wrong = classification_accuracy(images, (labels + 1) % 3, TEST, TEST_LABELS, 3)
    assert wrong.accuracy < 0.03


def test_a_missing_class_is_never_recognised() -> None:
    images, labels = bars(200, 0)
    found = classification_accuracy(images[labels != 1], labels[labels != 1], TEST, TEST_LABELS, 3)
    assert found.recall[1] == 0
    assert found.accuracy == pytest.approx(2 / 3, abs=0.05)


def test_same_seed_same_score_and_the_callers_random_state_stays() -> None:
    images, labels = bars(40, 0)
    labels = labels.clone()
    labels[::2] = 0  # hard enough for the seed to matter
    done: list[int] = []
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.no_grad():  # as a caller who evaluates may
        first = classification_accuracy(images, labels, TEST, TEST_LABELS, 3, on_step=done.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(done) == 25
    torch.manual_seed(6)
    again = classification_accuracy(images, labels, TEST, TEST_LABELS, 3)
    assert torch.equal(first.recall, again.recall)
    other = classification_accuracy(images, labels, TEST, TEST_LABELS, 3, seed=1)
    assert not torch.equal(first.precision, other.precision)


def test_images_without_labels() -> None:
    images, labels = bars(40, 0)
    with pytest.raises(ValueError, match="every image needs a label"):
        classification_accuracy(images, labels[1:], TEST, TEST_LABELS, 3)
    with pytest.raises(ValueError, match="every image needs a label"):
        classification_accuracy(images, labels, TEST[:0], TEST_LABELS[:0], 3)
