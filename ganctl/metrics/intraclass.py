"""Intra-class Fréchet distance: does each label look like its own real images?

Miyato and Koyama 2018, "cGANs with Projection Discriminator" (arXiv:1802.05637): the distance taken label
by label. A generator that ignores its label scores well over all labels together and badly here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ganctl.metrics.frechet import frechet_distance_of_features

MIN_IMAGES = 10


@dataclass(frozen=True)
class IntraClass:
    """The distance of each label.

    Args:
        mean: over all labels; None where a label has no distance, because the mean of fewer labels is another
            number.
        distances: of each label, None where it has too few images on a side.
        reasons: of each label, why it has no distance, None where it has one.
    """

    mean: float | None
    distances: tuple[float | None, ...]
    reasons: tuple[str | None, ...]


def intra_class_distances(
    real: Tensor,
    real_labels: Tensor,
    fake: Tensor,
    fake_labels: Tensor,
    num_classes: int,
    on_class: Callable[[int], object] = lambda n: None,
) -> IntraClass:
    """Fréchet distance between the fakes made for a label and the real images of that label.

    A label has few images, so its distance is biased upwards more than the one of all together: compare it
    with the same of as many real images. Below `MIN_IMAGES` on a side it is not computed.

    Args:
        real, fake: features (N, d) and (M, d).
        real_labels, fake_labels: (N,) and (M,) int64 in [0, num_classes); what was wanted, not recognised.
        on_class: told 1 after each label.

    Raises:
        ValueError: features and labels differ in number.
        GanctlError: the features are not finite.
    """
    if len(real) != len(real_labels) or len(fake) != len(fake_labels):
        sizes = f"{len(real)} and {len(fake)} features, {len(real_labels)} and {len(fake_labels)} labels"
        raise ValueError(f"every feature needs a label, got {sizes}")
    distances: list[float | None] = []
    reasons: list[str | None] = []
    for k in range(num_classes):
        reals = real[(real_labels == k).to(real.device)]
        fakes = fake[(fake_labels == k).to(fake.device)]
        if min(len(reals), len(fakes)) < MIN_IMAGES:
            distances.append(None)
            reasons.append(f"{len(reals)} real images and {len(fakes)} fakes; at least {MIN_IMAGES} needed")
        else:
            distances.append(frechet_distance_of_features(reals, fakes))
            reasons.append(None)
        on_class(1)
    found = [d for d in distances if d is not None]
    mean = sum(found) / num_classes if len(found) == num_classes else None
    return IntraClass(mean, tuple(distances), tuple(reasons))
