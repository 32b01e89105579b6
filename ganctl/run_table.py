"""What there is below `runs/`, told by small parts of small files: no torch, no checkpoint is opened.

A run folder may be a stranger's, broken, or half written. Nothing in it is believed: files are read up to a
size, and what is not as `ganctl train` writes it counts as not there.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganctl import config_tree, runs, wording
from ganctl.errors import UsageError, nearest
from ganctl.runs import RunFolder

TAIL_BYTES = 8 << 20  # of metrics.jsonl: some thirty epochs of MNIST
MAX_ROW_BYTES = 1 << 16
MAX_METRICS_BYTES = 256 << 20
MAX_FILES = 100_000  # of a folder, whose sizes are added up

_SECTIONS = {"name", "seed", "data", "model", "loss", "trainer", "run"}
_SCORED = re.compile(rb'"val/\w+_fd"')

State = Literal["training", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Scored:
    """The scores of one epoch's end.

    Args:
        steps: batches trained on.
        values: by name, as in `metrics.jsonl`: `val/digit_fd`, `val/label_accuracy` …
    """

    steps: int
    values: dict[str, float]

    @property
    def fd(self) -> tuple[str, float]:
        """The Fréchet distance, by which `best.ckpt` is chosen, and its name."""
        return next((key[4:], value) for key, value in self.values.items() if key.endswith("_fd"))

    @property
    def accuracy(self) -> float | None:
        return self.values.get("val/label_accuracy")


@dataclass(frozen=True)
class Run:
    """A run as its folder tells of it.

    Args:
        config: of `config.yaml`, plain values, no more than one level of them checked.
        started: or resumed; seconds since the epoch.
        written: when its files were last written.
        state: `training` now; `finished`; `failed`: ended by the watchdog, or before its first save;
            `stopped`: ended otherwise, `ganctl resume` goes on with it.
        nimg: images seen, of the newest row of `metrics.jsonl`.
        last, best: the newest scores, and those with the lowest Fréchet distance, of the last `TAIL_BYTES`.
        size: bytes on disk.
    """

    folder: RunFolder
    config: dict[str, Any] = field(repr=False)
    started: float
    written: float
    state: State
    nimg: int | None
    last: Scored | None
    best: Scored | None
    size: int

    @property
    def experiment(self) -> str:
        return str(self.config["name"])

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "run": str(self.folder.path),
            "experiment": self.experiment,
            "started": self.started,
            "written": self.written,
            "state": self.state,
            "images_seen": self.nimg,
            "last": _scores(self.last),
            "best": _scores(self.best),
            "bytes": self.size,
        }


def _scores(scored: Scored | None) -> dict[str, Any] | None:
    return None if scored is None else {"steps": scored.steps, **scored.values}


# By what runs are sorted, what stands first; without a value a run stands last.
SORTS: dict[str, Callable[[Run], Any]] = {
    "age": lambda run: -run.started,
    "run": lambda run: str(run.folder.path),
    "experiment": lambda run: run.experiment,
    "state": lambda run: run.state,
    "images": lambda run: None if run.nimg is None else -run.nimg,
    "accuracy": lambda run: -run.last.accuracy if run.last and run.last.accuracy is not None else None,
    "fd": lambda run: run.last.fd[1] if run.last else None,
    "best": lambda run: run.best.fd[1] if run.best else None,
    "size": lambda run: -run.size,
}


def find(root: Path, sort: str = "age", experiment: str | None = None) -> tuple[list[Run], int]:
    """The runs at and below `root`.

    Returns:
        They, sorted by a key of `SORTS`; and how many folders have a `config.yaml` that is none of ours.

    Raises:
        UsageError: there is no such key, or no run of that experiment.
    """
    if sort not in SORTS:
        raise UsageError(f"runs cannot be sorted by {sort!r}", nearest(sort, SORTS))
    folders = runs.below(root)
    found = [run for run in map(read, folders) if run is not None]
    foreign = len(folders) - len(found)
    if experiment is not None and found:
        names = {run.experiment for run in found}
        if experiment not in names:
            raise UsageError(f"no run below {root} is of {experiment!r}", nearest(experiment, names))
        found = [run for run in found if run.experiment == experiment]
    key = SORTS[sort]
    found.sort(key=SORTS["age"])
    found.sort(key=lambda run: (key(run) is None, key(run)) if key(run) is not None else (True,))
    return found, foreign


def read(folder: RunFolder) -> Run | None:
    """The run of a folder; None where `config.yaml` is not one that `ganctl train` writes."""
    config = read_config(folder.config)
    if config is None:
        return None
    metrics = folder.path / "metrics.jsonl"
    newest, scored = _rows(_tail(metrics, TAIL_BYTES))
    times = [_written(folder.config), _written(metrics), _written(folder.log)]
    nimg = newest.get("images_seen")
    return Run(
        folder=folder,
        config=config,
        started=times[0],
        written=max([*times, _written(folder.checkpoint("last.ckpt"))]),
        state=_state(folder, newest),
        nimg=None if nimg is None else int(nimg),
        last=scored[-1] if scored else None,
        best=min(scored, key=lambda s: s.fd[1]) if scored else None,
        size=size_on_disk(folder.path),
    )


def read_config(path: Path) -> dict[str, Any] | None:
    """A configuration of ours as plain values; None where it is none."""
    if not path.is_file():  # opening a pipe waits for somebody to write into it
        return None
    try:
        found = config_tree.read(path)
    except UsageError:
        return None
    name = found.get("name")
    ours = found.keys() >= _SECTIONS and isinstance(name, str) and re.fullmatch(r"[\w.-]{1,100}", name)
    return found if ours else None


def all_scores(folder: RunFolder) -> list[Scored]:
    """Those of every epoch: of all of `metrics.jsonl`."""
    return _rows(_tail(folder.path / "metrics.jsonl", MAX_METRICS_BYTES))[1]


def offline_folders(folder: RunFolder) -> dict[Path, bool]:
    """What W&B wrote offline, and whether `wandb sync` has uploaded it since, which leaves a mark."""
    found = sorted((folder.path / "wandb").glob("offline-run-*"))
    return {
        path: any(path.glob("*.wandb.synced")) for path in found if path.is_dir() and not path.is_symlink()
    }


def size_on_disk(folder: Path) -> int:
    """Bytes of all files, one with several names counted once. Symbolic links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                found = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            seen[found.st_dev, found.st_ino] = found.st_size
        if len(seen) > MAX_FILES:
            break
    return sum(seen.values())


def table(found: Iterable[Run], now: float | None = None) -> str:
    """One line a run."""
    now = time.time() if now is None else now
    rows = [["run", "experiment", "age", "state", "images", "accuracy", "fd", "best", "size"]]
    for run in found:
        accuracy = run.last.accuracy if run.last else None
        rows.append(
            [
                str(run.folder.path),
                run.experiment,
                wording.age(now - run.started),
                run.state,
                wording.images(run.nimg),
                "-" if accuracy is None else f"{accuracy:.2%}",
                "{} {:.4g}".format(*run.last.fd) if run.last else "-",
                f"{run.best.fd[1]:.4g}" if run.best else "-",
                wording.size(run.size),
            ]
        )
    return wording.columns(rows)


def _state(folder: RunFolder, newest: dict[str, float]) -> State:
    if folder.training:
        return "training"
    if any(key.startswith("test/") for key in newest):  # the last that a training logs
        return "finished"
    if any(key.startswith("watchdog/") for key in newest) or not os.path.isfile(
        folder.checkpoint("last.ckpt")
    ):
        return "failed"
    return "stopped"


def _rows(text: bytes) -> tuple[dict[str, float], list[Scored]]:
    """The newest row, and the rows with a Fréchet distance, out of the end of a `metrics.jsonl`."""
    text = text[: text.rfind(b"\n") + 1]  # a line without an end is being written
    newest = _row(text[text.rfind(b"\n", 0, -1) + 1 :])
    scored = []
    for match in _SCORED.finditer(text):
        begin, end = text.rfind(b"\n", 0, match.start()) + 1, text.find(b"\n", match.end())
        row = _row(text[begin:end])
        values = {key: value for key, value in row.items() if key.startswith("val/")}
        if any(key.endswith("_fd") for key in values):
            scored.append(Scored(int(row.get("step", 0)), values))
    return newest, scored


def _row(line: bytes) -> dict[str, float]:
    """The finite numbers of a row."""
    if len(line) > MAX_ROW_BYTES:
        return {}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(row, dict):
        return {}
    return {
        key: value
        for key, value in row.items()
        if type(value) in (int, float) and abs(value) < 2**63 and math.isfinite(value)
    }


def _tail(path: Path, n: int) -> bytes:
    """The last `n` bytes of a regular file; nothing where it is none or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe waits for somebody to write into it
            return b""
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - n))
            return file.read(n)
    except (OSError, ValueError):
        return b""


def _written(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
