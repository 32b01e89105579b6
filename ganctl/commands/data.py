"""`data …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ganctl.terminal import result, verb


@verb(
    "ganctl data fetch mnist",
    "ganctl data fetch inception",
)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="mnist (also for stacked_mnist), fashion, digits, or inception (weights of the FID).",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Fetch it anew.")] = False,
) -> None:
    """Get a data set or the Inception weights, checksums verified; nothing is done twice."""
    if name == "inception":
        from ganctl.metrics import inception_weights

        path = inception_weights.find_or_fetch(force=force).path
    else:
        from ganctl import data

        path = data.fetch(name, force)
    result(str(path), {"name": name, "path": str(path)})


@verb(
    "ganctl data prepare pictures --resolution 64",
    "ganctl data prepare pictures.zip --resolution 32 --channels 1 --crop none --out grey.npz",
)
def prepare(
    src: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A folder of pictures, or a .zip of one: a sub-folder for each class, or a labels.csv, or "
            "neither.",
        ),
    ],
    resolution: Annotated[int, typer.Option(metavar="PIXELS", help="Height and width of the images.")] = 64,
    crop: Annotated[
        str,
        typer.Option(
            metavar="center|none",
            help="The largest square in the middle of a picture, or all of it, squeezed into one.",
        ),
    ] = "center",
    channels: Annotated[int, typer.Option(metavar="1|3", help="Grey, or RGB.")] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="By default SRC_PIXELS.npz, in this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode; one for each core by default.", min=1)
    ] = None,
) -> None:
    """Make one file of your own pictures, all of one size; interrupted, the same command goes on."""
    from ganctl.data.decode import Recipe
    from ganctl.data.prepare import list_of_unreadable, prepare
    from ganctl.errors import UsageError

    # typed words, which the recipe checks
    settings: dict[str, Any] = {"resolution": resolution, "crop": crop, "channels": channels}
    recipe = Recipe(**settings)
    place = out or Path(f"{src.resolve().name.removesuffix('.zip')}_{resolution}.npz")
    if place.suffix != ".npz":
        raise UsageError(f"{place} is no .npz", "give --out a name that ends with .npz")
    made = prepare(src, place, recipe, workers=workers, force=force)
    left_out = len(made.unreadable)
    lines = [
        str(made.path),
        f"{made.num_images - made.num_test} images to train on, {made.num_test} to test with: "
        f"{resolution} × {resolution}, {'RGB' if channels == 3 else 'grey'}",
        "no labels"
        if not made.label_names
        else "  ".join(f"{name} {n}" for name, n in zip(made.label_names, made.class_counts, strict=True)),
        *([f"left out: {left_out}, listed in {list_of_unreadable(made.path)}"] if left_out else []),
    ]
    data = {
        "path": str(made.path),
        "num_images": made.num_images,
        "num_test": made.num_test,
        "classes": dict(zip(made.label_names, made.class_counts, strict=True)),
        "unreadable": [{"name": name, "reason": reason} for name, reason in made.unreadable],
        "sha256": made.digest,
    }
    result("\n".join(lines), data)
