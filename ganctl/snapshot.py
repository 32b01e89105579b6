"""A trained generator with all that is needed to use it: what the files of `checkpoint.py` hold."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from torch import Tensor, nn

from ganctl import __version__, networks
from ganctl.data.dataset import DatasetFacts
from ganctl.digest import tensor_digest
from ganctl.errors import UsageError

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


def from_entry(found: dict[str, Any], path: Path) -> Snapshot:
    """What `entry` made, checked: it comes from a file that anyone may have written.

    Raises:
        UsageError: it is of another format version, or not what `entry` makes. Names `path`.
    """
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
