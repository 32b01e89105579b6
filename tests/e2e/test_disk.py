"""A disk that fills while training costs what could not be written, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

EPOCH = 18  # steps of 64 digits

# A user's network that fills the disk: from training step FULL to step FREE no file of the process grows
# beyond a size that the log has passed already. It notes what the last checkpoint holds when that ends.
NETWORKS = """
import os, resource
import torch
from ganctl.networks import mlp

FULL, FREE = int(os.environ["FULL"]), int(os.environ["FREE"])


class Generator(mlp.Generator):
    step = 0

    def forward(self, z, y):
        if self.training:
            Generator.step += 1
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            if Generator.step == FULL:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
            if Generator.step == FREE:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                kept = torch.load("run/checkpoints/last.ckpt", weights_only=True)["ganctl"]["steps"]
                open("kept", "w").write(str(kept))
        return super().forward(z, y)
"""


@pytest.fixture
def train(command: Callable[..., Any], tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """train(full, free) trains four epochs: exit code, stderr, and what lies in the run folder."""

    def run(full: int, free: int) -> SimpleNamespace:
        (tmp_path / "full_disk_networks.py").write_text(NETWORKS)
        done = command(
            *("train", "model=mlp", "loss=lsgan", "data=digits", "logger=none", "run.dir=run"),
            *("trainer=cpu", "trainer.max_epochs=4", "callbacks.evaluate.num_gen=64"),
            "model.generator._target_=full_disk_networks.Generator",
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "FULL": str(full), "FREE": str(free)},
        )
        return SimpleNamespace(code=done.returncode, stderr=done.stderr, run=tmp_path / "run", cwd=tmp_path)

    return run


def steps_of(run: Path) -> int:
    saved: int = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["ganctl"]["steps"]
    return saved


def training_steps(run: Path) -> list[int]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "train/d_loss" in row]


def strays(run: Path) -> list[str]:
    return [path.name for path in run.rglob(".*")]


def test_a_disk_full_for_a_while_costs_one_checkpoint(train: Callable[..., SimpleNamespace]) -> None:
    done = train(full=EPOCH + 10, free=2 * EPOCH + 10)
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write run/checkpoints/last.ckpt" in done.stderr
    assert int((done.cwd / "kept").read_text()) == EPOCH
    assert steps_of(done.run) == 4 * EPOCH
    assert training_steps(done.run) == list(range(1, 4 * EPOCH + 1))
    assert strays(done.run) == []
    # The grid of the second epoch is lost, those before and after are there.
    grids = sorted(path.stem for path in (done.run / "samples").glob("fakes_*"))
    assert grids == [f"fakes_{step:06d}" for step in (0, EPOCH, 3 * EPOCH, 4 * EPOCH)]


def test_a_disk_that_stays_full_ends_the_run_with_the_checkpoint_before(
    train: Callable[..., SimpleNamespace],
) -> None:
    done = train(full=EPOCH + 10, free=10**9)
    assert done.code == 1
    assert "Traceback" not in done.stderr
    assert "Error: cannot write run/checkpoints/last.ckpt" in done.stderr
    assert "free disk space" in done.stderr
    assert steps_of(done.run) == EPOCH
    assert strays(done.run) == []
