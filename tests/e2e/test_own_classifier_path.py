"""From labelled images of one's own to scores, through the commands: classifier, training, evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 16 × 16 RGB images, bright above or below."""
    g = np.random.RandomState(0)
    images = g.randint(0, 120, (120, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(120) % 2
    for image, label in zip(images, labels, strict=True):
        image[8 * label : 8 * label + 8] += 100
    np.savez(tmp_path / "pets.npz", images=images, labels=labels, label_names=np.array(["cat", "dog"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_classifier_of_ones_own_scores_while_training_and_after(
    pets: Path, invoke: Callable[..., SimpleNamespace]
) -> None:
    done = invoke("train-classifier", "pets.npz", "--steps", "60", "--json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["accuracy"] >= 0.95
    assert "| dog | 6 |" in (pets / made["card"]).read_text()
    own = made["classifier"]
    words = ["data=npz", "data.root=pets.npz", "model=mlp", "data.batch_size=20", "debug=true", "logger=none"]
    done = invoke("train", *words, f"callbacks.evaluate.classifier={own}", "run.dir=run", "--json")
    assert done.exit_code == 0, done.stderr
    assert set(json.loads(done.stdout)["scores"]) == {"val/pets_fd", "val/label_accuracy"}
    assert (pets / "run/checkpoints/best.ckpt").is_file()

    options = ["eval", "--ckpt", "run", "--features", "classifier", "--n", "64", "--json", "--device", "cpu"]
    done = invoke(*options, "--classifier", own, "--out", "a.json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"label_accuracy", "pets_fd", "pets_is"} == set(report["metrics"])
    assert report["metrics"]["label_accuracy"]["floor"] >= 0.95
    assert report["protocol"]["real"].startswith("held-out test images")

    # The checkpoint needs the classifier no more.
    (pets / own).unlink()
    assert invoke("sample", "--ckpt", "run", "--label", "dog", "--n", "2", "--out", "x.png").exit_code == 0
    done = invoke(*options, "--metrics", "memorisation", "--out", "b.json")
    assert done.exit_code == 0, done.stderr
    # A training that would want it is refused before there is a folder.
    done = invoke("train", *words, f"callbacks.evaluate.classifier={own}", "run.dir=other")
    assert done.exit_code == 2
    assert own in done.stderr
    assert "callbacks.evaluate.classifier=FILE" in done.stderr
    assert not (pets / "other").exists()
    # Nor does one of other labels pass.
    done = invoke("eval", "--ckpt", "run", "--classifier", str(_bundled()))
    assert done.exit_code == 2
    assert "reads 1 × 8 × 8 images, npz:pets has 3 × 16 × 16" in done.stderr


def _bundled() -> Path:
    from ganctl.metrics import classifier

    return classifier.ASSETS / "classifier_digits.safetensors"
