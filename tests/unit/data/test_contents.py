"""`data show`: what is counted and drawn is what the set holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ganctl import cli, data, images
from ganctl.data import contents
from ganctl.data.dataset import Dataset, DatasetFacts, ImageSet
from ganctl.data.source import Source


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """stand_in(labels, names): a set of 16 × 16 RGB images, image i all of the colour (i, label, 7)."""
    monkeypatch.chdir(tmp_path)

    def put(labels: list[int], names: tuple[str, ...]) -> None:
        y = torch.tensor(labels)
        colours = torch.stack([torch.arange(len(y)), y, torch.full_like(y, 7)], dim=1).to(torch.uint8)
        train = ImageSet(colours[:, :, None, None].expand(-1, -1, 16, 16).contiguous(), y)
        rest = train.subset(torch.tensor([0]))
        facts = DatasetFacts("stand-in", names, 3, 16, ())
        outline = data.Outline(facts, len(y), 1, 1, Path("somewhere"))
        monkeypatch.setattr(data, "outline", lambda source: outline)
        monkeypatch.setattr(data, "load", lambda source: Dataset(facts, train, rest, rest))

    return put


def cells(picture: Image.Image, columns: int, pitch: int) -> np.ndarray:
    """The colour in the middle of each cell, (rows, columns, 3), of a sheet without captions."""
    sheet = np.asarray(picture)[:, -(columns * pitch + 8) :]
    rows = sheet.shape[0] // pitch
    middle = pitch // 2 + 4
    return sheet[middle::pitch, middle::pitch][:rows, :columns]


def test_each_row_holds_images_of_its_class_and_none_twice(stand_in: Callable[..., None]) -> None:
    stand_in([0, 2, 0, 0, 2, 0, 0], ("zero", "one", "two"))
    found = contents.look(Source("stand-in"), per_class=4)
    assert found.counts == {"train": (5, 0, 2), "val": (1, 0, 0), "test": (1, 0, 0)}
    assert found.resident_bytes == (7 + 1 + 1) * (3 * 16 * 16 + 8)
    # 16 pixels and a gap of 2, four times as large
    assert found.picture.size == (images.band_width(["zero", "two"]) + (4 * 18 + 2) * 4, (3 * 18 + 2) * 4)
    zero, one, two = cells(found.picture, columns=4, pitch=72).tolist()
    assert len({red for red, _, _ in zero}) == 4
    assert {red for red, _, _ in zero} <= {0, 2, 3, 5, 6}
    assert all((green, blue) == (0, 7) for _, green, blue in zero)
    assert one == [[0, 0, 0]] * 4  # an empty class is black
    assert {red for red, _, _ in two[:2]} == {1, 4}
    assert two[2:] == [[0, 0, 0]] * 2
    assert contents.look(Source("stand-in"), 4).picture.tobytes() == found.picture.tobytes()


def test_without_classes_it_is_a_square(stand_in: Callable[..., None]) -> None:
    stand_in(list(range(20)), ())
    found = contents.look(Source("stand-in"), per_class=3)
    assert found.counts == {"train": (20,), "val": (1,), "test": (1,)}
    assert found.picture.size == ((3 * 18 + 2) * 4,) * 2
    reds = cells(found.picture, columns=3, pitch=72)[:, :, 0].flatten().tolist()
    assert len(set(reds)) == 9
    assert "no labels" in found.text()


def test_many_classes_are_counted_and_the_first_are_drawn(stand_in: Callable[..., None]) -> None:
    stand_in(list(range(130)), tuple(f"class {i}\n" for i in range(130)))
    found = contents.look(Source("stand-in"), per_class=1)
    assert found.counts["train"] == (1,) * 130
    assert found.picture.height == (100 * 18 + 2) * 4


def test_the_command_writes_the_picture_and_says_the_same_as_json(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        shown = CliRunner().invoke(cli.app, ["data", "show", "digits"])
        asked = CliRunner().invoke(cli.app, ["data", "show", "digits", "--json", "--out", "x/y.png"])
        refused = CliRunner().invoke(cli.app, ["data", "show", "digits", "--out", "x.npz"])
        unknown = CliRunner().invoke(cli.app, ["data", "show", "digit"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(asked.stdout)
    loaded = data.load(Source("digits"))
    for label, counts in found["per_class"].items():
        assert counts["train"] == int((loaded.train.labels == int(label)).sum())
        row = rf"{label} +{counts['train']} +{counts['val']} +{counts['test']}"
        assert re.search(f"^{row}$", shown.stdout, re.MULTILINE)
    assert found["images"] == {"train": 1200, "val": 300, "test": 297}
    assert found["path"] == str(Path("x/y.png"))
    assert (tmp_path / "x/y.png").read_bytes() == (tmp_path / "digits.png").read_bytes()
    assert (refused.exit_code, unknown.exit_code) == (2, 2)
    assert "did you mean digits" in unknown.stderr


def test_pictures_of_ones_own_are_shown_by_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grey = np.arange(30, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    np.savez("plain.npz", images=grey)
    for i in range(30):
        place = Path("own") / ("a", "b", "b")[i % 3] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + i, 12), (200, 0, 0)).save(place)
    squares = CliRunner().invoke(cli.app, ["data", "show", "plain.npz", "--n", "2", "--json"])
    rows = CliRunner().invoke(cli.app, ["data", "show", "own", "--resolution", "16", "--json"])
    sized = CliRunner().invoke(cli.app, ["data", "show", "plain.npz", "--resolution", "16"])
    assert squares.exit_code == rows.exit_code == 0, squares.output + rows.output
    found = json.loads(squares.stdout)
    assert (found["channels"], found["resolution"], found["per_class"]) == (1, 8, {})
    assert sum(found["images"].values()) == 30
    with Image.open("plain.png") as picture:
        assert picture.size == ((2 * 10 + 2) * 8,) * 2
    found = json.loads(rows.stdout)
    assert (found["channels"], found["resolution"], found["label_names"]) == (3, 16, ["a", "b"])
    assert {name: sum(counts.values()) for name, counts in found["per_class"].items()} == {"a": 10, "b": 20}
    with Image.open("own.png") as picture:
        assert picture.height == (2 * 18 + 2) * 4
    assert sized.exit_code == 2
    assert "leave out --resolution" in sized.stderr
