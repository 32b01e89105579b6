"""`sample` and `replay`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganctl import collectives, completion
from ganctl.commands.options import Ckpt, Device, TrustCode
from ganctl.devices import find_device
from ganctl.errors import UsageError
from ganctl.terminal import open_checkpoint, result, verb, wants_json

if TYPE_CHECKING:
    from ganctl.sample import Product, Way

PICTURES, ARRAYS, FILMS = (".png",), (".npz", ".npy"), (".gif", ".mp4")


@verb(
    "ganctl sample --label 5 --n 64",
    "ganctl sample --label 1,3,5 --n 100000 --out images.npz",
    "ganctl sample --interpolate 3:0 8:1 --frames 60 --out film.gif",
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
    truncation: Annotated[
        float, typer.Option(metavar="PSI", help="Below 1: less varied, more typical images. Above 0.")
    ] = 1.0,
    interpolate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="From one image to another, each LABEL:SEED, a label (at --seed), or, with --label, a seed.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Of an interpolation.")] = 60,
    fps: Annotated[int, typer.Option(help="Frames a second of a GIF or MP4.", min=1, max=50)] = 20,
    loop: Annotated[bool, typer.Option("--loop", help="A GIF or MP4 goes back to its start.")] = False,
    captions: Annotated[
        bool, typer.Option("--captions", help="Names of the labels beside the rows of a grid.")
    ] = False,
    scale: Annotated[
        int, typer.Option(help="Enlarges the pixels of a grid, a strip or a film.", min=1, max=64)
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: .png (a grid), .npz or .npy; of an interpolation .png, .gif or .mp4."
        ),
    ] = None,
    outdir: Annotated[Path | None, typer.Option(help="Write one PNG an image into this folder.")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="png: a grid; npz: images, labels, seeds; npy: images; by default what --out ends in."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Images drawn at a time; pixels don't depend on it.", min=1)
    ] = 1024,
    force: Annotated[
        bool,
        typer.Option("--force", help="Begin anew, over other pictures and what an interrupted call left."),
    ] = False,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Draw images of a label: the same checkpoint, label and seed give the same bytes.

    Interrupted while it writes single PNGs, an .npz or an .npy, the same command goes on.
    """
    kind = _suffix(format, out, outdir, interpolate is not None)
    is_picture = kind in PICTURES and outdir is None
    if captions and (not is_picture or interpolate):
        raise UsageError(
            "--captions stand beside the rows of a grid", "leave out --captions, or write a .png"
        )
    if scale > 1 and not (is_picture or kind in FILMS):
        raise UsageError("single images and arrays keep their size", "leave out --scale")
    if loop and kind not in FILMS:
        raise UsageError("--loop is of films", "write a .gif or .mp4 of an --interpolate")
    if interpolate is not None and seeds is not None:
        raise UsageError("--interpolate has its own seeds", "leave out --seeds: --interpolate 5:0 5:7")

    from ganctl import arrays, atomic, expressions, generator, images, latents, movies, singles
    from ganctl import sample as sampling

    if seeds is None:
        latents.require_seeds(seed, 1 if interpolate else n)
    numbers = range(seed, seed + n) if seeds is None else expressions.parse_seeds(seeds)
    expressions.require_truncation(truncation)
    _, snapshot = open_checkpoint(ckpt)
    names = snapshot.facts.label_names
    asked: Product | Way
    if interpolate is None:
        asked = sampling.Product(expressions.parse_labels(label, names), numbers, truncation)
        # What was typed may hold anything: blanks and line ends around a label, thousands of labels.
        named = label or "all"
        named = named if re.fullmatch(r"[\w,-]{1,40}", named) else f"s{len(asked.labels)}"
        stem = (f"label{named}_" if names else "") + f"seed{numbers[0]}_n{len(numbers)}"
        data: dict[str, Any] = {"labels": list(asked.labels)}
        data["seeds"] = list(numbers) if wants_json() else []
    else:
        own = None if label is None else expressions.one_label(label, names)
        a, b = (expressions.parse_point(text, names, own, seed) for text in interpolate)
        asked = sampling.Way(a, b, frames, truncation)
        ends = (f"label{p.label}_seed{p.seed}" if names else f"seed{p.seed}" for p in (a, b))
        stem = "_to_".join(ends)
        data = {"a": a._asdict(), "b": b._asdict(), "frames": frames}
    if captions and not names:
        raise UsageError("this generator was trained without labels", "leave out --captions")
    layout = sampling.grid_of(asked, captions=captions, scale=scale)
    if is_picture or kind in FILMS:
        shape = sampling.shape_of(snapshot, asked, layout)
        if kind in FILMS:
            movies.require_possible(kind, shape, snapshot.facts.resolution * scale)
    target = out or Path(f"{stem}{kind}")
    with collectives.together():
        collectives.from_first(lambda: atomic.require_writable(target if outdir is None else outdir / target))
        drawer = generator.Generator(snapshot, find_device(device), trust_code=trust_code)
        if outdir is not None and isinstance(asked, sampling.Product):
            target = outdir
            singles.write(drawer, asked, outdir, batch_size=batch_size, force=force)
        elif kind in ARRAYS and isinstance(asked, sampling.Product):
            arrays.write(drawer, asked, target, kind, batch_size=batch_size, force=force)
        else:
            drawn = sampling.pixels(drawer, asked, batch_size)
            whole = drawn if interpolate else collectives.gather(drawn)
            assert whole is not None
            if collectives.place()[0] > 0:
                return
            texts = sampling.provenance(drawer, asked, layout)
            if kind in FILMS:
                movies.write(whole, target, kind, fps=fps, scale=scale, loop=loop, texts=texts)
            else:
                images.save_png(sampling.picture(snapshot, asked, layout, whole), target, texts)
    result(str(target), {"path": str(target), **data})


def _suffix(format: str | None, out: Path | None, outdir: Path | None, is_film: bool) -> str:
    """What is written, by its suffix."""
    known = PICTURES + (FILMS if is_film else ARRAYS)
    said = ("." + format) if format is not None else (out.suffix.lower() if out is not None else "") or ".png"
    if outdir is not None and (out is not None or format not in (None, "png") or is_film):
        what = "--interpolate" if is_film else "--out and --format"
        raise UsageError("--outdir writes single PNGs", f"leave out {what}")
    if out is not None and not out.name:
        raise UsageError("--out is no file name", "give one, as in --out grid.png")
    if said in known:
        return said
    listed = ", ".join(suffix[1:] for suffix in known[:-1]) + f" and {known[-1][1:]}"
    if said in FILMS + ARRAYS:
        what = "films are of --interpolate" if said in FILMS else "an interpolation is a film or a strip"
        raise UsageError(f"{said[1:]} is not written here: {what}", f"formats are {listed} here")
    if format is not None:
        raise UsageError(f"there is no format {format!r}", f"formats are {listed}")
    raise UsageError(f"{out} ends in no format", f"formats are {listed}; give --out FILE.png, or --format")


@verb(
    "ganctl replay picture.png",
    "ganctl replay pictures/*.png --ckpt best.ckpt",
    "ganctl replay grid.png --out again.png",
)
def replay(
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNGs of ganctl sample.")],
    ckpt: Annotated[
        str | None,
        typer.Option(
            "--ckpt",
            "--network",
            metavar="FILE",
            help="Their weights; by default they are looked for by their digest: bundled, and in runs/.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the one picture as it was drawn again.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or mps; by default the kind that made the picture, or cpu."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Draw pictures again from what they say of themselves, and compare every pixel.

    Exit code 0: all are identical; 1: one differs; 2: one could not be drawn again.
    """
    if out is not None and len(pictures) > 1:
        raise UsageError("--out is for one picture", "give one, or leave out --out")
    if out is not None and os.path.lexists(out) and not force:
        raise UsageError(f"{out} is there already", "choose another --out, or add --force")

    from ganctl import images, progress
    from ganctl import replay as replaying

    draw = replaying.Replay(ckpt, device, trust_code=trust_code)
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    failures: list[UsageError] = []
    differ = 0
    with progress.bar(len(pictures), "img") as bar:
        for file in pictures:
            try:
                replayed = draw(file)
            except UsageError as error:
                failures.append(error)
                lines.append(f"{file}: {error.what}")
                data.append({"image": str(file), "error": error.what})
            else:
                differ += replayed.differing > 0
                lines.append(str(replayed))
                data.append(replayed.to_dict())
                if out is not None:
                    images.save_png(replayed.picture, out, replayed.texts)
            bar.update(1)
    if len(failures) < len(pictures):
        result("\n".join(lines), {"pictures": data})
    if failures:
        first = failures[0]
        if len(pictures) == 1:
            raise first
        what = (
            f"{len(failures)} of {len(pictures)} pictures could not be drawn again; the first: {first.what}"
        )
        raise UsageError(what, first.fix)
    if differ:
        raise typer.Exit(1)
