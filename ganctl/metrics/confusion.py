"""Does an image show the label it was asked for: confusion counts, scores a class, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

PIXELS = 800


def confusion_matrix(labels: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Counts of (wanted, recognised) label pairs.

    Args:
        labels: (N,) int64, the label each image was made for.
        predicted: (N,) int64, the label that the classifier sees.
        num_classes: K; every label is in [0, K).

    Returns:
        (K, K) int64 on the CPU, row = wanted, column = recognised.

    Raises:
        ValueError: shapes differ, or a label is out of range.
    """
    if labels.shape != predicted.shape or labels.dim() != 1:
        raise ValueError(f"labels must be (N,) twice, got {labels.shape} and {predicted.shape}")
    for values in (labels, predicted):
        if len(values) and not (0 <= int(values.min()) and int(values.max()) < num_classes):
            raise ValueError(f"labels must be in [0, {num_classes})")
    pairs = (labels.long() * num_classes + predicted.long()).cpu()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


@dataclass(frozen=True)
class ClassScores:
    """How well wanted and recognised labels agree; all in [0, 1], 0 where a class never occurs.

    Args:
        accuracy: share of all images recognised as what was wanted.
        precision: (K,) float64, of the images recognised as k, the share that was wanted as k.
        recall: (K,) float64, of the images wanted as k, the share recognised as k: the accuracy of class k.
        f1: (K,) float64, harmonic mean of the two.
    """

    accuracy: float
    precision: Tensor
    recall: Tensor
    f1: Tensor


def class_scores(matrix: Tensor) -> ClassScores:
    """The scores of a confusion matrix (K, K), row = wanted, column = recognised."""
    counts = matrix.double()
    right = counts.diagonal()
    wanted, recognised = counts.sum(dim=1), counts.sum(dim=0)
    # A count below 1 is 0, and then so is `right`: the clamp only turns 0/0 into 0.
    return ClassScores(
        accuracy=float(right.sum() / counts.sum().clamp_min(1)),
        precision=right / recognised.clamp_min(1),
        recall=right / wanted.clamp_min(1),
        f1=2 * right / (wanted + recognised).clamp_min(1),
    )


def figures(matrix: Tensor, label_names: Sequence[str]) -> dict[str, Image.Image]:
    """Every picture of a confusion matrix (K, K), by name."""
    return {
        "confusion": confusion_figure(matrix, label_names),
        "class_scores": class_scores_figure(matrix, label_names),
    }


def confusion_figure(matrix: Tensor, label_names: Sequence[str]) -> Image.Image:
    """A picture of a confusion matrix (K, K): colour is the share of the row, numbers are counts."""
    counts = matrix.double()
    shares = (counts / counts.sum(dim=1, keepdim=True).clamp_min(1)).numpy()
    num_classes = len(label_names)
    figure, axes = _figure()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(num_classes), label_names, rotation=_rotation(label_names), ha=_alignment(label_names)
    )
    axes.set_yticks(range(num_classes), label_names)
    axes.set_xlabel("recognised as")
    axes.set_ylabel("made as")
    axes.set_title(f"label accuracy {class_scores(matrix).accuracy:.2%} of {int(counts.sum()):,} images")
    if num_classes <= 20:  # beyond that the numbers don't fit their cells
        for row in range(num_classes):
            for column in range(num_classes):
                if count := int(matrix[row, column]):
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=9)
    return _image(figure)


def class_scores_figure(matrix: Tensor, label_names: Sequence[str]) -> Image.Image:
    """A picture of precision, recall and F1 of each class of a confusion matrix (K, K)."""
    scores = class_scores(matrix)
    num_classes = len(label_names)
    figure, axes = _figure()
    height = 0.27
    bars = (("precision", scores.precision), ("recall", scores.recall), ("F1", scores.f1))
    for i, (name, values) in enumerate(bars):
        positions = [k + (i - 1) * height for k in range(num_classes)]
        drawn = axes.barh(positions, values.tolist(), height, label=name)
        if num_classes <= 20:
            axes.bar_label(drawn, labels=[f"{v:.3f}" for v in values.tolist()], padding=2, fontsize=7)
    axes.set_yticks(range(num_classes), label_names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_title(f"scores by class, {int(matrix.sum()):,} images")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _image(figure)


def _figure() -> tuple[Any, Any]:
    """A figure of its own: pyplot would keep it in a global list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PIXELS / 100, PIXELS / 100), dpi=100, layout="constrained")
    return figure, figure.add_subplot()


def _image(figure: Any) -> Image.Image:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _rotation(label_names: Sequence[str]) -> int:
    return 45 if max(map(len, label_names)) > 3 else 0


def _alignment(label_names: Sequence[str]) -> str:
    return "right" if _rotation(label_names) else "center"
