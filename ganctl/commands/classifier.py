"""`train-classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl.commands.options import Device
from ganctl.devices import find_device
from ganctl.terminal import note, result, verb


@verb(
    "ganctl train-classifier digits",
    "ganctl train-classifier birds.npz --out birds.safetensors",
)
def train_classifier(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="The name of a data set, a folder or zip, or an .npz."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="[classifier_<data>.safetensors]; its card is the .md beside it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of its first weights and of the order of images.", min=0)] = 0,
    steps: Annotated[
        int | None,
        typer.Option(help="Batches; by default twenty epochs, of 20 000 to 500 000 images.", min=1),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder to look for the data set in first.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE and its card.")] = False,
    device: Device = "auto",
) -> None:
    """Train a classifier of your own labels, for the scores of `eval` and `train`.

    It learns from the training part alone; the card beside it says how well it does on the test part.
    """
    from ganctl import own_classifier
    from ganctl.data import Source

    made = own_classifier.make(
        Source.of_text(data, data_root), out, seed=seed, steps=steps, device=find_device(device), force=force
    )
    result(made.text(), made.to_dict())
    note(f"next         ganctl eval --classifier {made.path}")
    note(f"             ganctl train … callbacks.evaluate.classifier={made.path}")
