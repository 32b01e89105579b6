"""The same command twice gives the same checkpoint bit for bit on a CPU; another seed gives another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compare_runs import differences, leaves

pytestmark = pytest.mark.slow

Command = Callable[..., Any]

TRAIN = (
    "train",
    "data=digits",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "callbacks.evaluate.num_gen=100",
    "logger=none",
    "run.dir=run",
)
# Every generator that Python code can have used before the command starts.
AFTER_OTHER_WORK = (
    "import random, numpy, torch; random.seed(5); numpy.random.seed(5); torch.manual_seed(5); "
    "random.random(); numpy.random.rand(3); torch.rand(7); from ganctl.cli import main; main()"
)


def train(command: Command, cwd: Path, *overrides: str, **options: Any) -> Path:
    cwd.mkdir()
    done = command(*TRAIN, *overrides, cwd=cwd, **options)
    assert done.returncode == 0, done.stderr
    return cwd / "run"


@pytest.mark.parametrize("model", ["mlp", "dcgan"])  # dropout and batch normalisation; convolutions in bf16
def test_the_same_command_twice_gives_the_same_run(command: Command, tmp_path: Path, model: str) -> None:
    one = train(command, tmp_path / "one", f"model={model}", env={"PYTHONHASHSEED": "1"})
    two = train(
        command,
        tmp_path / "two",
        f"model={model}",
        env={"PYTHONHASHSEED": "2"},
        program=[sys.executable, "-c", AFTER_OTHER_WORK],
    )
    assert differences(two, one) == []

    if model == "mlp":
        other = train(command, tmp_path / "other", f"model={model}", "seed=1")
        ours, others = (
            dict(leaves(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]))
            for run in (one, other)
        )
        drawn = [name for name in ours if name.endswith("weight") and "layers" in name]
        assert len(drawn) > 10
        assert [name for name in drawn if ours[name] == others[name]] == []
