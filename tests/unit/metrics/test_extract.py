"""Streaming through an extractor keeps what it should and no more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganctl.metrics.extract import extract, in_batches
from ganctl.metrics.features import Features


class _Pixels:
    """The pixels themselves as features, the first two as logits."""

    name, digest, feature_dim = "pixels", "0", 4
    prefix: str | None = None
    resize, precision = "none", "float32"

    def __init__(self, with_logits: bool = True) -> None:
        self.has_logits = with_logits
        self.seen: list[int] = []

    def __call__(self, images: Tensor) -> Features:
        self.seen.append(len(images))
        flat = images.flatten(1).float()
        return Features(flat, flat[:, :2] if self.has_logits else None)


IMAGES = torch.randint(0, 256, (150, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_moments_are_those_of_all_images_together() -> None:
    extractor = _Pixels()
    got = extract(extractor, in_batches(IMAGES, 64))
    flat = IMAGES.flatten(1).double()
    assert extractor.seen == [64, 64, 22]
    assert torch.allclose(got.moments.mean, flat.mean(0))
    assert torch.allclose(got.moments.cov, torch.cov(flat.T))
    assert torch.equal(got.predicted, IMAGES.flatten(1)[:, :2].float().argmax(1))


@pytest.mark.parametrize("keep", [True, False])
def test_features_are_kept_only_on_request(keep: bool) -> None:
    got = extract(_Pixels(with_logits=False), in_batches(IMAGES), keep_features=keep)
    assert got.logits is None
    assert (got.features is not None) is keep
    if got.features is not None:
        assert torch.equal(got.features, IMAGES.flatten(1).float())


def test_progress_counts_images() -> None:
    counts: list[int] = []
    extract(_Pixels(), in_batches(IMAGES, 100), on_batch=counts.append)
    assert counts == [100, 50]


def test_the_distance_of_shifted_sets_is_the_squared_shift() -> None:
    a = extract(_Pixels(), [IMAGES // 2])
    b = extract(_Pixels(), [IMAGES // 2 + 3])
    assert a.frechet_distance(b) == pytest.approx(4 * 3**2, rel=1e-6)
