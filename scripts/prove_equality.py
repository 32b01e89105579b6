"""The same PNGs through ganctl and through the reference tools: prints a Markdown table of the differences.

    python scripts/prove_equality.py --num 400
    python scripts/prove_equality.py --fake DIR --real DIR

End to end where a tool takes our weights (torch-fidelity, torchmetrics: files in, number out), on shared
features where it does not (prdc, pytorch-fid). Without folders, MNIST is written as PNGs: test images as
real, and blurred training images, too few of some labels, in the place of fakes. Needs the `dev` extra. Ends
with exit code 1 where a difference is above its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ImageFilter
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from torch_fidelity import calculate_metrics
from torchmetrics.image.fid import FrechetInceptionDistance

from ganctl import data
from ganctl.images import to_pil
from ganctl.inputs import ImageArrays, ImageFolder, open_images
from ganctl.metrics.extract import Extracted, extract
from ganctl.metrics.features import InceptionExtractor
from ganctl.metrics.inception_score import inception_score
from ganctl.metrics.inception_weights import find_or_fetch
from ganctl.metrics.kernel import kernel_distance
from ganctl.metrics.prdc import prdc

SEED = 2020  # torch-fidelity's default
KID_SUBSETS = 100
RELATIVE = 1e-4


@dataclass(frozen=True)
class Row:
    """One comparison; `limit` is of the difference, relative to theirs or absolute."""

    metric: str
    tool: str
    what: str
    theirs: float
    ours: float
    limit: float
    absolute: bool = False

    @property
    def difference(self) -> float:
        gap = abs(self.ours - self.theirs)
        return gap if self.absolute else gap / max(abs(self.theirs), 1e-12)

    def __str__(self) -> str:
        kind = "absolute" if self.absolute else "relative"
        verdict = "yes" if self.difference <= self.limit else "**NO**"
        cells = f"{self.theirs:.7g} | {self.ours:.7g} | {self.difference:.1e} | {self.limit:.0e} {kind}"
        return f"| {self.metric} | {self.tool} | {self.what} | {cells} | {verdict} |"


def write_stand_ins(folder: Path, num: int) -> tuple[Path, Path]:
    """MNIST as PNGs -> (fake, real) folders of `num` images each."""
    dataset = data.load(data.Source("mnist"), val_size=0)
    generator = torch.Generator().manual_seed(SEED)
    few = dataset.train.labels < 3
    kept = (~few | (torch.rand(len(few), generator=generator) < 0.3)).nonzero()[:, 0]
    fake = dataset.train.images[kept[torch.randperm(len(kept), generator=generator)[:num]]]
    real = dataset.test.images[torch.randperm(len(dataset.test), generator=generator)[:num]]
    for name, images in (("fake", fake), ("real", real)):
        (folder / name).mkdir()
        for i, image in enumerate(images):
            picture = to_pil(image)
            if name == "fake":
                picture = picture.filter(ImageFilter.GaussianBlur(0.5))
            picture.save(folder / name / f"{i:06d}.png")
    return folder / "fake", folder / "real"


def batches(images: ImageFolder | ImageArrays) -> Iterator[Tensor]:
    return images.batches(range(images.num_images))


def compare_fidelity(
    fake: Path, real: Path, a: Extracted, b: Extracted, weights: Path, k: int
) -> Iterator[Row]:
    """FID, KID, precision and recall (IS as well, where the weights have their last layer), end to end."""
    assert a.features is not None
    assert b.features is not None
    size = min(1000, len(a.features), len(b.features))
    theirs = calculate_metrics(
        input1=str(fake),
        input2=str(real),
        feature_extractor=InceptionExtractor.name,  # for precision and recall too, where VGG16 is its default
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
        fid=True,
        kid=True,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        prc=True,
        prc_neighborhood=k,
        isc=a.logits is not None,
        rng_seed=SEED,
    )
    kid = kernel_distance(a.features, b.features, np.random.RandomState(SEED), KID_SUBSETS, size)
    shares = prdc(b.features, a.features, k)
    ours = {
        "FID": ("frechet_inception_distance", a.frechet_distance(b), RELATIVE),
        "KID": ("kernel_inception_distance_mean", kid[0], RELATIVE),
        f"precision, k = {k}": ("precision", shares.precision, RELATIVE),
        f"recall, k = {k}": ("recall", shares.recall, RELATIVE),
    }
    if a.logits is not None:
        score, _ = inception_score(a.logits, np.random.RandomState(SEED))
        ours["IS"] = ("inception_score_mean", score, 1e-3)
    for metric, (key, value, limit) in ours.items():
        yield Row(metric, "torch-fidelity", "end to end", theirs[key], value, limit)


def compare_torchmetrics(fake: Path, real: Path, a: Extracted, b: Extracted, weights: Path) -> Row:
    """FID end to end; the resize is the reference's only without antialiasing."""
    metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(weights), antialias=False)
    with torch.inference_mode():
        for folder, is_real in ((fake, False), (real, True)):
            for batch in batches(open_images(folder)):
                metric.update(batch.expand(-1, 3, -1, -1), real=is_real)
        theirs = metric.compute().item()
    return Row("FID", "torchmetrics", "end to end", theirs, a.frechet_distance(b), RELATIVE)


def compare_shared(a: Extracted, b: Extracted, k: int) -> Iterator[Row]:
    """prdc and pytorch-fid on our features."""
    assert a.features is not None
    assert b.features is not None
    fake, real = a.features.numpy(), b.features.numpy()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the numbers of images
        theirs = compute_prdc(real, fake, k)
    ours = vars(prdc(b.features, a.features, k))
    exact = 0.5 / (k * max(len(fake), len(real)))  # half a count of the finest share is the same count
    for name in ("precision", "recall", "density", "coverage"):
        yield Row(f"{name}, k = {k}", "prdc", "features", theirs[name], ours[name], exact, absolute=True)
    stats: list[Any] = []
    for side in (fake, real):
        stats += [side.mean(axis=0, dtype=np.float64), np.cov(side, rowvar=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an argument of sqrtm that it still gives is deprecated
        found = float(calculate_frechet_distance(*stats))
    yield Row("FID", "pytorch-fid", "features", found, a.frechet_distance(b), 0.1, absolute=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fake", type=Path, help="folder of PNGs")
    parser.add_argument("--real", type=Path, help="folder of PNGs")
    parser.add_argument("--num", type=int, default=400, help="images a side when MNIST is written")
    parser.add_argument("--inception-weights", type=Path, help="default: the known places, then a download")
    args = parser.parse_args()
    if (args.fake is None) != (args.real is None):
        parser.error("give both --fake and --real, or neither")
    weights = find_or_fetch(args.inception_weights)
    with tempfile.TemporaryDirectory() as temporary:
        fake, real = (args.fake, args.real) if args.fake else write_stand_ins(Path(temporary), args.num)
        extractor = InceptionExtractor(weights)
        opened = open_images(fake), open_images(real)
        a, b = (extract(extractor, batches(images), keep_features=True) for images in opened)
        print(f"{opened[0].num_images} fakes, {opened[1].num_images} real images\n")
        print("| metric | tool | from | theirs | ours | difference | limit | within |")
        print("|---|---|---|---|---|---|---|---|")
        rows: list[Row] = []
        for found in (
            compare_fidelity(fake, real, a, b, weights.path, k=3),
            compare_shared(a, b, k=5),
            [compare_torchmetrics(fake, real, a, b, weights.path)],
        ):
            for row in found:
                rows.append(row)
                print(row, flush=True)
    sys.exit(any(row.difference > row.limit for row in rows))


if __name__ == "__main__":
    main()
