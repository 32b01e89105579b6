"""A run folder -> what a page about it says, as plain data. The folder may be a stranger's."""

from __future__ import annotations

import base64
import math
import os
import re
import shlex
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ganctl import config_tree, pickled, reproduce, untrusted
from ganctl.errors import GanctlError, UsageError, printable
from ganctl.report import read_report
from ganctl.runs import CHECKPOINTS, RunFolder
from ganctl.web import curves, evaluations
from ganctl.web.files import listed, opened

MAX_FRAMES = 60  # pictures of a timeline
MAX_PICTURE_BYTES = 2 << 20  # of one
MAX_CONFIG_VALUES = 2000
MAX_LOG_BYTES = 1 << 14  # the end of train.log
MAX_REPORTS = 8


class Run:
    """One run.

    Args:
        picture_bytes: that its pictures may take.

    Attributes:
        name: its folder, as short as it can be told.
        left_out: what the page does not show of it, in sentences.
    """

    def __init__(self, folder: RunFolder, picture_bytes: int) -> None:
        self.folder = folder
        self.path = printable(str(folder.path))
        self.quoted_path = printable(shlex.quote(str(folder.path)))
        self.name = printable(folder.path.resolve().name)
        self.left_out: list[str] = []
        self._room = picture_bytes
        self.last_row: datetime | None = None
        self.metrics = self._metrics()
        self.config = self._config()
        self.values = flat(self.config)
        self.differences, self.command = self._reproduction()
        self.reports = self._reports()
        self.reals = self._picture(folder.samples / "reals.png")
        self.confusion = None if any(r["confusion"] for r in self.reports) else self._newest("confusion")
        self.scores = None if any(r["per_class"] for r in self.reports) else self._newest("class_scores")
        self.frames = self._frames()
        self.versions = self._versions()
        self.log, self.warnings = self._log()

    @property
    def title(self) -> str:
        """The experiment and the folder; the experiment alone where the folder is called like it."""
        name = str(self.values.get("name", ""))
        return self.name if not name or self.name.startswith(name) else f"{name} {self.name}"

    @property
    def latest(self) -> dict[str, float]:
        """The last scores of validation."""
        ends = {key: c.summary()["last"] for key, c in self.metrics.curves.items() if is_score(key)}
        return {key: value for key, value in ends.items() if value is not None}

    def _metrics(self) -> curves.Metrics:
        path = self.folder.path / "metrics.jsonl"
        try:
            with opened(path) as file:
                self.last_row = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
                found = curves.read(file)
        except OSError as error:
            self.left_out.append(f"metrics.jsonl cannot be read ({error.strerror}): no curves.")
            return curves.Metrics()
        if found.broken:
            self.left_out.append(f"{found.broken} lines of metrics.jsonl are no rows of a run.")
        if found.cut:
            self.left_out.append(
                f"metrics.jsonl is longer than {curves.MAX_BYTES >> 20} MiB: the rest is left out."
            )
        for key, curve in found.curves.items():
            if missing := curve.summary()["not_finite"]:
                self.left_out.append(f"{printable(key)}: {missing} values are not finite, and not drawn.")
        return found

    def _config(self) -> dict[str, Any]:
        try:
            opened(self.folder.config).close()
            plain = config_tree.read(self.folder.config)
            untrusted.require_plain(plain, MAX_CONFIG_VALUES)
        except (OSError, ValueError, UsageError) as error:
            reason = printable((str(error).strip() or type(error).__name__).splitlines()[0])
            self.left_out.append(f"config.yaml cannot be read: {reason}.")
            return {}
        return plain

    def _reproduction(self) -> tuple[dict[str, tuple[str, str]], str | None]:
        if not self.config:
            return {}, None
        try:
            changed = reproduce.of_experiment(self.config)
            command = reproduce.command(self.config)
        except (GanctlError, TypeError, AttributeError) as error:
            self.left_out.append(
                f"No command, as the configuration is not of this version: {printable(str(error))}."
            )
            return {}, None
        return {k: (text_of(old), text_of(new)) for k, (old, new) in changed.items()}, printable(command)

    def _reports(self) -> list[dict[str, Any]]:
        """The evaluations beside the checkpoints, newest first."""
        files = listed(self.folder.path / "checkpoints", r".*\.eval\.json")
        files.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        if len(files) > MAX_REPORTS:
            self.left_out.append(f"{len(files) - MAX_REPORTS} older evaluation reports.")
        found = []
        for file in files[:MAX_REPORTS]:
            try:
                found.append(evaluations.told(file.name, read_report(file)))
            except UsageError as error:
                self.left_out.append(f"{printable(file.name)} is left out: {printable(error.what)}.")
        return found

    def _picture(self, path: Path) -> dict[str, Any] | None:
        """Its width and height, and the PNG itself as an address; None where there is none, or no room."""
        try:
            with opened(path) as file:
                content = file.read(MAX_PICTURE_BYTES + 1)
        except OSError:
            return None
        if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 26:
            self.left_out.append(f"{printable(path.name)} is no PNG.")
            return None
        if len(content) > min(self._room, MAX_PICTURE_BYTES):
            self.left_out.append(f"{printable(path.name)} is too large for this page.")
            return None
        self._room -= len(content)
        width, height = struct.unpack(">II", content[16:24])
        address = "data:image/png;base64," + base64.b64encode(content).decode()
        return {"width": width, "height": height, "src": address}

    def _newest(self, kind: str) -> dict[str, Any] | None:
        found = listed(self.folder.samples, rf"{kind}_\d{{6,15}}\.png")
        return self._picture(max(found, key=lambda file: (len(file.name), file.name))) if found else None

    def _frames(self) -> list[dict[str, Any]]:
        """Pictures of the timeline: all of them, or every k-th and the last, as many as there is room for."""
        files = listed(self.folder.samples, r"fakes_\d{6,15}\.png")
        files.sort(key=lambda file: int(file.stem.partition("_")[2]))
        every = max(1, math.ceil(len(files) / MAX_FRAMES))
        while len(files) > 2 and sum(file.stat().st_size for file in _every(files, every)) > self._room:
            every += 1
            if every > len(files):
                break
        if every > 1:
            self.left_out.append(f"Samples: one in {every} of {len(files)} pictures, and the last.")
        per_step = self.metrics.images / self.metrics.steps if self.metrics.steps else None
        frames = []
        for file in _every(files, every):
            step = int(file.stem.partition("_")[2])
            picture = self._picture(file)
            if picture is not None:
                kimg = None if per_step is None else round(step * per_step / 1000, 1)
                frames.append({"step": step, "kimg": kimg, **picture})
        return frames

    def _versions(self) -> dict[str, str]:
        """Of the packages that trained it, which the newest readable checkpoint tells."""
        for name in CHECKPOINTS:
            try:
                with opened(self.folder.checkpoint(name)) as file:
                    told = pickled.without_tensors(file)["ganctl"]["versions"].items()
                return {printable(str(key)[:100]): printable(str(value)[:100]) for key, value in told}
            except Exception:  # a damaged one has a dozen ways to say so
                continue
        return {}

    def _log(self) -> tuple[list[str], list[str]]:
        """The last lines of `train.log`, and those of them that warn."""
        try:
            with opened(self.folder.log) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MAX_LOG_BYTES))
                lines = file.read(MAX_LOG_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return [], []
        shown = [printable(line) for line in (lines[1:] if size > MAX_LOG_BYTES else lines)]
        return shown, [line for line in shown if re.match(r"[-\d]+ [\d:,]+ (WARNING|ERROR|CRITICAL) ", line)]


def is_score(key: str) -> bool:
    return key.startswith("val/") and not key.endswith("_loss")


def flat(node: Any, prefix: str = "") -> dict[str, str]:
    """Dotted keys of a configuration and their values in words."""
    if not isinstance(node, dict):
        return {prefix.rstrip("."): text_of(node)}
    out: dict[str, str] = {}
    for key, value in node.items():
        out |= flat(value, f"{prefix}{printable(str(key))}.")
    return out


def text_of(value: Any) -> str:
    return printable(
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _every(files: list[Path], k: int) -> list[Path]:
    """The first, every k-th after it, and the last."""
    return files[:-1:k] + files[-1:] if files else []
