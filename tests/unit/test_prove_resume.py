"""What the proof of resume compares: it must see every difference that matters, and no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compare_runs import differences
from prove_resume import after, place, temporaries

ROWS: list[dict[str, Any]] = [
    {"step": 1, "train/d_loss": 0.5, "train/images_per_s": 100.0},
    {"step": 2, "train/d_loss": 0.25, "train/images_per_s": 100.0},
    {"step": 2, "val/d_loss": 0.5},
    {"step": 2, "val/digit_fd": 3.0},
]


def content() -> dict[str, Any]:
    moments = {"exp_avg": torch.tensor([0.0, float("nan")]), "step": torch.tensor(2.0)}
    return {
        "state_dict": {"G.w": torch.arange(6.0).view(2, 3), "G.h": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer_states": [{"state": {0: moments}, "param_groups": [{"lr": 1e-3, "betas": (0.0, 0.9)}]}],
        "ganctl": {"ema": {"w": torch.tensor(1.5)}, "nimg": 128},
        "training": {"metrics_bytes": 100, "best": 3.0},
        "loops": {"fit_loop": {"epoch_progress": 1}},
        "epoch": 1,
    }


def write_rows(run: Path, rows: list[dict[str, Any]], rest: str = "") -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + rest)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run folder and one that equals it."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "checkpoints").mkdir(parents=True)
    (one / "samples").mkdir()
    for name in ("last", "best", "previous"):
        torch.save(content(), one / "checkpoints" / f"{name}.ckpt")
    write_rows(one, ROWS)
    (one / "config.yaml").write_text("seed: 0\n")
    (one / "train.log").write_text("12:00 run folder\n")
    (one / "samples" / "reals.png").write_bytes(b"png")
    shutil.copytree(one, two)
    return one, two


def test_what_may_differ_does_not_count(runs: tuple[Path, Path]) -> None:
    one, two = runs
    changed = content()
    changed["training"]["metrics_bytes"] = 101
    changed["loops"], changed["epoch"] = {"other": 1}, 2
    torch.save(changed, two / "checkpoints" / "last.ckpt")
    (two / "checkpoints" / "previous.ckpt").write_bytes(b"of another moment")
    (two / "train.log").write_text("13:00 going on\n")
    write_rows(two, [row | ({"train/images_per_s": 7.0} if "train/d_loss" in row else {}) for row in ROWS])
    assert differences(two, one) == []


def in_checkpoint(change: Callable[[dict[str, Any]], None], name: str = "last") -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        changed = content()
        change(changed)
        torch.save(changed, run / "checkpoints" / f"{name}.ckpt")

    return apply


def one_bit(tensor: torch.Tensor) -> None:
    tensor.view(torch.uint8).flatten()[0] ^= 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (in_checkpoint(lambda c: one_bit(c["state_dict"]["G.w"])), "last.ckpt: state_dict.G.w differs"),
        (
            in_checkpoint(lambda c: one_bit(c["state_dict"]["G.h"]), "best"),
            "best.ckpt: state_dict.G.h",
        ),
        (in_checkpoint(lambda c: c["state_dict"].update({"G.w": torch.arange(6.0)})), "G.w differs"),
        (in_checkpoint(lambda c: c["state_dict"].pop("G.w")), "state_dict.G.w is missing"),
        (in_checkpoint(lambda c: c["state_dict"].update(x=torch.ones(1))), "state_dict.x is too much"),
        (
            in_checkpoint(lambda c: one_bit(c["optimizer_states"][0]["state"][0]["exp_avg"])),
            "exp_avg differs",
        ),
        (
            in_checkpoint(lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr=1.1e-3)),
            "lr differs",
        ),
        (in_checkpoint(lambda c: c["ganctl"]["ema"].update(w=torch.tensor(-1.5))), "ganctl.ema.w differs"),
        (in_checkpoint(lambda c: c["ganctl"].update(nimg=127)), "ganctl.nimg differs"),
        (in_checkpoint(lambda c: c["training"].update(best=2.0)), "training.best differs"),
        (lambda run: (run / "samples" / "fakes.png").touch(), "samples/fakes.png is too much"),
        (
            lambda run: (run / "checkpoints" / ".last.ckpt.1a2b3c4d").touch(),
            ".last.ckpt.1a2b3c4d is too much",
        ),
        (lambda run: (run / "new").mkdir(), "new is too much"),
        (lambda run: (run / "checkpoints" / "best.ckpt").unlink(), "best.ckpt is missing"),
        (lambda run: (run / "samples" / "reals.png").write_bytes(b"pnG"), "reals.png has other bytes"),
        (lambda run: (run / "config.yaml").write_text("seed: 1\n"), "config.yaml has other bytes"),
        (lambda run: write_rows(run, ROWS[:2] + ROWS[3:]), "3 rows instead of 4"),
        (lambda run: write_rows(run, [ROWS[0], *ROWS]), "5 rows instead of 4"),
        (lambda run: write_rows(run, [ROWS[1], ROWS[0], *ROWS[2:]]), "line 1 is"),
        (lambda run: write_rows(run, [*ROWS[:3], ROWS[3] | {"val/digit_fd": 3.1}]), "line 4 is"),
        (lambda run: write_rows(run, ROWS, rest='{"step": 3'), "does not end a line"),
    ],
)
def test_what_differs_is_named(runs: tuple[Path, Path], change: Callable[[Path], object], found: str) -> None:
    one, two = runs
    change(two)
    problems = differences(two, one)
    assert len(problems) in (1, 2), problems  # a container that lost or won something differs as well
    assert any(found in problem for problem in problems), problems


def test_where_a_kill_fell(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert place(run, [2, 4]) == "before the first checkpoint"
    (run / "checkpoints").mkdir(parents=True)
    write_rows(run, ROWS[:1])
    assert place(run, [2, 4]) == "before the first checkpoint"
    (run / "checkpoints" / "last.ckpt").touch()
    assert place(run, [2, 4]) == "step"
    for rows in (ROWS[:2], ROWS[:3]):
        write_rows(run, rows)
        assert place(run, [2, 4]) == "evaluation"
    write_rows(run, ROWS)
    assert place(run, [2, 4]) == "step"
    write_rows(run, ROWS[:3])
    (run / "checkpoints" / ".last.ckpt.1a2b3c4d").touch()
    assert temporaries(run) == [".last.ckpt.1a2b3c4d"]
    assert place(run, [2, 4]) == "checkpoint write"


def test_a_moment_waits_for_what_it_follows() -> None:
    begun: list[int] = []
    moment = after(lambda: bool(begun), 0.0)
    assert not moment()
    begun.append(1)
    assert moment()
    assert not after(lambda: True, 60.0)()
