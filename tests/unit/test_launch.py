"""How many processes a training has, who starts them, and what is known of one that died."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from ganctl import launch
from ganctl.errors import UsageError

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
MEET = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environ", "found"),
    [
        (4, 1, {}, (4, 1)),
        ("auto", 1, {}, ("auto", 1)),
        (2, 3, MEET | {"NODE_RANK": "2"}, (2, 3)),
        (1, 1, TORCHRUN, (2, 2)),
        ("auto", 1, TORCHRUN, (2, 2)),
        (2, 2, TORCHRUN, (2, 2)),
        (1, 2, TORCHRUN, (2, 2)),
    ],
)
def test_torchrun_decides_where_it_started_the_process(
    devices: int, num_nodes: int, environ: dict[str, str], found: tuple[int, int]
) -> None:
    assert launch.processes(devices, num_nodes, environ) == found


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environ", "what", "fix"),
    [
        (4, 1, TORCHRUN, "trainer.devices=4, but torchrun was started with --nproc-per-node=2", "devices=1"),
        (1, 3, TORCHRUN, "trainer.num_nodes=3, but torchrun was started with --nnodes=2", "--nnodes=3"),
        (1, 1, TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}, "3 of 4 processes", "as many on each machine"),
        (1, 2, {}, "NODE_RANK and MASTER_ADDR and MASTER_PORT not set", "torchrun"),
        (1, 2, {"NODE_RANK": "0"}, "MASTER_ADDR and MASTER_PORT not set", "torchrun"),
        (1, 1, MEET | {"NODE_RANK": "1"}, "NODE_RANK=1, but trainer.num_nodes=1", "from 0"),
        (1, 2, MEET | {"NODE_RANK": "x"}, "NODE_RANK=x", "from 0"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    devices: int, num_nodes: int, environ: dict[str, str], what: str, fix: str
) -> None:
    with pytest.raises(UsageError) as caught:
        launch.processes(devices, num_nodes, environ)
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("name", "devices", "num_nodes", "several"),
    [
        ("auto", 1, 1, False),
        ("auto", "auto", 1, False),
        ("auto", 2, 1, True),
        ("auto", 1, 2, True),
        ("ddp", 1, 1, True),
    ],
)
def test_several_processes_need_ddp(name: str, devices: int, num_nodes: int, several: bool) -> None:
    found = launch.strategy(name, "cpu", devices, num_nodes)  # type: ignore[arg-type]
    assert isinstance(found, DDPStrategy) == several
    assert several or found == "auto"


@pytest.fixture
def launcher() -> Iterator[launch.Launcher]:
    made = launch.Launcher(LightningEnvironment(), 4, 1)
    yield made
    for child in made.procs:
        child.kill()
        child.wait()


def child(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_rank_that_died_is_named_with_its_signal_or_exit_code(launcher: launch.Launcher) -> None:
    waits = "import time; time.sleep(60)"
    launcher.procs = [child(waits), child("raise SystemExit(3)"), child(waits)]
    launcher.procs[1].wait()
    assert launcher._dead() == "rank 2 ended with exit code 3"
    # Who is killed is the cause of others' exits, not the other way round.
    launcher.procs[2].send_signal(signal.SIGSEGV)
    launcher.procs[2].wait()
    assert launcher._dead() == "rank 3 was killed by SIGSEGV"
    launcher._end_others(patience_s=0)
    assert launcher.procs[0].returncode == -signal.SIGKILL


def test_ranks_that_end_by_themselves_are_no_failure(launcher: launch.Launcher) -> None:
    launcher.procs = [child("")]
    launcher._end_others(patience_s=30)
    assert launcher.procs[0].returncode == 0
    assert launcher._dead() is None
