"""One torch thread (two on a busy machine make trivial steps thirty times slower), no user state, and no
logging that another test set up."""

from __future__ import annotations

import logging

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test gets its own cache and W&B folders: none reads or writes the user's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GANCTL_CACHE_DIR", str(home / "cache"))
    monkeypatch.delenv("GANCTL_DATA_DIR", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / "wandb"))


@pytest.fixture(autouse=True)
def _own_log() -> None:
    """Every test gets the program's log as it is before a command takes it over: `caplog` hears it."""
    logger = logging.getLogger("ganctl")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
    logging.raiseExceptions = True
