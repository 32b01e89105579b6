from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from ganctl.metrics.inception_score import inception_score


def rng(seed: int = 2020) -> np.random.RandomState:
    return np.random.RandomState(seed)


def test_equals_torch_fidelity() -> None:
    logits = 3 * torch.randn(103, 7, generator=torch.Generator().manual_seed(0))
    theirs = isc_features_to_metric(logits, splits=4, rng_seed=2020)
    mean, std = inception_score(logits, rng(), splits=4)
    assert mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(theirs["inception_score_std"], rel=1e-6)
    assert std > 0


def test_sure_and_evenly_spread_scores_the_number_of_classes() -> None:
    logits = 200 * torch.eye(5).repeat(20, 1)
    assert inception_score(logits, rng(), splits=1) == pytest.approx((5.0, 0.0), rel=1e-9)


@pytest.mark.parametrize("logits", [torch.zeros(40, 5), 200 * torch.eye(5)[:1].repeat(40, 1)])
def test_unsure_or_one_class_scores_one(logits: torch.Tensor) -> None:
    mean, std = inception_score(logits, rng(), splits=2)
    assert mean == pytest.approx(1.0, rel=1e-9)
    assert std == pytest.approx(0.0, abs=1e-9)


def _numpy_state() -> np.ndarray:
    return np.random.get_state(legacy=False)["state"]["key"].copy()


def test_the_given_stream_decides_and_the_global_one_is_left_alone() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    numpy_state, torch_state = _numpy_state(), torch.get_rng_state()
    assert inception_score(logits, rng(1)) == inception_score(logits, rng(1))
    assert inception_score(logits, rng(1)) != inception_score(logits, rng(2))
    assert np.array_equal(_numpy_state(), numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_more_parts_than_images() -> None:
    with pytest.raises(ValueError, match="9 images"):
        inception_score(torch.zeros(9, 3), rng(), splits=10)
