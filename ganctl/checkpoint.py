"""The self-contained generator: read without running code, rebuilt without its data or configuration.

It has two forms. A Lightning `.ckpt` of plain types and tensors has what `sample` and `eval` need under the
key `ganctl`, beside the state of the training. A `.safetensors` file has nothing else: the averaged weights
as its tensors, the rest as JSON in its metadata under the same key.
"""

from __future__ import annotations

import json
import pickle
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ganctl import __version__, networks
from ganctl.data.dataset import DatasetFacts
from ganctl.digest import tensor_digest
from ganctl.errors import UsageError
from ganctl.images import write_atomically

KEY = "ganctl"
FORMAT_VERSION = 1

# Names are printed on terminals: no control characters.
_Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=200)]


class _Facts(BaseModel, extra="forbid"):
    name: _Name
    label_names: list[_Name]
    channels: int = Field(ge=1, le=64)
    resolution: int = Field(ge=1, le=16384)
    class_counts: list[int]


class _Entry(BaseModel):
    """The shape of what lies under `ganctl`; a file that differs is not ours."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    format_version: int
    config: dict[str, Any]
    data: _Facts
    latent_dim: int = Field(ge=1, le=65536)
    generator: dict[str, Any]
    ema: dict[str, Tensor]
    nimg: int = Field(ge=0)
    steps: int = Field(ge=0)
    wandb_id: str | None
    versions: dict[str, str]


@dataclass(frozen=True)
class Snapshot:
    """A trained generator and everything needed to use it.

    Args:
        config: the resolved configuration of its training.
        facts: of the data set it was trained on.
        latent_dim: of its latents.
        generator: `_target_` of its class and the class's own arguments.
        ema: its averaged weights.
        nimg: images seen.
        steps: batches trained on.
        wandb_id: of the W&B run, if there was one.
        versions: of the packages that wrote it.
    """

    config: dict[str, Any]
    facts: DatasetFacts
    latent_dim: int
    generator: dict[str, Any]
    ema: dict[str, Tensor]
    nimg: int
    steps: int
    wandb_id: str | None
    versions: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """Of the weights: it names the generator, however its file was written."""
        return tensor_digest(self.ema)

    def build(self, *, trust_code: bool = False) -> nn.Module:
        """The generator with its averaged weights, in evaluation mode, on the CPU.

        Raises:
            UsageError: its class is foreign and not trusted, or the weights do not fit it.
        """
        if not trust_code:
            # Tried without memory: a file can claim a network far larger than the weights that it holds.
            self._build_on("meta", trust_code)
        return self._build_on("cpu", trust_code).eval().requires_grad_(False)

    def _build_on(self, device: str, trust_code: bool) -> nn.Module:
        with torch.device(device):
            G = networks.build(
                self.generator,
                trust_code=trust_code,
                latent_dim=self.latent_dim,
                num_classes=self.facts.num_classes,
                channels=self.facts.channels,
                resolution=self.facts.resolution,
            )
            try:
                G.load_state_dict({name: w.to(device) for name, w in self.ema.items()})
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise UsageError(
                    f"the weights do not fit {self.generator.get('_target_')}: {reason}",
                    "the file was altered, or written by a network of the same name that has changed since",
                ) from error
        return G


def entry(
    config: dict[str, Any],
    facts: DatasetFacts,
    latent_dim: int,
    generator: dict[str, Any],
    ema: dict[str, Tensor],
    nimg: int,
    steps: int,
    wandb_id: str | None,
) -> dict[str, Any]:
    """What goes under the key `ganctl`: plain types and tensors only, so that `weights_only` reads it."""
    data = {
        "name": facts.name,
        "label_names": list(facts.label_names),
        "channels": facts.channels,
        "resolution": facts.resolution,
        "class_counts": list(facts.class_counts),
    }
    versions = {
        "ganctl": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "pytorch-lightning": version_of("pytorch-lightning"),
    }
    return {
        "format_version": FORMAT_VERSION,
        "config": config,
        "data": data,
        "latent_dim": latent_dim,
        "generator": generator,
        "ema": ema,
        "nimg": nimg,
        "steps": steps,
        "wandb_id": wandb_id,
        "versions": versions,
    }


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
    write_atomically(path, lambda file: file.write(data))


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
    return _snapshot(path, found)


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


def _snapshot(path: Path, found: dict[str, Any]) -> Snapshot:
    version = found.get("format_version")
    if version != FORMAT_VERSION:
        writer = found["versions"].get("ganctl") if isinstance(found.get("versions"), dict) else None
        raise UsageError(
            f"{path} has checkpoint format {version!r:.20}, this ganctl reads format {FORMAT_VERSION}",
            f"use the ganctl that wrote it{f', version {writer!r:.20}' if writer else ''}",
        )
    try:
        checked = _Entry.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        # repr: what the file says must not reach the terminal as it is
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path} is damaged: {where!r:.100}: {first['msg']}",
            "give another checkpoint, such as best.ckpt beside it",
        ) from error
    data = checked.data
    facts = DatasetFacts(
        data.name, tuple(data.label_names), data.channels, data.resolution, tuple(data.class_counts)
    )
    rest = checked.model_dump(exclude={"format_version", "data", "ema"})
    return Snapshot(facts=facts, ema=checked.ema, **rest)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
