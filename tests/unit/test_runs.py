"""Which folder a run gets, and which checkpoint a name means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from two_processes import started_together

from ganctl import runs
from ganctl.errors import UsageError


def _run(root: Path, name: str, started: int, *files: str) -> Path:
    folder = root / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    os.utime(folder / "config.yaml", (started, started))
    for file in files:
        (folder / "checkpoints" / file).touch()
    return folder / "checkpoints"


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = {runs.create(tmp_path, "a").path for _ in range(5)}
    assert len(folders) == 5
    assert all(f.parent == tmp_path / "a" and f.is_dir() for f in folders)


def test_two_processes_in_the_same_second_never_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from datetime import datetime; from pathlib import Path; from ganctl import runs\n"
        "class Clock:\n"
        "    now = staticmethod(lambda: datetime(2026, 1, 2, 3, 4, 5))\n"
        "runs.datetime = Clock\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"for _ in range(100): print(runs.create(Path({str(tmp_path)!r}), 'a').path)"
    )
    processes = started_together(code)
    made = [set(process.communicate()[0].split()) for process in processes]
    assert [len(folders) for folders in made] == [100, 100]
    assert not made[0] & made[1]


def test_a_chosen_folder_is_taken_once(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "a", tmp_path / "mine")
    assert run.path == tmp_path / "mine"
    run.config.touch()
    with pytest.raises(UsageError, match="already holds a run"):
        runs.create(tmp_path, "a", tmp_path / "mine")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the run folder"):
        runs.create(tmp_path / "file", "a")


def test_the_newest_run_is_the_one_started_last_that_has_the_file(tmp_path: Path) -> None:
    _run(tmp_path, "b/1", 100, "last.ckpt", "best.ckpt")
    newer = _run(tmp_path, "a/1", 200, "last.ckpt")
    _run(tmp_path, "c/1", 300)  # has not saved anything yet
    _run(tmp_path, "debug/1", 400, "last.ckpt")
    assert runs.find_checkpoint(None, tmp_path) == newer / "last.ckpt"
    assert runs.find_checkpoint("last.ckpt", tmp_path) == newer / "last.ckpt"
    assert runs.find_checkpoint("best.ckpt", tmp_path) == tmp_path / "b/1/checkpoints/best.ckpt"


def test_a_path_that_exists_wins_over_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path / "runs", "a/1", 100, "last.ckpt")
    monkeypatch.chdir(tmp_path)
    assert runs.find_checkpoint("last.ckpt") == Path("runs/a/1/checkpoints/last.ckpt")
    Path("last.ckpt").touch()
    assert runs.find_checkpoint("last.ckpt") == Path("last.ckpt")


def test_a_run_folder_means_its_last_checkpoint(tmp_path: Path) -> None:
    checkpoints = _run(tmp_path, "a/1", 100, "last.ckpt")
    assert runs.find_checkpoint(str(tmp_path / "a/1")) == checkpoints / "last.ckpt"


@pytest.mark.parametrize("name", ["last.ckpt", "other/last.ckpt", "a" * 5000 + "last.ckpt"])
def test_nothing_found_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"last\.ckpt"):
        runs.find_checkpoint(name, tmp_path)


def test_without_a_run_the_bundled_generator_stands_in_until_there_is_one(tmp_path: Path) -> None:
    _run(tmp_path, "debug/1", 400, "last.ckpt")
    _run(tmp_path, "a/1", 100)
    assert runs.find_checkpoint(None, tmp_path) == runs.BUNDLED
    checkpoints = _run(tmp_path, "a/2", 50, "last.ckpt")
    assert runs.find_checkpoint(None, tmp_path) == checkpoints / "last.ckpt"


def test_a_report_lies_beside_its_checkpoint_but_never_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs.outputs_of(Path("x/last.ckpt"), ".eval.json") == Path("x/last.eval.json")
    monkeypatch.chdir(tmp_path)
    for path in (runs.BUNDLED, Path(os.path.relpath(runs.BUNDLED))):
        target = runs.outputs_of(path, ".eval.json")
        assert target.resolve() == (tmp_path / "generator_mnist.eval.json").resolve()


def test_what_lies_in_a_run_folder_is_no_run(tmp_path: Path) -> None:
    """W&B keeps a `config.yaml` of its own among its files, newer than the run's."""
    run = _run(tmp_path, "a/1", 100).parent
    files = run / "wandb" / "run-20260101_000000-0123abcd" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").touch()
    assert runs.newest_run(tmp_path) == runs.RunFolder(run)
    assert runs.below(tmp_path) == [runs.RunFolder(run)]
