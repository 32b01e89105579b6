"""`data fetch` and `data show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.errors import UsageError
from ganctl.terminal import result, verb


@verb(
    "ganctl data fetch mnist",
    "ganctl data fetch cifar10",
    "ganctl data fetch inception",
)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="mnist (also for stacked_mnist), fashion, cifar10, digits, or inception (FID's weights).",
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
    "ganctl data show mnist",
    "ganctl data show digits --n 16 --out digits.png",
)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, as in data=NAME.")],
    n: Annotated[
        int,
        typer.Option(
            "--n", help="Images of each class in the picture; its square without classes.", min=1, max=100
        ),
    ] = 8,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="The picture; by default NAME.png, here.")
    ] = None,
) -> None:
    """Count the images of each class, and draw some; a set that is not here is fetched, as training would."""
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"{out} is no PNG", "give --out FILE.png")

    from ganctl import atomic, data, images
    from ganctl.data import contents

    source = data.Source(name)
    target = out or Path(f"{images.file_name(Path(name).resolve().stem)}.png")
    atomic.require_writable(target)
    found = contents.look(source, n)
    images.save_png(found.picture, target)
    result(f"{found.text()}\n\npicture: {target}", {**found.to_dict(), "path": str(target)})
