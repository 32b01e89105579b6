"""A training whose images stay in their file is, bit for bit, the one whose images lie in memory."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compare_runs import row_differences, rows_of
from torch import Tensor

from ganctl import config, data, dry_run, resume
from ganctl.errors import UsageError
from ganctl.gan import GAN
from ganctl.stop_signals import InterruptedRunError
from ganctl.train import train

pytestmark = [
    pytest.mark.slow,
    # torch warns of Lightning's own use of torch's pytree
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]

PER_EPOCH = 6


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1 500 digits, of which 1 200 are trained on."""
    digits = data.load(data.Source("digits"), val_size=0).train
    path = tmp_path_factory.mktemp("own") / "own.npz"
    pixels, split = digits.images.permute(0, 2, 3, 1).numpy(), np.arange(1500) % 10 == 0
    np.savez(path, images=pixels, labels=digits.labels.numpy(), split=split.astype(np.uint8))
    return path


def composed(own: Path, folder: Path, *overrides: str) -> Any:
    return config.compose(
        [
            *("experiment=quick", "data=npz", f"data.root={own}", "data.batch_size=200", "data.val_size=150"),
            *("logger=none", "trainer=cpu", "trainer.max_epochs=3", "callbacks.progress_bar=false"),
            *("callbacks.samples.per_class=1", "model.generator.width=8", "model.discriminator.width=8"),
            *(f"run.dir={folder}", *overrides),
        ]
    )


def weights(folder: Path) -> dict[str, Tensor]:
    content: dict[str, Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return content


def assert_same(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert len(mine) > 20
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
    assert row_differences(rows_of(one), rows_of(other)) == []


def test_streamed_stopped_and_gone_on_as_if_resident(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("false", "true"):
        train(composed(own, tmp_path / name, f"data.stream={name}"))
    assert_same(tmp_path / "true", tmp_path / "false")

    step = GAN.training_step

    def training_step(gan: GAN, batch: Any, batch_idx: int) -> Any:
        if gan.steps == PER_EPOCH + 2:
            signal.raise_signal(signal.SIGTERM)
        return step(gan, batch, batch_idx)

    monkeypatch.setattr(GAN, "training_step", training_step)
    with pytest.raises(InterruptedRunError):
        train(composed(own, tmp_path / "stopped", "data.stream=true"))
    monkeypatch.undo()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    found = resume.find(str(tmp_path / "stopped"))
    moved = own.rename(own.with_name("moved.npz"))  # the same content, elsewhere
    try:
        train(config.changed(found.config, [f"data.root={moved}"]), found, trust_code=False)
    finally:
        moved.rename(own)
    assert_same(tmp_path / "stopped", tmp_path / "false")

    with np.load(own) as arrays:
        other = {**arrays, "images": arrays["images"] ^ np.uint8(1)}
    np.savez(tmp_path / "own.npz", **other)
    changed = config.changed(found.config, [f"data.root={tmp_path / 'own.npz'}", "trainer.max_epochs=4"])
    with pytest.raises(UsageError, match="was trained on other data: npz:moved has changed since"):
        train(changed, resume.find(str(tmp_path / "stopped")), trust_code=False)


def test_a_dry_run_counts_what_lies_in_memory(own: Path, tmp_path: Path) -> None:
    plans = {}
    for stream in ("true", "false"):
        plan = dry_run.plan(composed(own, tmp_path / "none", f"data.stream={stream}"))
        assert plan is not None
        plans[stream] = plan
    held, streamed = (plans[stream].memory["data"] for stream in ("false", "true"))
    assert held - streamed == (1500 - 150) * 64  # all but the validation images
    assert (plans["true"].to_dict()["data"]["streamed"], plans["false"].to_dict()["data"]["streamed"]) == (
        True,
        False,
    )
    assert "batch by batch" in plans["true"].text()
    assert "batch by batch" not in plans["false"].text()
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match="digits lies in no file"):
        dry_run.plan(config.compose(["data=digits", "data.stream=true", "logger=none", "trainer=cpu"]))
