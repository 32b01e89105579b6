"""Where known data sets are looked for on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ganctl.errors import UsageError

log = logging.getLogger("ganctl")

Found = TypeVar("Found")


def search(
    name: str,
    root: Path | None,
    look: Callable[[Path, str], Found | None],
    wanted: str,
    elsewhere: Callable[[], Found | None],
) -> Found | None:
    """Looks in `root` and nowhere else; or else in `GANCTL_DATA_DIR`, then `elsewhere`.

    Args:
        name: of the data set.
        look: (folder, what to do about an altered file) -> what is there, verified.
        wanted: what it looks for, in words.

    Raises:
        UsageError: a `root` without the files, or what `look` raises.
    """
    if root is not None:
        if not root.is_dir():
            raise UsageError(f"the data folder {root} does not exist", "give an existing folder as root")
        found = look(root, f"replace it by {name}'s own, or give another root")
        if found is None:
            raise UsageError(
                f"no {name} in {root}: looked for {wanted}",
                "put the files there, or give no root to have them searched and fetched",
            )
        return found
    if chosen := os.environ.get("GANCTL_DATA_DIR"):
        place = Path(chosen).expanduser()
        if not place.is_dir():
            log.warning("GANCTL_DATA_DIR=%s is not a folder", chosen)
        elif found := look(place, "replace it, or unset GANCTL_DATA_DIR"):
            return found
    return elsewhere()
