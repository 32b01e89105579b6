"""One torch thread (two on a busy machine make trivial steps thirty times slower), and no user state."""

from __future__ import annotations

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
