"""`ls`, `info` and `clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.terminal import metric_rows, note, result, show, verb, wants_json


@verb(
    "ganctl ls",
    "ganctl ls --experiment dcgan --sort fd",
    "ganctl ls /data/runs --json",
)
def ls(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that has the runs.")] = Path(
        "runs"
    ),
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
            metavar="RUN|FILE",
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


@verb(
    "ganctl clean",
    "ganctl clean --what debug,empty --older-than 7d --force",
    "ganctl clean --what cache --force",
)
def clean(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that has the runs.")] = Path(
        "runs"
    ),
    what: Annotated[
        str,
        typer.Option(
            help="Of: temporary (left half written), debug (debug=true), empty (without a checkpoint), "
            "previous (previous.ckpt of finished runs), wandb (uploaded offline folders), cache (statistics "
            "of real images)."
        ),
    ] = "temporary,debug,empty,previous,wandb",
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Leave what was written since: 12h, 7d, 2w.")
    ] = None,
    keep: Annotated[int, typer.Option(help="Leave so many of the newest runs as they are.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Remove it.")] = False,
) -> None:
    """Show what can go, and remove it with --force: debug runs, empty runs, leftovers, caches.

    Never touches a run that trains, nor files that ganctl did not write.
    """
    from ganctl import cleaning, wording

    if not root.is_dir() and root != Path("runs"):
        raise UsageError(f"there is no folder {root}", _beside(root))
    kinds = [kind.strip() for kind in what.split(",")]
    items = cleaning.plan(root, kinds, wording.duration(older_than) if older_than else 0, keep)
    failed: list[GanctlError] = []
    gone = []
    for item in items if force else ():
        try:
            whole = cleaning.remove(item)
        except GanctlError as error:
            failed.append(error)
            continue
        gone.append(item)
        if not wants_json():
            show(f"removed {item.path}" + ("" if whole else ", but for files that ganctl did not write"))
    named = gone if force else items
    size = sum(item.bytes for item in named)
    if not items:
        text = "nothing to clean"
    elif force:
        text = f"{len(gone)} removed, {wording.size(size)}"
    else:
        end = f"{len(items)} to remove, {wording.size(size)}; nothing was removed: --force does it"
        text = f"{cleaning.table(items)}\n{end}"
    result(text, {"removed": force, "bytes": size, "items": [item.to_dict() for item in named]})
    if failed:
        raise GanctlError(f"{len(failed)} not removed; {failed[0].what}", failed[0].fix)
