"""A trained generator with all that is needed to use it: what the files of `checkpoint.py` hold."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from ganctl import __version__, networks, untrusted
from ganctl.data.dataset import DatasetFacts
from ganctl.digest import tensor_digest
from ganctl.errors import UsageError
from ganctl.generate import MICRO_BATCH

log = logging.getLogger("ganctl")

FORMAT_VERSION = 1
MAX_ARGUMENTS = 1000  # of a network: each may make a layer

# Names are printed on terminals: no control characters.
_Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=200)]


_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Facts(BaseModel, extra="forbid"):
    name: _Name
    label_names: list[_Name] = Field(max_length=10_000)
    channels: int = Field(ge=1, le=64)
    resolution: int = Field(ge=1, le=4096)
    class_counts: list[_Count]
    digest: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _consistent(self) -> _Facts:
        if len(set(self.label_names)) < len(self.label_names) or "" in self.label_names:
            raise ValueError("two labels have one name, or one has none")
        if len(self.class_counts) != len(self.label_names):
            raise ValueError("there are not as many class counts as labels")
        if self.class_counts and not any(self.class_counts):
            raise ValueError("no class has an image")
        return self


class _Entry(BaseModel):
    """The shape of what lies under `ganctl`; a file that differs is not ours."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    format_version: int
    config: dict[str, Any]
    data: _Facts
    latent_dim: int = Field(ge=1, le=65536)
    generator: dict[str, Any]
    ema: dict[str, Tensor]
    nimg: _Count
    steps: _Count
    wandb_id: str | None
    versions: dict[str, str]
    checksum: str | None = None  # files of before it was there have none

    @field_validator("generator")
    @classmethod
    def _few_arguments(cls, generator: dict[str, Any]) -> dict[str, Any]:
        untrusted.require_plain(generator, MAX_ARGUMENTS)
        return generator


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
            UsageError: its class is foreign and not trusted, the weights do not fit it, or it does not draw.
        """
        if not trust_code:
            # Tried without memory: a file can claim a network far larger than the weights that it holds.
            with warnings.catch_warnings(action="ignore"):  # of layers without elements
                G = self._build_on("meta", trust_code)
                side = self.facts.resolution
                networks.require_drawing(G, self.latent_dim, (MICRO_BATCH, self.facts.channels, side, side))
        elif not networks.is_ours(self.generator):
            log.warning("--trust-code: importing %s, which runs its code", self.generator.get("_target_"))
        return self._build_on("cpu", trust_code)

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
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What goes under the key `ganctl`: plain types and tensors only, so that `weights_only` reads it.

    Args:
        versions: of the packages that trained it; without it those that are here.
    """
    data = {
        "name": facts.name,
        "label_names": list(facts.label_names),
        "channels": facts.channels,
        "resolution": facts.resolution,
        "class_counts": list(facts.class_counts),
    } | ({"digest": facts.digest} if facts.digest else {})
    versions = versions or {
        "ganctl": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "pytorch-lightning": version_of("pytorch-lightning"),
    }
    content = {
        "format_version": FORMAT_VERSION,
        "config": config,
        "data": data,
        "latent_dim": latent_dim,
        "generator": generator,
        "ema": ema,
        "nimg": nimg,
        "steps": steps,
        "wandb_id": wandb_id,
        "versions": dict(versions),
    }
    return content | {"checksum": checksum(content)}


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the weights and all that an entry says of them: a zip's own checksums do not see
    members that were exchanged, and a `.safetensors` has none."""
    said = {key: value for key, value in content.items() if key not in ("ema", "checksum")}
    # Through JSON twice: what the portable form makes of a value is the value.
    text = json.dumps(json.loads(json.dumps(said, default=repr)), sort_keys=True)
    return hashlib.sha256(f"{tensor_digest(content['ema'])} {text}".encode()).hexdigest()


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
    if checked.checksum is not None and checked.checksum != checksum(found):
        raise UsageError(
            f"{path} is damaged: its checksum differs", "give another checkpoint, such as best.ckpt beside it"
        )
    data = checked.data
    facts = DatasetFacts(
        data.name,
        tuple(data.label_names),
        data.channels,
        data.resolution,
        tuple(data.class_counts),
        data.digest,
    )
    rest = checked.model_dump(exclude={"format_version", "data", "ema", "checksum"})
    return Snapshot(facts=facts, ema=checked.ema, **rest)
