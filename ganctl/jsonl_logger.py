"""`metrics.jsonl`, the one place that every row of a run is written to, whatever else fails."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

log = logging.getLogger("ganctl")

# Rows that wait for a full disk to be emptied: about 50 000 of them.
MAX_WAITING = 1 << 24


class JsonlLogger(Logger):
    """`metrics.jsonl`: one strict JSON object a line, `{"step": int, key: number or null, …}`.

    NaN and infinities are written as null, which every JSON reader knows. One step may have several lines
    (a training row, a validation row).

    What the disk does not take is kept, up to `MAX_WAITING` bytes, and written in order with a later line.

    Args:
        length: bytes of an earlier part of the run that are kept; what was logged after its checkpoint will
            be logged again.
    """

    name = "jsonl"
    version = ""

    def __init__(self, path: Path, length: int = 0) -> None:
        super().__init__()
        self._path = path
        # Unbuffered: what the disk took is then known to the byte, and the rest is ours to keep.
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray()
        self._refused = False
        self.cut(length)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends one line, and writes it out if the disk takes it.

        Raises:
            OSError: the disk has not taken `MAX_WAITING` bytes; the file is closed.
        """
        row = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        self._waiting += (json.dumps({"step": step, **row}) + "\n").encode()
        try:
            self._write_out()
        except OSError as error:
            if len(self._waiting) > MAX_WAITING:
                self._file.close()
                raise
            if not self._refused:
                self._refused = True
                log.warning("cannot write %s (%s): rows are kept until it can", self._path, error.strerror)

    def _write_out(self) -> None:
        while self._waiting:
            del self._waiting[: self._file.write(self._waiting)]
        if self._refused:
            self._refused = False
            log.info("%s is written again, and lacks no row", self._path)

    def mark(self) -> int:
        """The length in bytes, on the disk for good as far as the disk takes it."""
        with contextlib.suppress(OSError):  # said already; what waits will follow in order
            self._write_out()
            os.fsync(self._file.fileno())
        return self._length() + len(self._waiting)

    def cut(self, length: int) -> None:
        """Forgets what comes after `length` bytes."""
        self._waiting.clear()
        if self._length() < length:
            log.warning("%s has lost rows: it ends before its checkpoint", self._path)
        elif self._length() > length:
            os.ftruncate(self._file.fileno(), length)

    def _length(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Nothing: the run folder has `config.yaml`."""

    def finalize(self, status: str) -> None:
        """Writes what waits, and closes the file."""
        try:
            self._write_out()
        except OSError as error:
            log.warning("%s lacks its last rows (%s)", self._path, error.strerror)
        finally:
            self._file.close()
