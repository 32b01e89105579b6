"""What a user sees of a training that fails, by one process and by two."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

EPOCH = 18  # steps of 64 digits

NETWORKS = """
import os
import torch
from ganctl.networks import mlp


class IgnoresLabel(mlp.Generator):
    def forward(self, z, y):
        return super().forward(z, torch.zeros_like(y))


class BreaksOnce(mlp.Discriminator):
    # on one rank, in the third epoch of a first life

    steps = 0

    def forward(self, images, y):
        if self.training and torch.is_grad_enabled() and next(self.parameters()).requires_grad:
            BreaksOnce.steps += 1
            if BreaksOnce.steps == 40 and os.environ["LOCAL_RANK"] == "1":
                images = images * float("nan")
        return super().forward(images, y)
"""


@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu"])
def test_a_run_that_ignores_labels_is_stopped_on_every_rank(
    trainer: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "label_blind_networks.py").write_text(NETWORKS)
    begun = time.monotonic()
    done = command(
        *("train", "model=mlp", "loss=lsgan", "data=digits", "logger=none", "run.dir=run"),
        *(f"trainer={trainer}", "trainer.max_epochs=50", "callbacks.evaluate.num_gen=200"),
        *("watchdog.action=stop", "watchdog.warmup_kimg=3", "watchdog.min_diversity=0"),
        "model.generator._target_=label_blind_networks.IgnoresLabel",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 3, done.stderr
    assert time.monotonic() - begun < 120
    assert "Error: labels are ignored: label accuracy" in done.stderr
    assert "ganctl resume run" in done.stderr
    assert "Traceback" not in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "watchdog/labels_ignored" in row] == [3 * EPOCH]
    assert rows[-1]["step"] == 3 * EPOCH


def test_two_ranks_go_back_together(command: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "breaking_networks.py").write_text(NETWORKS)
    done = command(
        *("train", "model=mlp", "loss=lsgan", "data=digits", "logger=none", "run.dir=run", "trainer=ddp_cpu"),
        *("trainer.max_epochs=4", "callbacks.evaluate.num_gen=64", "watchdog.action=rollback"),
        "model.discriminator._target_=breaking_networks.BreaksOnce",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("rollback 1 of 3") == 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["step"], row["train/d_loss"]) for row in rows if "train/d_loss" in row]
    assert [step for step, _ in losses] == list(range(1, 4 * EPOCH + 1))
    assert None not in [loss for _, loss in losses]
