"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.terminal import result, verb


@verb(
    "ganctl report",
    "ganctl report runs/dcgan/2026-01-31_12-00-00 --out dcgan.html",
    "ganctl report runs/dcgan/seed0 runs/dcgan/seed1 --out seeds.html",
)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders, six at most; by default the newest run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file; by default report.html in the run folder, of several runs here."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is no such report.")] = False,
) -> None:
    """Write one HTML file about a run, or several side by side: curves, samples, scores, configuration.

    The file needs no network and nothing beside it. It can be made while the run is training.
    """
    from ganctl import web

    path, folders = web.write(runs or [], out, force)
    result(str(path), {"path": str(path), "runs": [str(folder) for folder in folders]})
