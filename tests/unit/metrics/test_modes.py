from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import entropy

from ganctl.metrics import catalogue
from ganctl.metrics.extract import Extracted
from ganctl.metrics.frechet import Moments
from ganctl.metrics.modes import mode_coverage


def test_hand_histograms() -> None:
    # fake (½, ½, 0), real (¼, ½, ¼): ½·ln 2.
    found = mode_coverage(torch.tensor([0, 1]), torch.tensor([0, 1, 1, 2]), 3)
    assert (found.modes, found.num_classes) == (2, 3)
    assert found.kl == pytest.approx(0.5 * math.log(2), rel=1e-12)
    # The other way round it would be infinite: the direction is fake against real.
    assert mode_coverage(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1]), 3).kl == math.inf


def test_equal_shares_have_no_distance_whatever_their_number() -> None:
    found = mode_coverage(torch.tensor([2, 0, 0]), torch.tensor([0, 2, 0, 0, 2, 0]), 4)
    assert (found.modes, found.kl) == (2, 0.0)


def test_one_mode_of_a_thousand() -> None:
    real = torch.arange(1000).repeat(3)
    found = mode_coverage(torch.full((50,), 7), real, 1000)
    assert found.modes == 1
    assert found.kl == pytest.approx(math.log(1000))


def test_equals_scipy_and_the_expected_value_of_fresh_labels() -> None:
    g = torch.Generator().manual_seed(0)
    fake, real = torch.randint(0, 100, (5000,), generator=g), torch.arange(100).repeat(20)
    found = mode_coverage(fake, real, 100)
    assert found.modes == 100
    assert found.kl == pytest.approx(entropy(torch.bincount(fake), torch.bincount(real)), rel=1e-9)
    assert found.kl == pytest.approx(99 / (2 * 5000), rel=0.4)


def seen_as(predicted: list[int], classes: int, **kwargs: Any) -> catalogue.Seen:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()
    return catalogue.Seen(Extracted(Moments.empty(1), logits, None), **kwargs)


def test_on_stacked_mnist_the_reference_is_uniform_whatever_the_real_images_show() -> None:
    fake = seen_as([0, 0, 1, 2], 4, labels=None)
    for uniform, expected in (
        # ½ against ¼, and twice ¼ against ¼
        (True, 0.5 * math.log(2)),
        # ½ against ¼, ¼ against ½, ¼ against ¼
        (False, 0.5 * math.log(2) - 0.25 * math.log(2)),
    ):
        real = seen_as([3, 3, 3, 3], 4, labels=torch.tensor([0, 1, 1, 2]), uniform_modes=uniform)
        rows = catalogue.ON_LABELS["modes"].compute(fake, real)
        assert rows["mode_kl"].value == pytest.approx(expected, rel=1e-12)
        assert rows["modes"].value == 3
        assert dict(rows["modes"].settings) == {"of": 4}
        # so that reports of the two are not compared
        assert dict(rows["mode_kl"].settings) == ({"from": "uniform"} if uniform else {})


def test_wrong_labels() -> None:
    labels = torch.tensor([0, 1])
    for fake, real in ((labels, labels[:0]), (labels[:0], labels), (labels[:, None], labels)):
        with pytest.raises(ValueError, match="at least one"):
            mode_coverage(fake, real, 2)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        mode_coverage(labels, labels, 1)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        mode_coverage(-labels, labels, 2)
