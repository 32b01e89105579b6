from __future__ import annotations

import pytest
import torch

from ganctl.metrics.frechet import Moments, frechet_distance
from ganctl.metrics.intraclass import MIN_IMAGES, intra_class_distances


def labelled(n: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, d) of three classes far from each other, and their labels."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=g)
    return torch.randn(n, d, generator=g) + 10 * labels[:, None], labels


REAL, REAL_LABELS = labelled(300, 4, 0)


def test_each_label_is_compared_with_its_own() -> None:
    shift = torch.tensor([1.0, 2.0, 3.0])
    fake = REAL.clone()
    fake[:, 0] += shift[REAL_LABELS]
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    found = intra_class_distances(REAL, REAL_LABELS, fake[order], REAL_LABELS[order], 3)
    assert found.distances == pytest.approx([1, 4, 9], rel=1e-4)
    assert found.mean == pytest.approx(14 / 3, rel=1e-4)
    assert found.reasons == (None, None, None)


def test_ignored_labels_are_caught() -> None:
    fake, labels = labelled(300, 4, 1)
    assert max(d or 0 for d in intra_class_distances(REAL, REAL_LABELS, fake, labels, 3).distances) < 1
    wrong = intra_class_distances(REAL, REAL_LABELS, fake, (labels + 1) % 3, 3)
    # Labels 0, 1 and 2 now show 2, 0 and 1: 20, 10 and 10 off in each of four dimensions.
    assert wrong.distances == pytest.approx([1600, 400, 400], rel=0.05)


@pytest.mark.parametrize("d", [4, 150])
def test_equals_the_distance_of_the_moments(d: int) -> None:
    real, real_labels = labelled(240, d, 2)
    fake, fake_labels = labelled(200, d, 3)
    fake *= 1.3
    found = intra_class_distances(real, real_labels, fake, fake_labels, 3)
    for k in range(3):
        a, b = Moments.of(real[real_labels == k]), Moments.of(fake[fake_labels == k])
        assert found.distances[k] == pytest.approx(frechet_distance(a.mean, a.cov, b.mean, b.cov), rel=1e-6)


def test_labels_with_too_few_images_say_so() -> None:
    fakes = torch.arange(300)[REAL_LABELS != 1]
    few = torch.cat([fakes, torch.arange(300)[REAL_LABELS == 1][: MIN_IMAGES - 1]])
    done: list[int] = []
    found = intra_class_distances(REAL, REAL_LABELS, REAL[few], REAL_LABELS[few], 4, done.append)
    assert found.mean is None
    assert found.distances[0] == pytest.approx(0, abs=1e-5)
    assert found.distances[1] is None
    assert found.distances[3] is None
    assert found.reasons[1] == f"{(REAL_LABELS == 1).sum()} real images and 9 fakes; at least 10 needed"
    assert found.reasons[3] == "0 real images and 0 fakes; at least 10 needed"
    assert found.reasons[0] is None
    assert sum(done) == 4


def test_every_feature_needs_a_label() -> None:
    with pytest.raises(ValueError, match="every feature needs a label"):
        intra_class_distances(REAL, REAL_LABELS[1:], REAL, REAL_LABELS, 3)
    with pytest.raises(ValueError, match="every feature needs a label"):
        intra_class_distances(REAL, REAL_LABELS, REAL[1:], REAL_LABELS, 3)
