from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from ganctl.metrics.kernel import kernel_distance, polynomial_mmd2


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).relu()


def test_equals_torch_fidelity_on_the_same_subsets() -> None:
    real, fake = features(150, 32, 0), features(130, 32, 1) + 0.3
    theirs = kid_features_to_metric(real, fake, kid_subsets=10, kid_subset_size=60, rng_seed=7, verbose=False)
    mean, std = kernel_distance(real, fake, np.random.RandomState(7), subsets=10, subset_size=60)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-3)
    assert mean > 0.1
    # The first argument's subset is drawn first: swapped sides give other subsets, so another number.
    swapped, _ = kernel_distance(fake, real, np.random.RandomState(7), subsets=10, subset_size=60)
    assert swapped != pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_hand_count() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    # k(0,·)=1, k(1,2)=27: within x 1, within y 1, across (1 + 1 + 1 + 27) / 4.
    assert polynomial_mmd2(x, y) == pytest.approx(1 + 1 - 2 * 30 / 4)
    assert polynomial_mmd2(x, y) == polynomial_mmd2(y, x)


def test_one_distribution_is_near_zero_and_two_are_not() -> None:
    real, same = features(1000, 16, 0), features(1000, 16, 1)
    mean, std = kernel_distance(real, same, np.random.RandomState(0), subsets=10, subset_size=500)
    assert abs(mean) < 0.01
    assert std < 0.01
    mean, _ = kernel_distance(real, same + 0.2, np.random.RandomState(0), subsets=10, subset_size=500)
    assert mean > 0.1


def test_small_sets_shrink_the_subset() -> None:
    real, fake = features(30, 4, 0), features(20, 4, 1) + 1
    found = kernel_distance(real, fake, np.random.RandomState(3), subsets=3)
    assert found == kernel_distance(real, fake, np.random.RandomState(3), subsets=3, subset_size=20)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        polynomial_mmd2(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(torch.zeros(9, 4), torch.zeros(9, 5), np.random.RandomState(0))
