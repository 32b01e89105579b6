"""What `ganctl ls` tells of run folders: ours, broken ones, and those of strangers."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import CONFIG, END, make, rows
from typer.testing import CliRunner

from ganctl import config_tree, run_table
from ganctl.cli import app
from ganctl.config import compose
from ganctl.errors import UsageError
from ganctl.runs import RunFolder


def read(folder: Path) -> run_table.Run:
    found = run_table.read(RunFolder(folder))
    assert found is not None
    return found


def test_last_and_best_scores_are_those_of_the_rows(tmp_path: Path) -> None:
    run = read(make(tmp_path / "a", *rows((0.3, 0.5), (0.1, 0.8), (0.2, 0.9)), END))
    assert run.last is not None
    assert run.best is not None
    assert (run.last.steps, run.last.fd, run.last.accuracy) == (6, ("digit_fd", 0.2), 0.9)
    assert (run.best.steps, run.best.fd, run.best.accuracy) == (4, ("digit_fd", 0.1), 0.8)
    assert (run.nimg, run.experiment) == (64, "quick")


def test_the_state_is_told_by_the_lock_and_the_newest_row(tmp_path: Path) -> None:
    scored = rows((0.3, 0.5))
    alarm = {"step": 2, "watchdog/non_finite": 1.0, "images_seen": 32}
    assert read(make(tmp_path / "finished", *scored, END)).state == "finished"
    assert read(make(tmp_path / "stopped", *scored)).state == "stopped"
    assert read(make(tmp_path / "went_on", *scored, alarm, *scored)).state == "stopped"
    assert read(make(tmp_path / "diverged", *scored, alarm)).state == "failed"
    assert read(make(tmp_path / "unsaved", *scored, saved=False)).state == "failed"
    folder = RunFolder(tmp_path / "finished")
    with folder.locked():
        assert read(folder.path).state == "training"
    assert read(folder.path).state == "finished"


def test_asking_whether_a_run_trains_does_not_keep_it_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(make(tmp_path / "a"))
    asking = os.open(folder.path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    assert not folder.training  # another who asks is no training
    monkeypatch.setattr("ganctl.runs.time.sleep", lambda seconds: fcntl.flock(asking, fcntl.LOCK_UN))
    with folder.locked():
        assert folder.training
    os.close(asking)


def test_hard_links_count_once_and_symbolic_ones_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x" * 100_000)
    folder = make(tmp_path / "a")
    before = run_table.size_on_disk(folder)
    os.link(folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert run_table.size_on_disk(folder) == pytest.approx(before, abs=200)
    assert before == 1000 + len(CONFIG.encode())


def test_runs_are_sorted_and_chosen(tmp_path: Path) -> None:
    make(tmp_path / "old", *rows((0.1, 0.9)), age=500)
    make(tmp_path / "new", *rows((0.3, 0.7)), age=100)
    make(tmp_path / "unscored", age=900)
    other = yaml.safe_dump(compose(["data=digits"]).model_dump())
    make(tmp_path / "other", *rows((0.2, 0.8)), age=300, config=other)

    def order(**how: Any) -> list[str]:
        return [run.folder.path.name for run in run_table.find(tmp_path, **how)[0]]

    assert order() == ["new", "other", "old", "unscored"]
    assert order(sort="fd") == order(sort="accuracy") == ["old", "other", "new", "unscored"]
    assert order(experiment="quick", sort="fd") == ["old", "new", "unscored"]
    with pytest.raises(UsageError, match="did you mean accuracy"):
        order(sort="acuracy")
    with pytest.raises(UsageError, match="did you mean quick"):
        order(experiment="quik")


HOSTILE = {
    "deep": "[" * 60_000,
    "nested": "- " * 30_000,
    "bomb": "a: &a [x]\nb: &b [*a, *a]\n" + CONFIG,
    "large": CONFIG + "#" * config_tree.MAX_BYTES,
    "code": CONFIG.replace("name: quick", "name: !!python/object/apply:os.getcwd []"),
    "name": CONFIG.replace("name: quick", 'name: "\\e[31m"'),
    "list": "- 1\n",
    "binary": "\x00\x01",
    "empty": "",
    "another program's": "name: x\nversion: 1\n",
}


def test_folders_of_strangers_are_left_out_and_counted(tmp_path: Path) -> None:
    for name, text in HOSTILE.items():
        make(tmp_path / name, config=text)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "config.yaml")
    make(tmp_path / "ours")
    (tmp_path / "loop").symlink_to(tmp_path)
    found, foreign = run_table.find(tmp_path)
    assert [run.folder.path.name for run in found] == ["ours"]
    assert foreign == len(HOSTILE) + 1


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\n",
        b'{"images_seen": 1e999, "step": NaN}\n',
        b'{"images_seen": ' + b"9" * 5000 + b"}\n",
        b'{"val/digit_fd": "0.1", "val/label_accuracy": [1]}\n',
        b"[" * 50_000 + b"\n",
        b'["val/digit_fd"]\n',
        b'{"step": 1, "images_seen": 16}',  # being written
    ],
)
def test_rows_that_are_none_count_as_not_there(tmp_path: Path, text: bytes) -> None:
    folder = make(tmp_path / "a")
    (folder / "metrics.jsonl").write_bytes(text)
    run = read(folder)
    assert (run.nimg, run.last, run.best) == (None, None, None)


def test_only_the_end_of_the_metrics_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "a", *rows((0.1, 0.9), (0.3, 0.5)))
    monkeypatch.setattr(run_table, "TAIL_BYTES", 200)
    run = read(folder)
    assert run.best is not None
    assert run.best.fd == ("digit_fd", 0.3)
    assert min(s.fd[1] for s in run_table.all_scores(run.folder)) == 0.1


def test_the_verb_lists_them_without_torch(tmp_path: Path) -> None:
    make(tmp_path / "a", *rows((0.25, 0.5)), END)
    make(tmp_path / "b\x1b[31m", age=100)
    code = (
        "import sys; from ganctl.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print([m for m in ('torch', 'hydra', 'numpy', 'PIL', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ls", str(tmp_path)], capture_output=True, text=True, check=True
    )
    head, first, second, loaded = done.stdout.splitlines()
    assert head.split() == ["run", "experiment", "age", "state", "images", "accuracy", "fd", "best", "size"]
    assert first.split()[0] == str(tmp_path / "a")
    assert "finished" in first
    assert "50.00%" in first
    assert "digit_fd 0.25" in first
    assert "\x1b" not in second
    assert loaded == "[]"


def test_nothing_to_list_is_no_error_and_a_wrong_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = CliRunner().invoke(app, ["ls"])
    assert (empty.exit_code, "ganctl train +experiment=quick" in empty.stdout) == (0, True)
    assert json.loads(CliRunner().invoke(app, ["ls", "--json"]).stdout) == []
    (tmp_path / "trainings").mkdir()
    wrong = CliRunner().invoke(app, ["ls", "trainngs"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "did you mean trainings?" in wrong.stderr
