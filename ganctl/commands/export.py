"""`export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.commands.options import Ckpt, TrustCode, one_checkpoint
from ganctl.terminal import open_checkpoint, result, verb


@verb(
    "ganctl export --to onnx",
    "ganctl export best.ckpt --to safetensors --out digits.safetensors",
    "ganctl export runs/dcgan/2026-01-31_12-00-00 --to torchscript",
)
def export(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CKPT]", help="The same as --ckpt.", show_default=False)
    ] = None,
    ckpt: Ckpt = None,
    *,
    to: Annotated[str, typer.Option("--to", help="safetensors, onnx, torchscript or torch-export.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default beside the checkpoint.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Write the generator in another format; both draw before it is there, and must agree."""
    from ganctl import runs
    from ganctl.sharing import export as exporting
    from ganctl.sharing import formats as export_formats

    suffix = export_formats.find(to).suffix
    path, snapshot = open_checkpoint(one_checkpoint(checkpoint, ckpt))
    target = out or runs.outputs_of(path, suffix)
    done = exporting.export(snapshot, to, target, trust_code=trust_code, force=force)
    levels = {0: "no pixel differs", 1: "pixels differ by one grey level at most"}[done.max_difference]
    result(
        f"{done.path}\n{done.num_bytes / 1000:,.0f} kB; {done.num_compared} images compared: {levels}",
        {
            "path": str(done.path),
            "format": to,
            "bytes": done.num_bytes,
            "digest": snapshot.digest,
            "images_compared": done.num_compared,
            "max_difference": done.max_difference,
        },
    )
