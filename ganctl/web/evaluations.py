"""A report of `ganctl eval` -> rows and tables of a page."""

from __future__ import annotations

from typing import Any

from ganctl.errors import printable
from ganctl.report import ReportFile

MAX_CLASSES = 20  # of a table


def told(name: str, report: ReportFile) -> dict[str, Any]:
    """What a page shows of the report in the file `name`."""
    p = report.protocol
    rows = []
    for metric, m in report.metrics.items():
        spread = ""
        if m.std is not None:
            spread = f"± {m.std:.2g} over {m.repeats} seeds"
        elif m.subset_std is not None:
            spread = f"± {m.subset_std:.2g} within"
        settings = ", ".join(f"{k} {v}" for k, v in (m.settings or {}).items())
        notes = printable("; ".join(part for part in (spread, m.reason or "", settings) if part))
        headline = metric in ("label_accuracy", "fid") or (metric.endswith("_fd") and "intra" not in metric)
        rows.append(
            {"name": metric, "value": m.value, "floor": m.floor, "notes": notes, "headline": headline}
        )
    made = {
        "images": f"{p.num_gen} {p.weights or ''} images of seed {p.seed}; labels {p.labels}",
        "against": f"{p.num_real} of {p.data}: {p.real}",
        "floor": p.floor,
        "trained on": None if p.nimg is None else f"{p.nimg / 1000:.0f} kimg",
        "checkpoint": (p.checkpoint or "")[:16] or None,
        "extractors": "; ".join(
            f"{k} {e.sha256[:8]}, {e.resize}, {e.precision}" for k, e in p.extractors.items()
        ),
        "computed by": ", ".join(f"{k} {v}" for k, v in p.versions.items()) + f" on {p.device}",
    }
    per_class = {printable(k[:200]): vars(v) for k, v in list((report.per_class or {}).items())[:MAX_CLASSES]}
    matrix = report.confusion if report.confusion and len(report.confusion) <= MAX_CLASSES else None
    labels = (
        list(per_class)
        if matrix and len(per_class) == len(matrix)
        else [str(i) for i in range(len(matrix or []))]
    )
    return {
        "file": printable(name),
        "rows": rows,
        "protocol": {k: printable(v) for k, v in made.items() if v},
        "per_class": per_class,
        "more_classes": len(report.per_class or {}) - len(per_class),
        "confusion": matrix,
        "labels": labels,
        "num_gen": p.num_gen,
        "num_real": p.num_real,
        "nimg": p.nimg,
    }
