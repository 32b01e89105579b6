"""Optuna's storages: a database, or a file that machines append to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ganctl.errors import UsageError


def require_optuna() -> None:
    """Raises:
    UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("a sweep needs the package optuna", "pip install 'ganctl[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", url)


def connect(url: str | None, sweep: Path) -> Any:
    """The storage at a URL; by default a file in the sweep's folder.

    Raises:
        UsageError: it cannot be had.
    """
    from optuna.storages import RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    where = url or f"sqlite:///{sweep / 'sweep.db'}"
    try:
        if where.startswith("journal:"):
            return JournalStorage(JournalFileBackend(where.removeprefix("journal:")))
        # Trials of several machines wait for each other instead of failing.
        waits = {"connect_args": {"timeout": 60}} if where.startswith("sqlite") else {}
        return RDBStorage(where, engine_kwargs=waits)
    except Exception as error:  # SQLAlchemy, a driver or the file system says it in its own way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(where, "it")
        raise UsageError(
            f"cannot open the storage {without_password(where)}: {without_password(reason)}",
            "give a database as in sqlite:////shared/sweep.db or postgresql://user@host/name, "
            "or a file as in journal:/shared/sweep.journal",
        ) from None
