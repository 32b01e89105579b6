"""Signs that a GAN's training has failed: pure functions of logged rows, weights and generated images.

Each returns an `Alarm` where something is wrong, else None (or the number that decides it). When they are
asked, and what follows, is in `ganctl.watchdog`; what they were measured on is in docs/reliability.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Below these D is saturated. Their infimum is 0, and a D without a clue has ln 2, 2 ln 2, 2 and ¼: 3 % of
# that, logits some 4 apart; of least squares 10 %, logits within 0.22 of 1 and 0: dropout blurs them so.
SATURATED_D_LOSS = {"relativistic": 0.02, "nonsaturating": 0.04, "hinge": 0.06, "lsgan": 0.025}
# Shorter streaks of rows say little where the batch is large.
SATURATED_ROWS = 10

# Cohen's κ of wanted and seen labels; up to 0.20 agreement is "slight" (Landis & Koch 1977, Biometrics 33).
SLIGHT_AGREEMENT = 0.2
# Share of the pixel variance, at equal weights of labels and seeds, that comes with the label.
LEAST_LABEL_SHARE = 0.05


@dataclass(frozen=True)
class Alarm:
    """Something is wrong.

    Args:
        name: `watchdog/<name>` in the logs.
        what: one line that names it, with its numbers.
    """

    name: str
    what: str


# -- non-finite values -------------------------------------------------------------------------------------


def non_finite_row(row: Mapping[str, float]) -> Alarm | None:
    """One training row: is every loss, logit and penalty a number?"""
    bad = [f"{key} is {value}" for key, value in row.items() if not math.isfinite(value)]
    return Alarm("non_finite", f"training has diverged: {', '.join(bad)}") if bad else None


def non_finite_tensors(tree: Any) -> Alarm | None:
    """Nested dictionaries and lists of tensors (weights, optimiser states): are all of them numbers?

    Reads each device once. Finite tensors whose sum overflows count as non-finite: nothing is left of them.
    """
    names: dict[torch.device, list[str]] = defaultdict(list)
    sums: dict[torch.device, list[Tensor]] = defaultdict(list)
    for name, tensor in _tensors(tree, ""):
        if tensor.is_floating_point():
            names[tensor.device].append(name)
            sums[tensor.device].append(tensor.detach().sum(dtype=torch.float32))
    bad = [
        name
        for device, of_device in sums.items()
        for name, finite in zip(names[device], torch.stack(of_device).isfinite().tolist(), strict=True)
        if not finite
    ]
    if not bad:
        return None
    more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
    return Alarm("non_finite", f"training has diverged: {bad[0]}{more} hold values that are not finite")


def _tensors(tree: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            yield from _tensors(value, f"{path}[{i}]")


# -- a discriminator that has won --------------------------------------------------------------------------


def is_saturated(loss: str, row: Mapping[str, float], diameter: float) -> bool:
    """Whether D tells real from fake so well that its verdict teaches G nothing.

    Bounded losses: D's loss is next to its infimum, so its own gradient is gone and G has fooled it on hardly
    any image. Wasserstein: D is no critic of slope 1 (Arjovsky et al. 2017, arXiv:1701.07875, eq. 2) any
    more. Its slope is above 2, where WGAN-GP's penalty, (slope − 1)², exceeds 1; or it scores real and fake
    images further apart, either way round, than any two images are.

    Args:
        loss: its name in `ganctl.losses.LOSSES`.
        row: a training row.
        diameter: the largest distance of two images, 2√(C·H·W) in [-1, 1].
    """
    if loss in SATURATED_D_LOSS:
        return row["train/d_loss"] < SATURATED_D_LOSS[loss]
    apart = abs(row["train/real_logit"] - row["train/fake_logit"])
    return row.get("train/gradient_penalty", 0.0) > 1 or apart > diameter


class Saturation:
    """Watches training rows for a D that is saturated in all of them for so many images.

    Args:
        loss, diameter: as for `is_saturated`.
        kimg: thousands of images that it may last.
    """

    def __init__(self, loss: str, diameter: float, kimg: float) -> None:
        self.loss, self.diameter, self.kimg = loss, diameter, kimg
        self._since: float | None = None
        self._rows = 0

    def seen(self, row: Mapping[str, float]) -> Alarm | None:
        """One more row, with its `images_seen`."""
        if not is_saturated(self.loss, row, self.diameter):
            self.forget()
            return None
        if self._since is None:
            self._since = row["images_seen"]
        self._rows += 1
        kimg = (row["images_seen"] - self._since) / 1000
        if kimg < self.kimg or self._rows < SATURATED_ROWS:
            return None
        logits = f"logits {row['train/real_logit']:.3g} and {row['train/fake_logit']:.3g}"
        if self.loss in SATURATED_D_LOSS:
            what = f"D has told real from fake without fail for {kimg:.0f} kimg:"
            return Alarm("saturated", f"{what} train/d_loss {row['train/d_loss']:.2g}, {logits}")
        penalty = row.get("train/gradient_penalty")
        shown = logits if penalty is None else f"train/gradient_penalty {penalty:.3g}, {logits}"
        return Alarm("saturated", f"nothing has held D's slope at 1 for {kimg:.0f} kimg: {shown}")

    def forget(self) -> None:
        """What was seen no longer counts."""
        self._since, self._rows = None, 0


# -- what the generator draws ------------------------------------------------------------------------------


def pixel_variance(images: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How much the images of one class differ: their variance, averaged over pixels.

    Args:
        images: (N, C, H, W) of any dtype.
        labels: (N,) int64 in [0, num_classes).

    Returns:
        (num_classes,) float32; NaN for a class with fewer than two images.
    """
    pixels = images.flatten(1)
    classes = [pixels[labels == y].float() for y in range(num_classes)]
    return torch.stack([c.var(0).mean() if len(c) > 1 else torch.tensor(math.nan) for c in classes])


def collapsed(
    fake: Tensor, real: Tensor, least_ratio: float, label_names: Sequence[str] = ()
) -> Alarm | None:
    """Are generated images of one class nearly identical?

    Args:
        fake, real: `pixel_variance` of each class, on the same scale; a class that has none is left out.
        least_ratio: of the real variance.
        label_names: empty where there are no labels.
    """
    ratio = fake / real
    worst = int(ratio.nan_to_num(nan=math.inf).argmin())
    if not float(ratio[worst]) < least_ratio:
        return None
    below = int((ratio < least_ratio).sum())
    which = f"of label {label_names[worst]} " if label_names else ""
    others = f" ({below} of {len(ratio)} labels below {least_ratio:.0%})" if label_names else ""
    return Alarm(
        "collapsed",
        f"generated images {which}are nearly identical:"
        f" they vary {float(ratio[worst]):.1%} as much as real ones{others}",
    )


def label_share(images: Tensor) -> float:
    """How much of the difference between generated images comes with the label, in [0, 1].

    V_y / (V_y + V_z): the pixel variance over labels at one seed, and over seeds at one label. 0 when the
    label changes nothing; around ½ when it changes as much as the seed does; 0 as well when nothing changes.

    Args:
        images: (seeds, labels, C, H, W), at least two of each.
    """
    of_label, of_seed = (float(images.float().var(dim).mean()) for dim in (1, 0))
    return of_label / (of_label + of_seed) if of_label > 0 else 0.0


def labels_invisible(images: Tensor) -> Alarm | None:
    """Without a classifier: does the label change the picture? `images` as for `label_share`."""
    share = label_share(images)
    if share >= LEAST_LABEL_SHARE:
        return None
    return Alarm(
        "labels_ignored", f"labels are ignored: {share:.1%} of the variance of pixels comes with the label"
    )


def labels_ignored(label_accuracy: float, class_counts: Iterable[int]) -> Alarm | None:
    """With a classifier: is its agreement with the wanted labels more than slight?

    κ = (accuracy − chance) / (1 − chance), where chance is what a generator that ignores labels reaches at
    best: always drawing the largest class.
    """
    counts = list(class_counts)
    chance = max(counts) / sum(counts)
    if chance >= 1 or (label_accuracy - chance) / (1 - chance) >= SLIGHT_AGREEMENT:
        return None
    return Alarm(
        "labels_ignored",
        f"labels are ignored: label accuracy {label_accuracy:.3f}, by chance up to {chance:.3f}",
    )
