"""What `ganctl doctor` finds on machines that lack something."""

from __future__ import annotations

import json
import shutil
import socket
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ganctl import config, data, doctor
from ganctl.cli import app
from ganctl.metrics import classifier


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set but the embedded one, whatever this machine has, and no network."""

    def refuse(*_: Any) -> None:
        raise AssertionError("it asks the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data.mnist, "SYSTEM_DIR", tmp_path / "none")
    monkeypatch.setattr(socket.socket, "connect", refuse)


def ask() -> tuple[int, dict[str, list[dict[str, str]]], bool]:
    """(exit code, findings by what they are of, whether it is ready)."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    by_name: dict[str, list[dict[str, str]]] = {}
    for finding in found["findings"]:
        by_name.setdefault(finding["what"], []).append(finding)
    return done.exit_code, by_name, found["ready"]


def test_a_missing_default_data_set_is_a_problem_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.compose([]).data.name == "mnist"
    code, found, ready = ask()
    assert (code, ready) == (1, False)
    assert [(f["level"], f["fix"]) for f in found["mnist"]] == [("problem", "ganctl data fetch mnist")]
    assert [f["level"] for f in found["fashion"] + found["inception"]] == ["note", "note"]
    assert found["digits"][0]["level"] == "ok"
    assert found["W&B"][0]["said"].startswith("offline: as WANDB_MODE=offline")
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    monkeypatch.setattr(data, "outline", lambda name: SimpleNamespace(place=tmp_path))
    code, found, ready = ask()
    assert (code, ready) == (0, True)


def test_the_table_ends_with_what_follows() -> None:
    missing = doctor.Finding("mnist", "problem", "not on this machine", "ganctl data fetch mnist")
    lines = doctor.table([missing]).splitlines()
    assert lines[0].split() == ["problem", "mnist", "not", "on", "this", "machine"]
    assert [line.strip() for line in lines[1:]] == [
        "try: ganctl data fetch mnist",
        "1 to be solved before ganctl train can work",
    ]
    rest = doctor.table([doctor.Finding("fashion", "note", "not on this machine")])
    assert rest.splitlines()[-1] == "ganctl train can start"


def test_packages_are_held_against_what_the_package_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["torch>=999", "no-such-package>=1", "typer>=0.1", 'no-such-extra>=2; extra == "video"']
    asked += ['hypothesis>=1; extra == "dev"', 'typer>=0.1; extra == "hub"']
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(
        metadata,
        "metadata",
        lambda name: {"Requires-Python": ">=3.11"} if name != "ganctl" else Extras("video", "hub", "dev"),
    )
    packages = list(doctor._packages())
    assert [(f.level, f.fix) for f in packages] == [
        ("problem", "pip install 'torch>=999'"),
        ("problem", "pip install 'no-such-package>=1'"),
    ]
    assert metadata.version("torch") in packages[0].said
    extras = {f.what: (f.level, f.fix) for f in doctor._extras()}
    assert extras == {"extra video": ("note", "pip install 'ganctl[video]'"), "extra hub": ("ok", "")}
    monkeypatch.setattr(metadata, "requires", lambda name: ["typer>=0.1"])
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    assert [f.level for f in doctor._packages()] == ["ok"]


class Extras:
    def __init__(self, *names: str) -> None:
        self.names = names

    def get_all(self, key: str) -> list[str]:
        assert key == "Provides-Extra"
        return list(self.names)


def test_altered_bundled_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "assets"
    shutil.copytree(classifier.ASSETS, copy)
    monkeypatch.setattr(classifier, "ASSETS", copy)
    assert [f.level for f in doctor._assets()] == ["ok"]
    content = bytearray((copy / "digits.npz").read_bytes())
    content[-1000] ^= 1
    (copy / "digits.npz").write_bytes(content)
    (copy / "generator_mnist.safetensors").unlink()
    (finding,) = doctor._assets()
    assert finding.level == "problem"
    assert finding.said.startswith("digits, generator_mnist in ")


def test_folders_that_cannot_be_written_or_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [f.level for f in doctor._runs()] == ["ok"]
    (tmp_path / "runs").touch()
    assert [f.level for f in doctor._runs()] == ["problem"]
    (tmp_path / "runs").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**8))
    assert [f.level for f in doctor._runs()] == ["problem"]
    assert [f.level for f in doctor._cache()] == ["note"]
    assert not (tmp_path / "runs").exists()


def test_a_key_is_never_printed_and_a_missing_one_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.delenv("WANDB_MODE")
    (finding,) = doctor._wandb()
    assert (finding.level, finding.said) == ("ok", "online: there is a key")
    assert key not in CliRunner().invoke(app, ["doctor", "--verbose"]).output


def test_one_check_that_breaks_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("driver lost\nmore")

    checks = (
        ("GPU", broken, False),
        ("runs", broken, True),
        ("digits", doctor._data("digits", "note"), False),
    )
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    found = doctor.examine()
    assert [(f.what, f.level) for f in found] == [("GPU", "note"), ("runs", "problem"), ("digits", "ok")]
    assert found[0].said == "RuntimeError: driver lost"


@pytest.mark.parametrize(
    ("load", "allowed", "threads", "fix"),
    [
        (0.4, 8, 8, None),  # the command itself
        (2.2, 8, 8, "OMP_NUM_THREADS=6 ganctl train …"),
        (2.2, 8, 6, None),
        (2.2, 4, 8, "OMP_NUM_THREADS=4 ganctl train …"),
        (0.4, 1, 2, "OMP_NUM_THREADS=1 ganctl train …"),
        (30.0, 8, 2, "OMP_NUM_THREADS=1 ganctl train …"),
        (30.0, 8, 1, None),  # fewer there are not
    ],
)
def test_threads_that_would_share_a_core_are_too_many(
    monkeypatch: pytest.MonkeyPatch, load: float, allowed: int, threads: int, fix: str | None
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = [f for f in doctor._processor() if f.what == "load"]
    assert [(f.level, f.fix) for f in found] == ([("note", fix)] if fix else [])
