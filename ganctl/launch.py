"""How Lightning starts the ranks of a training, or joins those that were started; how they end together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.strategies.launchers.subprocess_script import _basic_subprocess_cmd
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from ganctl import lost_rank, ranks
from ganctl.errors import GanctlError, UsageError

FIX = "ganctl resume, which goes on from the last checkpoint"

# gloo notices a dead rank at once. Where nothing does (NCCL, or before the ranks have met), a process that
# still waits for a dead one after this time is ended.
GRACE_S = 20.0


def processes(
    devices: int | Literal["auto"], num_nodes: int, environ: Mapping[str, str] = os.environ
) -> tuple[int | Literal["auto"], int]:
    """(devices of each machine, machines) that a training uses.

    torchrun and srun decide it where they started this process: 1, the default, and `auto` leave it to them,
    other numbers have to agree with theirs. Elsewhere the settings hold, and `Launcher` starts the processes.

    Raises:
        UsageError: they don't agree, or machines cannot find each other.
    """
    job = ranks.current(environ)
    if job.launcher is None:
        _check_nodes(num_nodes, environ)
        return devices, num_nodes
    nodes, rest = divmod(job.world_size, job.local_world_size)
    if rest:
        raise UsageError(
            f"{job.launcher} started {job.local_world_size} of {job.world_size} processes on this machine",
            "start as many on each machine",
        )
    options = {"torchrun": ("--nproc-per-node", "--nnodes"), "srun": ("--ntasks-per-node", "--nodes")}
    asked = (("devices", devices, job.local_world_size), ("num_nodes", num_nodes, nodes))
    for (key, wanted, started), option in zip(asked, options[job.launcher], strict=True):
        if wanted not in ("auto", 1, started):
            raise UsageError(
                f"trainer.{key}={wanted}, but {job.launcher} was started with {option}={started}",
                f"trainer.{key}=1 takes what {job.launcher} started; or {option}={wanted}",
            )
    return job.local_world_size, nodes


def _check_nodes(num_nodes: int, environ: Mapping[str, str]) -> None:
    node = environ.get("NODE_RANK", "0")
    if num_nodes == 1 and node == "0":
        return
    if not (node.isdecimal() and int(node) < num_nodes):
        raise UsageError(
            f"NODE_RANK={node}, but trainer.num_nodes={num_nodes}",
            "NODE_RANK counts the machines from 0, trainer.num_nodes is how many there are",
        )
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environ]
    if missing:
        raise UsageError(
            f"trainer.num_nodes={num_nodes}, but {' and '.join(missing)} not set",
            "start it with torchrun or srun, or set the three on each machine",
        )


def environment() -> ClusterEnvironment:
    """Where Lightning finds the ranks: as `ranks.current` sees them."""
    launcher = ranks.current().launcher
    if launcher == "torchrun":
        return TorchElasticEnvironment()
    if launcher == "srun":
        ranks.meet_at_first_node()
        return SLURMEnvironment(auto_requeue=False)  # SIGUSR1 is ours
    return LightningEnvironment()


def strategy(
    name: Literal["auto", "ddp"], accelerator: str, devices: int | Literal["auto"], num_nodes: int
) -> DDPStrategy | Literal["auto"]:
    """DDP for several processes, and where it is asked for."""
    if devices == "auto":
        several = accelerator in ("auto", "gpu") and torch.cuda.device_count() > 1
    else:
        several = devices > 1
    # G's step leaves D without gradients and the other way round, which plain DDP takes for an error.
    return Ranks(find_unused_parameters=True) if several or num_nodes > 1 or name == "ddp" else "auto"


class Ranks(DDPStrategy):
    """DDP, with our launcher."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher, which says which rank died and how, and leaves no process behind.

    Lightning's own looks after its children every five seconds, and then kills them all and itself, without a
    word and before the logs are finished.
    """

    _works = False
    _watched = False

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any
    ) -> Any:
        """Starts the other ranks of this machine, unless they were started already, and calls `function`.

        Raises:
            LostRankError: another rank is gone.
        """
        found = self.cluster_environment
        found.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not found.creates_processes_externally:
            self._start_others()
            self._watch(self._dead)
        elif lost_rank.PARENT in os.environ:
            self._watch(self._orphaned)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        self._works = True
        try:
            with lost_rank.noticing(FIX, self._death):
                return function(*args, **kwargs)
        except Exception as error:
            # What is raised on purpose is raised by all ranks: they end by themselves.
            on_purpose = isinstance(error, GanctlError) and not isinstance(error, lost_rank.LostRankError)
            self._end_others(patience_s=10 if on_purpose else 0)
            raise
        finally:
            self._works = False

    def _start_others(self) -> None:
        found, count = self.cluster_environment, self.num_processes
        node = found.node_rank()
        job = {
            "MASTER_ADDR": found.main_address,
            "MASTER_PORT": str(found.main_port),
            "WORLD_SIZE": str(count * self.num_nodes),
            "LOCAL_WORLD_SIZE": str(count),
            "NODE_RANK": str(node),
            "GROUP_RANK": str(node),
        }
        for local_rank in range(count):
            own = {"RANK": str(node * count + local_rank), "LOCAL_RANK": str(local_rank)}
            if local_rank == 0:
                os.environ.update(job | own)
            else:
                env = os.environ | job | own | {lost_rank.PARENT: str(os.getpid())}
                self.procs.append(subprocess.Popen(_basic_subprocess_cmd(), env=env))

    def _end_others(self, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        for child in self.procs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, until - time.monotonic()))
            child.kill()
            child.wait()

    def _watch(self, gone: Callable[[], str | None]) -> None:
        if self._watched:
            return
        self._watched = True

        def run() -> None:
            while (reason := gone()) is None:
                time.sleep(1)
            time.sleep(GRACE_S)
            if self._works:
                for child in self.procs:
                    child.kill()
                if ranks.current().local_rank <= 1:
                    os.write(2, f"{lost_rank.LostRankError(reason, FIX).report()}\n".encode())
                os._exit(1)

        threading.Thread(target=run, name="watch over ranks", daemon=True).start()

    def _dead(self) -> str | None:
        """Which rank of this machine died, and how; a signal before an exit code, as whoever loses another
        rank exits too."""
        codes = [(child.poll() or 0, i) for i, child in enumerate(self.procs, 1)]
        failed = sorted((code, i) for code, i in codes if code)
        if not failed:
            return None
        code, local_rank = failed[0]
        rank = ranks.current().rank + local_rank
        if code > 0:
            return f"rank {rank} ended with exit code {code}"
        return f"rank {rank} was killed by {signal.Signals(-code).name}" + (
            ": by hand, or because the machine's memory ran out" if -code == signal.SIGKILL else ""
        )

    def _death(self) -> str | None:
        """`_dead`, for a process whose connection is closed, and that is gone in a moment."""
        until = time.monotonic() + (5 if self.procs else 0)
        while (reason := self._dead()) is None and time.monotonic() < until:
            time.sleep(0.1)
        return reason

    def _orphaned(self) -> str | None:
        alive = os.getppid() == int(os.environ[lost_rank.PARENT])
        return None if alive else "the first process of this machine was killed"
