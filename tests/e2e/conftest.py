"""The installed command as a user runs it, and one short training that the tests share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

GANCTL = Path(sys.executable).with_name("ganctl")


def environment(home: Path) -> dict[str, str]:
    """This process's environment without the user's data, keys and folders; one thread; W&B offline."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GANCTL_", "WANDB_", "PL_", "PYTHON", "COMET_", "MLFLOW_"))
    }
    own = {
        "GANCTL_CACHE_DIR": str(home / "cache"),
        "NETRC": str(home / "netrc"),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
    }
    return kept | own | {f"WANDB_{name}_DIR": str(home / "wandb") for name in ("CACHE", "DATA", "CONFIG")}


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """command("sample", "--n", "4", cwd=folder) runs the console script; `env` adds variables."""
    home = tmp_path_factory.mktemp("home")

    def run(
        *args: str, cwd: Path, env: dict[str, str] | None = None, program: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        assert GANCTL.is_file(), f"no console script beside {sys.executable}"
        return subprocess.run(
            [*(program or [str(GANCTL)]), *args],
            cwd=cwd,
            env=environment(home) | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def trained(command: Command, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two epochs on digits: `cwd`, the run folder `run`, and `stdout`, `stderr` of the command."""
    cwd = tmp_path_factory.mktemp("trained")
    done = command("train", "+experiment=quick", "data=digits", "trainer.max_epochs=2", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (run,) = (cwd / "runs" / "quick").iterdir()
    return SimpleNamespace(cwd=cwd, run=run, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture
def invoke() -> Iterator[Callable[..., SimpleNamespace]]:
    """invoke("sample", "--n", "4") calls the app in this process: `exit_code`, `stdout`, `stderr`.

    Logging and the environment are afterwards as they were.
    """
    from typer.testing import CliRunner

    from ganctl import cli

    logger = logging.getLogger("ganctl")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers = []
    environ = dict(os.environ)

    def run(*args: str) -> SimpleNamespace:
        logger.handlers = []  # a handler keeps the stream of the call that made it
        result = CliRunner().invoke(cli.app, list(args))
        return SimpleNamespace(
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            exception=result.exception,
        )

    yield run
    logger.handlers, logger.level, logger.propagate = before
    for key in set(os.environ) - set(environ):
        del os.environ[key]
    os.environ.update(environ)
