"""RunLog, metrics.jsonl, the optional loggers: nothing here starts W&B or touches a network."""

from __future__ import annotations

import csv
import errno
import gc
import importlib
import json
import logging
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from pytorch_lightning.loggers.logger import Logger

from ganctl.errors import UsageError
from ganctl.jsonl_logger import JsonlLogger
from ganctl.logger_config import LoggerConfig, MlflowConfig
from ganctl.loggers import RunLog, build

CONF = Path(__file__).parents[2] / "conf" / "logger"


class Recorder(Logger):
    """Keeps what it is told; fails from the given call on."""

    name = "recorder"
    version = ""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.params: dict[str, Any] = {}
        self.status: list[str] = []
        self.calls = 0
        self._fail_at = fail_at

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls += 1
        if self._fail_at is not None and self.calls >= self._fail_at:
            raise OSError("No space left on device")
        self.rows.append((step, metrics))

    def log_hyperparams(self, params: dict[str, Any]) -> None:  # type: ignore[override]
        self.params.update(params)

    def finalize(self, status: str) -> None:
        self.status.append(status)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def row(step: int) -> dict[str, torch.Tensor | float]:
    return {"train/d_loss": torch.tensor(step / 4), "train/g_loss": torch.tensor(-step, dtype=torch.bfloat16)}


def test_rows_are_kept_and_flushed_together() -> None:
    recorder = Recorder()
    run_log = RunLog([recorder], flush_every_steps=4)
    for step in range(1, 4):
        run_log.scalars(row(step), step, images_seen=64 * step)
    assert recorder.rows == []
    assert run_log.last == {}
    run_log.scalars(row(4), 4, images_seen=256)
    assert [step for step, _ in recorder.rows] == [1, 2, 3, 4]
    for number, (_, got) in enumerate(recorder.rows, start=1):
        assert got["train/d_loss"] == number / 4
        assert got["train/g_loss"] == -number
        assert got["images_seen"] == 64 * number
        assert got["train/images_per_s"] > 0
        assert all(type(value) in (int, float) for value in got.values())
    assert run_log.last == recorder.rows[-1][1]


def test_speed_is_images_over_time_between_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ganctl.loggers.time.perf_counter", lambda: now)
    recorder = Recorder()
    run_log = RunLog([recorder], flush_every_steps=2)
    for step in (1, 2, 3, 4):
        run_log.scalars(row(step), step, images_seen=100 * step)
        now += 0.5
    # 100 images in the 0.5 s between the first row and the flush; then 200 in 1.0 s.
    assert [got["train/images_per_s"] for _, got in recorder.rows] == [200, 200, 200, 200]
    now += 60  # an evaluation, then its result
    run_log.metrics({"val/fid": 2.0}, step=4, images_seen=400)
    run_log.scalars(row(5), 5, images_seen=500)
    now += 0.5
    run_log.scalars(row(6), 6, images_seen=600)
    assert recorder.rows[-1][1]["train/images_per_s"] == pytest.approx(400)


def test_steps_never_go_backward_across_kinds_of_calls() -> None:
    recorder = Recorder()
    run_log = RunLog([recorder], flush_every_steps=20)
    run_log.scalars(row(1), 1, 64)
    run_log.scalars(row(2), 2, 128)
    run_log.metrics({"val/fid": torch.tensor(3.5)}, step=2, images_seen=128)
    run_log.scalars(row(3), 3, 192)
    run_log.image("samples", Image.new("L", (4, 4)), "epoch 1", step=3)
    run_log.scalars(row(4), 4, 256)
    run_log.finish(0)
    assert [step for step, _ in recorder.rows] == [1, 2, 2, 3, 4]
    assert recorder.rows[2][1] == {"val/fid": 3.5, "images_seen": 128}
    assert recorder.status == ["success"]


def test_rows_may_differ_in_keys_and_mix_numbers_with_tensors() -> None:
    recorder = Recorder()
    run_log = RunLog([recorder], flush_every_steps=2)
    run_log.scalars({"a": torch.tensor(1.0), "lr": 0.5}, 1, 1)
    run_log.scalars({"b": torch.tensor(2), "a": torch.tensor([3.0], dtype=torch.float64)}, 2, 2)
    assert {k: v for k, v in recorder.rows[0][1].items() if "/" not in k} == {
        "a": 1.0,
        "lr": 0.5,
        "images_seen": 1,
    }
    assert recorder.rows[1][1]["b"] == 2.0
    assert recorder.rows[1][1]["a"] == 3.0


def test_kept_rows_hold_no_graph() -> None:
    weight = torch.ones(3, requires_grad=True)
    run_log = RunLog([Recorder()])
    run_log.scalars({"loss": (weight * 2).sum()}, 1, 1)
    kept = run_log._rows[0][2]["loss"]
    assert isinstance(kept, torch.Tensor)
    assert kept.grad_fn is None


def test_a_logger_that_raises_is_dropped_once_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    broken, healthy = Recorder(fail_at=3), Recorder()
    run_log = RunLog([broken, JsonlLogger(tmp_path / "metrics.jsonl"), healthy], flush_every_steps=1)
    with caplog.at_level(logging.WARNING, logger="ganctl"):
        for step in range(1, 9):
            run_log.scalars(row(step), step, step)
        run_log.finish(1)
    assert broken.calls == 3
    assert broken.status == []
    assert [step for step, _ in healthy.rows] == list(range(1, 9))
    assert healthy.status == ["failed"]
    assert [line["step"] for line in read_jsonl(tmp_path / "metrics.jsonl")] == list(range(1, 9))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        "Recorder failed and is dropped, training goes on (OSError: No space left on device)",
    ]


def test_finish_ends_the_loggers_though_the_device_failed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("ganctl.loggers._floats", fail)
    recorder = Recorder()
    run_log = RunLog([recorder])
    run_log.scalars(row(1), 1, 64)
    with caplog.at_level(logging.WARNING, logger="ganctl"):
        run_log.finish(1)
    assert recorder.status == ["failed"]
    assert "could not be read" in caplog.text


def test_no_loggers_and_a_finished_log_do_nothing() -> None:
    silent = RunLog([])
    silent.scalars(row(1), 1, 1)
    assert silent._rows == []
    silent.finish(0)
    recorder = Recorder()
    run_log = RunLog([recorder])
    run_log.finish(0)
    run_log.finish(1)
    run_log.scalars(row(1), 1, 1)
    run_log.metrics({"x": 1.0}, 1, 1)
    assert recorder.rows == []
    assert recorder.status == ["success"]


def test_jsonl_is_strict_and_goes_on_at_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonlLogger(path)
    first.log_metrics({"a": float("nan"), "b": float("-inf"), "c": 0.1, "images_seen": 64}, step=1)
    # Flushed at each call: readable before the end.
    assert read_jsonl(path) == [{"step": 1, "a": None, "b": None, "c": 0.1, "images_seen": 64}]
    length = first.mark()
    assert length == path.stat().st_size
    first.log_metrics({"a": 5.0}, step=2)
    first.finalize("success")
    with path.open("a") as file:
        file.write('{"step": 3, "a"')  # killed while writing
    second = JsonlLogger(path, length)
    second.log_metrics({"a": 1.0}, step=2)
    second.finalize("success")
    assert [row["step"] for row in read_jsonl(path)] == [1, 2]
    assert read_jsonl(path)[-1] == {"step": 2, "a": 1.0}


def test_jsonl_says_that_rows_are_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    logger = JsonlLogger(path, 1000)
    logger.log_metrics({"a": 1.0}, step=9)
    logger.finalize("success")
    assert [row["step"] for row in read_jsonl(path)] == [1, 9]
    assert "lost rows" in caplog.text


class SmallDisk:
    """A file that takes no byte beyond `limit`. (A limit on the process would be one on pytest's output.)"""

    def __init__(self, logger: JsonlLogger) -> None:
        self.limit: int | None = None
        self._file = logger._file
        logger._file = self  # type: ignore[assignment]

    def write(self, data: bytes) -> int:
        room = len(data) if self.limit is None else self.limit - os.fstat(self._file.fileno()).st_size
        if room <= 0:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return self._file.write(bytes(data[:room]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_rows_wait_for_room_and_keep_their_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ganctl")
    path = tmp_path / "metrics.jsonl"
    logger = JsonlLogger(path)
    disk, run_log = SmallDisk(logger), RunLog([logger], flush_every_steps=1)
    for step in range(1, 11):
        run_log.scalars(row(step), step, step)
    disk.limit = path.stat().st_size + 50  # room for half a line
    for step in range(11, 21):
        run_log.scalars(row(step), step, step)
    assert [line["step"] for line in read_jsonl_whole(path)] == list(range(1, 11))
    disk.limit = None
    for step in range(21, 31):
        run_log.scalars(row(step), step, step)
    assert [line["step"] for line in read_jsonl(path)] == list(range(1, 31))
    run_log.finish(0)
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert f"cannot write {path} (File too large)" in said[0]
    assert "lacks no row" in said[1]


def read_jsonl_whole(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("in_time", [True, False])
def test_rows_that_wait_to_the_end_are_written_at_the_end(
    in_time: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    logger = JsonlLogger(path)
    disk, run_log = SmallDisk(logger), RunLog([logger])
    disk.limit = 0
    for step in range(1, 41):
        run_log.scalars(row(step), step, step)
    assert path.read_text() == ""
    disk.limit = None if in_time else 0
    with caplog.at_level(logging.WARNING, logger="ganctl"):
        run_log.finish(0)
    assert ("lacks its last rows (File too large)" in caplog.text) != in_time
    if not in_time:
        return
    assert [line["step"] for line in read_jsonl(path)] == list(range(1, 41))


def test_a_disk_that_stays_full_costs_bounded_memory_and_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "metrics.jsonl"
    full.symlink_to("/dev/full")
    monkeypatch.setattr("ganctl.jsonl_logger.MAX_WAITING", 3000)
    healthy, jsonl = Recorder(), JsonlLogger(full)
    run_log = RunLog([jsonl, healthy], flush_every_steps=1)
    with caplog.at_level(logging.WARNING, logger="ganctl"):
        for step in range(1, 101):
            run_log.scalars(row(step), step, step)
        run_log.finish(0)
    assert [step for step, _ in healthy.rows] == list(range(1, 101))
    assert 3000 < len(jsonl._waiting) < 3300
    first, last = [r.getMessage() for r in caplog.records]
    assert "No space left on device" in first
    assert "JsonlLogger failed and is dropped" in last


def test_csv_starts_a_new_version_on_resume(tmp_path: Path) -> None:
    length = 0
    for start in (1, 4):
        run_log = build({"csv": {}}, tmp_path, "run", {"model": {"latent_dim": 64}}, None, length)
        for step in range(start, start + 3):
            run_log.scalars({"train/d_loss": torch.tensor(float("nan"))}, step, step)
        length = run_log.mark()
        run_log.finish(0)
    for version, start in ((0, 1), (1, 4)):
        with (tmp_path / "csv" / f"version_{version}" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(r["step"]) for r in rows] == [start, start + 1, start + 2]
        assert {r["train/d_loss"] for r in rows} == {"nan"}
    assert [line["step"] for line in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_takes_rows_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reader: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    run_log = build({"tensorboard": {}}, tmp_path, "run", {"model": {"latent_dim": 64}}, None)
    for step in range(1, 31):
        run_log.scalars(row(step), step, 64 * step)
    run_log.metrics({"val/fid": float("nan")}, 30, 1920)
    run_log.image("samples", Image.new("L", (40, 30)), "epoch 1", 30)
    run_log.image("samples", Image.new("RGB", (40, 30)), "epoch 2", 31)
    assert len(run_log._loggers) == 2  # nothing was dropped
    run_log.finish(0)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/d_loss")] == [(s, s / 4) for s in range(1, 31)]
    assert [(e.step, e.width, e.height) for e in events.Images("samples")] == [(30, 40, 30), (31, 40, 30)]


def test_mlflow_takes_rows_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    run_log = build({"mlflow": {}}, tmp_path, "run", {"model": {"latent_dim": 64}}, None)
    for step in range(1, 6):
        run_log.scalars({**row(step), "train/r1": float("nan")}, step, 64 * step)
    run_log.image("samples", Image.new("L", (40, 30)), "epoch 1", 5)
    assert len(run_log._loggers) == 2  # nothing was dropped
    run_log.finish(0)
    (values,) = (tmp_path / "mlruns").rglob("metrics/train/d_loss")
    assert [float(line.split()[1]) for line in values.read_text().splitlines()] == [
        s / 4 for s in range(1, 6)
    ]
    assert list((tmp_path / "mlruns").rglob("artifacts/samples_000005.png"))


# Both are Comet's own: how it uses another package, and the socket it asks for its address with.
@pytest.mark.filterwarnings(
    "ignore:.sentry_sdk.Hub. is deprecated", "ignore:unclosed <socket:ResourceWarning"
)
def test_comet_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("comet_ml")
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    monkeypatch.setenv("COMET_CONFIG", str(tmp_path / "none"))
    run_log = build({"comet": {}}, tmp_path, "run", {"model": {"latent_dim": 64}}, None)
    for step in range(1, 6):
        run_log.scalars({**row(step), "train/r1": float("nan")}, step, 64 * step)
    run_log.image("samples", Image.new("L", (40, 30)), "epoch 1", 5)
    assert len(run_log._loggers) == 2  # nothing was dropped
    run_log.finish(0)
    gc.collect()  # here, where the warning about the socket is expected
    (archive,) = (tmp_path / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        messages = file.read("messages.json").decode()
    assert messages.count('"train/d_loss"') == 5
    assert "epoch 1" in messages


@pytest.mark.parametrize(
    ("group", "module", "package"),
    [
        ("tensorboard", "tensorboard", "tensorboard"),
        ("mlflow", "mlflow", "mlflow-skinny"),
        ("comet", "comet_ml", "comet-ml"),
    ],
)
def test_a_missing_package_is_named_before_training(
    group: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        build({group: {}}, tmp_path, "run", {}, None)
    assert caught.value.what == f"logger={group} needs the package {package}"
    assert caught.value.fix == f"pip install 'ganctl[{group}]'"
    assert not (tmp_path / "metrics.jsonl").exists()


def test_neptune_is_refused_with_what_works(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="closed") as caught:
        build({"neptune": True}, tmp_path, "run", {}, None)
    assert "logger=wandb" in caught.value.fix


def test_a_password_in_the_tracking_uri_is_refused() -> None:
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_PASSWORD"):
        MlflowConfig(tracking_uri="https://me:secret@mlflow.example.com")
    assert MlflowConfig(tracking_uri="https://mlflow.example.com").tracking_uri


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_shipped_config_is_valid_and_spells_out_its_defaults(name: str, tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    (tmp_path / "train.yaml").write_text(
        f"hydra:\n  searchpath: ['file://{CONF.parent}']\ndefaults:\n  - logger: {name}\n  - _self_\n"
    )
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose("train"), resolve=True)
    spec = composed["logger"]
    config = LoggerConfig.model_validate(spec)
    for key, section in spec.items():
        if isinstance(section, dict):
            # All keys are there, so that `logger.wandb.mode=offline` needs no `+`; none says something else.
            assert section == type(getattr(config, key))().model_dump()
    if name not in ("many", "none", "neptune"):
        assert list(spec) == [name]
    if name == "many":
        assert set(spec) == {"wandb", "csv", "tensorboard"}
