"""The installed command as a user runs it, and one short training that the tests share."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

GANCTL = Path(sys.executable).with_name("ganctl")


def environment(home: Path) -> dict[str, str]:
    """This process's environment without the user's data, keys and folders; one thread; W&B offline."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GANCTL_", "WANDB_", "PL_", "PYTHON", "COMET_", "MLFLOW_", "SLURM_"))
    }
    own = {
        "GANCTL_CACHE_DIR": str(home / "cache"),
        "NETRC": str(home / "netrc"),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
    }
    return kept | own | {f"WANDB_{name}_DIR": str(home / "wandb") for name in ("CACHE", "DATA", "CONFIG")}


@pytest.fixture(scope="session")
def users_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("user"))


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def _hear_ctrl_c() -> None:
    """Tests that a shell started in the background ignore Ctrl-C, and hand that on to what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """start("train", cwd=folder) starts the console script, or `program`, and does not wait for it."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*args: str, program: list[str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        arguments = [*(program or [str(GANCTL)]), *args]
        options = streams | {"env": environment(tmp_path), "preexec_fn": _hear_ctrl_c} | options
        started.append(subprocess.Popen(arguments, **options))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


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
def several(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """several("sample", …, envs=[{…}, {…}], cwd=folder) runs one command for each environment, all at once;
    they find each other at a free port.

    Where one fails the others have half a minute; what is still there then says where it is and is ended.
    """
    home = tmp_path_factory.mktemp("several")

    def run(
        *args: str, envs: list[dict[str, str]], cwd: Path, program: list[str] | None = None
    ) -> list[subprocess.CompletedProcess[str]]:
        port = _free_port()
        # The second two are torchrun's options.
        names = ("MASTER_ADDR", "MASTER_PORT", "PET_MASTER_ADDR", "PET_MASTER_PORT")
        meet = dict(zip(names, ["127.0.0.1", port] * 2, strict=True)) | {"PYTHONFAULTHANDLER": "1"}
        # torchrun on the second node may see that on the first end before it, and warn of it
        meet["TORCH_CPP_LOG_LEVEL"] = "ERROR"
        arguments = [*(program or [str(GANCTL)]), *args]
        folder = Path(tempfile.mkdtemp(dir=home))
        streams = [(folder / f"{i}.stdout", folder / f"{i}.stderr") for i in range(len(envs))]
        processes = []
        for env, (out, err) in zip(envs, streams, strict=True):
            with out.open("wb") as stdout, err.open("wb") as stderr:
                processes.append(
                    subprocess.Popen(
                        arguments,
                        cwd=cwd,
                        env=environment(home) | meet | env,
                        stdin=subprocess.DEVNULL,
                        stdout=stdout,
                        stderr=stderr,
                        start_new_session=True,
                    )
                )
        until = time.monotonic() + 240
        while any(p.poll() is None for p in processes) and time.monotonic() < until:
            if any(p.poll() for p in processes):
                until = min(until, time.monotonic() + 30)
            time.sleep(0.1)
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGABRT)
                process.wait()
        return [
            subprocess.CompletedProcess(arguments, p.returncode, out.read_text(), err.read_text())
            for p, (out, err) in zip(processes, streams, strict=True)
        ]

    return run


def _free_port() -> str:
    """Below those that the system gives to connections: none of them takes it before it is used.

    Each of pytest's workers has a range of its own. `random` itself will not do: trainings in this process
    seed it, and two workers then drew one port, where two jobs met.
    """
    first = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10)
    for port in random.SystemRandom().sample(range(first, first + 1_000), 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return str(port)
    raise RuntimeError("no free port")


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

    The environment is afterwards as it was.
    """
    from typer.testing import CliRunner

    from ganctl import cli

    logger = logging.getLogger("ganctl")
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
    for key in set(os.environ) - set(environ):
        del os.environ[key]
    os.environ.update(environ)
