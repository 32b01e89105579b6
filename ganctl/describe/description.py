"""The answer to `ganctl info`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganctl import wording

if TYPE_CHECKING:
    from ganctl.report import Metric


@dataclass(frozen=True)
class Description:
    """What a thing is.

    Args:
        rows: (what, how it is), for people.
        data: the same for programs.
        metrics: of a report, by name.
    """

    rows: list[tuple[str, str]]
    data: dict[str, Any]
    metrics: dict[str, Metric] = field(default_factory=dict)


def when(path: Path) -> str:
    """Size and age of a file."""
    found = path.stat()
    return f"{wording.size(found.st_size)}, written {wording.age(time.time() - found.st_mtime)}"
