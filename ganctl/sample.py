"""(checkpoint, labels, seeds) -> pictures on disk, each a pure function of the three."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganctl import __version__, atomic, collectives, generate, images, progress
from ganctl.errors import UsageError, nearest
from ganctl.latents import MAX_SEED
from ganctl.snapshot import Snapshot

MAX_BYTES = 4 << 30  # of the pixels of one call


def parse_labels(text: str | None, names: Sequence[str]) -> list[int]:
    """`5`, `0-9`, `1,3,5`, `all`, class names, and mixtures of them; None is all.

    Returns:
        The labels in their order, each once. Without names, which is a generator trained without labels, the
        single 0, at which it does not look.

    Raises:
        UsageError: names the part that is no label, and the labels there are.
    """
    if not names:
        if text is not None:
            raise UsageError("this generator was trained without labels", "leave out --label")
        return [0]
    labels: list[int] = []
    for part in (p.strip() for p in ("all" if text is None else text).split(",")):
        span = re.fullmatch(r"(\d{1,9})-(\d{1,9})", part)
        if part in names:
            labels.append(list(names).index(part))
        elif part == "all":
            labels += range(len(names))
        elif span and int(span[1]) <= int(span[2]) < len(names):
            labels += range(int(span[1]), int(span[2]) + 1)
        elif re.fullmatch(r"\d{1,9}", part) and int(part) < len(names):
            labels.append(int(part))
        else:
            numbers = part.replace("-", "").isdecimal()
            fix = f"labels are 0 to {len(names) - 1}" if numbers else nearest(part, [*names, "all"])
            raise UsageError(f"there is no label {part!r}", fix)
    return list(dict.fromkeys(labels))


def parse_seeds(text: str) -> list[int]:
    """`0,1,4-6` -> [0, 1, 4, 5, 6].

    Raises:
        UsageError: names the part that is no seed, or there are too many.
    """
    seeds: list[int] = []
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_SEED:
            raise UsageError(f"cannot read the seeds {part!r}", "write numbers and ranges, as in 0,1,4-6")
        generate.require_possible(len(seeds) + last - first + 1)
        seeds += range(first, last + 1)
    return seeds


def sample(
    snapshot: Snapshot,
    labels: Sequence[int],
    seeds: Sequence[int],
    device: torch.device,
    *,
    trust_code: bool = False,
    batch_size: int = 1024,
) -> Tensor:
    """Every seed for every label, label by label: image (l, s) is number `l · len(seeds) + s`. Of these this
    rank's share; `collectives.gather` joins them.

    Args:
        batch_size: images drawn at a time; the pixels don't depend on it.

    Returns:
        (N, C, H, W) uint8 on the CPU, N = len(labels) · len(seeds) where there is one rank.

    Raises:
        UsageError: there are too many, or they take more than `MAX_BYTES`: a file's own labels and sizes soon
            ask for that.
    """
    generate.require_possible(len(labels) * len(seeds))
    size = len(labels) * len(seeds) * snapshot.facts.channels * snapshot.facts.resolution**2
    if size > MAX_BYTES:
        raise UsageError(
            f"{len(labels) * len(seeds):,} images of this generator take {size / 2**30:.0f} GiB",
            f"ask for fewer labels or seeds at a time: {MAX_BYTES >> 30} GiB at most",
        )
    G = snapshot.build(trust_code=trust_code).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pairs = own_pairs(labels, seeds)
    y, s = [label for label, _ in pairs], [seed for _, seed in pairs]
    facts = snapshot.facts
    parts = [torch.empty(0, facts.channels, facts.resolution, facts.resolution, dtype=torch.uint8)]
    with progress.bar(len(y), "img") as bar:
        for start in range(0, len(y), batch_size):
            stop = start + batch_size
            parts.append(generate.all_at_once(G, snapshot.latent_dim, y[start:stop], s[start:stop], device))
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def own_pairs(labels: Sequence[int], seeds: Sequence[int]) -> list[tuple[int, int]]:
    """This rank's share of the images, as (label, seed)."""
    part = collectives.share(len(labels) * len(seeds), generate.MICRO_BATCH)
    return [(labels[i // len(seeds)], seeds[i % len(seeds)]) for i in part]


def provenance(snapshot: Snapshot, labels: Sequence[int], seeds: Sequence[int]) -> dict[str, str]:
    """The text chunks of a PNG: enough to draw the same picture again."""
    label = {"ganctl:label": ",".join(str(y) for y in labels)} if snapshot.facts.num_classes else {}
    return {
        "ganctl:version": __version__,
        "ganctl:checkpoint": snapshot.digest,
        **label,
        "ganctl:seed": ",".join(str(s) for s in seeds),
    }


def write_grid(
    snapshot: Snapshot, pixels: Tensor, labels: Sequence[int], seeds: Sequence[int], out: Path
) -> None:
    """One PNG: a row for each label, or a square where there is one label."""
    columns = len(seeds) if len(labels) > 1 else int(np.ceil(np.sqrt(len(seeds))))
    picture = images.to_pil(images.grid(pixels, columns))
    images.save_png(picture, out, provenance(snapshot, labels, seeds))


def write_singles(
    snapshot: Snapshot, pixels: Tensor, labels: Sequence[int], seeds: Sequence[int], outdir: Path
) -> None:
    """One PNG an image of this rank's share: `<label name>_seed<seed>.png`, or `seed<seed>.png` where there
    are no labels."""
    names = [f"{images.file_name(name)}_" for name in snapshot.facts.label_names] or [""]
    if len({name.casefold() for name in names}) < len(names):  # `a b` and `a_b` are one file name
        names = [f"{y}_" for y in range(len(names))]
    for (y, s), image in zip(own_pairs(labels, seeds), pixels, strict=True):
        target = outdir / f"{names[y]}seed{s:06d}.png"
        images.save_png(images.to_pil(image), target, provenance(snapshot, [y], [s]))


def write_npz(
    snapshot: Snapshot, pixels: Tensor, labels: Sequence[int], seeds: Sequence[int], out: Path
) -> None:
    """`images` uint8 (N, H, W, C), `labels` int64 (N,) where there are any, `seeds` int64 (N,)."""
    arrays = {
        "images": pixels.permute(0, 2, 3, 1).contiguous().numpy(),
        "labels": np.repeat(np.asarray(labels, dtype=np.int64), len(seeds)),
        "seeds": np.tile(np.asarray(seeds, dtype=np.int64), len(labels)),
    }
    if not snapshot.facts.num_classes:
        del arrays["labels"]
    atomic.write_output(out, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
