"""(checkpoint, format) -> a file that draws the same images without ganctl, compared before it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ganctl import __version__, atomic, generate, latents
from ganctl.errors import GanctlError
from ganctl.sharing import formats as export_formats
from ganctl.sharing import recipe
from ganctl.sharing.formats import Draw, Drawing, Original
from ganctl.snapshot import Snapshot

COMPARED = 100  # images
MAX_DIFFERENCE = 1  # grey levels: another runtime sums in another order


@dataclass(frozen=True)
class Exported:
    """
    Args:
        path: of the file.
        num_bytes: its size.
        num_compared: images that it and `ganctl sample` have both drawn.
        max_difference: between the two, in grey levels of 255.
    """

    path: Path
    num_bytes: int
    num_compared: int
    max_difference: int


def export(
    snapshot: Snapshot, format_name: str, target: Path, *, trust_code: bool = False, force: bool = False
) -> Exported:
    """Writes the generator in another format, reads the file back with that format's own runtime, and lets
    both draw; the file is at `target` only if they agree.

    Raises:
        UsageError: there is no such format, its packages are missing, the target exists, or cannot be
            written; the network is foreign and not trusted.
        GanctlError: the network cannot be written in this format, or the file draws other images.
    """
    chosen = export_formats.find(format_name)
    atomic.require_absent(target, force)
    atomic.require_writable(target)
    snapshot = replace(snapshot, config=recipe.effective(snapshot.config), wandb_id=None)
    G = snapshot.build(trust_code=trust_code)
    labels, seeds = _pairs(snapshot.facts.num_classes)
    # As `ganctl sample` draws. The exporters want the usual order in memory back.
    expected = generate.all_at_once(
        G.to(memory_format=torch.channels_last),
        snapshot.latent_dim,
        labels,
        seeds,
        torch.device("cpu"),
    )
    G.to(memory_format=torch.contiguous_format)
    z, y = latents.from_seeds(seeds, snapshot.latent_dim), torch.tensor(labels)
    inputs = (z, y) if snapshot.facts.num_classes else (z,)
    original = Original(snapshot, Drawing(G).eval(), tuple(t[:2] for t in inputs), about(snapshot))
    with atomic.output(target) as staged:
        with _explained(f"this network cannot be written as {format_name}"):
            chosen.write(original, staged)
        with _explained(f"the {format_name} file does not draw"):
            difference = _compare(chosen.read(staged, trust_code), inputs, expected)
        if difference > MAX_DIFFERENCE:
            raise GanctlError(
                f"the {format_name} file draws other images: pixels differ by up to {difference} grey levels",
                "export to another format; nothing was written",
            )
        size = staged.stat().st_size
    return Exported(target, size, len(seeds), difference)


def about(snapshot: Snapshot) -> str:
    """What a file says of itself: all that its user needs to know, as JSON."""
    facts = snapshot.facts
    y = {"y": f"int64 (N,), 0 to {facts.num_classes - 1}: the place in label_names"}
    content = {
        "ganctl": __version__,
        "digest": snapshot.digest,
        "data": facts.name,
        "label_names": list(facts.label_names),
        "latent_dim": snapshot.latent_dim,
        "channels": facts.channels,
        "resolution": facts.resolution,
        "inputs": {"z": f"float32 (N, {snapshot.latent_dim}), standard normal"}
        | (y if facts.num_classes else {}),
        "output": f"images: uint8 (N, {facts.channels}, {facts.resolution}, {facts.resolution}), 0 is black",
        "seed": "z of a seed is torch.randn(latent_dim, generator=torch.Generator().manual_seed(seed)), on "
        "the CPU, a generator of its own for each image",
    }
    return json.dumps(content)


def _pairs(num_classes: int) -> tuple[list[int], list[int]]:
    """The (label, seed) of the images that are compared: of as many labels as there are, up to all images."""
    return [i * num_classes // COMPARED for i in range(COMPARED)], list(range(COMPARED))


def _compare(draw: Draw, inputs: tuple[Tensor, ...], expected: Tensor) -> int:
    """The largest difference of a pixel. In batches of three sizes: one that was fixed by mistake shows."""
    difference, start = 0, 0
    with torch.no_grad():
        for size in (1, generate.MICRO_BATCH, len(expected) - generate.MICRO_BATCH - 1):
            part = slice(start, start + size)
            drawn, wanted = draw(*(t[part] for t in inputs)), expected[part]
            if drawn.dtype != wanted.dtype or drawn.shape != wanted.shape:
                raise ValueError(f"{drawn.dtype} {tuple(drawn.shape)} in place of {tuple(wanted.shape)}")
            difference = max(difference, int((drawn.int() - wanted.int()).abs().max()))
            start += size
    return difference


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Exporters and runtimes raise anything; a disk that is full is not their fault."""
    try:
        yield
    except (GanctlError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GanctlError(f"{what}: {reason:.300}", "export to another format") from error
