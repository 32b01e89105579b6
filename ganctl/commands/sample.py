"""`sample`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ganctl import collectives, completion
from ganctl.commands.options import Ckpt, Device, TrustCode
from ganctl.errors import UsageError
from ganctl.terminal import find_device, open_checkpoint, result, verb


@verb(
    "ganctl sample --label 5 --n 64",
    "ganctl sample --label 0-9 --n 8 --out grid.png",
    "ganctl sample --ckpt best.ckpt --label 1,3,5 --seeds 0,4-6 --outdir pictures",
)
def sample(
    ckpt: Ckpt = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="5, 0-9, 1,3,5, class names, or all, the default.", autocompletion=completion.labels
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Images per label.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the first image; image k has seed + k.", min=0)] = 0,
    seeds: Annotated[str | None, typer.Option(help="Exactly these seeds instead, as in 0,1,4-6.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
    outdir: Annotated[Path | None, typer.Option(help="Write one PNG an image into this folder.")] = None,
    format: Annotated[str, typer.Option(help="png: a grid; npz: images, labels, seeds.")] = "png",
    batch_size: Annotated[
        int, typer.Option(help="Images drawn at a time; pixels don't depend on it.", min=1)
    ] = 1024,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Draw images of a label: the same checkpoint, label and seed give the same bytes."""
    if format not in ("png", "npz"):
        raise UsageError(f"there is no format {format!r}", "formats are png and npz")
    if outdir is not None and (out is not None or format != "png"):
        raise UsageError("--outdir writes single PNGs", "leave out --out and --format")

    from ganctl import atomic, latents
    from ganctl import sample as sampling

    if seeds is None:
        latents.require_seeds(seed, n)
    numbers = range(seed, seed + n) if seeds is None else sampling.parse_seeds(seeds)
    _, snapshot = open_checkpoint(ckpt)
    labels = sampling.parse_labels(label, snapshot.facts.label_names)
    span = f"seed{numbers[0]}_n{len(numbers)}"
    # What was typed may hold anything: blanks and line ends around a label, thousands of labels.
    named = label or "all"
    named = named if re.fullmatch(r"[\w,-]{1,40}", named) else f"s{len(labels)}"
    prefix = f"label{named}_" if snapshot.facts.label_names else ""
    target = out or Path(f"{prefix}{span}.{format}")
    with collectives.together():
        collectives.from_first(lambda: atomic.require_writable(target if outdir is None else outdir / target))
        pixels = sampling.sample(
            snapshot, labels, numbers, find_device(device), trust_code=trust_code, batch_size=batch_size
        )
        if outdir is not None:
            sampling.write_singles(snapshot, pixels, labels, numbers, outdir)
            _print(outdir, labels, numbers)
            return
        whole = collectives.gather(pixels)
        assert whole is not None
        if collectives.place()[0] > 0:
            return
    write = sampling.write_npz if format == "npz" else sampling.write_grid
    write(snapshot, whole, labels, numbers, target)
    _print(target, labels, numbers)


def _print(path: Path, labels: list[int], seeds: Sequence[int]) -> None:
    result(str(path), {"path": str(path), "labels": labels, "seeds": list(seeds)})
