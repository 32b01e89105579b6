"""Follows a long training: does its memory grow, does it slow down, what does each step leave on disk?

    python scripts/soak.py --run runs/soak/hour --minutes 60 +experiment=dcgan trainer.max_epochs=1000
    python scripts/soak.py --run runs/dcgan/2026-01-01_12-00-00 --pid 1234

The first form starts `ganctl train` with the overrides and ends it by SIGTERM when the time is over; the
second watches a training that is there. Every `--every` seconds it writes down the resident memory of the
process, that of the W&B processes below it, the newest `train/images_per_s`, and the sizes of
`metrics.jsonl`, of the `.wandb` file and of the run folder. At the end: straight lines fitted to them by
least squares, each slope with its standard error, as JSON and a plot. The errors are those of independent
samples. Samples of memory are not independent, one is much like the one before, so that the true uncertainty
is larger. Linux only (`/proc`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import machine
from bench_measure import ROOT
from matplotlib.figure import Figure

MIB = 2**20

Row = dict[str, Any]


# -- one sample --------------------------------------------------------------------------------------------


def rss(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Resident memory of a process in bytes; None where it has ended."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("VmRSS:")), None)  # a zombie has none
    return int(found.split()[1]) * 1024 if found else None


def descendants(pid: int, proc: Path = Path("/proc")) -> dict[int, str]:
    """The processes that a process started, and those that they started: id -> command line."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace")
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        # The name stands in parentheses and may hold anything; state and parent follow it.
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        commands[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    found: dict[int, str] = {}
    pending = [pid]
    while pending:
        above = pending.pop()
        children = [child for child, parent in parents.items() if parent == above]
        found |= {child: commands[child] for child in children}
        pending += children
    return found


def newest_row(path: Path) -> Row:
    """The last whole row of `metrics.jsonl` that has a speed; empty where there is none yet."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines):
        if b'"train/images_per_s"' in line:
            try:
                row: Row = json.loads(line)
            except ValueError:  # cut at the front by the seek, or not yet written to its end
                continue
            return row
    return {}


def size(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except OSError:  # a temporary file that has got its name meanwhile
            continue
    return total


def sample(pid: int, run: Path, seconds: float) -> Row:
    row = newest_row(run / "metrics.jsonl")
    services = [rss(child) for child, command in descendants(pid).items() if "wandb" in command]
    return {
        "seconds": round(seconds, 2),
        "rss_bytes": rss(pid),
        "wandb_rss_bytes": sum(filter(None, services)) if services else None,
        "step": row.get("step"),
        "images_per_s": row.get("train/images_per_s"),
        "metrics_bytes": size([run / "metrics.jsonl"]),
        "wandb_bytes": size(list(run.glob("wandb/*/run-*.wandb"))),
        "run_bytes": size([p for p in run.rglob("*") if p.is_file() and not p.is_symlink()]),
    }


# -- what they say together --------------------------------------------------------------------------------


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(slope, its standard error) of the straight line of least squares through three points or more."""
    n = len(x)
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    xs, ys = xs - xs.mean(), ys - ys.mean()
    spread = float(xs @ xs)
    if n < 3 or spread == 0:
        raise SystemExit(f"{n} samples make no line: watch for longer, or more often")
    slope = float(xs @ ys) / spread
    residuals = ys - slope * xs
    return slope, math.sqrt(float(residuals @ residuals) / (n - 2) / spread)


def summary(samples: Sequence[Row], warm_up_s: float) -> Row:
    """Slopes over the samples after the warm-up; those of what was not there are left out."""
    kept = [s for s in samples if s["seconds"] >= warm_up_s and s["step"] is not None]
    if not kept:
        raise SystemExit(f"no step was logged after {warm_up_s:.0f} s")
    speed = float(np.mean([s["images_per_s"] for s in kept]))
    # name: (of what, per what, factor)
    wanted = {
        "rss_mib_per_hour": ("rss_bytes", "seconds", 3600 / MIB),
        "wandb_rss_mib_per_hour": ("wandb_rss_bytes", "seconds", 3600 / MIB),
        "images_per_s_percent_per_hour": ("images_per_s", "seconds", 3600 * 100 / speed),
        "metrics_bytes_per_step": ("metrics_bytes", "step", 1.0),
        "wandb_bytes_per_step": ("wandb_bytes", "step", 1.0),
        "run_mib_per_hour": ("run_bytes", "seconds", 3600 / MIB),
    }
    slopes: Row = {}
    for name, (of, per, factor) in wanted.items():
        points = [(s[per], s[of]) for s in kept if s[of]]
        if points:
            slope, error = line(*zip(*points, strict=True))
            slopes[name] = {"slope": factor * slope, "standard_error": factor * error}
    memory = [s["rss_bytes"] / MIB for s in kept if s["rss_bytes"]]
    return {
        "samples": len(kept),
        "minutes": (kept[-1]["seconds"] - kept[0]["seconds"]) / 60,
        "steps": kept[-1]["step"] - kept[0]["step"],
        "images_per_s": speed,
        "rss_mib": {"first": memory[0], "last": memory[-1], "most": max(memory)} if memory else None,
        "slopes": slopes,
    }


def table(found: Row) -> str:
    head = f"{found['minutes']:.0f} min, {found['steps']} steps, {found['images_per_s']:.0f} images/s"
    lines = [f"{head}, {found['samples']} samples", "", "| slope | value | standard error |", "|---|---|---|"]
    for name, s in found["slopes"].items():
        lines.append(f"| {name} | {s['slope']:.3g} | {s['standard_error']:.2g} |")
    return "\n".join(lines)


def plot(samples: Sequence[Row], warm_up_s: float, out: Path) -> None:
    """Memory, speed and sizes over time; the warm-up, which no slope knows, is grey."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    memory, speed, sizes = figure.subplots(1, 3)
    panels = {
        memory: ("resident memory, MiB", {"training": "rss_bytes", "W&B": "wandb_rss_bytes"}, MIB),
        speed: ("images/s", {"": "images_per_s"}, 1),
        sizes: ("size on disk, MiB", {"metrics.jsonl": "metrics_bytes", ".wandb": "wandb_bytes"}, MIB),
    }
    for axes, (title, series, unit) in panels.items():
        for label, key in series.items():
            points = [(s["seconds"] / 60, s[key] / unit) for s in samples if s[key]]
            if points:
                axes.plot(*zip(*points, strict=True), ".-", markersize=3, linewidth=0.8, label=label)
        axes.axvspan(0, warm_up_s / 60, color="0.9")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes")
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
        if len(axes.lines) > 1:
            axes.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


# -- the watch ---------------------------------------------------------------------------------------------


def watch(
    pid: int, run: Path, seconds: float, every_s: float, ended: subprocess.Popen[bytes] | None
) -> list[Row]:
    """Samples until the time is over or the process has ended."""
    started = time.monotonic()
    samples: list[Row] = []
    while (now := time.monotonic() - started) <= seconds:
        if (ended is not None and ended.poll() is not None) or rss(pid) is None:
            break
        samples.append(sample(pid, run, now))
        time.sleep(every_s - (time.monotonic() - started) % every_s)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of the training to start")
    parser.add_argument(
        "--run", type=Path, required=True, help="the run folder: to make, or with --pid to watch"
    )
    parser.add_argument("--pid", type=int, help="watch this training instead of starting one")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    parser.add_argument("--warm-up", type=float, default=300, help="seconds at the start that no slope knows")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "soak.json", help="a .png goes beside it")
    args = parser.parse_args()
    if (args.pid is None) == (not args.overrides):
        parser.error("give either --pid or overrides")

    report: Row = {"machine": machine(), "overrides": args.overrides, "every_s": args.every}
    process = None
    if args.pid is None:
        command = [sys.executable, "-m", "ganctl", "train", *args.overrides, f"run.dir={args.run.resolve()}"]
        process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL
        )
    pid = args.pid if process is None else process.pid
    try:
        samples = watch(pid, args.run, 60 * args.minutes, args.every, process)
    finally:
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            report["exit_code"] = process.wait()

    report |= {"warm_up_s": args.warm_up, **summary(samples, args.warm_up), "all_samples": samples}
    print(table(report))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot(samples, args.warm_up, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
