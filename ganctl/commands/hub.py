"""`push` and `pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.commands.options import TrustCode
from ganctl.errors import UsageError
from ganctl.terminal import note, open_checkpoint, result, verb


@verb(
    "ganctl push last.ckpt user/digits --license mit",
    "ganctl push best.ckpt user/digits --private",
    "ganctl push last.ckpt ./folder",
)
def push(
    ckpt: Annotated[
        str,
        typer.Argument(
            metavar="CKPT", help="A checkpoint, a run folder, or last.ckpt / best.ckpt of the newest run."
        ),
    ],
    repo: Annotated[
        str,
        typer.Argument(metavar="REPO", help="user/name; or ./folder: what would be uploaded, written there."),
    ],
    license: Annotated[
        str | None, typer.Option("--license", help="Of the weights, as in mit or cc-by-sa-4.0.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="For you alone, where the Hub makes it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where something else is: a commit on it, or over files.")
    ] = False,
    trust_code: TrustCode = False,
) -> None:
    """Upload the generator to the Hugging Face Hub: weights, card, scores and a picture."""
    from ganctl.sharing import hub

    target = hub.find(repo)
    path, snapshot = open_checkpoint(ckpt)
    where = hub.push(
        path,
        snapshot,
        target,
        license_name=license,
        private=private,
        force=force,
        trust_code=trust_code,
    )
    result(where, {"repo": str(target), "at": where, "digest": snapshot.digest})
    if isinstance(target, hub.Repo):
        note(f"next         ganctl pull {target}")


@verb(
    "ganctl pull user/digits",
    "ganctl pull user/digits@v1 --out generators/digits",
)
def pull(
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="user/name, or user/name@revision: a tag or commit.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to; by default the repository's name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Download a generator from the Hugging Face Hub, and verify it before it is there."""
    from ganctl.sharing import hub, release

    source = hub.find(repo)
    if isinstance(source, Path):
        fix = f"ganctl sample --ckpt {source / release.WEIGHTS} takes it as it is"
        raise UsageError(f"{source} is a folder of this machine", fix)
    path, snapshot, revision = hub.pull(source, out or Path(source.name.split("/")[1]), force=force)
    result(str(path), {"path": str(path), "digest": snapshot.digest, "revision": revision})
    label = " --label 0" if snapshot.facts.num_classes else ""
    note(f"generator {snapshot.digest[:8]} of {snapshot.facts.name}, commit {revision[:8]}")
    note(f"next         ganctl sample --ckpt {path}{label} --n 64")
