"""`metrics.jsonl` -> curves of a few hundred points each, in which every spike is still there."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass, field
from typing import IO, Any

MAX_BYTES = 1 << 29  # of metrics.jsonl: about a million and a half steps
MAX_LINE_BYTES = 1 << 16
MAX_KEYS = 64


@dataclass
class Curve:
    """One key's values, as they were logged; not-a-number for what was not finite.

    Args:
        images: seen so far, one for each value.
    """

    steps: array[float] = field(default_factory=lambda: array("d"))
    images: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def points(self, limit: int) -> dict[str, list[float | None]]:
        """At most `limit` points, each for equally many rows: `step` and `kimg` of the middle one, `mean`,
        `low` and `high` of their finite values, None where none is finite."""
        every = math.ceil(len(self.values) / limit) or 1
        out: dict[str, list[float | None]] = {"step": [], "kimg": [], "mean": [], "low": [], "high": []}
        for start in range(0, len(self.values), every):
            rows = self.values[start : start + every]
            middle = start + (len(rows) - 1) // 2
            finite = [value for value in rows if not math.isnan(value)]
            out["step"].append(self.steps[middle])
            out["kimg"].append(_short(self.images[middle] / 1000))
            out["mean"].append(_short(math.fsum(v / len(finite) for v in finite)) if finite else None)
            out["low"].append(_short(min(finite)) if finite else None)
            out["high"].append(_short(max(finite)) if finite else None)
        return out

    def summary(self) -> dict[str, float | None]:
        """`first`, `lowest`, `highest`, `last` of the finite values; how many rows of which kind."""
        finite = [value for value in self.values if not math.isnan(value)]
        counts = {"rows": len(self.values), "not_finite": len(self.values) - len(finite)}
        if not finite:
            return {"first": None, "lowest": None, "highest": None, "last": None, **counts}
        ends = {"first": finite[0], "last": finite[-1]}
        return {"lowest": min(finite), "highest": max(finite), **ends, **counts}


@dataclass
class Metrics:
    """All that a run has logged.

    Args:
        curves: by key.
        broken: lines that are no rows of a run.
        cut: whether the file went on after what was read.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    broken: int = 0
    cut: bool = False

    @property
    def steps(self) -> int:
        return int(max((curve.steps[-1] for curve in self.curves.values()), default=0))

    @property
    def images(self) -> int:
        return int(max((curve.images[-1] for curve in self.curves.values()), default=0))


def read(file: IO[bytes]) -> Metrics:
    """Reads the lines of `metrics.jsonl`. A last line without its end is being written, and left out."""
    found, seen = Metrics(), 0
    while line := file.readline(MAX_LINE_BYTES):
        seen += len(line)
        if seen > MAX_BYTES:
            found.cut = True
            break
        if not line.endswith(b"\n"):
            if len(line) < MAX_LINE_BYTES:
                break
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                seen += len(rest)
        elif _add(line, found):
            continue
        found.broken += 1
    return found


def _add(line: bytes, found: Metrics) -> bool:
    """Whether it is a row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(row, dict):
        return False
    step, images = _number(row.pop("step", None)), _number(row.pop("images_seen", None))
    if step is None or images is None or not (0 <= step < 2**53 and 0 <= images < 2**53):
        return False
    for key, value in row.items():
        number = math.nan if value is None else _number(value)
        if number is None or (key not in found.curves and len(found.curves) >= MAX_KEYS):
            continue
        curve = found.curves.setdefault(key[:200], Curve())
        curve.steps.append(step)
        curve.images.append(images)
        curve.values.append(number)
    return True


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _short(value: float) -> float:
    """Five digits, as many as a picture shows."""
    return float(f"{value:.5g}")
