"""What a sweep has found: its trials, best first; which parameters matter; a picture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganctl.sweeps import trials
from ganctl.sweeps.search_space import Choice, Interval, Value, short, text
from ganctl.sweeps.study import IMAGES, PLACE, REASON, SECONDS, TARGET, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
MIN_TRIALS = 5  # complete ones, before it is said which parameters matter


def describe(study: Study) -> dict[str, Any]:
    """All of it as plain data; `trials` are best first, then those without a score, by number."""
    settings = study.settings
    listed = [_row(study, t) for t in study.trials()]
    sign = -1 if settings.maximize else 1
    rank = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}

    def order(row: dict[str, Any]) -> tuple[float, float, int]:
        value = row["objective"] if row["state"] == "complete" else 0.0
        return rank[row["state"]], sign * value, row["number"]

    listed.sort(key=order)
    best = listed[0] if listed and listed[0]["state"] == "complete" else None
    return {
        "name": study.sweep.name,
        "folder": str(study.sweep),
        "objective": settings.objective,
        "direction": "maximize" if settings.maximize else "minimize",
        "space": {key.lstrip("+"): str(p) for key, p in study.space.parameters.items()},
        "fixed": list(study.space.fixed),
        "target": study.optuna.user_attrs.get(TARGET),
        "counts": {name: sum(r["state"] == name for r in listed) for name in _STATES.values()},
        "best": best,
        "train": ["ganctl", "train", *study.space.arguments(_point(study, best))] if best else None,
        "importances": importances(study),
        "trials": listed,
    }


def _row(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    """One trial; the objective of a pruned one is its last."""
    attributes = trial.user_attrs
    value = trial.value if trial.state.name in ("COMPLETE", "PRUNED") else None
    return {
        "number": trial.number,
        "state": _STATES.get(trial.state.name, trial.state.name.lower()),
        "objective": value if value is not None and math.isfinite(value) else None,
        "parameters": {key.lstrip("+"): value for key, value in trial.params.items()},
        "images_seen": attributes.get(IMAGES),
        "seconds": attributes.get(SECONDS),
        "run": str(trials.folder_of(study.sweep, trial.number)),
        "place": attributes.get(PLACE),
        "reason": attributes.get(REASON),
    }


def _point(study: Study, row: dict[str, Any]) -> dict[str, Value]:
    return {key: row["parameters"][key.lstrip("+")] for key in study.space.parameters}


def importances(study: Study) -> dict[str, float]:
    """The share of each parameter in reaching the best tenth of the complete trials; empty where there are
    too few trials to say. PED-ANOVA: Watanabe et al. (2023), https://arxiv.org/abs/2304.10255."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [t for t in study.trials() if t.state.name == "COMPLETE"]
    if len(complete) < MIN_TRIALS or len({t.value for t in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few trials say little: so does our table
        found = get_param_importances(study.optuna, evaluator=PedAnovaImportanceEvaluator())
    return {key.lstrip("+"): share for key, share in found.items()}


def table(report: dict[str, Any]) -> str:
    """For people."""
    counts = report["counts"]
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no trial yet"
    of = f" of {report['target']}" if report["target"] else ""
    word = "highest" if report["direction"] == "maximize" else "lowest"
    lines = [f"sweep {report['name']}: {said}{of}; {word} {report['objective']} first"]
    keys = list(report["space"])
    head = ["trial", "state", report["objective"], *keys, "images", "time", "run folder"]
    lines += columns([head, *([str(cell) for cell in _cells(row, keys)] for row in report["trials"])])
    lines += [
        f"trial {row['number']}: {row['reason']}"
        for row in report["trials"]
        if row["reason"] and not row["reason"].startswith("pruned")
    ]
    if report["importances"]:
        complete = counts["complete"]
        lines += ["", f"importance (PED-ANOVA over {complete} complete trials)"]
        lines += columns([[key, f"{share:.2f}"] for key, share in report["importances"].items()])
    return "\n".join(lines)


def _cells(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    seconds = row["seconds"]
    time = "-" if seconds is None else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    return [
        str(row["number"]),
        row["state"],
        "-" if row["objective"] is None else f"{row['objective']:.4g}",
        *(_shown(row["parameters"].get(key)) for key in keys),
        "-" if row["images_seen"] is None else str(row["images_seen"]),
        time,
        row["run"],
    ]


def _shown(value: Value | None) -> str:
    return "-" if value is None else short(value)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which what belongs together stands one above the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def plot(study: Study, report: dict[str, Any], path: Path) -> None:
    """A PNG: the objective over the trials with the best so far, and over each parameter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from ganctl import atomic

    parameters = list(study.space.parameters.items())
    width = min(len(parameters) + 1, 4)
    height = -(-(len(parameters) + 1) // width)
    figure = Figure(figsize=(3.6 * width, 3.2 * height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{report['name']}: {report['objective']}", parse_math=False)
    scored = sorted(
        (r for r in report["trials"] if r["objective"] is not None), key=lambda row: row["number"]
    )
    values = [row["objective"] for row in scored]
    log = bool(values) and min(values) > 0 and max(values) > 20 * min(values)

    def scatter(axes: Any, xs: list[Any]) -> None:
        for state, marker, colour in (("complete", "o", "tab:blue"), ("pruned", "x", "tab:gray")):
            chosen = [i for i, row in enumerate(scored) if row["state"] == state]
            at, heights = [xs[i] for i in chosen], [values[i] for i in chosen]
            label = {"complete": "last score", "pruned": "pruned: its last one"}[state]
            axes.scatter(at, heights, marker=marker, color=colour, s=22, label=label)
        if log:
            axes.set_yscale("log")

    axes = figure.add_subplot(height, width, 1)
    scatter(axes, [row["number"] for row in scored])
    complete = [row for row in scored if row["state"] == "complete"]
    better = max if report["direction"] == "maximize" else min
    so_far = [better(r["objective"] for r in complete[: i + 1]) for i in range(len(complete))]
    numbers = [row["number"] for row in complete]
    axes.step(numbers, so_far, where="post", color="tab:orange", label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    for i, (key, parameter) in enumerate(parameters, 2):
        axes = figure.add_subplot(height, width, i)
        name = key.lstrip("+")
        xs = [row["parameters"][name] for row in scored]
        if isinstance(parameter, Choice):
            scatter(axes, [parameter.values.index(x) for x in xs])
            labels = [text(v) for v in parameter.values]
            axes.set_xticks(range(len(labels)), labels, parse_math=False)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        else:
            scatter(axes, xs)
            if isinstance(parameter, Interval):
                axes.set_xscale("log" if parameter.log else "linear")
                axes.set_xlim(parameter.low, parameter.high)
        axes.set_xlabel(name, parse_math=False)
    atomic.write_output(path, lambda file: figure.savefig(file, format="png"))
