"""Which process of a job this is.

A job is what torchrun, SLURM's srun or a training (`ganctl.launch`) started together; the environment tells
of it. Where a training spans machines by `NODE_RANK`, its first process on each counts as alone here until it
has started the others: Lightning knows its rank.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ganctl.errors import UsageError


@dataclass(frozen=True)
class Job:
    """The processes that were started together.

    Args:
        launcher: what started them; None where this process is alone.
        rank: of this process, in [0, world_size).
        local_rank: among those on this machine, in [0, local_world_size).
    """

    launcher: Literal["torchrun", "srun"] | None = None
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def current(environ: Mapping[str, str] = os.environ) -> Job:
    """The job of this process.

    As for Lightning, a SLURM job named `bash` or `interactive` is a shell. A batch script sees `SLURM_NTASKS`
    as well, but only srun starts that many processes, in a job step.

    Raises:
        UsageError: a variable is no number, or srun was not told how many tasks each machine gets.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= environ.keys():
        rank, size, local = (_number(environ, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return Job("torchrun", rank, size, local, _number(environ, "LOCAL_WORLD_SIZE", size))
    shell = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    size = _number(environ, "SLURM_NTASKS", 1)
    if "SLURM_STEP_ID" not in environ or shell or size == 1:
        return Job()
    if "SLURM_NTASKS_PER_NODE" not in environ:
        raise UsageError(
            f"srun started {size} tasks, but was not told how many each machine gets",
            "give sbatch --nodes and --ntasks-per-node, not --ntasks",
        )
    rank, local = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_LOCALID")
    return Job("srun", rank, size, local, _number(environ, "SLURM_NTASKS_PER_NODE"))


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageError(f"{name}={text!r} in the environment is no number", f"unset {name}")
    return int(text)


def meet_at_first_node() -> None:
    """Sets `MASTER_ADDR` and `MASTER_PORT` for a SLURM job, where they are not set: its first machine, and a
    port of its own."""
    # `gpu[07-09,12],login` -> `gpu07`
    first = re.match(r"([^,\[]*)(?:\[([^,\-\]]*))?", os.environ.get("SLURM_JOB_NODELIST", ""))
    assert first is not None
    os.environ.setdefault("MASTER_ADDR", (first[1] + (first[2] or "")) or "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(15_000 + _number(os.environ, "SLURM_JOB_ID", 0) % 10_000))


def leave(code: int | str | None) -> None:
    """Ends a process of several at once, after what Python's own end would have called and written.

    The end of PyTorch's C++ sometimes aborts such a process ("terminate called without an active exception"),
    whose work is done and saved: torchrun and srun would take that for a failure of the whole job, and on
    other machines wait for minutes. One that works alone ends as always.
    """
    try:
        alone = current().world_size == 1
    except UsageError:  # said already
        alone = True
    if alone or not isinstance(code, int | None):
        return
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


@contextlib.contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Nothing that Python prints is seen: rank 0 alone speaks."""
    with contextlib.ExitStack() as stack:
        if is_quiet:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield
