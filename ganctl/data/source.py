"""Which data set is meant, however it was said: in a configuration, on the command line, in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Source:
    """A data set, where it is looked for, and what of it is wanted.

    Args:
        name: of the data set.
        root: a folder that has the files, or the user's own folder or file; without it known sets are
            searched for and fetched.
        conditional: True wants labels, False leaves them out, None takes what there is.
        resolution, crop, channels: what the pictures of a folder become, as in `prepare.Recipe`.
    """

    name: str
    root: Path | None = None
    conditional: bool | None = None
    resolution: int | None = None
    crop: Literal["center", "none"] = "center"
    channels: Literal[1, 3] = 3

    @classmethod
    def of_config(cls, section: Mapping[str, Any]) -> Source:
        """What the `data` section of a configuration means, this run's or that in a checkpoint."""
        root = section.get("root")
        return cls(
            section["name"],
            None if root is None else Path(root).expanduser(),
            section.get("conditional"),
            section.get("resolution"),
            section.get("crop") or "center",
            section.get("channels") or 3,
        )
