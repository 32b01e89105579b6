"""A sweep: many trainings at points of a space, to find good settings. What `ganctl sweep` does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganctl import config
from ganctl.errors import GanctlError, UsageError, nearest
from ganctl.sweeps import grammar, storage, study, trials
from ganctl.sweeps import report as sweep_report
from ganctl.sweeps.scheduler import Scheduler
from ganctl.sweeps.search_space import Space
from ganctl.sweeps.settings import PRUNERS, Settings, higher_is_better
from ganctl.sweeps.study import Study

log = logging.getLogger("ganctl")

SWEEPS = "sweeps"  # below run.root
PICTURE = "sweep.png"


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Args:
        target: trials to finish in all.
    """

    folder: Path
    settings: Settings
    target: int


def plan(
    overrides: Sequence[str],
    *,
    grid: bool,
    objective: str | None,
    maximize: bool | None,
    pruner: str,
    seed: int,
    name: str | None,
    target: int | None,
    config_dir: Path | None = None,
) -> Plan:
    """A new sweep, or the same one again. Nothing is written.

    Raises:
        UsageError: something in it cannot work.
    """
    space = grammar.parse(overrides, config_dir)
    if grid and target is not None:
        raise UsageError(f"--multirun tries all {space.size()} combinations", "leave out --trials, or -m")
    if not grid and target is None:
        raise UsageError(
            "it is not said how many trials", "add --trials 20, or -m for every combination once"
        )
    if pruner not in PRUNERS:
        raise UsageError(f"there is no pruner {pruner!r}", nearest(pruner, PRUNERS))
    if name is not None and not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise UsageError(f"a sweep cannot be called {name!r}", "use letters, digits, dots and hyphens")
    size = space.size() if grid else target
    assert size is not None
    if objective is not None:
        higher_is_better(objective, maximize)
    cfg = space.check()
    objective = objective or default_objective(cfg)
    higher = higher_is_better(objective, maximize)
    settings = Settings(tuple(overrides), grid, objective, higher, pruner, seed, config_dir)
    folder = Path(cfg.run.root) / SWEEPS / (name or default_name(cfg, space, settings))
    return Plan(folder, settings, size)


def going_on(where: str, url: str | None, target: int | None) -> Plan:
    """A sweep that exists.

    Raises:
        UsageError: there is none.
    """
    folder = find(where)
    found = Study.load(folder, url)
    known = found.optuna.user_attrs.get(study.TARGET)
    if found.settings.grid and target is not None:
        raise UsageError(f"{folder} tries every combination", "leave out --trials")
    count = target or known
    if count is None:
        raise UsageError("it is not said how many trials", "add --trials 20")
    found.space.check()
    return Plan(folder, found.settings, int(count))


def default_objective(cfg: config.Config) -> str:
    """The Fréchet distance that is measured while training.

    Raises:
        UsageError: there is none for this data set.
    """
    from ganctl.metrics import classifier

    evaluate = cfg.callbacks.evaluate
    loaded = None if evaluate is None else classifier.choose(evaluate.classifier, cfg.data.name)
    if loaded is None:
        raise UsageError(
            f"nothing scores images of {cfg.data.name} while training",
            "choose another row with --objective, or a classifier of `ganctl train-classifier` with "
            "callbacks.evaluate.classifier=FILE",
        )
    return f"val/{loaded.prefix}_fd"


def default_name(cfg: config.Config, space: Space, settings: Settings) -> str:
    """The same for the same sweep, so that the same command goes on with it."""
    parts = [settings.objective, settings.maximize, settings.grid, settings.pruner, settings.seed]
    parts += [] if settings.config_dir is None else [str(settings.config_dir)]
    what = json.dumps([space.fixed, {k: str(p) for k, p in space.parameters.items()}, parts])
    return f"{cfg.name}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def rehearse(plan: Plan, count: int = 3) -> dict[str, Any]:
    """The space and the first commands; proposals after Optuna's first ten depend on scores."""
    rehearsal = Study.rehearse(plan.folder, plan.settings)
    space = rehearsal.space
    commands = []
    for _ in range(min(count, plan.target)):
        number = rehearsal.optuna.ask().number
        point = rehearsal.propose(rehearsal.trial(number))
        cfg = space.compose(point)
        commands.append(["ganctl", "train", *trials.arguments(space, point, plan.folder, number, cfg)])
    return {
        "folder": str(plan.folder),
        "trials": plan.target,
        "objective": plan.settings.objective,
        "direction": "maximize" if plan.settings.maximize else "minimize",
        "space": {key.lstrip("+"): str(p) for key, p in space.parameters.items()},
        "fixed": list(space.fixed),
        "commands": commands,
    }


def rehearsal_text(rehearsed: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"sweep      {rehearsed['folder']}",
        f"trials     {rehearsed['trials']}",
        f"objective  {rehearsed['direction']} {rehearsed['objective']}",
        f"fixed      {' '.join(rehearsed['fixed']) or '-'}",
        *(f"varies     {key}={p}" for key, p in rehearsed["space"].items()),
        "",
        *(shlex.join(command) for command in rehearsed["commands"]),
    ]
    return "\n".join(lines)


def run(plan: Plan, workers: int, url: str | None) -> dict[str, Any]:
    """Does it, or the rest of it.

    Returns:
        The report of `show`.

    Raises:
        UsageError: the storage, or the objective.
        InterruptedSweepError: it was stopped from outside.
        GanctlError: no trial was completed.
    """
    found = Study.create(plan.folder, plan.settings, url)
    found.optuna.set_user_attr(study.TARGET, plan.target)
    again = ["ganctl", "sweep", "--resume", str(plan.folder)]
    again += ["--workers", str(workers)] if workers > 1 else []
    again += ["--storage", storage.without_password(url)] if url else []
    Scheduler(found, plan.target, workers, shlex.join(again)).run()
    elsewhere = found.elsewhere()
    if elsewhere:
        shown = ", ".join(map(str, elsewhere))
        log.info("trial %s runs in another folder or machine: the same command there ends it", shown)
    report = _report(found)
    if report["best"] is None and not elsewhere:
        reasons = [row["reason"] for row in report["trials"] if row["reason"]]
        raise GanctlError(
            f"no trial was completed: {reasons[0] if reasons else 'none was finished'}",
            f"see ganctl sweep show {plan.folder}",
        )
    return report


def show(where: str | None, url: str | None) -> dict[str, Any]:
    """What a sweep has found; also `sweep.png` in its folder.

    Raises:
        UsageError: there is none.
    """
    return _report(Study.load(find(where), url))


def _report(found: Study) -> dict[str, Any]:
    report = sweep_report.describe(found)
    picture = found.sweep / PICTURE
    try:
        sweep_report.plot(found, report, picture)
        report["picture"] = str(picture)
    except UsageError as error:  # a folder that may only be read
        log.warning("%s", error.what)
        report["picture"] = None
    return report


def find(where: str | None) -> Path:
    """A sweep's folder: that one, or by its name below runs/sweeps; None means the newest.

    Raises:
        UsageError: there is none.
    """
    root = Path("runs") / SWEEPS
    known = {marker.parent: marker.stat().st_mtime_ns for marker in root.glob("*/place")}
    for folder in (Path(where), root / where) if where is not None else ():
        if os.path.isfile(folder / "place"):  # unlike Path.is_file, False for what no file can be called
            return folder
    if not known:
        raise UsageError(
            f"there is no sweep below {root}/" + (f", and none at {where!r}" if where is not None else ""),
            "start one: ganctl sweep +experiment=quick model.lr=1e-3,3e-4 --trials 2",
        )
    if where is None:
        return max(known, key=lambda folder: known[folder])
    raise UsageError(f"there is no sweep {where!r}", nearest(where, [folder.name for folder in known]))
