"""docs/own-pictures.md works, command for command: a folder of real pictures becomes a scored generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from docs_commands import ROOT, all_commands
from PIL import Image

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "own-pictures.md"

# What a command does less of here.
CHEAPER = {
    "train": ["trainer.max_steps=4", "data.batch_size=8", "callbacks.evaluate.num_gen=16"],
    "train-classifier": ["--steps", "40"],
    "eval": ["--features", "classifier", "--n", "32"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pictures/icons` and `pictures/photos`, made of what matplotlib ships: four modes, three file formats,
    two dozen sizes, and a photo that was cut off."""
    shipped = Path(matplotlib.get_data_path())
    desk = tmp_path_factory.mktemp("desk")
    for name in ("icons", "photos"):
        (desk / "pictures" / name).mkdir(parents=True)
    for file in sorted((shipped / "images").glob("*.png")):
        (desk / "pictures" / "icons" / file.name).write_bytes(file.read_bytes())  # RGBA, 24 × 24 and 48 × 48
    with Image.open(shipped / "sample_data" / "grace_hopper.jpg") as whole_photo:
        photo = whole_photo.convert("RGB")
    kinds = (("RGB", "jpg"), ("L", "jpg"), ("P", "png"), ("RGB", "webp"))
    for i in range(24):
        x, y, mode, suffix = 60 * (i % 6), 80 * (i // 6), *kinds[i % 4]
        part = photo.crop((x, y, x + 100 + 4 * i, y + 100 + 9 * i)).convert(mode)
        part.save(desk / "pictures" / "photos" / f"{i:02}.{suffix}")
    whole = (desk / "pictures" / "photos" / "00.jpg").read_bytes()
    (desk / "pictures" / "photos" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return desk


def test_the_page_from_a_folder_to_scores(pictures: Path, command: Callable[..., Any]) -> None:
    said = {}
    for shown in all_commands():
        if shown.page != PAGE:
            continue
        verb, *words = shown.words[1:]
        done = command(verb, *words, *CHEAPER.get(verb, []), cwd=pictures)
        assert done.returncode == 0, f"{shown}\n{done.stderr[-2000:]}"
        said[str(shown).partition(" ")[2]] = done.stdout
    assert len(said) >= 9, "commands of the page"

    # The picture that cannot be read is named, and the others are all there.
    assert "broken.jpg" in (pictures / "pictures.npz.unreadable.txt").read_text()
    with np.load(pictures / "pictures.npz", allow_pickle=False) as file:
        images, labels, names = file["images"], file["labels"], file["label_names"].tolist()
    icons = len(list((pictures / "pictures" / "icons").iterdir()))
    assert images.shape == (icons + 24, 64, 64, 3)
    assert images.dtype == np.uint8
    assert names == ["icons", "photos"]
    assert np.bincount(labels).tolist() == [icons, 24]
    photos = images[labels == 1].astype(int)
    grey = [i for i, photo in enumerate(photos) if (np.ptp(photo, axis=2) == 0).all()]
    assert grey == list(range(1, 24, 4)), "each fourth photo is grey, and no other"

    # The generator knows its labels by name and draws in the size that was prepared.
    with Image.open(pictures / "labelphotos_seed0_n16.png") as drawn:
        assert (drawn.mode, drawn.info["ganctl:label"]) == ("RGB", "1")
        assert drawn.size >= (4 * 64, 4 * 64)

    # Training was followed by the classifier, whose scores the evaluation has on the images set aside.
    checkpoint = max((pictures / "runs" / "folder").glob("*/checkpoints/best.ckpt"))
    facts = torch.load(checkpoint, weights_only=True)["ganctl"]["data"]
    assert (facts["name"], facts["label_names"], facts["resolution"]) == ("npz:pictures", names, 64)
    (report,) = (pictures / "runs" / "folder").glob("*/checkpoints/last.eval.json")
    content = json.loads(report.read_text())
    assert content["metrics"]["label_accuracy"]["floor"] >= 0.5
    assert 0 <= content["metrics"]["label_accuracy"]["value"] <= 1
    assert content["protocol"]["num_real"] == 4, "a tenth of each class"
    assert "held-out" in content["protocol"]["real"]
