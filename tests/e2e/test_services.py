"""W&B out of reach, silent, logged out, or its process killed while training: it costs its own log alone."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef0123456789abcdef01234567"
STEPS = 36  # two epochs of 64 digits

# A user's network that kills W&B's process at step 10, as the kernel does when memory runs out.
NETWORKS = """
import os, signal
from pathlib import Path
from ganctl.networks import mlp


class Generator(mlp.Generator):
    step = 0

    def forward(self, z, y):
        if self.training:
            Generator.step += 1
            if Generator.step == 10:
                for process in Path("/proc").glob("[0-9]*"):
                    words = (process / "cmdline").read_bytes().decode().split("\\0")
                    if words[0].endswith("wandb-core") and str(os.getpid()) in words:
                        os.kill(int(process.name), signal.SIGKILL)
                        Path("killed").touch()
        return super().forward(z, y)
"""

Train = Callable[..., SimpleNamespace]


@pytest.fixture
def train(command: Callable[..., Any], tmp_path: Path) -> Train:
    """train("override", …, VARIABLE="value") trains two epochs, and says how long the command took."""

    def run(*overrides: str, **env: str) -> SimpleNamespace:
        (tmp_path / "lethal_networks.py").write_text(NETWORKS)
        begun = time.monotonic()
        done = command(
            *("train", "model=mlp", "loss=lsgan", "data=digits", "run.dir=run"),
            *("trainer=cpu", "trainer.max_epochs=2", "callbacks.evaluate.num_gen=64", *overrides),
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), **env},
        )
        seconds = time.monotonic() - begun
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "train/d_loss" in row] == list(range(1, STEPS + 1))
        assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
        return SimpleNamespace(stderr=done.stderr, seconds=seconds, cwd=tmp_path)

    return run


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing_server() -> str:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_its_process_killed(train: Train) -> None:
    done = train("model.generator._target_=lethal_networks.Generator")
    assert (done.cwd / "killed").exists()
    assert "WandbRun failed and is dropped, training goes on" in done.stderr
    assert done.seconds < 60


def test_logged_out(train: Train) -> None:
    done = train(WANDB_MODE="")
    assert "W&B is offline" in done.stderr
    assert done.seconds < 60


@pytest.mark.parametrize("server", ["refusing_server", "silent_server"])
def test_its_server_does_not_answer(server: str, train: Train, request: pytest.FixtureRequest) -> None:
    done = train(
        *("logger.wandb.init_timeout_s=2", "logger.wandb.finish_timeout_s=2"),
        WANDB_MODE="online",
        WANDB_API_KEY=KEY,
        WANDB_BASE_URL=request.getfixturevalue(server),
    )
    assert "W&B is out of reach" in done.stderr
    assert "logging offline" in done.stderr
    assert KEY not in done.stderr
    assert done.seconds < 60
