"""`ls`, `info` and `clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.errors import UsageError, nearest
from ganctl.terminal import metric_rows, note, result, verb


@verb(
    "ganctl ls",
    "ganctl ls --experiment dcgan --sort fd",
    "ganctl ls /data/runs --json",
)
def ls(
    root: Annotated[Path, typer.Argument(help="The folder that has the runs.")] = Path("runs"),
    experiment: Annotated[str | None, typer.Option(help="Only runs of this experiment.")] = None,
    sort: Annotated[
        str,
        typer.Option(help="age (newest first), run, experiment, state, images, accuracy, fd, best or size."),
    ] = "age",
) -> None:
    """List the runs: age, state, images seen, scores, size on disk."""
    from ganctl import run_table

    if not root.is_dir() and root != Path("runs"):
        raise UsageError(f"there is no folder {root}", _beside(root))
    found, foreign = run_table.find(root, sort, experiment)
    if found:
        text = run_table.table(found)
    else:
        text = f"no run below {root}/; make one: ganctl train +experiment=quick"
    result(text, [run.to_dict() for run in found])
    if foreign:
        note(f"{foreign} with a config.yaml that ganctl train did not write left out")


def _beside(path: Path) -> str:
    """The folder that was probably meant."""
    try:
        return nearest(path.name, [p.name for p in path.absolute().parent.iterdir() if p.is_dir()])
    except OSError:
        return "give the folder that has the runs"


@verb(
    "ganctl info",
    "ganctl info last.ckpt",
    "ganctl info label5_seed0_n64.png --json",
)
def info(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|FILE]",
            help="A run folder, or a .ckpt, .safetensors, .png, .npz or report; by default the newest run.",
        ),
    ] = None,
) -> None:
    """Say what a run, checkpoint, picture or report is, where it came from and what to do with it.

    Nothing that the file names is imported.
    """
    from ganctl import describe, wording

    found = describe.describe(what)
    text = wording.columns(found.rows)
    if found.metrics:
        text += f"\n{'metric':<20} {'value':>10} {'floor':>10}\n{metric_rows(found.metrics)}"
    result(text, found.data)
