"""What was extracted from real images, kept on disk: the same real set is not run through a network twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ganctl import collectives, untrusted
from ganctl.atomic import write_output
from ganctl.errors import GanctlError, UsageError
from ganctl.fetch import cache_dir
from ganctl.metrics.extract import Extracted
from ganctl.metrics.frechet import Moments

log = logging.getLogger("ganctl")

FORMAT_VERSION = 1
MAX_BYTES = 2_000_000_000  # of all entries
MAX_DIM = 16_384  # of features and logits: their covariance then has 2 GiB
MAX_KEY_CHARS = 100_000

Key = Mapping[str, str | int | None]

_DTYPES = {"count": "F64", "total": "F64", "outer": "F64", "logits": "F32", "features": "F32"}
_FIX = "give a statistics file that ganctl wrote"


def cached(key: Key, compute: Callable[[], Extracted], use: bool = True) -> Extracted:
    """What is kept under `key`, or else what `compute` returns, which is then kept.

    A file that cannot be read, written or believed costs time and a line in the log, never the result. Beyond
    `MAX_BYTES` the entries that were not used for longest go.

    Args:
        key: all that the result depends on: data checksum, split, number, seed, extractor digest, precision,
            and whether features are kept.
        use: False neither reads nor writes.
    """
    if not use:
        return compute()
    path = entry_path(key)
    # Machines may have caches of their own: rank 0's decides whether all compute.
    kept = collectives.from_first(lambda: _find(path, key))
    if kept is not None:
        return kept
    extracted = compute()
    collectives.from_first(lambda: _keep(path, extracted, key))
    return extracted


def _find(path: Path, key: Key) -> Extracted | None:
    if not path.exists():
        log.debug("no statistics of the real images are kept in %s: computing them", path)
        return None
    try:
        extracted, found = load_statistics(path)
    except UsageError as error:
        log.warning("computing real statistics anew: %s", error.what)
        return None
    if found != dict(key):
        log.warning("computing real statistics anew: %s is of other images or another extractor", path)
        return None
    with contextlib.suppress(OSError):  # a cache of others, that may only be read
        os.utime(path)
    log.debug("statistics of the real images from %s", path)
    return extracted


def _keep(path: Path, extracted: Extracted, key: Key) -> None:
    try:
        save_statistics(path, extracted, key)
        _evict(path)
    except GanctlError as error:
        log.warning("real statistics are not kept for next time: %s", error.what)


def entry_path(key: Key) -> Path:
    """The file in the user's cache for `key`."""
    return cache_dir() / "stats" / f"{hashlib.sha256(_canonical(key).encode()).hexdigest()}.safetensors"


def save_statistics(path: Path, extracted: Extracted, key: Key) -> None:
    """Writes statistics whole or not at all, with `key` and a checksum inside.

    Raises:
        UsageError: the file cannot be written.
        GanctlError: the statistics are not finite.
    """
    tensors = {
        "count": extracted.moments.count,
        "total": extracted.moments.total,
        "outer": extracted.moments.outer,
        "logits": extracted.logits,
        "features": extracted.features,
    }
    present = {name: t.contiguous() for name, t in tensors.items() if t is not None}
    if not _finite(present):
        raise GanctlError("the statistics are not finite", "look at the images and at the extractor")
    note = {"format": FORMAT_VERSION, "key": dict(key), "sha256": _digest(present)}
    # One entry: safetensors writes several in random order, and the same statistics should be the same bytes.
    content = to_bytes(present, {"ganctl": json.dumps(note, sort_keys=True)})
    write_output(path, lambda file: file.write(content))


def load_statistics(path: Path) -> tuple[Extracted, dict[str, str | int | None]]:
    """Reads statistics and the key that they were kept under.

    Shapes and types are checked before memory is taken, the checksum and the values after.

    Raises:
        UsageError: the file is missing, damaged, another program's, or of another format version.
    """
    try:
        with open(path, "rb") as start:  # safetensors does not say why it cannot open a file
            untrusted.check_safetensors_header(start)
        with safe_open(path, "pt") as file:
            note = _note(path, file.metadata())
            slices = {name: file.get_slice(name) for name in file.keys()}
            header = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
            if not _sound(header):
                raise UsageError(f"{path} holds other tensors than statistics", _FIX)
            tensors = {name: file.get_tensor(name) for name in header}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", _FIX) from error
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is damaged or not a safetensors file", _FIX) from error
    if note["sha256"] != _digest(tensors):
        raise UsageError(f"{path} is damaged: its checksum differs", "compute the statistics anew")
    moments = Moments(tensors["count"], tensors["total"], tensors["outer"])
    images = {len(tensors[name]) for name in ("logits", "features") if name in tensors}
    if not _finite(tensors) or moments.count < 1 or images - {float(moments.count)}:
        raise UsageError(f"{path} holds impossible statistics", "compute the statistics anew")
    return Extracted(moments, tensors.get("logits"), tensors.get("features")), note["key"]


def _evict(newest: Path) -> None:
    """Removes what was used least recently until the rest fits; `newest`, just written, stays.

    What killed runs left half written counts as well. Other processes may remove the same files, or go on
    reading what is removed.
    """
    entries: list[tuple[bool, int, int, Path]] = []
    for path in newest.parent.glob("*"):
        with contextlib.suppress(OSError):
            found = path.stat()
            entries.append((path == newest, found.st_mtime_ns, found.st_size, path))
    total = 0
    for _, _, size, path in sorted(entries, reverse=True):
        total += size
        if total > MAX_BYTES and path != newest:
            with contextlib.suppress(OSError):
                path.unlink()


def _canonical(key: Key) -> str:
    return json.dumps(dict(key), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _note(path: Path, metadata: dict[str, str] | None) -> dict:
    text = (metadata or {}).get("ganctl", "")
    try:
        note = json.loads(text) if len(text) <= MAX_KEY_CHARS else None
    except (ValueError, RecursionError):
        note = None
    if not isinstance(note, dict) or not isinstance(note.get("key"), dict):
        raise UsageError(f"{path} holds no statistics of ganctl", _FIX)
    if note.get("format") != FORMAT_VERSION or not isinstance(note.get("sha256"), str):
        raise UsageError(
            f"{path} has statistics format {note.get('format')!r}, this ganctl reads {FORMAT_VERSION}",
            "compute the statistics anew",
        )
    return note


def _sound(header: Mapping[str, tuple[str, tuple[int, ...]]]) -> bool:
    """Whether tensors of these types and shapes can be statistics of one set of images."""
    if not {"count", "total", "outer"} <= set(header) <= set(_DTYPES):
        return False
    if any(dtype != _DTYPES[name] for name, (dtype, _) in header.items()):
        return False
    shapes = {name: shape for name, (_, shape) in header.items()}
    d = shapes["total"][0] if len(shapes["total"]) == 1 else 0
    logits, features = shapes.get("logits", (1, 1)), shapes.get("features", (1, d))
    return (
        1 <= d <= MAX_DIM
        and (shapes["count"], shapes["total"], shapes["outer"]) == ((), (d,), (d, d))
        and len(logits) == len(features) == 2
        and features[1] == d
        and 1 <= logits[1] <= MAX_DIM
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 in hex over names, shapes and values; the types are fixed."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors.values())
