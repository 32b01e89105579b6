"""Which data set is meant, however it was said: in a configuration, on the command line, in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A data set and where it is looked for.

    Args:
        name: of the data set.
        root: a folder that has the files; without it they are searched for and fetched.
    """

    name: str
    root: Path | None = None

    @classmethod
    def of_config(cls, section: Mapping[str, Any]) -> Source:
        """What the `data` section of a configuration means, this run's or that in a checkpoint."""
        root = section.get("root")
        return cls(section["name"], None if root is None else Path(root).expanduser())
