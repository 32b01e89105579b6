"""Speed of training and sampling on a CPU, and the time a run took to reach a quality.

    python scripts/bench.py                                  # all but `time`
    python scripts/bench.py --parts step,sample --rounds 5
    python scripts/bench.py --parts time --run runs/dcgan/2026-01-01_12-00-00

Run it on a quiet machine: nothing else working, on mains power, no other user. The load before the start is
in the JSON; where it is more than about 0.1 only the ratios mean something. Every measurement is a process of
its own. Those of a comparison take turns, in reversed order every other round, with the same data, batch size
and threads; the figures are medians over the rounds: of images/s, and of each round's ratio. Where other
machines share the processor they slow it by a fifth for a minute or so, which no median of a few rounds is
free of. So each measurement is also cut into windows of 20 steps, and `p90` is what the fastest tenth of the
windows of all rounds reach: with enough rounds, the speed while nobody disturbs. Each call writes the JSON
and the plot anew.

- `step`: `ganctl train` of the experiments dcgan and mlp, W&B offline, every step logged, against a bare
  PyTorch loop that does the same work (`bench_loops.py`). The speed of ganctl is its own `train/images_per_s`
  in `metrics.jsonl`, joined over the windows after the warm-up: training steps with their logging and the
  progress bar, without start-up and without what is drawn and scored at an epoch's end.
- `classic`: mlp in float32 against the same networks with PIL transforms, a DataLoader, Lightning's
  `log_dict` and WandbLogger.
- `sample`: `ganctl.sample` of 1 024 images at a time, on one thread and on two.
- `scaling`: training on one thread, on two, and on two DDP ranks of one thread each.
- `time`: when a run (`--run`) first reached 95, 98 and 99 % label accuracy, and 8, 4 and 2 times what real
  digits score in `digit_fd`. Nothing is excluded: wall clock of `train.log`, from the making of the run
  folder (W&B's start comes between it and the first step) to the end of the evaluation that found it, with
  all evaluations before it. The scores are against the validation part, the floor was measured against the
  test part, and there is one evaluation an epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import yaml
from bench_measure import ROOT, WARM_UP, Row, Side, compare, ganctl_train, loop, rows_of
from matplotlib.figure import Figure

SAMPLE_BATCHES = 8
REAL_FLOOR = 0.0081  # digit_fd of real MNIST training images against test images
ACCURACIES = (0.95, 0.98, 0.99)
FLOORS = (8, 4, 2)


def comparisons(part: str, common: Sequence[str], threads: int, steps: int) -> dict[str, list[Side]]:
    """What is measured against what in a part: title -> sides."""
    dcgan, mlp = (["+experiment=dcgan", *common], ["+experiment=mlp", *common])
    cpu = ["trainer.accelerator=cpu"]
    on = f"{threads} thread{'s' * (threads > 1)}"
    if part == "step":
        return {
            f"training {name}, {on}": [
                Side("bare PyTorch", loop("bare", own, threads, steps)),
                Side("ganctl", ganctl_train([*own, *cpu], threads, steps), "bare PyTorch"),
            ]
            for name, own in (("dcgan", dcgan), ("mlp", mlp))
        }
    if part == "classic":
        single = [*mlp, *cpu, "trainer.precision=32"]
        return {
            f"training mlp, float32, {on}": [
                Side("PIL, DataLoader, log_dict", loop("classic", single, threads, steps)),
                Side("ganctl", ganctl_train(single, threads, steps), "PIL, DataLoader, log_dict"),
            ]
        }
    if part == "sample":
        return {
            "sampling dcgan, 1 024 at a time": [
                Side("1 thread", loop("sample", dcgan, 1, SAMPLE_BATCHES)),
                Side("2 threads", loop("sample", dcgan, 2, SAMPLE_BATCHES), "1 thread"),
            ]
        }
    return {
        "training dcgan": [
            Side("1 thread", ganctl_train([*dcgan, *cpu], 1, steps)),
            Side("2 threads", ganctl_train([*dcgan, *cpu], 2, steps), "1 thread"),
            Side("2 ranks of 1 thread", ganctl_train([*dcgan, "trainer=ddp_cpu"], 1, steps), "2 threads"),
        ]
    }


# -- time to quality ---------------------------------------------------------------------------------------


def time_to(run: Path) -> list[Row]:
    """Seconds and images at which a run first reached each threshold; None where it did not."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    scored = [row for row in rows_of(run) if "val/label_accuracy" in row]
    stamped = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) INFO (run folder|epoch \d+,)")
    lines = map(stamped.match, (run / "train.log").read_text(encoding="utf-8").splitlines())
    events = [(m[2], datetime.strptime(m[1], "%Y-%m-%d %H:%M:%S,%f")) for m in lines if m]
    if [name == "run folder" for name, _ in events] != [True, *(False for _ in scored)]:
        raise SystemExit(
            f"{run}: train.log has not one start and a line for each of {len(scored)} evaluations"
        )
    seconds = [(at - events[0][1]).total_seconds() for _, at in events[1:]]

    goals = [(f"label accuracy {100 * a:.0f} %", "val/label_accuracy", 1, a) for a in ACCURACIES]
    if config["data"]["name"] == "mnist":  # whose floor it is
        goals += [(f"digit_fd {k} × floor", "val/digit_fd", -1, k * REAL_FLOOR) for k in FLOORS]
    out: list[Row] = []
    for name, key, sign, goal in goals:
        first = next(
            (
                (s, r["images_seen"])
                for s, r in zip(seconds, scored, strict=True)
                if sign * r[key] >= sign * goal
            ),
            (None, None),
        )
        out.append({"run": config["name"], "goal": name, "seconds": first[0], "images_seen": first[1]})
    return out


# -- reporting ---------------------------------------------------------------------------------------------


def machine() -> Row:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "pytorch-lightning", "wandb")},
    }


def table(results: Sequence[Row], times: Sequence[Row]) -> str:
    lines = []
    if results:
        lines += [
            "| work | side | images/s | precision | ratio | p90 | its ratio |",
            "|---|---|---|---|---|---|---|",
        ]
    for result in results:
        for i, row in enumerate(result["sides"]):
            work, ratio, p90_ratio = "" if i else result["work"], "", ""
            if "ratio" in row:
                ratio, p90_ratio = f"× {row['ratio']:.2f} of {row['against']}", f"× {row['p90_ratio']:.2f}"
            lines.append(
                f"| {work} | {row['side']} | {row['images_per_s']:.0f} | {row['precision']} | {ratio} "
                f"| {row['p90']:.0f} | {p90_ratio} |"
            )
    if times:
        lines += ["", "| run | validation score | wall clock | images seen |", "|---|---|---|---|"]
    for row in times:
        reached = (
            f"{row['seconds']:.0f} s | {row['images_seen']}"
            if row["seconds"] is not None
            else "not reached |"
        )
        lines.append(f"| {row['run']} | {row['goal']} | {reached} |")
    return "\n".join(lines)


def plot(results: Sequence[Row], out: Path) -> None:
    """Bars of the medians, a dot for each round."""
    figure = Figure(figsize=(3.2 * len(results), 3.4), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        for i, row in enumerate(result["sides"]):
            axes.bar(i, row["images_per_s"], color=f"C{i}", alpha=0.6)
            axes.plot([i] * len(row["samples"]), row["samples"], "k.", markersize=4)
        axes.set_xticks(range(len(result["sides"])), [r["side"].replace(" ", "\n") for r in result["sides"]])
        axes.tick_params(labelsize=8)
        axes.set_title(result["work"], fontsize=9)
        axes.set_ylabel("images/s")
        axes.grid(alpha=0.3, axis="y")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("step", "classic", "sample", "scaling", "time")
    parser.add_argument(
        "--parts", help=f"comma-separated, of {','.join(names)}; default: all, `time` with --run"
    )
    parser.add_argument(
        "--run", type=Path, action="append", default=[], help="a run folder for `time`; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help=f"timed ones, after {WARM_UP} of warm-up")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of `step` and `classic`")
    parser.add_argument(
        "--precision", choices=["32", "bf16"], help="default: the experiment's; `classic` has 32"
    )
    parser.add_argument("--data-root", type=Path, help="default: the known places, then a download")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "bench.json", help="a .png goes beside it"
    )
    args = parser.parse_args()
    parts = args.parts.split(",") if args.parts else [p for p in names if p != "time" or args.run]
    if unknown := set(parts) - set(names):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if ("time" in parts) != bool(args.run):
        parser.error("`time` and --run need each other")

    common = [f"data.root={args.data_root.resolve()}"] if args.data_root else []
    common += [f"trainer.precision={args.precision}"] if args.precision else []
    report: Row = {"machine": machine(), "rounds": args.rounds, "steps": args.steps, "warm_up_steps": WARM_UP}
    times = [row for run in args.run for row in time_to(run)]
    results: list[Row] = []
    for part in (p for p in names if p in parts and p != "time"):
        for work, sides in comparisons(part, common, args.threads, args.steps).items():
            print(work, file=sys.stderr)
            results.append({"part": part, "work": work, "sides": compare(sides, args.rounds)})
    print(table(results, times))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps(report | {"results": results, "time": times}, indent=2) + "\n", encoding="utf-8"
    )
    if results:
        plot(results, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
