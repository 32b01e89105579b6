"""Which device computes, and what it is called. Imports torch only when asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ganctl import ranks
from ganctl.errors import UsageError

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `mps`; of several processes on one machine each gets a GPU of its own.

    Raises:
        UsageError: there is no such device, or not here.
    """
    device = _device(name)
    logging.getLogger("ganctl").debug("device %s", device)
    return device


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return _own_gpu()
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if name not in available:
        raise UsageError(f"there is no device {name!r}", "devices are auto, cpu, cuda and mps")
    if not available[name]():
        raise UsageError(f"this machine has no {name} device", "use --device cpu, or auto")
    return _own_gpu() if name == "cuda" else torch.device(name)


def _own_gpu() -> torch.device:
    """Each process of a machine has one of its own; srun may show it no other."""
    import torch

    job = ranks.current()
    return torch.device(f"cuda:{job.local_rank % torch.cuda.device_count()}" if job.launcher else "cuda")


def describe(device: torch.device) -> str:
    """The kind of device, and what of it decides how sums are rounded: `cpu AVX512`, `cuda NVIDIA H200`."""
    import torch

    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def free_bytes(device: torch.device) -> int | None:
    """What of the memory that `device` computes in is free, of a machine what programs could have; None where
    the system does not say."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    except (OSError, ValueError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")  # a container's own limit; pages of files can be given up
    with suppress(OSError, ValueError, StopIteration):
        limit, used = (
            int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current")
        )
        stat = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        files = int(next(line.split()[1] for line in stat if line.startswith("inactive_file ")))
        free = min(free, limit - used + files)
    return max(0, free)
