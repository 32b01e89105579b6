"""How `bench.py` measures: processes that take turns, and the figures made of what they say."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WARM_UP = 40  # steps
WINDOW = 20  # steps, as many as one `train/images_per_s` is of

Row = dict[str, Any]
# an empty folder -> {"images_per_s": float, "windows": images/s of each, "precision": 32 | "bf16"}
Measure = Callable[[Path], Row]


@dataclass(frozen=True)
class Side:
    """One of the measurements that take turns; `against` names the one it is compared with."""

    name: str
    measure: Measure
    against: str | None = None


def child(arguments: Sequence[str], threads: int, folder: Path) -> str:
    """Runs this interpreter on the package of this checkout; its stdout. W&B writes below `folder` only."""
    count = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL")}
    wandb = {f"WANDB_{name}_DIR": str(folder / "wandb") for name in ("CACHE", "DATA", "CONFIG")}
    wandb |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    env = os.environ | {"PYTHONPATH": str(ROOT)} | count | wandb
    done = subprocess.run([sys.executable, *arguments], env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def ganctl_train(overrides: Sequence[str], threads: int, steps: int) -> Measure:
    def measure(folder: Path) -> Row:
        run = folder / "run"
        limits = [f"trainer.max_steps={WARM_UP + steps}", f"run.dir={run}", "logger.wandb.mode=offline"]
        child(["-m", "ganctl", "train", *overrides, *limits], threads, folder)
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return speeds(training_windows(rows_of(run)), config["trainer"]["precision"])

    return measure


def loop(name: str, overrides: Sequence[str], threads: int, steps: int) -> Measure:
    # A step of `sample` takes as long as several windows of the others.
    warm_up, window = (1, 1) if name == "sample" else (WARM_UP, WINDOW)
    numbers = {"--warm-up": warm_up, "--window": window, "--steps": steps}
    arguments = [name, *(str(x) for pair in numbers.items() for x in pair), *overrides]

    def measure(folder: Path) -> Row:
        out = child([str(ROOT / "scripts" / "bench_loops.py"), *arguments], threads, folder)
        found = json.loads(out.splitlines()[-1])
        return speeds(found["windows"], found["precision"])

    return measure


def rows_of(run: Path) -> list[Row]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def speeds(windows: Sequence[float], precision: int | str) -> Row:
    """What a measurement says, of the images/s of windows of equally many images."""
    whole = statistics.harmonic_mean(windows)
    return {"images_per_s": whole, "windows": list(windows), "precision": precision}


def training_windows(rows: Sequence[Row], warm_up: int = WARM_UP) -> list[float]:
    """Images/s of each window of `metrics.jsonl` after the first `warm_up` steps.

    The rows of one window have one speed. A window shorter than the others was ended by an evaluation, part
    of which may be in it, and is left out.
    """
    timed = [(row["step"], row["train/images_per_s"]) for row in rows if "train/images_per_s" in row]
    windows = [list(window) for _, window in itertools.groupby(timed, key=lambda row: row[1])]
    whole = max(map(len, windows), default=0)
    used = [w[0][1] for w in windows if len(w) == whole and w[0][0] > warm_up]
    if not used:
        raise SystemExit(f"no window of {whole} steps after {warm_up}: give more --steps")
    return used


def compare(sides: Sequence[Side], rounds: int) -> list[Row]:
    """Measures the sides in turn, forwards and backwards."""
    found: dict[str, list[Row]] = {side.name: [] for side in sides}
    for turn in range(rounds):
        for side in sides[:: -1 if turn % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                found[side.name].append(side.measure(Path(folder)))
            print(f"  {side.name}: {found[side.name][-1]['images_per_s']:.0f} images/s", file=sys.stderr)
    return summary(found, {side.name: side.against for side in sides})


def summary(found: dict[str, list[Row]], against: dict[str, str | None]) -> list[Row]:
    """Medians of the samples, and of the ratios of samples of the same round; what the fastest tenth of the
    windows of all rounds reach (`p90`), and the ratio of that."""
    rounds = {name: [row["images_per_s"] for row in rows] for name, rows in found.items()}
    p90 = {name: fastest_tenth([w for row in rows for w in row["windows"]]) for name, rows in found.items()}
    out: list[Row] = []
    for name, samples in rounds.items():
        row = {"side": name, "images_per_s": statistics.median(samples), "samples": samples}
        row |= {"p90": p90[name], "precision": found[name][0]["precision"]}
        other = against[name]
        if other is not None:
            ratios = [a / b for a, b in zip(samples, rounds[other], strict=True)]
            row |= {"against": other, "ratio": statistics.median(ratios), "ratios": ratios}
            row["p90_ratio"] = p90[name] / p90[other]
        out.append(row)
    return out


def fastest_tenth(windows: Sequence[float]) -> float:
    """What the fastest tenth of the windows reach or exceed."""
    return statistics.quantiles(windows, n=10, method="inclusive")[-1]
