"""Each sign of failure against cases whose answer is known, on both sides of the line."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ganctl import symptoms
from ganctl.data import digits
from ganctl.losses import LOSSES
from ganctl.symptoms import Saturation

ROW = {"train/d_loss": 0.69, "train/real_logit": 0.1, "train/fake_logit": -0.1, "images_seen": 64.0}
DIAMETER = 16.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    assert symptoms.non_finite_row(ROW) is None
    alarm = symptoms.non_finite_row(ROW | {"train/r1": value})
    assert alarm is not None
    assert alarm.name == "non_finite"
    assert f"train/r1 is {value}" in alarm.what
    assert "d_loss" not in alarm.what


def test_tensors_that_are_not_finite_are_found_wherever_they_lie() -> None:
    tree: dict[str, Any] = {
        "G": {"w": torch.ones(3, 3), "count": torch.tensor(2**40)},
        "adam": [{"state": {0: {"step": torch.tensor(1.0), "v": torch.full((5,), 1e30)}}}],
        "lr": 0.1,
    }
    assert symptoms.non_finite_tensors(tree) is None
    tree["adam"][0]["state"][0]["v"][3] = math.nan
    alarm = symptoms.non_finite_tensors(tree)
    assert alarm is not None
    assert "adam[0].state.0.v hold" in alarm.what
    tree["G"]["w"][0] = torch.tensor([math.inf, -math.inf, 0])
    alarm = symptoms.non_finite_tensors(tree)
    assert alarm is not None
    assert "G.w and 1 more" in alarm.what


def row_of(loss: str, real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    return {
        "train/d_loss": float(LOSSES[loss].d(real, fake).mean()),
        "train/real_logit": float(real.mean()),
        "train/fake_logit": float(fake.mean()),
        "images_seen": 0.0,
    }


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_discriminator_is_saturated_when_it_is_always_right(loss: str) -> None:
    ones = torch.ones(64)
    real, fake = {"lsgan": (ones, 0 * ones)}.get(loss, (9 * ones, -9 * ones))
    assert symptoms.is_saturated(loss, row_of(loss, real, fake), DIAMETER)
    # Wrong about five images of the batch: G has found a way.
    some = torch.where(torch.arange(64) < 5, real, fake)
    if loss in symptoms.SATURATED_D_LOSS:
        assert not symptoms.is_saturated(loss, row_of(loss, real, some), DIAMETER)
    else:
        assert symptoms.is_saturated(loss, row_of(loss, fake, real), DIAMETER)  # as wild the other way round
    undecided = torch.full((64,), 0.5 if loss == "lsgan" else 0.0)
    assert not symptoms.is_saturated(loss, row_of(loss, undecided, undecided), DIAMETER)
    # Not fooled, but G is still told something.
    assert not symptoms.is_saturated(loss, row_of(loss, 0.75 * ones, 0.25 * ones), DIAMETER)


def test_a_critic_is_held_while_its_penalty_is_small() -> None:
    fair = {"train/d_loss": -1.0, "train/real_logit": 1.0, "train/fake_logit": 0.0}
    assert not symptoms.is_saturated(
        "wgan_gp", {**fair, "train/gradient_penalty": 0.95}, DIAMETER
    )  # at the start
    assert symptoms.is_saturated("wgan_gp", {**fair, "train/gradient_penalty": 1.1}, DIAMETER)


def test_saturation_must_last_without_a_break() -> None:
    won = {**ROW, "train/d_loss": 1e-4}
    watch = Saturation("relativistic", DIAMETER, kimg=2)
    seen = [watch.seen({**won, "images_seen": 100.0 * i}) for i in range(20)]
    assert seen == [None] * 20  # 1 900 images
    assert watch.seen({**ROW, "images_seen": 2000}) is None
    seen = [watch.seen({**won, "images_seen": 2100 + 100.0 * i}) for i in range(22)]
    assert seen[:20] == [None] * 20
    assert seen[20] is not None
    assert seen[20].name == "saturated"
    assert "2 kimg" in seen[20].what


def test_few_rows_of_large_batches_are_no_streak() -> None:
    watch = Saturation("hinge", DIAMETER, kimg=2)
    won = {**ROW, "train/d_loss": 0.0}
    alarms = [watch.seen({**won, "images_seen": 5000.0 * i}) for i in range(symptoms.SATURATED_ROWS)]
    assert alarms[:-1] == [None] * (symptoms.SATURATED_ROWS - 1)
    assert alarms[-1] is not None


def test_pixel_variance_of_noise_is_its_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3000, 1, 4, 4, generator=generator)
    labels = torch.arange(3000) % 3
    images[labels == 1] *= 3
    images += labels.view(-1, 1, 1, 1) * 50  # what all images of a class share is no variety
    images, labels = images[labels < 3], labels
    variance = symptoms.pixel_variance(images, labels, 4)
    assert variance[:3] == pytest.approx([1, 9, 1], rel=0.05)
    assert variance[3].isnan()


def test_real_digits_are_various_and_copies_of_one_are_not() -> None:
    train, test = digits.load()
    names = [str(y) for y in range(10)]
    real = symptoms.pixel_variance(train.images, train.labels, 10)
    sixteen = torch.stack([torch.nonzero(test.labels == y).flatten()[:16] for y in range(10)])
    labels = torch.arange(10).repeat_interleave(16)
    images = test.images[sixteen.flatten()].clone()
    assert symptoms.collapsed(symptoms.pixel_variance(images, labels, 10), real, 0.1, names) is None
    fives = images[labels == 5]
    images[labels == 5] = (fives[0].float() + 0.1 * (fives.float() - fives[0].float())).round().byte()
    alarm = symptoms.collapsed(symptoms.pixel_variance(images, labels, 10), real, 0.1, names)
    assert alarm is not None
    assert "of label 5 are nearly identical" in alarm.what
    assert "1 of 10 labels" in alarm.what


def test_without_labels_nothing_is_said_of_them() -> None:
    alarm = symptoms.collapsed(torch.tensor([1.0]), torch.tensor([100.0]), 0.1)
    assert alarm is not None
    assert "label" not in alarm.what
    assert symptoms.collapsed(torch.tensor([50.0]), torch.tensor([100.0]), 0.1) is None


@pytest.mark.parametrize(
    ("of_label", "of_seed", "share"), [(0, 1, 0), (1, 1, 0.5), (3, 1, 0.9), (1, 0, 1), (0, 0, 0)]
)
def test_label_share_is_the_share_of_the_label(of_label: float, of_seed: float, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randn(1, 50, 1, 8, 8, generator=generator)
    seed = torch.randn(50, 1, 1, 8, 8, generator=generator)
    images = of_label * label + of_seed * seed
    assert symptoms.label_share(images) == pytest.approx(share, abs=0.02)
    assert (symptoms.labels_invisible(images) is None) == (share > 0.05)


@pytest.mark.parametrize(
    ("accuracy", "counts", "ignored"),
    [
        (0.10, [100] * 10, True),
        (0.27, [100] * 10, True),
        (0.29, [100] * 10, False),
        (0.99, [100] * 10, False),
        # Always drawing the larger class is right nine times in ten.
        (0.90, [900, 100], True),
        (0.97, [900, 100], False),
        (1.00, [100], False),
    ],
)
def test_labels_are_ignored_when_accuracy_is_near_chance(
    accuracy: float, counts: list[int], ignored: bool
) -> None:
    assert (symptoms.labels_ignored(accuracy, counts) is not None) == ignored
