"""W&B in tests: its offline file, read back by hand, and the end of its service."""

from __future__ import annotations

import importlib
import json
import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def end_service() -> None:
    """Ends this process's W&B service, which has the environment of the test that started it."""
    import wandb

    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)  # where it has crashed, W&B leaves its name there


def scan(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a 7-byte header, then LevelDB log blocks of 32 KiB."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0 and length == 0:
            break
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # full, last
            yield b"".join(parts)
            parts = []


def read_run(folder: Path) -> tuple[dict[int, dict[str, Any]], dict[str, Any], list[Any]]:
    """History by step (rows of one step merged), the config, and every record."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    end_service()  # as at the program's exit: `finish` may be back a moment before the last write
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    history: dict[int, dict[str, Any]] = defaultdict(dict)
    config: dict[str, Any] = {}
    records = []
    for raw in scan(path):
        record = messages.Record()
        record.ParseFromString(raw)
        records.append(record)
        for item in record.history.item:
            place: dict[str, Any] = history[record.history.step.num]
            *parents, key = item.nested_key or [item.key]
            for parent in parents:
                place = place.setdefault(parent, {})
            place[key] = json.loads(item.value_json)
        for update in (*record.config.update, *record.run.config.update):
            config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
    return history, config, records
