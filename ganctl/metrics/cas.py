"""Classification accuracy score: what a classifier that has seen only fakes knows about real images.

Ravuri and Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models" (arXiv:1905.10887).
Fakes of wrong labels, of poor quality or without variety all cost accuracy on real test images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganctl.data.dataset import ImageSet
from ganctl.metrics.classifier_net import Classifier
from ganctl.metrics.classifier_training import OPTIMISATION, fit, predict
from ganctl.metrics.confusion import ClassScores, class_scores, confusion_matrix

WIDTH = 32
STEPS = 600
BATCH_SIZE = 128
RECIPE = (
    f"Classifier(width={WIDTH}) with BatchNorm, {STEPS} steps of {BATCH_SIZE}, {OPTIMISATION}, "
    "no augmentation, last weights"
)


def classification_accuracy(
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    num_classes: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], object] = lambda n: None,
) -> ClassScores:
    """Trains a fresh classifier on labelled images and scores it on real test images.

    The score of as many real training images, less the score of fakes, is the gap. The recipe is the same for
    any images and looks at no test image: a fixed seed and number of steps, the last weights. The caller's
    random state stays as it was.

    Args:
        train_images, test_images: (N, C, H, W) and (M, C, H, W) uint8, square, at least 8 × 8.
        train_labels, test_labels: (N,) and (M,) int64 in [0, num_classes); of fakes, the labels wanted.
        seed: of the first weights and of the order of the images.
        device: where to train.
        on_step: told 1 after each of `STEPS` steps.

    Raises:
        ValueError: no images, or images and labels differ in number.
    """
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if not len(images) or len(images) != len(labels):
            raise ValueError(f"every image needs a label, got {len(images)} images and {len(labels)} labels")
    # Around it all: folding draws weights too, before it overwrites them.
    with torch.random.fork_rng(devices=[]):
        net = _train(train_images, train_labels, num_classes, seed, torch.device(device), on_step)
    predicted = predict(net, ImageSet(test_images, test_labels), device)
    return class_scores(confusion_matrix(test_labels, predicted, num_classes))


def _train(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[int], object],
) -> Classifier:
    n, channels, _, resolution = images.shape
    torch.manual_seed(seed)
    net = Classifier(channels, resolution, num_classes, WIDTH, batch_norm=True)
    generator = torch.Generator().manual_seed(seed)
    epochs = -(-STEPS * BATCH_SIZE // n)
    # Epoch after epoch in one row, cut into batches: each is full, however few images there are.
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])
    batches = order[: STEPS * BATCH_SIZE].split(BATCH_SIZE)
    return fit(net, ImageSet(images, labels), batches, STEPS, device, on_step=on_step)
