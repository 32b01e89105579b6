"""`augment=preview` shows what D would see, and trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ganctl import cli, config
from ganctl.data import mnist
from ganctl.data.dataset import ImageSet
from ganctl.errors import UsageError
from ganctl.preview import IMAGES, preview


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: Path, side: int, scale: int) -> np.ndarray:
    """(rows, IMAGES, side, side) pixels of the picture, without captions and gaps."""
    sheet = np.asarray(Image.open(path))
    sheet = sheet[:, sheet.shape[1] - scale * (IMAGES * (side + 2) + 2) :][::scale, ::scale]
    height = (len(sheet) - 2) // (side + 2)
    cells = sheet[2:, 2:].reshape(height, side + 2, IMAGES, side + 2)
    return cells[:, :side, :, :side].transpose(0, 2, 1, 3)


def test_it_writes_a_picture_and_nothing_else(here: Path) -> None:
    words = ["train", "data=digits", "augment=ada", "name=mine", "+augment=preview", "--json"]
    (here / "mine_augment.png").write_bytes(b"of an earlier call")
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"path": "mine_augment.png", "augment": "ada"}
    assert [path.name for path in here.iterdir()] == ["mine_augment.png"]

    real, few, some, all_of_them = rows(here / "mine_augment.png", 8, 8)
    changed = [int((row != real).any((1, 2)).sum()) for row in (few, some, all_of_them)]
    assert changed[2] == IMAGES
    assert 0 < changed[0] < IMAGES  # 1 - 0.75⁵ = 0.76 of them
    # they are images of the data set, without those cut out for validation
    with np.load(Path(cli.__file__).parent / "assets" / "digits.npz") as digits:
        known = {image.tobytes() for image in digits["train_images"]}
    assert {np.ascontiguousarray(image).tobytes() for image in real} <= known


def test_the_same_configuration_shows_the_same(here: Path) -> None:
    path, found = Path("default_augment.png"), []
    for seed in (0, 0, 1):
        cfg = config.compose(["data=digits", "augment=diffaug", f"seed={seed}"])
        assert preview(cfg) == path
        found.append(path.read_bytes())
    assert found[0] == found[1] != found[2]
    assert len(rows(path, 8, 8)) == 4


def test_mirrored_images_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(256, (60, 1, 28, 28), dtype=torch.uint8)
    whole = ImageSet(images, torch.arange(60) % 10)
    monkeypatch.setattr(mnist, "load", lambda *_: (whole, whole))
    monkeypatch.setattr(mnist, "find", lambda *_: None)
    path = preview(config.compose(["data=fashion", "data.val_size=10", "data.flip=true"]))
    assert path is not None
    real, seen = rows(path, 28, 3)
    mirrored = [bool((a == b[:, ::-1]).all()) for a, b in zip(seen, real, strict=True)]
    same = [bool((a == b).all()) for a, b in zip(seen, real, strict=True)]
    assert 0 < sum(mirrored) < IMAGES
    assert [not x for x in mirrored] == same


@pytest.mark.parametrize("name", ["digits", "mnist", "stacked_mnist"])
def test_a_mirrored_digit_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="another sign"):
        preview(config.compose([f"data={name}", "data.flip=true"]))


def test_a_picture_and_a_dry_run_are_two_things(here: Path) -> None:
    done = CliRunner().invoke(cli.app, ["train", "data=digits", "augment=preview", "--dry-run"])
    assert isinstance(done.exception, UsageError) or done.exit_code == 2
    assert list(here.iterdir()) == []
