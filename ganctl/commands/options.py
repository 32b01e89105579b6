"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl import completion

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", autocompletion=completion.devices)]
Ckpt = Annotated[
    str | None,
    typer.Option(
        "--ckpt",
        "--network",
        metavar="FILE",
        help="A checkpoint (.ckpt or .safetensors), a run folder, or last.ckpt / best.ckpt of the newest "
        "run; by default its last.ckpt, or the bundled MNIST generator where there is no run.",
        autocompletion=completion.checkpoints,
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Import network classes from outside ganctl that FILE names; run TorchScript."
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        metavar="DIR",
        help="A folder with options of your own: experiment/NAME.yaml, model/NAME.yaml, …",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE",
        help="Hydra overrides: group=name or key=value.",
        autocompletion=completion.overrides,
    ),
]
