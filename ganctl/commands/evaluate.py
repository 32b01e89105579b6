"""`eval` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ganctl import collectives
from ganctl.commands.options import Ckpt, Device, TrustCode
from ganctl.devices import find_device
from ganctl.errors import UsageError
from ganctl.terminal import (
    metric_rows,
    note,
    open_checkpoint,
    report_footer,
    result,
    show,
    verb,
    wants_json,
)

if TYPE_CHECKING:
    from ganctl.metrics.features import Precision
    from ganctl.sides import Fakes


@verb(
    "ganctl eval --ckpt last.ckpt",
    "ganctl eval --ckpt best.ckpt --metrics fast --repeats 3",
    "ganctl eval pictures/ --data mnist --metrics fid,prdc --features inception",
)
def eval_(
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGES", help="A folder of PNGs or an .npz to score instead of a checkpoint."
        ),
    ] = None,
    ckpt: Ckpt = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Real images: a data set by its name, or your own: a folder, zip or .npz. [what the "
            "checkpoint was trained on]",
        ),
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="Real images: a folder, an .npz, or a statistics file.")
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="default, fast or all; or label_accuracy, fid, is, kid, prdc, fid_infinity, intra_fid, "
            "modes, memorisation, cas."
        ),
    ] = "default",
    features: Annotated[
        str, typer.Option(help="classifier (our own), inception, or a TorchScript file.")
    ] = "classifier,inception",
    classifier: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A classifier of ganctl train-classifier, in the place of our own."
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="Images to generate (10000), or to take of a folder.", min=2)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image; image k has seed + k.", min=0)] = 0,
    repeats: Annotated[
        int, typer.Option(help="Evaluations with other seeds; two or more give an uncertainty.", min=1)
    ] = 1,
    precision: Annotated[
        str, typer.Option(help="Of Inception: float32; bf16 only for monitoring.")
    ] = "float32",
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep statistics of real images.")] = True,
    save_real: Annotated[
        Path | None, typer.Option(help="Write the statistics of the real images, for --real.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder to look for the data set in first.")] = None,
    inception_weights: Annotated[Path | None, typer.Option(help="A file of Inception weights.")] = None,
    out: Annotated[Path | None, typer.Option(help="The report; by default beside what was scored.")] = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Score a checkpoint or pictures against real images, with the score of real images beside it.

    Our own classifier's scores come first, within seconds; then Inception's, where its weights are at hand or
    can be fetched. Ctrl-C keeps what is finished.
    """
    if images is not None and ckpt is not None:
        raise UsageError("a checkpoint and pictures were given", "give one of them")
    if data is not None and real is not None:
        raise UsageError("--data and --real were given", "give one of them")
    if images is not None and data is None and real is None:
        raise UsageError("it is not said what to compare with", "add --data mnist, or --real FOLDER")
    if precision not in ("float32", "bf16"):
        raise UsageError(f"there is no precision {precision!r}", "precisions are float32 and bf16")

    from ganctl import atomic, evaluate, latents, real_side, runs, scoring, sides
    from ganctl import images as pictures
    from ganctl.metrics import classifier as classifiers

    latents.require_seeds(seed, repeats * (n or 10_000))
    request = scoring.Request(
        metrics=tuple(part.strip() for part in metrics.split(",")),
        features=tuple(part.strip() for part in features.split(",")),
        seed=seed,
        repeats=repeats,
        precision=cast("Precision", precision),
        use_cache=cache,
        classifier=None if classifier is None else classifiers.read(classifier),
        inception_path=inception_weights,
        save_real=save_real,
        trust_code=trust_code,
    )
    where = find_device(device)
    snapshot = None
    fakes: Fakes
    if images is None:
        path, snapshot = open_checkpoint(ckpt)
        target = out or runs.outputs_of(path, ".eval.json")
        fakes = sides.CheckpointFakes(snapshot, n or 10_000, where, trust_code)
    else:
        target = out or images.absolute().with_name(f"{images.absolute().stem}.eval.json")
        fakes = sides.FileFakes(images, n, seed)
    reals = real_side.find(fakes, snapshot, data, data_root, real, request)

    with collectives.together():
        collectives.from_first(lambda: atomic.require_writable(target))
        if not wants_json():
            typer.echo(f"{'metric':<20} {'value':>10} {'floor':>10}   real images in the generator's place")
        report, complete = evaluate.evaluate(
            fakes, reals, request, where, lambda rows: None if wants_json() else show(metric_rows(rows))
        )
        if collectives.place()[0] > 0:
            return
    content = report.to_dict()
    text = json.dumps(content, indent=2, allow_nan=False)
    atomic.write_output(target, lambda file: file.write(text.encode()))
    for kind, picture in report.pictures().items():
        pictures.save_png(picture, target.with_name(f"{target.stem}.{kind}.png"))
    result(report_footer(report), content)
    note(f"report {target}")
    if not complete:
        raise typer.Exit(130)


@verb(
    "ganctl compare a.eval.json b.eval.json",
    "ganctl compare a.eval.json b.eval.json c.eval.json --json",
)
def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT", help="Reports of ganctl eval.")],
    force: Annotated[
        bool, typer.Option("--force", help="Compare what was made differently, marked.")
    ] = False,
) -> None:
    """Put reports side by side; say which differences exceed the noise; refuse those of another protocol."""
    from ganctl.compare import compare_files

    comparison = compare_files(reports, force)
    result(comparison.table(), comparison.to_dict())
