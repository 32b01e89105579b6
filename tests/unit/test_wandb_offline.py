"""A real W&B process, offline, and its file read back by hand; no network anywhere."""

from __future__ import annotations

import gc
import json
import logging
import math
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from wandb_file import end_service, read_run

from ganctl.errors import UsageError
from ganctl.loggers import RunLog, build
from ganctl.wandb_logger import has_key, resolve_mode

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_user_key(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # First: monkeypatch would put the name of an earlier test's service back when that is gone.
    end_service()
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("netrc") / "none"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    # W&B reads the environment once a process; the next test has another one.
    end_service()


def kill_service() -> None:
    """Kills this process's W&B service, and waits for it: W&B itself would not."""
    (service,) = (
        found
        for found in gc.get_objects()
        if type(found) is subprocess.Popen and found.poll() is None and "wandb-core" in str(found.args)
    )
    service.kill()
    service.wait()


def log_steps(run_log: RunLog, first: int, last: int) -> None:
    for step in range(first, last + 1):
        loss = float("nan") if step == 7 else step / 8
        run_log.scalars({"train/d_loss": torch.tensor(loss), "train/r1": torch.tensor(0.5)}, step, 64 * step)


def test_every_step_and_picture_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    spec = {"wandb": {"tags": ["t"], "group": "g", "log_checkpoints": True}}
    config = {"model": {"latent_dim": 64}, "seed": 0}
    run_log = build(spec, tmp_path, "my-run", config, None)
    run_id = run_log.wandb_id
    assert run_id
    log_steps(run_log, 1, 15)
    run_log.image("samples", Image.new("L", (40, 30), 128), "epoch 1, step 15", 15)
    run_log.metrics({"val/label_accuracy": 0.5}, 15, 960)
    log_steps(run_log, 16, 30)
    run_log.image("samples", Image.new("RGB", (40, 30)), "epoch 2, step 30", 30)
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    run_log.checkpoint(tmp_path / "last.ckpt")
    assert len(run_log._loggers) == 2  # nothing was dropped
    run_log.finish(0)

    history, stored, records = read_run(tmp_path)
    assert [step for step in sorted(history) if "train/d_loss" in history[step]] == list(range(1, 31))
    for step in range(1, 31):
        loss = history[step]["train/d_loss"]
        assert math.isnan(loss) if step == 7 else loss == step / 8
        assert history[step]["images_seen"] == 64 * step
        assert history[step]["train/images_per_s"] > 0
    # Merged into the row of its step: pictures, validation and training stand side by side.
    assert history[15]["val/label_accuracy"] == 0.5
    for step, epoch in ((15, 1), (30, 2)):
        entry = history[step]["samples"]
        assert entry["caption"] == f"epoch {epoch}, step {step}"
        (file,) = tmp_path.glob(f"wandb/offline-run-*/files/{entry['path']}")
        with Image.open(file) as image:
            assert image.size == (40, 30)
    assert stored["model"] == {"latent_dim": 64}
    (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.display_name, run.project, run.run_group) == (run_id, "my-run", "ganctl", "g")
    assert list(run.tags) == ["t"]
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [0]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_training_goes_on_when_the_service_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_log = build({"wandb": {}}, tmp_path, "run", {}, "abcd1234")
    assert run_log.wandb_id == "abcd1234"
    log_steps(run_log, 1, 20)
    kill_service()
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="ganctl"):
        log_steps(run_log, 21, 60)
        run_log.image("samples", Image.new("L", (8, 8)), "", 60)
        time.sleep(0.2)  # the loss of the socket may be noticed only now
        log_steps(run_log, 61, 100)
        run_log.finish(0)
    assert time.monotonic() - started < 5
    assert run_log.wandb_id == "abcd1234"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 101))
    warnings = [r.getMessage() for r in caplog.records if r.name == "ganctl" and r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("WandbRun failed and is dropped")


@pytest.mark.slow
def test_a_server_that_never_answers_means_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.delenv("WANDB_MODE")
        started = time.monotonic()
        spec = {"wandb": {"init_timeout_s": 1, "finish_timeout_s": 1}}
        with caplog.at_level(logging.WARNING, logger="ganctl"):
            run_log = build(spec, tmp_path, "run", {}, "abcd1234")
        log_steps(run_log, 1, 3)
        run_log.finish(0)
        assert time.monotonic() - started < 15
    assert "logging offline" in caplog.text
    assert sorted(step for step in read_run(tmp_path)[0] if step) == [1, 2, 3]


@pytest.mark.parametrize(
    ("wanted", "env", "key", "mode"),
    [
        ("auto", {}, False, "offline"),
        ("auto", {}, True, "online"),
        ("auto", {"WANDB_MODE": "offline"}, True, "offline"),
        ("auto", {"WANDB_MODE": "dryrun"}, True, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, True, "disabled"),
        ("auto", {"WANDB_MODE": "online"}, True, "online"),
        ("offline", {"WANDB_MODE": "online"}, True, "offline"),
        ("online", {"WANDB_MODE": "offline"}, True, "online"),
        ("disabled", {"WANDB_MODE": "online"}, True, "disabled"),
    ],
)
def test_mode(wanted: str, env: dict[str, str], key: bool, mode: str) -> None:
    assert resolve_mode(wanted, env, lambda: key) == mode


@pytest.mark.parametrize(("wanted", "env"), [("online", {}), ("auto", {"WANDB_MODE": "online"})])
def test_online_without_a_key_says_how_to_log_in(wanted: str, env: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_mode(wanted, env, lambda: False)
    assert "wandb login" in caught.value.fix


def test_unknown_wandb_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="WANDB_MODE=onlin "):
        resolve_mode("auto", {"WANDB_MODE": "onlin"}, lambda: True)


def no_key(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    pass


def key_in_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def key_in_netrc(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "netrc").write_text(f"machine wandb.example.com login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.com")


@pytest.mark.parametrize(
    ("prepare", "found"), [(no_key, False), (key_in_environment, True), (key_in_netrc, True)]
)
def test_keys_are_found_where_wandb_looks(
    prepare: Callable[[pytest.MonkeyPatch, Path], None],
    found: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    prepare(monkeypatch, tmp_path)
    assert has_key() is found


def test_a_mode_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    run_log = build({"wandb": {}}, tmp_path, "run", {}, None)
    run_log.finish(0)
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_disabled_starts_nothing(tmp_path: Path) -> None:
    run_log = build({"wandb": {"mode": "disabled"}}, tmp_path, "run", {}, None)
    run_log.finish(0)
    assert run_log.wandb_id is None
    assert not (tmp_path / "wandb").exists()
