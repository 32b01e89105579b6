"""Draws the loss curves and scores of a run from its `metrics.jsonl`.

python scripts/plot_run.py runs/dcgan/2026-01-01_12-00-00 docs/curves.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def series(rows: list[dict[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """(thousands of images seen, values) of a key."""
    points = [(row["images_seen"] / 1000, row[key]) for row in rows if row.get(key) is not None]
    x, y = np.array(points).T if points else (np.empty(0), np.empty(0))
    return x, y


def smooth(x: np.ndarray, y: np.ndarray, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Means over about `points` neighbouring stretches."""
    width = max(len(y) // points, 1)
    n = len(y) // width * width
    return x[:n].reshape(-1, width).mean(1), y[:n].reshape(-1, width).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in (args.run / "metrics.jsonl").read_text().splitlines()]

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    losses, logits, scores = figure.subplots(1, 3)
    for axes, keys in (
        (losses, ("train/d_loss", "train/g_loss")),
        (logits, ("train/real_logit", "train/fake_logit")),
    ):
        for key in keys:
            axes.plot(*smooth(*series(rows, key)), label=key, linewidth=1)
    held_out = series(rows, "val/d_loss"), series(rows, "val/g_loss")
    for (x, y), colour, name in zip(held_out, ("C0", "C1"), ("val/d_loss", "val/g_loss"), strict=True):
        losses.plot(x, y, "o", markersize=3, color=colour, label=name)
    found = [key for key in rows[-1] | {k: 0 for row in rows for k in row} if key.endswith("_fd")]
    for key in found:
        scores.plot(*series(rows, key), "o-", markersize=3, label=key)
    scores.set_yscale("log")
    accuracy = scores.twinx()
    accuracy.plot(
        *series(rows, "val/label_accuracy"), "s-", markersize=3, color="C2", label="val/label_accuracy"
    )
    accuracy.set_ylim(0, 1.02)
    for axes, title in ((losses, "losses"), (logits, "mean logits of D"), (scores, "validation scores")):
        axes.set_title(title)
        axes.set_xlabel("kimg")
        handles, labels = axes.get_legend_handles_labels()
        if axes is scores:
            more = accuracy.get_legend_handles_labels()
            handles, labels = handles + more[0], labels + more[1]
        axes.legend(handles, labels, fontsize=7, frameon=False)
        axes.grid(alpha=0.3)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
