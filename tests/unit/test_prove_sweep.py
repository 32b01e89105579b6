"""What the proof of sweeps looks for: it must see each loss and each double."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from prove_sweep import EPOCHS, problems

STEPS = 4


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two finished trials, as Optuna and trainings record them."""
    database = sqlite3.connect(tmp_path / "sweep.db")
    database.executescript(
        "CREATE TABLE trials (trial_id INTEGER, number INTEGER, state TEXT);"
        "CREATE TABLE trial_params (trial_id INTEGER, param_name TEXT, param_value REAL);"
        "CREATE TABLE trial_values (trial_id INTEGER, value REAL);"
    )
    for number in range(2):
        database.execute("INSERT INTO trials VALUES (?, ?, 'COMPLETE')", (number + 1, number))
        database.execute("INSERT INTO trial_params VALUES (?, 'model.lr', ?)", (number + 1, 0.5))
        database.execute("INSERT INTO trial_values VALUES (?, ?)", (number + 1, 3.0))
        run = tmp_path / f"trial_{number:04d}"
        run.mkdir()
        (run / "config.yaml").write_text("model:\n  lr: 0.5\n")
        rows = [{"step": i + 1, "train/d_loss": 1.0} for i in range(STEPS)]
        rows += [{"step": STEPS, "val/digit_fd": 3.0}] * EPOCHS
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / f"trial_{number:04d}.log").write_text("run folder x\n")
    database.commit()
    database.close()
    return tmp_path


def sql(statement: str) -> Callable[[Path], object]:
    def apply(sweep: Path) -> None:
        database = sqlite3.connect(sweep / "sweep.db")
        database.execute(statement)
        database.commit()
        database.close()

    return apply


def edit(file: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda sweep: (sweep / file).write_text((sweep / file).read_text().replace(old, new))


def found(sweep: Path, before: dict[int, bytes]) -> list[str]:
    return problems(sweep, 2, before)


def test_what_is_right_has_no_problems(sweep: Path) -> None:
    assert found(sweep, {0: (sweep / "trial_0000" / "metrics.jsonl").read_bytes()}) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (sql("DELETE FROM trials WHERE number = 1"), "trial numbers are [0]"),
        (sql("INSERT INTO trials VALUES (3, 1, 'COMPLETE')"), "trial numbers are [0, 1, 1]"),
        (sql("UPDATE trials SET state = 'RUNNING' WHERE number = 1"), "trial 1 is RUNNING"),
        (sql("UPDATE trial_values SET value = 2.0 WHERE trial_id = 2"), "recorded is 2.0"),
        (sql("UPDATE trial_params SET param_value = 0.4 WHERE trial_id = 2"), "recorded is 0.4"),
        (edit("trial_0001/metrics.jsonl", '"step": 2,', '"step": 3,'), "trial 1 has the steps [1, 3, 3, 4]"),
        (lambda sweep: (sweep / "trial_0001" / "config.yaml").rename(sweep / "x"), "run folders are"),
        (edit("trial_0000.log", "run folder x\n", "run folder x\n" * 2), "trial 0 was finished at the kill"),
        (edit("trial_0000/metrics.jsonl", "1.0", "1.1"), "has changed since"),
    ],
)
def test_what_is_wrong_is_named(sweep: Path, change: Callable[[Path], object], what: str) -> None:
    before = {0: (sweep / "trial_0000" / "metrics.jsonl").read_bytes()}
    change(sweep)
    said = found(sweep, before)
    assert any(what in problem for problem in said), said
