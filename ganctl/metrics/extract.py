"""Streams images through an extractor and keeps only what scores are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ganctl import collectives
from ganctl.generate import MICRO_BATCH
from ganctl.metrics.features import Extractor
from ganctl.metrics.frechet import Moments, frechet_distance


@dataclass(frozen=True)
class Extracted:
    """What is known of a set of images.

    Args:
        moments: mean and covariance of the features.
        logits: (N, K) float32 on the CPU, or None where the extractor has no last layer.
        features: (N, d) float32 on the CPU, or None where they were not asked for.
    """

    moments: Moments
    logits: Tensor | None
    features: Tensor | None

    @property
    def predicted(self) -> Tensor:
        """(N,) int64, the label each image was recognised as."""
        assert self.logits is not None
        return self.logits.argmax(1)

    def frechet_distance(self, other: Extracted) -> float:
        """Between the Gaussians of the two sets."""
        a, b = self.moments, other.moments
        return frechet_distance(a.mean, a.cov, b.mean, b.cov)


def extract(
    extractor: Extractor,
    batches: Iterable[Tensor],
    keep_features: bool = False,
    on_batch: Callable[[int], object] = lambda n: None,
) -> Extracted:
    """Runs batches (n, C, H, W) uint8 through `extractor`, one at a time.

    Args:
        keep_features: also keep every feature vector, which takes 4·d bytes an image.
        on_batch: told the number of images after each batch.
    """
    moments = Moments.empty(extractor.feature_dim)
    logits: list[Tensor] = []
    features: list[Tensor] = []
    for batch in batches:
        out = extractor(batch)
        moments.update(out.features)
        if out.logits is not None:
            logits.append(out.logits.float().cpu())
        if keep_features:
            features.append(out.features.float().cpu())
        on_batch(len(batch))
    return Extracted(
        moments,
        torch.cat(logits) if logits else None,
        torch.cat(features) if features else None,
    )


def extract_together(
    extractor: Extractor,
    num: int,
    batches: Callable[[range], Iterable[Tensor]],
    keep_features: bool = False,
    on_batch: Callable[[int], object] = lambda n: None,
) -> Extracted:
    """`extract` of `num` images, of which each rank takes its `own_part`: the whole at every rank.

    Args:
        batches: starts a stream of one part of the images.
        on_batch: told the number of images after each batch of this rank.

    Raises:
        GanctlError: at every rank, what a stream raised at one.
    """
    own = collectives.agree(lambda: extract(extractor, batches(own_part(num)), keep_features, on_batch))
    sums = own.moments
    moments = Moments(*(collectives.total(tensor) for tensor in (sums.count, sums.total, sums.outer)))
    return Extracted(moments, collectives.gather(own.logits), collectives.gather(own.features))


def own_part(num: int) -> range:
    """Which of `num` images this rank takes: whole batches, so that each is what it is in one process."""
    return collectives.share(num, MICRO_BATCH)


def in_batches(images: Tensor, size: int = MICRO_BATCH) -> Iterator[Tensor]:
    """Cuts (N, C, H, W) into batches of at most `size`."""
    yield from images.split(size)
