"""What the processes of a job hand each other. In a process that is alone each function is the identity."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ganctl import lost_rank, ranks
from ganctl.errors import GanctlError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

# What a call came to: its result, or its error as (whether it is a UsageError, what, fix).
_Outcome = tuple[Any, tuple[bool, str, str] | None]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Joins the processes that torchrun or srun started; in one that is alone it does nothing.

    Raises:
        LostRankError: another process died.
    """
    job = ranks.current()
    if job.world_size == 1:
        yield
        return
    from torch import distributed

    if job.launcher == "srun":
        ranks.meet_at_first_node()
    distributed.init_process_group("gloo", rank=job.rank, world_size=job.world_size)
    try:
        with lost_rank.noticing("start it again: nothing that takes long was lost"):
            yield
    finally:
        distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """(rank, world size) of the processes that have joined; (0, 1) where there is but this one."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(n: int, unit: int = 1) -> range:
    """This rank's part of n things in a row: contiguous, cut at multiples of `unit`, else equal parts."""
    rank, size = place()
    units = -(-n // unit)
    start, stop = (-(-units * r // size) * unit for r in (rank, rank + 1))
    return range(min(start, n), min(stop, n))


def gather(part: Tensor | None) -> Tensor | None:
    """The parts of all ranks, one behind the other, at every rank.

    Args:
        part: (n, …) on the CPU, n differing between ranks; None where there is none.
    """
    parts = [p for p in _everyones(None if part is None else part.clone()) if p is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    import torch

    return torch.cat(parts)


def total(tensor: Tensor) -> Tensor:
    """The sum over all ranks of a tensor on the CPU, at every rank."""
    first, *rest = _everyones(tensor)
    return sum(rest, start=first)


def from_first(call: Callable[[], T]) -> T:
    """Rank 0 makes the call; every rank gets what it returns, or the GanctlError that it raises."""
    own: _Outcome = _tried(call) if place()[0] == 0 else (None, None)
    return _result(_everyones(own)[0])


def agree(call: Callable[[], T]) -> T:
    """Every rank makes the call and gets what it returns; where it raises a GanctlError at one, all raise it.

    Between the two all ranks take the same way, and none waits for another that took a different one.
    """
    own = _tried(call)
    errors = [error for _, error in _everyones((None, own[1])) if error is not None]
    return _result((own[0], errors[0] if errors else None))


def _tried(call: Callable[[], Any]) -> _Outcome:
    try:
        return call(), None
    except GanctlError as error:
        return None, (isinstance(error, UsageError), error.what, error.fix)


def _result(outcome: _Outcome) -> Any:
    result, error = outcome
    if error is not None:
        is_usage, what, fix = error
        raise (UsageError if is_usage else GanctlError)(what, fix)
    return result


def _everyones(own: T) -> list[T]:
    """What each rank has, in their order."""
    _, size = place()
    if size == 1:
        return [own]
    from torch import distributed

    found: list[Any] = [None] * size
    distributed.all_gather_object(found, own)
    return found
