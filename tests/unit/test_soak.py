"""The arithmetic of the soak: slopes, their errors, and what is read from processes and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from soak import descendants, line, newest_row, rss, sample, summary

MIB = 2**20


def test_slope_and_error_of_a_worked_example() -> None:
    # x̄ = 3, ȳ = 4, Sxx = 10, Sxy = 6: slope 0.6; residual sum 2.4 over 3 degrees of freedom
    slope, error = line([1, 2, 3, 4, 5], [2, 4, 5, 4, 5])
    assert slope == pytest.approx(0.6)
    assert error == pytest.approx((2.4 / 3 / 10) ** 0.5)
    assert line([1, 2, 3, 4, 5], [-2, -4, -5, -4, -5])[0] == pytest.approx(-0.6)


def test_a_line_without_noise_has_no_error_even_far_from_zero() -> None:
    x = [1e9 + i for i in range(10)]
    slope, error = line(x, [3.0 * (v - 1e9) + 1e6 for v in x])
    assert slope == pytest.approx(3.0, rel=1e-9)
    assert error == pytest.approx(0.0, abs=1e-6)


def test_the_error_is_the_spread_of_the_slopes() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 50)
    found = np.array([line(x.tolist(), (2 * x + rng.normal(0, 0.3, 50)).tolist()) for _ in range(400)])
    assert found[:, 0].mean() == pytest.approx(2.0, abs=0.03)
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.1)


@pytest.mark.parametrize("x", [[1.0, 2.0], [1.0, 1.0, 1.0]])
def test_what_makes_no_line_is_refused(x: list[float]) -> None:
    with pytest.raises(SystemExit, match="no line"):
        line(x, [float(i) for i in range(len(x))])


def row(minute: float, **values: Any) -> dict[str, Any]:
    """One sample of a training that does 10 steps a minute."""
    step = int(10 * minute)
    steady = {
        "rss_bytes": 800 * MIB,
        "wandb_rss_bytes": None,
        "images_per_s": 500.0,
        "metrics_bytes": 200 * step,
        "wandb_bytes": 0,
        "run_bytes": 5 * MIB,
    }
    return {"seconds": 60 * minute, "step": step, **steady, **values}


def slopes_of(samples: list[dict[str, Any]], warm_up_s: float = 0) -> dict[str, float]:
    return {name: s["slope"] for name, s in summary(samples, warm_up_s)["slopes"].items()}


def test_a_steady_run_is_flat_and_a_leak_is_not() -> None:
    minutes = range(1, 61)
    assert slopes_of([row(m) for m in minutes]) == pytest.approx(
        {
            "rss_mib_per_hour": 0,
            "images_per_s_percent_per_hour": 0,
            "metrics_bytes_per_step": 200,
            "run_mib_per_hour": 0,
        }
    )
    leaking = [row(m, rss_bytes=(800 + m) * MIB, wandb_rss_bytes=(50 - m / 2) * MIB) for m in minutes]
    found = slopes_of(leaking)
    assert found["rss_mib_per_hour"] == pytest.approx(60)
    assert found["wandb_rss_mib_per_hour"] == pytest.approx(-30)
    # from 110 to 90 around a mean of 100: a fifth of the mean in 59 minutes
    slowing = [row(m, images_per_s=110 - 20 * (m - 1) / 59) for m in minutes]
    assert slopes_of(slowing)["images_per_s_percent_per_hour"] == pytest.approx(-20 * 60 / 59)


def test_the_warm_up_does_not_count() -> None:
    samples = [row(m, rss_bytes=(800 if m > 5 else 100) * MIB) for m in range(1, 61)]
    assert slopes_of(samples)["rss_mib_per_hour"] > 50
    assert slopes_of(samples, warm_up_s=301)["rss_mib_per_hour"] == pytest.approx(0)
    assert summary(samples, warm_up_s=301)["samples"] == 55
    with pytest.raises(SystemExit, match="no step"):
        summary(samples, warm_up_s=3601)


def test_memory_is_that_of_the_process() -> None:
    before = rss(os.getpid())
    ballast = b"x" * (64 * MIB)
    after = rss(os.getpid())
    assert before is not None
    assert after is not None
    assert 48 * MIB < after - before < 80 * MIB
    del ballast
    assert rss(2**22 + 1) is None  # above the largest id there can be


def test_services_are_found_below_the_process_alone(tmp_path: Path) -> None:
    tree = {10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    for pid, parent in tree.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b (c) S {parent} {pid} 0")
        (tmp_path / str(pid) / "cmdline").write_bytes(f"wandb-core\0--pid\0{pid}\0".encode())
    (tmp_path / "13").mkdir()  # ended while we looked
    assert descendants(10, tmp_path) == {11: "wandb-core --pid 11", 12: "wandb-core --pid 12"}
    assert descendants(12, tmp_path) == {}


def test_the_newest_row_is_the_last_whole_one_with_a_speed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert newest_row(path) == {}
    rows = [{"step": i, "train/images_per_s": 1.0, "filler": "x" * 100} for i in range(2000)]
    text = "".join(json.dumps(r) + "\n" for r in rows)
    path.write_text(text + '{"step": 1999, "val/d_loss": 1}\n{"step": 2000, "train/images_per_s": 2')
    assert newest_row(path)["step"] == 1999
    assert newest_row(path)["train/images_per_s"] == 1.0


def test_a_sample_of_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "train/images_per_s": 7.5}\n')
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    (tmp_path / "wandb" / "offline-run-1" / "run-1.wandb").write_bytes(b"x" * 100)
    # The service itself says that it is there: until then its process has its parent's command line.
    service = "'import time; print(flush=True); time.sleep(60)'"
    started = f"subprocess.Popen([sys.executable, '-c', {service}, 'wandb-core'])"
    program = f"import subprocess, sys, time; {started}; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            found = sample(process.pid, tmp_path, 1.0)
            below = list(descendants(process.pid))
        finally:
            process.kill()
    for pid in below:
        os.kill(pid, 9)
    assert (found["step"], found["images_per_s"]) == (3, 7.5)
    assert (found["metrics_bytes"], found["wandb_bytes"]) == (39, 100)
    assert found["run_bytes"] == 139
    assert MIB < found["rss_bytes"] < 100 * MIB
    assert found["wandb_rss_bytes"] > 0
