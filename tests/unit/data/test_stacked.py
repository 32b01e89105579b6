"""Stacked MNIST: what an image is made of, on digits that can be told apart by their grey level."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ganctl import data
from ganctl.data import mnist
from ganctl.data.dataset import Dataset, ImageSet
from ganctl.errors import UsageError

Load = Callable[..., Dataset]
TRAIN, TEST = range(0, 200), range(200, 250)


def digits(levels: range) -> ImageSet:
    """One image of each grey level, 4 × 4 and all of it that level; its label is the level's last digit."""
    values = torch.tensor(levels)
    return ImageSet(values.to(torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4), values % 10)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(mnist, "load", lambda spec, root: (digits(TRAIN), digits(TEST)))

    def load(val_size: int, val_seed: int = 0) -> Dataset:
        return data.load(data.Source("stacked_mnist"), val_size=val_size, val_seed=val_seed)

    return load


def levels_of(images: ImageSet) -> torch.Tensor:
    """(N, 3): which digit is in which channel."""
    assert images.images.dtype == torch.uint8
    assert images.images.shape == (len(images), 3, 4, 4)
    first = images.images[:, :, 0, 0]
    assert torch.equal(images.images, first[:, :, None, None].expand(-1, -1, 4, 4))  # whole digits
    return first.long()


def test_the_label_is_the_digits_of_red_green_and_blue(load: Load) -> None:
    loaded = load(40)
    for split in (loaded.train, loaded.val, loaded.test):
        red, green, blue = (levels_of(split) % 10).unbind(1)
        assert split.labels.dtype == torch.int64
        assert split.labels.tolist() == [
            int(f"{r}{g}{b}") for r, g, b in zip(red.tolist(), green.tolist(), blue.tolist(), strict=True)
        ]


def test_no_digit_is_in_images_of_two_splits(load: Load) -> None:
    seen = []
    for val_seed in (0, 1):
        loaded = load(40, val_seed)
        train, val, test = (
            set(levels_of(s).flatten().tolist()) for s in (loaded.train, loaded.val, loaded.test)
        )
        assert test == set(TEST)
        assert not train & val
        assert train | val <= set(TRAIN)
        assert len(train) == 160
        assert 20 <= len(val) <= 40
        seen.append(val)
    assert seen[0] != seen[1]  # val_seed chooses the digits


def test_three_independent_uniform_draws(load: Load) -> None:
    loaded = load(0)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (128_000, 0, 26_000)
    levels = levels_of(loaded.train)
    for channel in range(3):
        counts = torch.bincount(levels[:, channel], minlength=200).double()
        chi_square = float(((counts - 640) ** 2 / 640).sum())
        assert 199 - 5 * 20 < chi_square < 199 + 5 * 20  # standard deviation √(2 · 199)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        same = float((levels[:, a] == levels[:, b]).double().mean())
        assert same == pytest.approx(1 / 200, abs=5 * (1 / 200 / 128_000) ** 0.5)
    modes = torch.bincount(loaded.train.labels, minlength=1000)
    assert len(modes) == 1000
    assert int(modes.min()) > 0


def test_the_same_images_every_time(load: Load) -> None:
    first, again = load(40), load(40)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(first, split).images, getattr(again, split).images)


def test_what_is_trained_on_is_among_the_training_images_without_a_validation_part(load: Load) -> None:
    """So that a memorised image is found by an evaluation, which knows nothing of validation."""
    whole, part = load(0), load(40)
    kept = levels_of(part.train).unique()
    assert len(kept) == 160
    without = torch.isin(levels_of(whole.train), kept).all(dim=1)
    assert torch.equal(part.train.images, whole.train.images[without])
    assert len(part.train) == pytest.approx(
        128_000 * (160 / 200) ** 3, abs=5 * 179
    )  # five standard deviations


def test_networks_are_told_of_no_labels(load: Load) -> None:
    facts = load(40).facts
    assert (facts.name, facts.num_classes, facts.label_names, facts.class_counts) == (
        "stacked_mnist",
        0,
        (),
        (),
    )
    assert (facts.channels, facts.resolution) == (3, 4)


def test_the_validation_part_is_cut_from_the_digits(load: Load) -> None:
    assert len(load(40).val) == 40
    with pytest.raises(UsageError, match="200 training images"):
        load(200)
