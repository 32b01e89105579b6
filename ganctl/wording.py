"""Sizes, ages and tables as people read them, and names in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ganctl.errors import UsageError, printable

_AGES = (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def size(n: float) -> str:
    """Bytes: `932 B`, `13.1 MB`; a MB has 10⁶."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if n >= 10**power:
            return f"{n / 10**power:.1f} {unit}"
    return f"{n:.0f} B"


def age(seconds: float) -> str:
    """`3 h ago`, in whole units of the largest that fits."""
    for unit, length in _AGES:
        if seconds >= length:
            n = int(seconds // length)
            return f"{n} {unit}{'s' if n > 1 and len(unit) > 3 else ''} ago"
    return "now"


def images(n: int | None) -> str:
    """Images seen, in thousands."""
    return "-" if n is None else f"{n / 1000:.0f} k" if n >= 1000 else str(n)


def duration(text: str) -> int:
    """`7d`, `12h`, `30min`, `2w` -> seconds.

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(r"([0-9]{1,6})(s|min|h|d|w)", text.strip())
    if match is None:
        raise UsageError(f"cannot read the duration {text!r}", "write 12h, 7d or 2w")
    return int(match[1]) * _UNITS[match[2]]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Cells padded to the widths of their columns, two blanks between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Words from files that mean themselves in Markdown, in HTML, and in a table."""
    return re.sub(r"([\\`*_{}\[\]<>!|&~@]|:(?=//))", r"\\\1", printable(text))
