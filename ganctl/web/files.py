"""The files of a run folder that a stranger may have made."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import IO


def listed(folder: Path, pattern: str) -> list[Path]:
    """Its regular files whose whole name matches, in no order; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if re.fullmatch(pattern, entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []


def opened(path: Path) -> IO[bytes]:
    """A regular file of the folder: no link to a file elsewhere, which a page would give away, and no pipe.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "no regular file", str(path))
    return os.fdopen(handle, "rb")
