"""The self-contained checkpoint: read without running its code.

A Lightning `.ckpt` of plain types and tensors. What `sample` and `eval` need lies under the key `ganctl`.
"""

from __future__ import annotations

import pickle
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from ganctl import __version__, networks
from ganctl.data.dataset import DatasetFacts
from ganctl.digest import tensor_digest
from ganctl.errors import UsageError

KEY = "ganctl"
FORMAT_VERSION = 1


class _Facts(BaseModel, extra="forbid"):
    name: str
    label_names: list[str]
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
        G = networks.build(
            self.generator,
            trust_code=trust_code,
            latent_dim=self.latent_dim,
            num_classes=self.facts.num_classes,
            channels=self.facts.channels,
            resolution=self.facts.resolution,
        )
        try:
            G.load_state_dict(self.ema)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(
                f"the weights do not fit {self.generator.get('_target_')}: {reason}",
                "the file was altered, or written by a network of the same name that has changed since",
            ) from error
        return G.eval().requires_grad_(False)


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


def read(path: Path) -> Snapshot:
    """Reads a checkpoint of `ganctl train`, running none of its contents.

    Raises:
        UsageError: the file is missing, damaged, another program's, or of another format version.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "give the path of a .ckpt file") from error
    if start != b"PK\x03\x04":
        raise UsageError(f"{path} is not a checkpoint", "give a file that ganctl train wrote")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} is not a checkpoint, or holds objects that could run code when loaded",
            "give a file that ganctl train wrote",
        ) from error
    except Exception as error:
        # A damaged archive surfaces as any of a dozen exception types of zipfile, pickle and torch.
        raise UsageError(
            f"{path} is damaged: {_first_line(error)}", "give another checkpoint, such as best.ckpt beside it"
        ) from error
    found = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is a checkpoint of another program", "give a file that ganctl train wrote")
    version = found.get("format_version")
    if version != FORMAT_VERSION:
        writer = found["versions"].get("ganctl") if isinstance(found.get("versions"), dict) else None
        raise UsageError(
            f"{path} has checkpoint format {version!r}, ganctl {__version__} reads format {FORMAT_VERSION}",
            f"use the ganctl that wrote it{f', version {writer}' if writer else ''}",
        )
    try:
        checked = _Entry.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}",
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
