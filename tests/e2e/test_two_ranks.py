"""Two ranks, however they are started, are one training; and where one dies, all end and it is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from launchers import MODULE, SRUN, TORCHRUN

pytestmark = pytest.mark.slow

TRAIN = ("train", "+experiment=quick", "data=digits", "loss=hinge", "logger=none", "callbacks=none")

# A user's network that says how many train together, and can fail on one rank.
NETWORKS = """
import os, pathlib, torch
from ganctl.networks import dcgan

class Generator(dcgan.Generator):
    passes = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if "NEVER_THERE" in os.environ and os.environ.get("RANK") == os.environ["NEVER_THERE"]:
            os.abort()

    def forward(self, z, y):
        if self.training:
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
            pathlib.Path(os.environ["SEEN"], f"{rank} of {size}").touch()
            Generator.passes += 1
            if os.environ.get("FAILING_RANK") == str(rank) and Generator.passes == 4:
                raise MemoryError("no room for the fourth batch\\nnor for others")
        return super().forward(z, y)

class Opinionated(dcgan.Discriminator):
    # takes all that rank 0 shows it for real, and what others show it for fake

    def forward(self, images, y):
        return 0 * super().forward(images, y) + (3 if torch.distributed.get_rank() == 0 else -1)
"""


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, str]:
    """An environment in which `counted.Generator` is found, and writes into the folder `seen`."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "counted.py").write_text(NETWORKS)
    (tmp_path / "seen").mkdir()
    return {"PYTHONPATH": str(tmp_path / "lib"), "SEEN": str(tmp_path / "seen")}


@pytest.fixture(scope="module")
def trained_weights() -> dict[str, torch.Tensor]:
    """What the first way to start two ranks ended with; filled by the tests."""
    return {}


# The program (None: the console script), its environment in each process, and what the training is told.
WAYS: dict[str, tuple[list[str] | None, list[dict[str, str]], list[str]]] = {
    "torchrun": ([TORCHRUN, "--nproc-per-node=2", *MODULE], [{}], ["trainer=cpu"]),
    "two nodes by torchrun": (
        [TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *MODULE],
        [{"PET_NODE_RANK": node} for node in "01"],
        ["trainer=cpu"],
    ),
    "two nodes by hand": (
        None,
        [{"NODE_RANK": node} for node in "01"],
        ["trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2"],
    ),
    "srun": (None, SRUN, ["trainer=cpu"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_are_one_training(
    way: str,
    several: Callable[..., Any],
    tmp_path: Path,
    networks: dict[str, str],
    trained_weights: dict[str, torch.Tensor],
) -> None:
    program, machines, overrides = WAYS[way]
    done = several(
        *TRAIN,
        *overrides,
        "trainer.max_steps=2",
        "model.generator._target_=counted.Generator",
        cwd=tmp_path,
        program=program,
        envs=[networks | machine for machine in machines],
    )
    assert [each.returncode for each in done] == [0] * len(machines), [each.stderr for each in done]
    assert {p.name for p in (tmp_path / "seen").iterdir()} == {"0 of 2", "1 of 2"}

    (run,) = (tmp_path / "runs" / "quick").iterdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows if "train/d_loss" in row] == [64, 128]
    assert done[0].stdout.count("images seen  128") == 1
    assert done[0].stderr.count("run folder") == 1
    for other in done[1:]:
        # torchrun on the second node complains where that on the first ends before it.
        assert other.stdout == ""
        assert not any(word in other.stderr for word in ("run folder", "images seen", "Try:")), other.stderr
        assert program or other.stderr == ""

    found = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in found.items():
        assert torch.equal(tensor, trained_weights.setdefault(name, tensor)), name


def test_what_adapts_follows_the_images_of_both_ranks(
    command: Callable[..., Any], tmp_path: Path, networks: dict[str, str]
) -> None:
    # r_t is 1 on rank 0, -1 on rank 1, 0 on both together: above the target
    ada = ("augment=ada", "augment.target=-0.5", "augment.speed_kimg=1", "loss.lecam_weight=1")
    options = ("trainer=ddp_cpu", "trainer.max_steps=9", "model.discriminator._target_=counted.Opinionated")
    done = command(*TRAIN, *ada, *options, "run.dir=run", cwd=tmp_path, env=networks)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    # twice four batches of 64 images over both; the ninth batch waits for three others
    assert float(found["augment.p"]) == pytest.approx(8 * 64 / 1000)
    assert found["augment.seen"].tolist() == [0, 64]
    assert found["lecam_anchors"].tolist() == pytest.approx([1, 1])


class Training:
    """Two ranks that would train for hours, on the way."""

    def __init__(self, start: Callable[..., Any], program: list[str] | None, cwd: Path) -> None:
        self.cwd = cwd
        with (cwd / "stderr").open("wb") as stderr:
            options = ("trainer=ddp_cpu", "trainer.max_epochs=100000")
            self.main = start(*TRAIN, *options, program=program, cwd=cwd, stderr=stderr)
        until = time.monotonic() + 120
        while len(self.rows()) < 20:
            assert self.main.poll() is None, self.stderr
            assert time.monotonic() < until
            time.sleep(0.2)
        (self.other,) = _children(self.main.pid)

    def rows(self) -> list[str]:
        """What is logged so far."""
        files = self.cwd.glob("runs/*/*/metrics.jsonl")
        return [line for path in files for line in path.read_text().splitlines()]

    @property
    def stderr(self) -> str:
        return (self.cwd / "stderr").read_text()

    def wait_for_all(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.main.poll() is None or _alive(self.other):
            if time.monotonic() > until:
                if _alive(self.other):
                    os.kill(self.other, signal.SIGKILL)
                pytest.fail(f"still there after {seconds} s: {self.stderr}")
            time.sleep(0.1)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


def _alive(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def test_a_killed_rank_is_named_and_ends_the_training(start: Callable[..., Any], tmp_path: Path) -> None:
    training = Training(start, None, tmp_path)
    os.kill(training.other, signal.SIGKILL)
    training.wait_for_all(60)
    assert training.main.returncode == 1
    error, fix = training.stderr.splitlines()[-2:]
    assert error.startswith("Error: rank 1 was killed by SIGKILL")
    assert fix.startswith("Try:   ganctl resume")
    rows = [json.loads(line) for line in training.rows()]
    steps = [row["step"] for row in rows if "train/d_loss" in row]
    assert steps == list(range(1, len(steps) + 1))  # those since the last flush as well


def test_the_others_end_with_rank_0_and_say_so(start: Callable[..., Any], tmp_path: Path) -> None:
    training = Training(start, [sys.executable, *MODULE], tmp_path)
    training.main.kill()
    training.wait_for_all(60)
    error, fix = training.stderr.splitlines()[-2:]
    assert error.startswith("Error: rank 1: rank 0 was killed")
    assert fix.startswith("Try:   ganctl resume")


@pytest.fixture
def failing(command: Callable[..., Any], tmp_path: Path, networks: dict[str, str]) -> Callable[..., Any]:
    """failing(NAME="1"): a training of two ranks whose networks do what the environment says."""

    def run(**how: str) -> Any:
        target = "model.generator._target_=counted.Generator"
        return command(*TRAIN, "trainer=ddp_cpu", target, cwd=tmp_path, env=networks | how)

    return run


def test_rank_0_does_not_wait_for_one_that_died_before_they_met(
    failing: Callable[..., Any], tmp_path: Path
) -> None:
    """No connection tells it."""
    done = failing(NEVER_THERE="1")
    assert done.returncode == 1
    assert "Error: rank 1 was killed by SIGABRT\nTry:   ganctl resume" in done.stderr
    assert not any((tmp_path / "seen").iterdir())


def test_rank_0_says_why_another_failed(failing: Callable[..., Any]) -> None:
    done = failing(FAILING_RANK="1")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "room" in line or "Traceback" in line] == [
        "Error: rank 1: MemoryError: no room for the fourth batch"
    ]
