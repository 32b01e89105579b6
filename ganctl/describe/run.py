"""What a run is: its settings, checkpoints, scores and reports, and the commands that go on from them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from ganctl import reproduce, run_table, wording
from ganctl.describe.description import Description
from ganctl.errors import GanctlError, UsageError
from ganctl.report import read_report
from ganctl.run_table import Run, Scored
from ganctl.runs import CHECKPOINTS, RunFolder


def describe(folder: RunFolder) -> Description:
    """A run folder.

    Raises:
        UsageError: it is no run folder of ours.
    """
    run = run_table.read(folder)
    if run is None:
        known = len(run_table.find(folder.path)[0])
        fix = f"ganctl ls {folder.path} shows the {known} below it" if known else "ganctl ls shows the runs"
        raise UsageError(f"{folder.path} is no run folder", fix)
    scores = run_table.all_scores(folder)
    best = min(scores, key=lambda s: s.fd[1]) if scores else None
    reports = _reports(folder)
    saved = {name: path for name in CHECKPOINTS if (path := folder.checkpoint(name)).is_file()}
    command = train_command(run.config)
    data = {
        "kind": "run",
        **run.to_dict(),
        "best": None if best is None else {"steps": best.steps, **best.values},
        "config": run.config,
        "checkpoints": {
            name: {"bytes": p.stat().st_size, "written": p.stat().st_mtime} for name, p in saved.items()
        },
        "reports": {str(path): values for path, values in reports.items()},
        "command": command,
    }
    return Description(_rows(run, best, saved, reports, command), data)


def _rows(
    run: Run,
    best: Scored | None,
    saved: dict[str, Path],
    reports: dict[Path, dict[str, float]],
    command: str | None,
) -> list[tuple[str, str]]:
    now, path = time.time(), shlex.quote(str(run.folder.path))
    rows = [
        ("run", f"{run.folder.path}, {wording.size(run.size)}"),
        (
            "state",
            f"{run.state}, {wording.images(run.nimg)} images; started {wording.age(now - run.started)}, "
            f"last written {wording.age(now - run.written)}",
        ),
        ("settings", f"{run.experiment}: {recipe(run.config)}"),
    ]
    if run.last is not None:
        rows.append(("last scores", _shown(run.last)))
    if best is not None:
        rows.append(("best scores", _shown(best)))
    for name, file in saved.items():
        found = file.stat()
        same = " (the same file as last.ckpt)" if name != "last.ckpt" and _same(file, saved) else ""
        rows.append((name, f"{wording.size(found.st_size)}, {wording.age(now - found.st_mtime)}{same}"))
    for report, values in reports.items():
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        rows.append(("report", f"{report.relative_to(run.folder.path)}: {shown}"))
    for offline, uploaded in run_table.offline_folders(run.folder).items():
        sync = "uploaded" if uploaded else f"offline; to upload: wandb sync {shlex.quote(str(offline))}"
        rows.append(("W&B", sync))
    if run.state != "training":
        longer = " trainer.max_epochs=N, to train longer" if run.state == "finished" else ""
        rows.append(("go on", f"ganctl resume {path}{longer}"))
    if "last.ckpt" in saved:
        rows.append(("sample", f"ganctl sample --ckpt {path} --n 64"))
    if command:
        rows.append(("train again", command))
    return rows


def train_command(config: dict[str, Any]) -> str | None:
    """What trains with this configuration; None where it is not one of ours."""
    try:
        return reproduce.command(config)
    except GanctlError:
        return None


def recipe(config: dict[str, Any]) -> str:
    """The settings by which people know a run. Of a stranger's configuration, what is there."""
    found = []
    for name, key in (
        ("data", "data.name"),
        ("batch", "data.batch_size"),
        ("network", "model.generator._target_"),
        ("loss", "loss.name"),
        ("lr", "model.lr"),
        ("epochs", "trainer.max_epochs"),
        ("steps", "trainer.max_steps"),
        ("precision", "trainer.precision"),
        ("seed", "seed"),
    ):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int | float):
            found.append(
                f"{name} {str(value).removeprefix('ganctl.networks.').removesuffix('.Generator'):.80}"
            )
    return ", ".join(found) or "settings unknown"


def _shown(scored: Scored) -> str:
    values = ", ".join(f"{name.removeprefix('val/')} {value:.4g}" for name, value in scored.values.items())
    return f"{values} (step {scored.steps:,}, validation images)"


def _same(file: Path, saved: dict[str, Path]) -> bool:
    return "last.ckpt" in saved and file.samefile(saved["last.ckpt"])


def _reports(folder: RunFolder) -> dict[Path, dict[str, float]]:
    """The evaluations beside the checkpoints, the values that they have."""
    found = {}
    for path in sorted(folder.checkpoint("last.ckpt").parent.glob("*.eval.json")):
        try:
            metrics = read_report(path).metrics
        except UsageError:
            continue
        found[path] = {name: m.value for name, m in metrics.items() if m.value is not None}
    return found
