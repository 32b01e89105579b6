"""Keys and passwords of the environment stay there: in no file of a run, in nothing that is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from wandb_file import end_service, scan

SECRETS = {
    "WANDB_API_KEY": "{}0000000000000000000000000000000",
    "WANDB_BASE_URL": "http://user:{}@127.0.0.1:9",
    "AWS_SECRET_ACCESS_KEY": "{}",
    "HF_TOKEN": "hf_{}",
    "GITHUB_TOKEN": "{}",
    "COMET_API_KEY": "{}",
    "MLFLOW_TRACKING_URI": "https://user:{}@example.com",
    "MLFLOW_TRACKING_PASSWORD": "{}",
    "ALL_PROXY": "http://user:{}@127.0.0.1:9",
}
MARKERS = {name: f"Mark3r{i:03d}" for i, name in enumerate(SECRETS)}


def found_in(content: bytes) -> list[str]:
    return [name for name, marker in MARKERS.items() if marker.encode() in content]


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    end_service()
    for name, form in SECRETS.items():
        monkeypatch.setenv(name, form.format(MARKERS[name]))
    yield
    end_service()


@pytest.mark.parametrize(
    "mode",
    ["offline", pytest.param("online", marks=pytest.mark.slow)],
    ids=["offline", "online, and the server does not answer"],
)
def test_no_secret_leaves_the_environment(
    invoke: Callable[..., SimpleNamespace],
    secrets: None,
    mode: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("data=digits", "debug=true", "run.dir=run", f"logger.wandb.mode={mode}")
    done = invoke("train", *options, "logger.wandb.init_timeout_s=1")
    assert done.exit_code == 0, done.stderr
    end_service()  # writes what is left to write
    outer = capfd.readouterr()
    assert found_in((done.stdout + done.stderr + outer.out + outer.err).encode()) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"config.yaml", "last.ckpt", "train.log", "metrics.jsonl", "debug-internal.log"} <= names
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".wandb":
            content += b"".join(scan(path))  # its blocks could cut a word in two
        assert found_in(content) == [], path
    # The search finds what is there.
    (tmp_path / "run" / "leak").write_text(f"key={SECRETS['HF_TOKEN'].format(MARKERS['HF_TOKEN'])}")
    assert found_in((tmp_path / "run" / "leak").read_bytes()) == ["HF_TOKEN"]
