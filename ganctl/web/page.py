"""Runs -> one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ganctl import __version__
from ganctl.errors import printable
from ganctl.web.run_files import Run, is_score

MARK = "<!doctype html>\n<!-- made by ganctl report -->\n"
"""How every page of ours begins."""

MAX_POINTS, MIN_POINTS = 400, 60  # of a curve
_HERE = Path(__file__).parent
_NARROW = "\u202f"  # between thousands

# Title, unit, keys and what they are called beside each other.
_CHARTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss of D", "", {"train/d_loss": "training", "val/d_loss": "validation", "test/d_loss": "test"}),
    ("Loss of G", "", {"train/g_loss": "training", "val/g_loss": "validation", "test/g_loss": "test"}),
    ("Mean logits of D", "", {"train/real_logit": "real images", "train/fake_logit": "generated images"}),
    ("Gradient penalties", "", {"train/r1": "R1, real images", "train/r2": "R2, generated images"}),
    ("Probability of augmentation", "", {"train/augment_p": ""}),
    ("Learning rate", "", {"train/lr": ""}),
    ("Speed", "images/s", {"train/images_per_s": ""}),
)

_BETTER = {
    "_fd": "lower is better",
    "_kl": "lower is better",
    "accuracy": "higher is better",
    "modes": "higher is better",
}


def render(runs: Sequence[Run]) -> str:
    """The whole page. Whatever the runs say is text in it, never markup."""
    style, script = (_HERE / "style.css").read_text("utf-8"), (_HERE / "script.js").read_text("utf-8")
    scores, training = score_charts(runs), training_charts(runs)
    frames = [
        {"name": run.title, "frames": [{k: f[k] for k in ("step", "kimg", "src")} for f in run.frames]}
        for run in runs
    ]
    differing = _differing(runs)
    body = (
        _environment()
        .get_template("template.html")
        .render(
            runs=runs,
            title=" · ".join(run.title for run in runs),
            scores=scores,
            training=training,
            differing=differing,
            samples=any(run.frames for run in runs),
            evaluated=any(run.reports or run.confusion or run.scores for run in runs),
            reals=_distinct([(run.title, run.reals) for run in runs if run.reals]),
            version=__version__,
            downsampled=_downsampled(training),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            policy="default-src 'none'; img-src data:; "
            f"style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'",
            style=Markup(style),
            script=Markup(script),
            data=_inline_json({"charts": [*scores, *training], "timelines": frames}),
        )
    )
    return MARK + body


def score_charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One for each score of validation, with the floors that reports beside the checkpoints tell."""
    keys = dict.fromkeys(key for run in runs for key in run.metrics.curves if is_score(key))
    return [_score_chart(key, runs) for key in sorted(keys)]


def training_charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Losses, logits, penalties, and whatever else was logged of the steps."""
    logged = dict.fromkeys(key for run in runs for key in run.metrics.curves if not is_score(key))
    named = {key for _, _, keys in _CHARTS for key in keys}
    others = tuple((key, "", {key: ""}) for key in logged if key not in named)
    charts = [_chart(title, unit, keys, runs) for title, unit, keys in (*_CHARTS, *others)]
    return [chart for chart in charts if chart["series"]]


def _chart(title: str, unit: str, keys: dict[str, str], runs: Sequence[Run]) -> dict[str, Any]:
    """A colour a run and dashes a key; of a single run a colour a key."""
    longest = max((run.metrics.images for run in runs), default=0) or 1
    logged = {key: called for key, called in keys.items() if any(key in run.metrics.curves for run in runs)}
    several, series = len(runs) > 1, []
    for i, run in enumerate(runs):
        # Equally dense in all runs.
        limit = max(MIN_POINTS, round(MAX_POINTS * run.metrics.images / longest))
        for j, (key, called) in enumerate(logged.items()):
            if (curve := run.metrics.curves.get(key)) is None:
                continue
            names, points = [run.title] if several else [], curve.points(limit)
            series.append(
                {
                    "name": ", ".join(names + ([called] if called else [])) or printable(title),
                    "colour": i if several else j,
                    "dash": j if several or key.startswith("train/") else 0,
                    "points": points,
                    "exact": len(points["mean"]) == len(curve.values),
                    "summary": curve.summary(),
                }
            )
    legend = [{"name": s["name"], "colour": f"c{s['colour']}", "dash": s["dash"]} for s in series]
    if several:
        legend = [{"name": run.title, "colour": f"c{i}", "dash": 0} for i, run in enumerate(runs)]
        if len(logged) > 1:
            legend += [
                {"name": called, "colour": "none", "dash": j} for j, called in enumerate(logged.values())
            ]
    return {
        "title": printable(title),
        "unit": unit,
        "series": series,
        "legend": legend,
        "smooth": "train/lr" not in keys,
        "floors": [],
        "notes": [],
    }


def _score_chart(key: str, runs: Sequence[Run]) -> dict[str, Any]:
    metric = key.removeprefix("val/")
    better = next((better for end, better in _BETTER.items() if metric.endswith(end)), "")
    chart = _chart(metric, better, {key: ""}, runs)
    floors: dict[float, str] = {}
    for run in runs:
        told = [
            (r, row)
            for r in run.reports
            for row in r["rows"]
            if row["name"] == metric and row["floor"] is not None
        ]
        for report, row in told[:1]:
            counts = f"{grouped(report['num_gen'])} images against {grouped(report['num_real'])}"
            floors.setdefault(row["floor"], f"{report['file']}: {counts}")
    chart["floors"] = [{"value": value, "name": f"real images {value:.4g}"} for value in floors]
    sizes = {
        (run.values.get("callbacks.evaluate.num_gen"), run.values.get("data.val_size"))
        for run in runs
        if key in run.metrics.curves
    }
    for num_gen, val_size in sorted(sizes, key=str):
        if num_gen and val_size:
            chart["notes"].append(
                f"Each point: {num_gen} generated images against {val_size} validation images."
            )
    for value, source in floors.items():
        chart["notes"].append(f"Dashed: real images in the generator's place, {value:.4g} ({source}).")
    if not floors:
        chart["notes"].append("No floor is drawn: ganctl eval of its checkpoint writes one beside it.")
    elif metric.endswith("_fd"):
        chart["notes"].append(
            "A Fréchet distance of fewer images is larger: with the floor compare the evaluation's own value."
        )
    return chart


def _downsampled(charts: Sequence[dict[str, Any]]) -> str | None:
    """What of the curves is not drawn, in a sentence."""
    every = [
        math.ceil(s["summary"]["rows"] / len(s["points"]["mean"]))
        for chart in charts
        for s in chart["series"]
    ]
    if max(every, default=1) <= 1:
        return None
    least = min(k for k in every if k > 1)
    most = "" if least == max(every) else f" to {max(every)}"
    return (
        f"A point of a long curve stands for {least}{most} steps: the line goes through their mean, the band "
        "from their lowest to their highest value, so no spike is lost. Smoothing is a moving average of "
        "the points."
    )


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The configuration's keys in which the runs differ, with each run's value."""
    keys = dict.fromkeys(key for run in runs for key in run.values if not key.startswith("run."))
    rows = [(key, [run.values.get(key, "–") for run in runs]) for key in keys]
    return [row for row in rows if len(set(row[1])) > 1]


def _distinct(pictures: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """One of those that are equal, under all their names."""
    names: dict[str, list[str]] = {}
    for name, picture in pictures:
        names.setdefault(picture["src"], []).append(name)
    found = {picture["src"]: picture for _, picture in pictures}
    return [(", ".join(names[src]), picture) for src, picture in found.items()]


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "grouped": grouped, "heat": heat}
    return environment


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def grouped(value: float) -> str:
    """1234567 as people read it."""
    return f"{value:,.0f}".replace(",", _NARROW)


def heat(count: int, row: Sequence[int]) -> str:
    """How dark a cell of the confusion is: by its share of the images made as its row's label."""
    share = count / (sum(row) or 1)
    return f"h{sum(share > limit for limit in (0, 0.005, 0.02, 0.05, 0.2, 0.5))}"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _inline_json(data: Any) -> Markup:
    """JSON that stands in a script element, whose end nothing in it may look like."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
