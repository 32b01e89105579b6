"""The command line: parse, call one function, print. Nothing heavy is imported before a verb needs it.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the work failed, 2 the input is wrong,
3 the watchdog ended the training, 128 + the signal's number: interrupted.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ganctl import __version__, collectives
from ganctl.errors import UsageError
from ganctl.terminal import (
    examples,
    find_device,
    metric_rows,
    note,
    open_checkpoint,
    report_footer,
    show,
    verb,
)

if TYPE_CHECKING:
    from ganctl.metrics.features import Precision
    from ganctl.sides import Fakes
    from ganctl.train import RunResult


app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train, sample and honestly evaluate class-conditional GANs.",
    epilog=examples(
        "ganctl train +experiment=quick",
        "ganctl sample --label 5 --n 64",
        "ganctl eval --ckpt last.ckpt",
    ),
)
data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Get the data sets.",
    epilog=examples(
        "ganctl data fetch mnist",
        "ganctl data fetch inception",
    ),
)
app.add_typer(data_app, name="data")

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Ckpt = Annotated[
    str | None,
    typer.Option(
        "--ckpt",
        "--network",
        metavar="FILE",
        help="A checkpoint (.ckpt or .safetensors), a run folder, or last.ckpt / best.ckpt of the newest "
        "run; by default its last.ckpt, or the bundled MNIST generator where there is no run.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Import network classes from outside ganctl that FILE names; run TorchScript."
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(2)


@app.command(
    epilog=examples(
        "ganctl train +experiment=quick",
        "ganctl train experiment=dcgan model.lr=1e-4 trainer.max_epochs=20",
        "ganctl train data=fashion model=mlp loss=hinge trainer=ddp",
    ),
)
@verb
def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDES]...", help="Hydra overrides: group=name or key=value."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train a conditional GAN; the run folder explains itself."""
    from ganctl import config

    cfg = config.compose(overrides or [])
    from ganctl.train import train as run_training

    _print_run(run_training(cfg))


@app.command(
    epilog=examples(
        "ganctl resume",
        "ganctl resume runs/dcgan/2026-01-31_12-00-00 trainer.max_epochs=40",
        "ganctl resume runs/dcgan/2026-01-31_12-00-00/checkpoints/best.ckpt",
    ),
)
@verb
def resume(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|CKPT]", help="A run folder or a checkpoint of it; by default the newest run."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDES]...", help="key=value, as in trainer.max_epochs=40."),
    ] = None,
    trust_code: TrustCode = False,
    debug: Debug = False,
) -> None:
    """Go on with a run, exactly where it was, in the same folder and the same W&B run."""
    from ganctl import config
    from ganctl import resume as resuming

    changes = list(overrides or [])
    if run is not None and "=" in run and not os.path.exists(run):
        changes.insert(0, run)
        run = None
    found = resuming.find(run)
    cfg = config.changed(found.config, changes)
    from ganctl.train import train as run_training

    _print_run(run_training(cfg, found, trust_code=trust_code))


def _print_run(result: RunResult | None) -> None:
    if result is None:  # rank 0 alone speaks
        return
    folder = result.run.path
    typer.echo(f"run          {folder}")
    typer.echo(f"checkpoint   {result.run.checkpoint('last.ckpt')}")
    typer.echo(f"images seen  {result.nimg}")
    for name, value in result.scores.items():
        typer.echo(f"{name:<20} {value:.4g}")
    label = " --label 0" if result.labelled else ""
    typer.echo(f"next         ganctl sample --ckpt {folder}{label} --n 64", err=True)


@app.command(
    epilog=examples(
        "ganctl sample --label 5 --n 64",
        "ganctl sample --label 0-9 --n 8 --out grid.png",
        "ganctl sample --ckpt best.ckpt --label 1,3,5 --seeds 0,4-6 --outdir pictures",
    ),
)
@verb
def sample(
    ckpt: Ckpt = None,
    label: Annotated[
        str | None, typer.Option(help="5, 0-9, 1,3,5, class names, or all, the default.")
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
    debug: Debug = False,
) -> None:
    """Draw images of a label: the same checkpoint, label and seed give the same bytes."""
    if format not in ("png", "npz"):
        raise UsageError(f"there is no format {format!r}", "formats are png and npz")
    if outdir is not None and (out is not None or format != "png"):
        raise UsageError("--outdir writes single PNGs", "leave out --out and --format")

    from ganctl import atomic
    from ganctl import sample as sampling

    if seeds is None:
        _require_seeds(seed, n)
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
            typer.echo(str(outdir))
            return
        whole = collectives.gather(pixels)
        assert whole is not None
        if collectives.place()[0] > 0:
            return
    write = sampling.write_npz if format == "npz" else sampling.write_grid
    write(snapshot, whole, labels, numbers, target)
    typer.echo(str(target))


@app.command(
    "eval",
    epilog=examples(
        "ganctl eval --ckpt last.ckpt",
        "ganctl eval --ckpt best.ckpt --metrics fast --repeats 3",
        "ganctl eval pictures/ --data mnist --metrics fid,prdc --features inception",
    ),
)
@verb
def eval_(
    images: Annotated[
        Path | None, typer.Argument(help="A folder of PNGs or an .npz to score instead of a checkpoint.")
    ] = None,
    ckpt: Ckpt = None,
    data: Annotated[
        str | None, typer.Option(help="Real images: mnist, fashion, digits or stacked_mnist.")
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    device: Device = "auto",
    trust_code: TrustCode = False,
    debug: Debug = False,
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

    from ganctl import atomic, evaluate, runs, scoring, sides
    from ganctl import data as datasets
    from ganctl import images as pictures

    _require_seeds(seed, repeats * (n or 10_000))
    request = scoring.Request(
        metrics=tuple(part.strip() for part in metrics.split(",")),
        features=tuple(part.strip() for part in features.split(",")),
        seed=seed,
        repeats=repeats,
        precision=cast("Precision", precision),
        use_cache=cache,
        inception_path=inception_weights,
        save_real=save_real,
        trust_code=trust_code,
    )
    where = find_device(device)
    fakes: Fakes
    if images is None:
        path, snapshot = open_checkpoint(ckpt)
        target = out or runs.outputs_of(path, ".eval.json")
        fakes = sides.CheckpointFakes(snapshot, n or 10_000, where, trust_code)
        name = data or snapshot.facts.name
    else:
        target = out or images.absolute().with_name(f"{images.absolute().stem}.eval.json")
        names = datasets.LABEL_NAMES.get(data or "") or None
        fakes = sides.FileFakes(images, n, seed, names)
        name = data or ""
    if real is not None:
        reals = sides.of_path(real, fakes.shape)
    else:
        reals = sides.of_dataset(datasets.load(name, data_root, val_size=0), fakes, seed)

    with collectives.together():
        collectives.from_first(lambda: atomic.require_writable(target))
        if not as_json:
            typer.echo(f"{'metric':<20} {'value':>10} {'floor':>10}   real images in the generator's place")
        report, complete = evaluate.evaluate(
            fakes, reals, request, where, lambda rows: None if as_json else show(metric_rows(rows))
        )
        if collectives.place()[0] > 0:
            return
    text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
    atomic.write_output(target, lambda file: file.write(text.encode()))
    for kind, picture in report.pictures().items():
        pictures.save_png(picture, target.with_name(f"{target.stem}.{kind}.png"))
    show(text if as_json else report_footer(report))
    note(f"report {target}")
    if not complete:
        raise typer.Exit(130)


@app.command(
    epilog=examples(
        "ganctl compare a.eval.json b.eval.json",
        "ganctl compare a.eval.json b.eval.json c.eval.json --json",
    ),
)
@verb
def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="Reports of ganctl eval.")],
    force: Annotated[
        bool, typer.Option("--force", help="Compare what was made differently, marked.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Put reports side by side; say which differences exceed the noise; refuse those of another protocol."""
    from ganctl.compare import compare_files

    show(compare_files(reports, force, as_json))


@data_app.command(
    epilog=examples(
        "ganctl data fetch mnist",
        "ganctl data fetch inception",
    ),
)
@verb
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="mnist (also for stacked_mnist), fashion, digits, or inception (weights of the FID)."
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Fetch it anew.")] = False,
    debug: Debug = False,
) -> None:
    """Get a data set or the Inception weights, checksums verified; nothing is done twice."""
    if name == "inception":
        from ganctl.metrics import inception_weights

        typer.echo(str(inception_weights.find_or_fetch(force=force).path))
        return
    from ganctl import data

    typer.echo(str(data.fetch(name, force)))


def _require_seeds(first: int, count: int) -> None:
    from ganctl.latents import MAX_SEED

    if first + count - 1 > MAX_SEED:
        raise UsageError(
            f"seeds from {first} to {first + count - 1} are too large", f"seeds go up to {MAX_SEED}"
        )


def main() -> None:
    """The console script."""
    app()
