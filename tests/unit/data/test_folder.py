"""A folder of the user's own pictures: prepared once, and then read as any prepared file."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganctl import data
from ganctl.data import folder
from ganctl.data.dataset import MappedImageSet
from ganctl.data.prepare import Prepared, prepare
from ganctl.errors import UsageError


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """40 pictures of one colour each: 4 · k of grey, even ones cats and odd ones dogs, of two sizes."""
    for k in range(40):
        place = tmp_path / "pets" / ("cat", "dog")[k % 2] / f"{k:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9) if k % 3 else (8, 8), (4 * k, 4 * k, 4 * k)).save(place)
    return tmp_path / "pets"


def source(root: Path | None, resolution: int | None = 6, **options: object) -> data.Source:
    return data.Source("folder", root, resolution=resolution, **options)  # type: ignore[arg-type]


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where something was prepared, each time that something was."""
    times: list[Path] = []

    def counted(src: Path, out: Path, recipe: folder.Recipe) -> Prepared:
        times.append(out)
        return prepare(src, out, recipe)

    monkeypatch.setattr(folder, "prepare", counted)
    return times


def test_pictures_keep_their_labels_and_parts_are_disjoint(pets: Path) -> None:
    loaded = data.load(source(pets, conditional=True))
    assert (loaded.facts.name, loaded.facts.label_names) == ("folder:pets", ("cat", "dog"))
    assert (loaded.facts.channels, loaded.facts.resolution) == (3, 6)
    assert isinstance(loaded.train, MappedImageSet)
    seen = []
    for split in (loaded.train, loaded.val, loaded.test):
        level = split.images[:, 0, 0, 0].long()
        assert torch.equal(split.images, split.images[:, :1, :1, :1].expand(-1, 3, 6, 6))
        assert split.labels.tolist() == (level // 4 % 2).tolist()
        seen += (level // 4).tolist()
    assert sorted(seen) == list(range(40))
    assert len(loaded.test) == 4
    assert len(loaded.val) == 3


def test_a_zip_is_as_good(pets: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", pets))
    unpacked, zipped = data.load(source(pets)), data.load(source(archive))
    assert zipped.facts == replace(unpacked.facts, name="folder:zipped")
    assert torch.equal(zipped.train.images, unpacked.train.images)


def test_they_are_prepared_once_and_anew_when_they_change(
    pets: Path, prepared: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="ganctl"):
        first = data.load(source(pets))
    assert str(prepared[0]) in caplog.text
    assert data.load(source(pets)).facts == first.facts
    assert len(prepared) == 1
    grey = data.load(source(pets, channels=1)).facts
    assert (grey.channels, len(prepared)) == (1, 2)
    Image.new("RGB", (8, 8), (200, 200, 200)).save(pets / "cat" / "more.png")
    more = data.load(source(pets))
    assert len(more.train) + len(more.val) + len(more.test) == 41
    assert more.facts.digest != first.facts.digest
    assert len(set(prepared)) == 3


def test_of_several_at_once_one_prepares(pets: Path, prepared: list[Path]) -> None:
    loaded: list[data.Dataset] = []
    ranks = [threading.Thread(target=lambda: loaded.append(data.load(source(pets)))) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert len(loaded) == 3
    assert len(prepared) == 1
    assert all(np.array_equal(d.train.images, loaded[0].train.images) for d in loaded)


def test_an_outline_decodes_nothing(pets: Path, prepared: list[Path]) -> None:
    before = data.outline(source(pets))
    assert prepared == []
    assert before.place is None
    loaded = data.load(source(pets))
    after = data.outline(source(pets))
    assert after.place == prepared[0]
    for outlined in (before, after):
        sizes = (outlined.num_train, outlined.num_val, outlined.num_test)
        assert sizes == (len(loaded.train), len(loaded.val), len(loaded.test))
        assert outlined.mapped
        assert outlined.facts.label_names == ("cat", "dog")


def test_what_is_missing_or_wrong_is_said(pets: Path, tmp_path: Path) -> None:
    flat, one = tmp_path / "flat", tmp_path / "one"
    for k, place in enumerate((flat / "a.png", flat / "b.png", one / "a.png")):
        place.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 50 * k).save(place)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("text")
    wrong: list[tuple[data.Source, str, str]] = [
        (source(None), "needs a folder", "data.root=DIR"),
        (source(pets, None), "size of the images", "data.resolution=64"),
        (source(tmp_path / "nowhere"), "nowhere", ""),
        (source(tmp_path / "a.txt"), r"neither a folder nor a \.zip", ""),
        (source(one), "one picture only", ""),
        (source(tmp_path / "empty"), "no pictures", ""),
        (source(flat, conditional=True), "folder:flat has no labels", "data.conditional=false"),
    ]
    for asked, what, fix in wrong:
        for call in (data.load, data.outline):
            with pytest.raises(UsageError, match=what) as caught:
                call(asked)
            assert fix in caught.value.fix
    (pets / "eel").mkdir()
    with pytest.raises(UsageError, match="eel has no pictures"):
        data.load(source(pets))
    assert data.load(source(flat, conditional=False)).facts.num_classes == 0
    with pytest.raises(UsageError, match="nothing to fetch"):
        data.fetch("folder")


def test_an_altered_prepared_file_is_found(pets: Path, prepared: list[Path]) -> None:
    data.load(source(pets))
    content = bytearray(prepared[0].read_bytes())
    content[300] ^= 1
    prepared[0].write_bytes(content)
    with pytest.raises(UsageError, match=r"is (altered|damaged)"):
        data.load(source(pets))
