"""`data …`."""

from __future__ import annotations

from typing import Annotated

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
