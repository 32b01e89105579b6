"""Classification accuracy score: what a classifier that has seen only fakes knows about real images.

Ravuri and Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models" (arXiv:1905.10887).
Fakes of wrong labels, of poor quality or without variety all cost accuracy on real test images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ganctl.images import to_float
from ganctl.metrics.classifier import Classifier
from ganctl.metrics.confusion import ClassScores, class_scores, confusion_matrix

WIDTH = 32
STEPS = 600
BATCH_SIZE = 128
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
RECIPE = (
    f"Classifier(width={WIDTH}) with BatchNorm, {STEPS} steps of {BATCH_SIZE}, AdamW, one cycle up to "
    f"{LEARNING_RATE:g}, weight decay {WEIGHT_DECAY:g}, label smoothing {LABEL_SMOOTHING:g}, "
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
    predicted = _predict(net, test_images, torch.device(device))
    return class_scores(confusion_matrix(test_labels, predicted, num_classes))


@torch.enable_grad()
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
    net = net.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    generator = torch.Generator().manual_seed(seed)
    epochs = -(-STEPS * BATCH_SIZE // n)
    # Epoch after epoch in one row, cut into batches: each is full, however few images there are.
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])
    for index in order[: STEPS * BATCH_SIZE].split(BATCH_SIZE):
        batch = to_float(images[index].to(device)).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(net(batch)[0], labels[index].to(device), label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(1)
    return net.cpu().folded().to(device)


@torch.inference_mode()
def _predict(net: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """images (N, C, H, W) uint8 -> labels (N,) int64 on the CPU."""
    return torch.cat([net(to_float(batch.to(device)))[0].argmax(1).cpu() for batch in images.split(500)])
