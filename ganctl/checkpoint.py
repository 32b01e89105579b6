"""The files of a generator: read without running code, rebuilt without its data or configuration.

It has two forms. A Lightning `.ckpt` of plain types and tensors has what `sample` and `eval` need under the
key `ganctl`, beside the state of the training. A `.safetensors` file has nothing else: the averaged weights
as its tensors, the rest as JSON in its metadata under the same key.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from ganctl import atomic
from ganctl.errors import UsageError
from ganctl.snapshot import Snapshot, entry, from_entry

KEY = "ganctl"


def write(path: Path, snapshot: Snapshot) -> None:
    """Writes the `.safetensors` form, whole or not at all; the same snapshot gives the same bytes.

    The weights keep their precision. The W&B run is left out: the file is for others.

    Raises:
        UsageError: the file cannot be written, or the configuration is not plain enough for JSON.
    """
    # The versions are those that trained it, not those that write it now.
    content = entry(
        config=snapshot.config,
        facts=snapshot.facts,
        latent_dim=snapshot.latent_dim,
        generator=snapshot.generator,
        ema=snapshot.ema,
        nimg=snapshot.nimg,
        steps=snapshot.steps,
        wandb_id=None,
    ) | {"versions": snapshot.versions}
    # Copies: safetensors takes neither a memory format of its own nor two names for one tensor.
    tensors = {
        name: w.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, w in content.pop("ema").items()
    }
    try:
        text = json.dumps(content, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the configuration in the checkpoint cannot be written as JSON: {error}",
            "train with a configuration of numbers, words, lists and mappings",
        ) from error
    # One entry: safetensors writes several in random order.
    data = to_bytes(tensors, {KEY: text})
    atomic.write_output(path, lambda file: file.write(data))


def read(path: Path) -> Snapshot:
    """Reads either form, told apart by content, running none of it.

    Raises:
        UsageError: the file is missing, damaged, another program's, or of another format version.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "give the path of a .ckpt or .safetensors file"
        ) from error
    if start.startswith(b"PK\x03\x04"):
        read_entry = _read_ckpt
    elif start.endswith(b"{") and len(start) == 9:  # JSON behind the eight bytes of its length
        read_entry = _read_safetensors
    else:
        raise UsageError(f"{path} is not a checkpoint", "give a file that ganctl train wrote")
    try:
        found = read_entry(path)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} is not a checkpoint, or holds objects that could run code when loaded",
            "give a file that ganctl train wrote",
        ) from error
    except Exception as error:
        # A damaged file surfaces as any of a dozen exception types of zipfile, pickle, safetensors and torch.
        raise UsageError(
            f"{path} is damaged: {_first_line(error)}", "give another checkpoint, such as best.ckpt beside it"
        ) from error
    if not isinstance(found, dict):
        raise UsageError(
            f"{path} is a file of another program or purpose", "give a file that ganctl train wrote"
        )
    return from_entry(found, path)


def load(path: Path) -> dict[str, Any]:
    """The whole content of a `.ckpt`: plain types and tensors.

    Raises:
        UsageError: the file is missing or damaged, or holds something else.
    """
    try:
        with open(path, "rb") as file:  # by its name, torch would take a .safetensors file for one
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "give the path of a .ckpt file") from error
    except Exception as error:
        raise UsageError(
            f"{path} is damaged: {_first_line(error)}", "give another checkpoint, such as best.ckpt beside it"
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a checkpoint", "give a file that ganctl train wrote")
    return content


def _read_ckpt(path: Path) -> Any:
    """What lies under the key; None where there is no such key."""
    with open(path, "rb") as file:  # by its name, torch would take a .safetensors file for one
        content = torch.load(file, map_location="cpu", weights_only=True)
    return content.get(KEY) if isinstance(content, dict) else None


def _read_safetensors(path: Path) -> Any:
    """The metadata under the key, put together with the tensors; None where it describes no generator.

    safetensors takes a file only if its tensors, as large as the header says, fill it exactly.
    """
    with safe_open(path, "pt") as file:
        found = json.loads((file.metadata() or {}).get(KEY, "null"))
        if not isinstance(found, dict) or "format_version" not in found:
            return None  # our statistics files use the key as well
        # Copies: the tensors are the file itself, mapped into memory, and it may change.
        return found | {"ema": {name: file.get_tensor(name).clone() for name in file.keys()}}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
