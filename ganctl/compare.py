"""Reports side by side: which differences exceed the noise, and whether they may be compared at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganctl.errors import UsageError
from ganctl.report import Metric, Protocol, ReportFile, read_report

# What was scored, and where and when. All other fields of a protocol must agree, those of tomorrow as well.
MAY_DIFFER = frozenset(
    {"checkpoint", "weights", "images", "images_sha256", "nimg", "seed", "device", "versions", "timings"}
)
_OF_METRICS = "extractors"  # must agree where a metric that is compared needs them


@dataclass(frozen=True)
class Difference:
    """Of one value from the first report's.

    Args:
        amount: value minus the first report's.
        noise: two standard deviations of the difference of two evaluations; None without repeats of both.
    """

    amount: float
    noise: float | None

    @property
    def verdict(self) -> str:
        """`lower`, `higher`, `within noise` or `noise unknown`."""
        if self.noise is None:
            return "noise unknown"
        if abs(self.amount) <= self.noise:
            return "within noise"
        return "lower" if self.amount < 0 else "higher"


@dataclass(frozen=True)
class Row:
    """One metric over all reports.

    Args:
        metrics: one for each report, None where it has no such metric.
        differences: from the first, one for each report but the first, None where a value is missing.
    """

    metrics: tuple[Metric | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Reports side by side.

    Args:
        names: of the reports.
        rows: by metric.
        conflicts: protocol entries that differ although they matter; not empty only when forced.
        notices: entries that differ and may.
    """

    names: tuple[str, ...]
    rows: dict[str, Row]
    conflicts: tuple[str, ...]
    notices: tuple[str, ...]

    def table(self) -> str:
        """For the terminal: a row for each metric, a column for each report, the floor, the verdicts."""
        first, *others = self.names
        head = ["metric", *self.names, "floor", *(f"{name} against {first}" for name in others)]
        body = [
            [
                name,
                *(_shown(m) for m in row.metrics),
                _floors(row.metrics),
                *(d.verdict if d else "-" for d in row.differences),
            ]
            for name, row in self.rows.items()
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in [head, *body]
        ]
        if any(d is not None and d.noise is None for row in self.rows.values() for d in row.differences):
            lines.append("noise unknown: evaluate with several repeats to learn it")
        lines += [f"NOT COMPARABLE (forced): {conflict}" for conflict in self.conflicts]
        lines += [f"note: {notice}" for notice in self.notices]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As written to JSON."""
        return {
            "reports": list(self.names),
            "comparable": not self.conflicts,
            "conflicts": list(self.conflicts),
            "notices": list(self.notices),
            "metrics": {
                name: [
                    {
                        "value": m.value if m else None,
                        "std": m.std if m else None,
                        "repeats": m.repeats if m else None,
                        "floor": m.floor if m else None,
                        "difference": d.amount if d else None,
                        "noise": d.noise if d else None,
                        "verdict": d.verdict if d else None,
                    }
                    for m, d in zip(row.metrics, (None, *row.differences), strict=True)
                ]
                for name, row in self.rows.items()
            },
        }


def compare(reports: Mapping[str, ReportFile], force: bool = False) -> Comparison:
    """Compares each report with the first.

    Args:
        reports: by name, two or more.
        force: compare also numbers that were made differently, and say so in the result.

    Raises:
        UsageError: fewer than two reports, no metric in common, or protocols that differ where it matters.
    """
    names = tuple(reports)
    if len(names) < 2:
        raise UsageError("a comparison needs two reports", "give the JSON reports of two evaluations")
    first, *others = names
    conflicts, notices = [], []
    for other in others:
        found = _conflicts(first, reports[first], other, reports[other])
        if not found and not _shared(reports[first], reports[other]):
            raise UsageError(f"{first} and {other} have no metric in common", "evaluate both in the same way")
        conflicts += found
        notices += _notices(first, reports[first].protocol, other, reports[other].protocol)
    if conflicts and not force:
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        raise UsageError(
            f"these numbers cannot be compared: {conflicts[0]}{more}",
            "evaluate both in the same way, or see them side by side with --force",
        )
    every = dict.fromkeys(name for report in reports.values() for name in report.metrics)
    rows = {}
    for name in every:
        metrics = tuple(report.metrics.get(name) for report in reports.values())
        rows[name] = Row(metrics, tuple(_difference(metrics[0], m) for m in metrics[1:]))
    return Comparison(names, rows, tuple(conflicts), tuple(notices))


def compare_files(paths: Sequence[Path], force: bool = False) -> Comparison:
    """`compare` of report files, each named by its stem, or where two stems are equal by what their paths
    don't have in common.

    Raises:
        UsageError: a file is no report, or as `compare`.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = _own_parts(paths)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is given twice", "give different reports")
    return compare({n: read_report(p) for n, p in zip(names, paths, strict=True)}, force)


def _own_parts(paths: Sequence[Path]) -> list[str]:
    """`runs/a/last.json`, `runs/b/last.json` -> `a`, `b`; whole paths where one would have no name."""

    def shared(step: int) -> int:
        side_by_side = zip(*(path.parts[::step] for path in paths), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda parts: len(set(parts)) == 1, side_by_side))

    first, last = shared(1), shared(-1)
    own = ["/".join(path.parts[first : len(path.parts) - last]) for path in paths]
    return own if all(own) else [str(path) for path in paths]


def _shared(a: ReportFile, b: ReportFile) -> list[str]:
    """The metrics that have a value in both."""
    return [
        name
        for name, metric in a.metrics.items()
        if metric.value is not None and name in b.metrics and b.metrics[name].value is not None
    ]


def _conflicts(name_a: str, a: ReportFile, name_b: str, b: ReportFile) -> list[str]:
    pairs: dict[str, tuple[Any, Any]] = {
        key: (getattr(a.protocol, key), getattr(b.protocol, key))
        for key in Protocol.model_fields
        if key not in MAY_DIFFER and key != _OF_METRICS
    }
    for name in _shared(a, b):
        ma, mb = a.metrics[name], b.metrics[name]
        pairs[f"the extractor of {name}"] = (ma.extractor, mb.extractor)
        pairs[f"the settings of {name}"] = (ma.settings or {}, mb.settings or {})
        if ma.extractor is not None and ma.extractor == mb.extractor:
            stamps = (a.protocol.extractors[ma.extractor], b.protocol.extractors[mb.extractor])
            for key in type(stamps[0]).model_fields:
                pairs[f"{key} of {ma.extractor!r}"] = (getattr(stamps[0], key), getattr(stamps[1], key))
    return [
        f"{key} is {x!r:.90} in {name_a}, {y!r:.90} in {name_b}" for key, (x, y) in pairs.items() if x != y
    ]


def _notices(name_a: str, a: Protocol, name_b: str, b: Protocol) -> list[str]:
    keys = dict.fromkeys([*a.versions, *b.versions])
    pairs = {f"version of {key!r:.40}": (a.versions.get(key), b.versions.get(key)) for key in keys}
    return [f"{key}: {x!r:.40} in {name_a}, {y!r:.40} in {name_b}" for key, (x, y) in pairs.items() if x != y]


def _difference(a: Metric | None, b: Metric | None) -> Difference | None:
    if a is None or b is None or a.value is None or b.value is None:
        return None
    known = a.std is not None and b.std is not None
    return Difference(b.value - a.value, 2 * math.hypot(a.std or 0, b.std or 0) if known else None)


def _shown(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    return f"{metric.value:.4g}" + (f" ± {metric.std:.2g}" if metric.std is not None else "")


def _floors(metrics: Sequence[Metric | None]) -> str:
    """One number, or the range of several: floors vary with the seed."""
    floors = sorted(m.floor for m in metrics if m is not None and m.floor is not None)
    if not floors:
        return "-"
    low, high = f"{floors[0]:.4g}", f"{floors[-1]:.4g}"
    return low if low == high else f"{low} to {high}"
