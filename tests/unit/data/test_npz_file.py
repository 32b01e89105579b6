"""An `.npz` of the user's own: which images become which part, and what is refused before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganctl import data
from ganctl.data import npz_file
from ganctl.data.dataset import Dataset, MappedImageSet
from ganctl.data.split import test_places as places_to_test
from ganctl.errors import UsageError


def numbered(num: int = 60, side: int = 4, channels: int = 3) -> np.ndarray:
    """Image k is (N, H, W, C) with k, k + 1, … in its channels."""
    level = np.arange(num, dtype=np.uint8)[:, None, None, None] + np.arange(channels, dtype=np.uint8)
    return np.broadcast_to(level, (num, side, side, channels)).copy()


def prepared(path: Path, **changed: Any) -> Path:
    """As `ganctl data prepare` writes it: 60 images of two classes, every fifth to test with."""
    split = (np.arange(60) % 5 == 0).astype(np.uint8)
    arrays: dict[str, Any] = {"images": numbered(), "labels": np.arange(60) % 2, "split": split}
    sha = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    about = np.array(json.dumps({"format": 1, "sha256": sha}))
    arrays |= {"label_names": np.array(["cat", "dog"]), "about": about}
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


def load(path: Path | None, val_size: int | None = None, **options: Any) -> Dataset:
    return data.load(data.Source("npz", path, **options), val_size)


def numbers(images: torch.Tensor) -> list[int]:
    assert images.dtype == torch.uint8
    assert images.shape[1:] == (3, 4, 4)
    levels = images[:, :1, :1, :1] + torch.arange(3, dtype=torch.uint8).view(3, 1, 1)
    assert torch.equal(images, levels.expand_as(images))
    return images[:, 0, 0, 0].tolist()


def test_a_prepared_file_keeps_its_parts_and_names(tmp_path: Path) -> None:
    path = prepared(tmp_path / "pets.npz")
    loaded = load(path, val_size=8)
    train, val, test = (numbers(split.images) for split in (loaded.train, loaded.val, loaded.test))
    assert test == list(range(0, 60, 5))
    assert len(val) == 8
    assert sorted(train + val) == [k for k in range(60) if k % 5]
    for split, seen in ((loaded.train, train), (loaded.val, val), (loaded.test, test)):
        assert split.labels.tolist() == [k % 2 for k in seen]
    facts = loaded.facts
    assert (facts.name, facts.label_names) == ("npz:pets", ("cat", "dog"))
    assert (facts.channels, facts.resolution) == (3, 4)
    assert facts.class_counts == (sum(k % 2 == 0 for k in train), sum(k % 2 for k in train))
    with np.load(path) as arrays:
        assert facts.digest == json.loads(str(arrays["about"]))["sha256"]


def test_plain_arrays_get_numbers_for_names_and_a_test_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=numbered(), labels=np.arange(60, dtype=np.int32) % 3)
    loaded = load(tmp_path / "a.npz")
    assert loaded.facts.label_names == ("0", "1", "2")
    expected = places_to_test(np.arange(60) % 3, 60).tolist()
    assert numbers(loaded.test.images) == expected
    assert len(loaded.val) == (60 - len(expected)) // 10
    np.savez_compressed(tmp_path / "b.npz", images=numbered(), labels=np.arange(60, dtype=np.int32) % 3)
    packed = load(tmp_path / "b.npz")
    assert isinstance(loaded.train, MappedImageSet)
    assert not isinstance(packed.train, MappedImageSet)
    assert packed.facts.digest == loaded.facts.digest != ""
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(packed, split).images, getattr(loaded, split).images)
        assert torch.equal(getattr(packed, split).labels, getattr(loaded, split).labels)


def test_without_labels_only_when_that_is_said(tmp_path: Path) -> None:
    plain = tmp_path / "plain.npz"
    np.savez(plain, images=numbered())
    for call in (data.load, data.outline):
        with pytest.raises(UsageError, match="npz:plain has no labels") as caught:
            call(data.Source("npz", plain, conditional=True))
        assert "data.conditional=false" in caught.value.fix
        assert "labels.csv" in caught.value.fix
    assert load(plain, conditional=False).facts.num_classes == 0
    labelled = prepared(tmp_path / "labelled.npz")
    assert load(labelled, conditional=True).facts.num_classes == 2
    facts = load(labelled, conditional=False).facts
    assert (facts.label_names, facts.class_counts) == ((), ())
    with pytest.raises(UsageError, match="stacked_mnist has no labels") as caught:
        data.outline(data.Source("stacked_mnist", conditional=True))
    assert "mode" in caught.value.fix


def test_the_rarest_class_is_not_all_held_out(tmp_path: Path) -> None:
    labels = np.zeros(60, np.int64)
    labels[[7, 20]] = 1  # one of them to test with
    np.savez(tmp_path / "a.npz", images=numbered(), labels=labels)
    for seed in range(20):
        loaded = data.load(data.Source("npz", tmp_path / "a.npz"), 50, seed)
        assert loaded.facts.class_counts[1] == 1
        assert len(loaded.val) == 50
    with pytest.raises(UsageError, match="val_size=52 does not fit"):
        load(tmp_path / "a.npz", 52)


def test_outline_is_what_is_loaded_and_reads_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "pets.npz"
    np.savez(path, images=numbered(side=32), labels=np.arange(60) % 2)
    outlined, loaded = data.outline(data.Source("npz", path)), load(path)
    assert (outlined.num_train, outlined.num_val, outlined.num_test) == (
        len(loaded.train),
        len(loaded.val),
        len(loaded.test),
    )
    assert outlined.mapped
    assert outlined.place == path
    assert outlined.facts == replace(loaded.facts, class_counts=(), digest="")
    content = bytearray(path.read_bytes())
    content[100_000] ^= 1  # a pixel
    path.write_bytes(content)
    assert data.outline(data.Source("npz", path)) == outlined


def test_altered_content_is_found_and_whole_content_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepared(tmp_path / "pets.npz")
    load(path)
    read: list[str] = []
    chunks = npz_file.npz.chunks
    monkeypatch.setattr(
        npz_file.npz, "chunks", lambda path, name: [read.append(name), *chunks(path, name)][1:]
    )
    load(path)
    assert read == []
    os.utime(path, ns=(1, 1))  # another file, for all that is known
    load(path)
    assert read == ["images", "labels", "split"]
    # a pixel and the archive's own checksum of it: only the digest tells
    prepared(path, images=numbered() ^ np.uint8(1))
    with pytest.raises(UsageError, match=r"pets\.npz is altered"):
        load(path)


def test_a_renamed_class_is_other_data_to_resume_and_a_renamed_file_is_not(tmp_path: Path) -> None:
    facts = load(prepared(tmp_path / "pets.npz")).facts
    assert load(prepared(tmp_path / "b.npz", label_names=np.array(["cat", "cow"]))).facts != facts
    assert load(prepared(tmp_path / "c.npz")).facts.digest == facts.digest


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "one image": ({"images": numbered(1), "labels": None, "split": None}, r"has 1 image"),
    "none": ({"images": numbered(0), "labels": None, "split": None}, r"has 0 image"),
    "not square": ({"images": np.zeros((60, 4, 5, 3), np.uint8)}, r"\(60, 4, 5, 3\)"),
    "float": ({"images": np.zeros((60, 4, 4, 3))}, "float64"),
    "two channels": ({"images": np.zeros((60, 4, 4, 2), np.uint8)}, r"\(60, 4, 4, 2\)"),
    "no images": ({"images": None}, "no array 'images'"),
    "objects": ({"labels": np.array([{}] * 60, dtype=object)}, "pickled objects"),
    "few labels": ({"labels": np.zeros(59, np.int64)}, r"labels in .* \(59,\)"),
    "words": ({"labels": np.array(["a"] * 60)}, "labels in .* <U1"),
    "negative": ({"labels": np.arange(60) % 3 - 1}, "from -1 to 1"),
    "unnamed": ({"labels": np.arange(60) % 3}, "from 0 to 2, of 2 classes"),
    "too many": ({"labels": np.arange(60) * 2**40, "label_names": None}, "of 10000 classes"),
    "empty class": ({"label_names": np.array(["cat", "dog", "eel"])}, "no training image of eel"),
    "a gap": ({"labels": np.arange(60) % 2 * 2, "label_names": None}, "no training image of 1"),
    "one name twice": ({"label_names": np.array(["cat", "cat"])}, "not all different"),
    "escape": ({"label_names": np.array(["cat", "\x1b[2J"])}, "control characters"),
    "no letter": ({"label_names": np.array(["cat", "\ud800"])}, "control characters"),
    "other split": ({"split": np.full(60, 2, np.uint8)}, "0 training and 0 test"),
    "no test part": ({"split": np.zeros(60, np.uint8)}, "60 training and 0 test"),
    "later format": ({"about": np.array('{"format": 2, "sha256": ""}')}, "format 2"),
    "no json": ({"about": np.array("[" * 9000)}, "about in .* is damaged"),
    "long about": ({"about": np.array("x" * 70_000)}, "about in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(case: str, tmp_path: Path) -> None:
    changed, what = BAD[case]
    for call in (data.load, data.outline):
        with pytest.raises(UsageError, match=what) as caught:
            call(data.Source("npz", prepared(tmp_path / "bad.npz", **changed)))
        assert caught.value.fix


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a file") as caught:
        load(None)
    assert "data.root=FILE.npz" in caught.value.fix
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "none.npz")
    for path in (tmp_path, tmp_path / "a.txt"):
        (tmp_path / "a.txt").write_text("text")
        with pytest.raises(UsageError, match=r"is no \.npz"):
            load(path)
    whole = prepared(tmp_path / "whole.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(UsageError, match="damaged or not an"):
            load(tmp_path / "cut.npz")
    with pytest.raises(UsageError, match="nothing to fetch"):
        data.fetch("npz")


def test_a_header_takes_no_memory_and_a_place_is_inside_the_file(tmp_path: Path) -> None:
    path = prepared(tmp_path / "huge.npz")
    whole = path.read_bytes()
    # a header that asks for a thousand times as much
    path.write_bytes(whole.replace(b"(60, 4, 4, 3)", b"(60000,4,4,3)"))
    with pytest.raises(UsageError, match="damaged or not an"):
        data.outline(data.Source("npz", path))
    # a local header whose extra field would put the values behind the end
    start = whole.rindex(b"PK\3\4")
    moved = bytearray(whole)
    moved[start + 28 : start + 30] = struct.pack("<H", 65_535)
    path.write_bytes(moved)
    with pytest.raises(UsageError, match="damaged or not an"):
        data.outline(data.Source("npz", path))
