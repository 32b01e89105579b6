"""Size, speed and memory of the networks that ship, on one thread of a CPU, as docs/networks.md says them.

    python scripts/bench_networks.py                                  # all of them
    python scripts/bench_networks.py --sizes 64x3 --out x.json resnet "resnet model.generator.norm=cbn"

Every row is a network, with further overrides of `ganctl train` behind its name, at a size, side x channels,
with ten labels, measured in a process of its own, on random images:

- parameters of G and D;
- training: images/s of whole steps as `ganctl train` does them (`ganctl.probe`: Lightning, the relativistic
  loss with R1 and R2, Adam, the averaged generator), in the precision that `trainer.precision=auto` means
  here, the median of the steps of `--seconds` after those of the warm-up; no logging, grids and scores;
- sampling: images/s of `ganctl sample` until the pixels are there, in float32;
- memory: the most that the process had until the training was over, Python and PyTorch with it.

Seconds are those that the process had a core for (`time.process_time`), so that what else the machine does
is not counted as work of the network; caches are shared all the same. `--wall` takes the clock on the wall,
for a quiet machine. The load before the start is in the JSON. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from bench_measure import Row, child

from ganctl import build, config, generate, probe
from ganctl.data.dataset import DatasetFacts

NETWORKS = ("mlp", "dcgan", "resnet")
SIZES = ("28x1", "32x3", "64x3")
Clock = Callable[[], float]
LABELS = tuple("0123456789")
COLUMNS = ("network", "images", "G", "D", "training, images/s", "sampling, images/s", "memory, MB")


def measure(words: str, size: str, seconds: float, clock: Clock) -> Row:
    """One row, in this process."""
    name, *overrides = words.split()
    resolution, channels = map(int, size.split("x"))
    chosen = [f"model={name}", "loss=relativistic", "trainer=cpu", "logger=none", *overrides]
    cfg = build.resolve_precision(config.compose(chosen))
    facts = DatasetFacts("random", LABELS, channels, resolution, (1,) * len(LABELS))
    probe.TIMED_S = seconds
    with build.quiet_lightning():
        gan = build.build_gan(cfg, facts, 10**6)
        measured = probe.measure(cfg, gan, facts, cfg.data.batch_size, clock)
    return {
        "network": words,
        "size": size,
        "parameters": {"G": parameters(gan.G), "D": parameters(gan.D)},
        "batch_size": cfg.data.batch_size,
        "precision": cfg.trainer.precision,
        "steps": measured.steps,
        "train_images_per_s": cfg.data.batch_size / measured.seconds_per_step,
        "sample_images_per_s": sampling_speed(gan.G_ema, cfg.model.latent_dim, seconds, clock),
        "peak_bytes": measured.peak_bytes,
    }


def sampling_speed(G: torch.nn.Module, latent_dim: int, seconds: float, clock: Clock) -> float:
    """Images/s, of rounds that take `seconds` together, after one round of warm-up."""
    labels, seeds = [0] * generate.MICRO_BATCH, range(generate.MICRO_BATCH)
    taken: list[float] = []
    while sum(taken[1:]) < seconds:
        started = clock()
        generate.all_at_once(G, latent_dim, labels, seeds, torch.device("cpu"))
        taken.append(clock() - started)
    return generate.MICRO_BATCH / sorted(taken[1:])[len(taken[1:]) // 2]


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        resolution, channels = row["size"].split("x")
        cells = (
            f"`{row['network']}`",
            f"{resolution} × {resolution} × {channels}",
            *(f"{row['parameters'][net]:,}" for net in "GD"),
            *(f"{float(f'{row[key]:.3g}'):,g}" for key in ("train_images_per_s", "sample_images_per_s")),
            f"{row['peak_bytes'] / 1e6:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--seconds", type=float, default=10.0, help="of training, and of sampling")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # of a child: one row
    given = parser.parse_args(words)
    if given.here:
        clock = time.perf_counter if given.wall else time.process_time
        print(json.dumps(measure(given.networks[0], given.sizes, given.seconds, clock)))
        return
    load, rows = os.getloadavg()[0], []
    own = ["--here", "--seconds", str(given.seconds), *(["--wall"] if given.wall else [])]
    for size in given.sizes.split(","):
        for network in given.networks:
            with tempfile.TemporaryDirectory() as folder:
                script = str(Path(__file__).resolve())
                said = child([script, network, "--sizes", size, *own], 1, Path(folder))
            rows.append(json.loads(said.splitlines()[-1]))
            print(f"  {network} {size}: {rows[-1]['train_images_per_s']:.3g} images/s", file=sys.stderr)
    print(table(rows))
    if given.out:
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load}
        about = {
            "machine": machine,
            "threads": 1,
            "seconds_of": "wall" if given.wall else "process",
            "torch": version("torch"),
            "python": platform.python_version(),
        }
        given.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
