"""One way to show progress: a bar on a terminal, a line every half minute in a log file. On stderr."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

from ganctl.errors import printable


def bar(total: int, unit: str, desc: str | None = None, *, hidden: bool = False, **options: Any) -> tqdm:
    """A bar over `total` units that keeps quiet for work of less than two seconds, and with `--quiet`.

    Args:
        options: further arguments of tqdm.
    """
    shown = None if desc is None else printable(desc)
    return tqdm(total=total, unit=unit, desc=shown, **(settings(hidden) | options))


def settings(hidden: bool = False) -> dict[str, Any]:
    """The arguments of tqdm that make its bar this one, where a library makes the bar."""
    return {
        "delay": 2,
        "dynamic_ncols": True,
        "leave": False,
        "mininterval": 0.2 if sys.stderr.isatty() else 30.0,
        "disable": hidden or not logging.getLogger("ganctl").isEnabledFor(logging.INFO),
    }
