"""A folder of pictures, trained on by two ranks: prepared once, and streamed or not the same training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow


def test_two_ranks_train_on_a_folder_streamed_or_not(command: Callable[..., Any], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for k in range(120):
        place = tmp_path / "pets" / ("cat", "dog")[k % 2] / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 11, 3), np.uint8)).save(place)
    own = ("data=folder", "data.root=pets", "data.resolution=8", "data.batch_size=20")
    weights = {}
    for stream in ("true", "false"):
        done = command(
            *("train", "model=mlp", "loss=lsgan", *own, f"data.stream={stream}", "logger=none"),
            *("callbacks=none", "trainer=ddp_cpu", "trainer.max_epochs=3", f"run.dir=run_{stream}"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        # by one of the ranks, for both and for the run after
        assert done.stderr.count("prepared once, are now in") == (stream == "true")
        assert ("are read batch by batch" in done.stderr) == (stream == "true")
        content = torch.load(tmp_path / f"run_{stream}" / "checkpoints" / "last.ckpt", weights_only=True)
        assert content["ganctl"]["data"]["name"] == "folder:pets"
        assert len(content["ganctl"]["data"]["digest"]) == 64
        weights[stream] = content["state_dict"]
    assert len(weights["true"]) > 10
    assert all(torch.equal(value, weights["false"][name]) for name, value in weights["true"].items())
