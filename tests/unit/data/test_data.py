"""Data sets by name: splits, facts, messages."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ganctl import data
from ganctl.data import digits, mnist
from ganctl.errors import UsageError


def _rows(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_digits_are_scikit_learns() -> None:
    original = importlib.import_module("sklearn.datasets").load_digits()
    loaded = data.load(data.Source("digits"), val_size=100)
    splits = (loaded.train, loaded.val, loaded.test)
    ours = sorted(
        (row, int(label))
        for split in splits
        for row, label in zip(_rows(split.images), split.labels, strict=True)
    )
    # 255/16 = 15.9375: no grey level lies half-way between two integers for 0..16 but 8 (127.5 -> 128)
    table = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    theirs = sorted(
        (bytes(table[int(value)] for value in image.ravel()), int(label))
        for image, label in zip(original.images, original.target, strict=True)
    )
    assert ours == theirs
    assert [len(split) for split in splits] == [1400, 100, 297]


def test_test_images_never_train() -> None:
    official_train, official_test = digits.load()
    everything = set(_rows(official_train.images)) | set(_rows(official_test.images))
    assert len(everything) == 1797  # no image is there twice, so sets of rows tell splits apart
    for seed in range(3):
        loaded = data.load(data.Source("digits"), val_size=200, val_seed=seed)
        train, val, test = (set(_rows(s.images)) for s in (loaded.train, loaded.val, loaded.test))
        assert test == set(_rows(official_test.images))
        assert not train & val
        assert train | val == set(_rows(official_train.images))
        assert len(val) == 200


def test_validation_is_chosen_by_its_seed() -> None:
    first, again, other = (
        data.load(data.Source("digits"), val_size=200, val_seed=seed).val for seed in (0, 0, 1)
    )
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_facts_count_what_is_left_to_train_on() -> None:
    loaded = data.load(data.Source("digits"), val_size=300)
    facts = loaded.facts
    assert facts.class_counts == tuple(int((loaded.train.labels == k).sum()) for k in range(10))
    assert sum(facts.class_counts) == 1200
    assert (facts.name, facts.channels, facts.resolution, facts.num_classes) == ("digits", 1, 8, 10)
    assert facts.label_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_validation_can_be_left_out_but_must_leave_images() -> None:
    assert len(data.load(data.Source("digits"), val_size=0).val) == 0
    assert len(data.load(data.Source("digits"), val_size=1499).train) == 1
    for val_size in (1500, 5000, -1):
        with pytest.raises(UsageError, match="1500 training images"):
            data.load(data.Source("digits"), val_size=val_size)


def test_unknown_name_suggests_the_nearest() -> None:
    for call in (lambda name: data.load(data.Source(name)), data.fetch):
        with pytest.raises(UsageError, match="fashoin") as caught:
            call("fashoin")
        assert "did you mean fashion?" in caught.value.fix


def test_digits_need_no_fetching_and_no_root(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="ganctl"):
        assert data.fetch("digits").is_file()
    assert "nothing to fetch" in caplog.text
    with pytest.raises(UsageError, match="no root"):
        data.load(data.Source("digits", tmp_path))


def test_names_have_labels_safe_on_a_command_line() -> None:
    assert set(data.NAMES) - set(data.LABEL_NAMES) == {"folder", "npz"}
    assert {name for name, names in data.LABEL_NAMES.items() if not names} == {"stacked_mnist"}
    for names in filter(None, data.LABEL_NAMES.values()):
        assert len(set(names)) == 10
        assert all(name == name.lower() and not set(name) & set(" /,") for name in names)


def test_bundled_file_is_the_one_on_its_card() -> None:
    card = digits.PATH.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(digits.PATH.read_bytes()).hexdigest() in card
    assert "CC BY 4.0" in card
    with np.load(digits.PATH) as arrays:
        assert {name: arrays[name].dtype for name in arrays} == dict.fromkeys(
            ("train_images", "train_labels", "test_images", "test_labels"), np.dtype(np.uint8)
        )


def test_known_sets_have_mnists_sizes() -> None:
    for spec in (mnist.MNIST, mnist.FASHION):
        # from the IDX description: 16 bytes before images, 8 before labels
        assert [file.raw_bytes for file in spec.files] == [47_040_016, 60_008, 7_840_016, 10_008]
    assert len({file.md5 for spec in (mnist.MNIST, mnist.FASHION) for file in spec.files}) == 8
