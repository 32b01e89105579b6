"""Speed of evaluation against the reference tools: same images, same cores, one process, in turn.

    python scripts/bench_eval.py --threads 1

Inception features against torch-fidelity as shipped, and the Fréchet distance at 2 048 dimensions against
`eigvals` (as torchmetrics and torch-fidelity take it) and scipy's `sqrtm` (as pytorch-fid does). Prints a
Markdown table and a line of JSON. On a busy machine only the ratios mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ganctl.metrics.features import InceptionExtractor
from ganctl.metrics.frechet import Moments, frechet_distance
from ganctl.metrics.inception_weights import InceptionWeights, find_or_fetch

DIMS = 2048
INCEPTION_GOAL = 1.7
FRECHET_GOAL = 8.0


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def bench_inception(weights: InceptionWeights, num: int, rounds: int) -> dict[str, float]:
    """Median images/s of both over the same random (num, 3, 28, 28) images, and how far features differ."""
    ours = InceptionExtractor(weights)
    theirs = FeatureExtractorInceptionV3(
        ours.name, ["2048"], feature_extractor_weights_path=str(weights.path)
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, 3, 28, 28), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        a, b = ours(images[:4]).features, theirs(images[:4])[0]  # also warms both up
        times = [(seconds(lambda: ours(images)), seconds(lambda: theirs(images))) for _ in range(rounds)]
    return {
        "ours_images_per_s": num / statistics.median(t[0] for t in times),
        "torch_fidelity_images_per_s": num / statistics.median(t[1] for t in times),
        "ratio": statistics.median(t[1] / t[0] for t in times),
        "max_relative_difference": float((a - b).abs().max() / b.abs().max()),
    }


def bench_frechet(num: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds and value of the distance from the same moments of `num` features a side."""
    generator = torch.Generator().manual_seed(0)
    # As in Inception features, a few directions vary much and most hardly.
    scale = torch.arange(1, DIMS + 1, dtype=torch.float32) ** -0.5

    def moments(shift: float, spread: float) -> tuple[Tensor, Tensor]:
        mix = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=generator)).Q
        found = Moments.of((torch.randn(num, DIMS, generator=generator) * scale * spread + shift) @ mix)
        return found.mean, found.cov

    (m1, c1), (m2, c2) = moments(0.0, 1.0), moments(0.01, 1.2)
    rest = float((m1 - m2).square().sum() + c1.trace() + c2.trace())
    values: dict[str, float] = {}

    def ours() -> None:
        values["ours"] = frechet_distance(m1, c1, m2, c2)

    def torch_eigvals() -> None:
        values["torch eigvals"] = rest - 2 * float(torch.linalg.eigvals(c1 @ c2).sqrt().real.sum())

    def numpy_eigvals() -> None:
        roots = np.linalg.eigvals(c1.numpy() @ c2.numpy()).astype("complex128")
        values["numpy eigvals"] = rest - 2 * float(np.sqrt(roots).real.sum())

    def scipy_sqrtm() -> None:
        values["scipy sqrtm"] = rest - 2 * float(np.trace(scipy.linalg.sqrtm(c1.numpy() @ c2.numpy())).real)

    references = {
        "torch eigvals": torch_eigvals,
        "numpy eigvals": numpy_eigvals,
        "scipy sqrtm": scipy_sqrtm,
    }
    taken: dict[str, list[float]] = {name: [] for name in ("ours", *references)}
    ratios: dict[str, list[float]] = {name: [] for name in taken}
    for _ in range(rounds):
        for name, call in references.items():
            before = seconds(ours)
            taken["ours"].append(before)
            taken[name].append(seconds(call))
            ratios[name].append(taken[name][-1] / before)
    ratios["ours"] = [1.0]
    return {
        name: {
            "seconds": statistics.median(taken[name]),
            "ratio": statistics.median(ratios[name]),
            "value": values[name],
        }
        for name in taken
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inception-weights", type=Path, help="default: the known places, then a download")
    parser.add_argument("--images", type=int, default=64, help="in one batch through Inception")
    parser.add_argument("--features", type=int, default=4096, help="a side behind the covariances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    inception = bench_inception(find_or_fetch(args.inception_weights), args.images, args.rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a nearly singular product, in scipy
        frechet = bench_frechet(args.features, args.rounds)

    print("| work | tool | speed | ganctl is faster by |\n|---|---|---|---|")
    print(f"| Inception features | ganctl | {inception['ours_images_per_s']:.1f} images/s | |")
    speed = inception["torch_fidelity_images_per_s"]
    print(f"| | torch-fidelity | {speed:.1f} images/s | × {inception['ratio']:.2f} |")
    for name, row in frechet.items():
        work, tool = ("Fréchet distance, 2 048 dimensions", "ganctl") if name == "ours" else ("", name)
        ratio = "" if name == "ours" else f"× {row['ratio']:.1f}"
        print(f"| {work} | {tool} | {row['seconds']:.2f} s | {ratio} |")
    report = {
        "inception": inception | {"goal": INCEPTION_GOAL, "images": args.images},
        "frechet": frechet | {"goal": FRECHET_GOAL, "features": args.features},
        "threads": args.threads,
        "rounds": args.rounds,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
