"""Unconditional training end to end: the shipped experiment on few stacked digits, which MNIST's are not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate, pad

from ganctl.data import digits, mnist, stacked
from ganctl.data.dataset import ImageSet

pytestmark = [
    pytest.mark.slow,
    # torch warns of Lightning's own use of torch's pytree
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]

Invoke = Callable[..., SimpleNamespace]

TRAIN, VAL, TEST = 360, 128, 96


def enlarged(images: ImageSet) -> ImageSet:
    """The embedded 8 × 8 digits at MNIST's size: three times as large, and a margin of two pixels."""
    large = interpolate(images.images.float(), scale_factor=3, mode="nearest")
    return ImageSet(pad(large, (2, 2, 2, 2)).to(torch.uint8), images.labels)


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train, test = map(enlarged, digits.load())
    monkeypatch.setattr(mnist, "load", lambda spec, root: (train, test))
    monkeypatch.setattr(stacked, "NUM_TRAIN", TRAIN)
    monkeypatch.setattr(stacked, "NUM_TEST", TEST)
    monkeypatch.chdir(tmp_path)


def size_of(path: Path) -> tuple[str, tuple[int, int]]:
    with Image.open(path) as picture:
        return picture.mode, picture.size


def test_train_sample_and_evaluate_without_labels(invoke: Invoke) -> None:
    small = (f"data.val_size={VAL}", "trainer=cpu", "trainer.max_epochs=2", "callbacks.evaluate.num_gen=320")
    done = invoke("train", "+experiment=stacked_mnist", *small, "logger=none", "run.dir=run")
    assert done.exit_code == 0, done.stderr
    assert "ganctl sample --ckpt run --n 64" in done.stderr  # no --label

    # what it saw, logged and drew
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    scored = [row for row in rows if "val/modes" in row]
    # (1 372 / 1 500)³ of 360 images have no validation digit, about 275: four batches of 64
    assert [row["step"] for row in scored] == [4, 8]
    for row in scored:
        assert 1 <= row["val/modes"] <= 320
        # 320 images cannot be nearer to 1 000 equal shares than with a mode each
        assert math.log(1000 / 320) <= row["val/mode_kl"] <= math.log(1000)
        assert row["val/stacked_fd"] > 0
        assert "val/label_accuracy" not in row
    side = 2 * (8 * 30 + 2)  # eight images of 28 and their gaps, enlarged twice
    grids = {p.name: size_of(p) for p in Path("run/samples").iterdir()}
    assert grids == dict.fromkeys(
        ("reals.png", "fakes_000000.png", "fakes_000004.png", "fakes_000008.png"), ("RGB", (side, side))
    )
    best = min(scored, key=lambda row: row["val/stacked_fd"])
    entry = torch.load("run/checkpoints/best.ckpt", weights_only=True)["ganctl"]
    assert entry["steps"] == best["step"]
    facts = {"name": "stacked_mnist", "label_names": [], "channels": 3, "resolution": 28, "class_counts": []}
    assert entry["data"] == facts

    # sample
    done = invoke("sample", "--ckpt", "run", "--n", "5", "--format", "npz")
    assert (done.exit_code, done.stdout) == (0, "seed0_n5.npz\n"), done.stderr
    with np.load("seed0_n5.npz") as file:
        assert sorted(file) == ["images", "seeds"]
        images = file["images"]
    assert images.shape == (5, 28, 28, 3)
    assert len({image.tobytes() for image in images}) == 5
    assert invoke("sample", "--ckpt", "run", "--seeds", "3", "--outdir", "singles").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("singles/seed000003.png")), images[3])
    refused = invoke("sample", "--ckpt", "run", "--label", "3")
    assert refused.exit_code == 2
    assert "leave out --label" in refused.stderr

    # evaluate
    report = evaluated(invoke, "--ckpt", "run", "--n", "96", "--metrics", "default,modes,intra_fid,cas")
    metrics, protocol = report["metrics"], report["protocol"]
    for name in ("label_accuracy", "stacked_intra_fd", "cas"):
        assert metrics[name]["value"] is None
        assert "no labels" in metrics[name]["reason"]
    for name in ("modes", "mode_kl", "stacked_fd", "stacked_is"):
        assert metrics[name]["value"] >= 0
        assert metrics[name]["floor"] >= 0
    assert metrics["modes"]["settings"] == {"of": 1000}
    # Untrained images are few modes; real ones nearly one each, as 96 of 1 000 drawn at random are.
    assert metrics["modes"]["value"] < metrics["modes"]["floor"] <= 96
    assert math.log(1000 / 96) <= metrics["mode_kl"]["floor"] < metrics["mode_kl"]["value"]
    assert "unconditional" in protocol["labels"]
    assert "confusion" not in report
    assert "per_class" not in report

    # pictures of it are scored as it is
    invoke("sample", "--ckpt", "run", "--n", "96", "--outdir", "fakes")
    options = ("--data", "stacked_mnist", "--metrics", "modes,fid")
    from_files = evaluated(invoke, "fakes", *options)["metrics"]
    for name in ("modes", "mode_kl", "stacked_fd"):
        assert from_files[name]["value"] == pytest.approx(metrics[name]["value"], rel=1e-6)


def evaluated(invoke: Invoke, *args: str) -> dict[str, Any]:
    done = invoke("eval", *args, "--features", "classifier", "--out", "report.json")
    assert done.exit_code == 0, done.stderr
    report: dict[str, Any] = json.loads(Path("report.json").read_text())
    return report
