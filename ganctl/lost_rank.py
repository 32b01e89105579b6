"""What happens where one of several processes fails: rank 0 says which and why, and all end."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from ganctl import ranks
from ganctl.errors import GanctlError

if TYPE_CHECKING:
    from torch import distributed

# Set for ranks that a training starts itself: the process id of the first rank of the machine.
PARENT = "GANCTL_PARENT"

_WORD = "ganctl/word"  # in the store at which the processes met


class LostRankError(GanctlError):
    """Another process of the job is gone, without which the work cannot go on."""


@contextlib.contextmanager
def noticing(fix: str, cause: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Rank 0 says what goes wrong in here on any rank: the others leave it their reason, and keep silent.

    Args:
        fix: what helps when a rank died.
        cause: what is known of a process that died: which, and how.

    Raises:
        LostRankError: another process is gone.
    """
    try:
        yield
    except GanctlError as error:  # said on purpose, as a rule by every rank
        error.told = ranks.current().rank > 0
        if error.told:
            _leave_word(error.what)
        raise
    except Exception as error:
        if _is_lost_connection(error):
            raise _lost(fix, cause) from error
        text = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        if ranks.current().rank and _leave_word(text):
            told = GanctlError(text)
            told.told = True
            raise told from error
        raise


def _is_lost_connection(error: Exception) -> bool:
    from torch import distributed

    gloo = isinstance(error, RuntimeError) and "gloo/" in str(error)
    return distributed.is_initialized() and (gloo or isinstance(error, distributed.DistError))


def _lost(fix: str, cause: Callable[[], str | None]) -> LostRankError:
    job = ranks.current()
    if job.rank == 0:
        reason = _last_word() or cause() or "another rank died and left no word: torchrun and srun say which"
        return LostRankError(reason, fix)
    error = LostRankError("rank 0 was killed: by hand, or because the machine's memory ran out", fix)
    if _rank_zero_lives():
        time.sleep(3)  # so that what failed first also ends first, and launchers name the right one
        error.told = True
    else:
        beside_it = job.rank == job.local_rank
        error.told = job.local_rank > (1 if beside_it else 0)
    return error


def _rank_zero_lives() -> bool:
    started_this = PARENT in os.environ and ranks.current().rank == ranks.current().local_rank
    until = time.monotonic() + 2  # connections are closed a moment before the process is gone
    while time.monotonic() < until:
        if not (os.getppid() == int(os.environ[PARENT]) if started_this else _store_answers()):
            return False
        time.sleep(0.1)
    return True


def _leave_word(text: str) -> bool:
    """Leaves rank 0 the reason why this one ends; False where that is not possible. The first word stays."""
    try:
        return _store_answers() and bool(
            _store().compare_set(_WORD, "", f"rank {ranks.current().rank}: {text}")
        )
    except RuntimeError:  # torch.distributed's errors are
        return False


def _last_word() -> str | None:
    """The reason that another rank left."""
    try:
        store = _store()
        return store.get(_WORD).decode() if store.check([_WORD]) else None
    except RuntimeError:
        return None


def _store() -> distributed.TCPStore:
    """The store at which the processes met."""
    from torch import distributed

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return distributed.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=5))


def _store_answers() -> bool:
    try:
        with socket.create_connection((os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]), timeout=5):
            return True
    except (OSError, KeyError):
        return False
