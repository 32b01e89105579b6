"""Whether two run folders are the same bit for bit, but for what the clock decides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Of a checkpoint: the length of a file that holds speeds, and the counters of Lightning's loops, which begin
# anew at each start and which `resume` does not read.
VOLATILE = ("training.metrics_bytes", "epoch", "loops")
SPEED = "train/images_per_s"


def differences(run: Path, reference: Path) -> list[str]:
    """What a run folder has otherwise than the one it must equal; empty where it equals it."""
    ours, theirs = files(run), files(reference)
    found = [f"{name} is too much" for name in sorted(ours - theirs)]
    found += [f"{name} is missing" for name in sorted(theirs - ours)]
    for name in sorted(ours & theirs):
        a, b = run / name, reference / name
        if a.is_dir() or name == "train.log":
            continue
        if name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):
            found += [f"{name}: {path}" for path in checkpoint_differences(a, b)]
        elif name == "checkpoints/previous.ckpt":
            continue  # of whatever moment the clock chose
        elif name == "metrics.jsonl":
            found += [] if a.read_bytes().endswith(b"\n") else ["metrics.jsonl does not end a line"]
            found += row_differences(rows_of(run), rows_of(reference))
        elif a.read_bytes() != b.read_bytes():
            found.append(f"{name} has other bytes")
    return found


def files(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in run.rglob("*")}


def row_differences(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[str]:
    """Rows must be the same in the same order, but for the speed in them."""
    if len(ours) != len(theirs):
        return [f"metrics.jsonl has {len(ours)} rows instead of {len(theirs)}"]
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        a, b = ({key: v for key, v in row.items() if key != SPEED} for row in (a, b))
        if a != b:
            return [f"metrics.jsonl line {number} is {a} instead of {b}"]
    return []


def checkpoint_differences(ours: Path, theirs: Path) -> list[str]:
    import torch  # here: `prove_resume` says how many threads it may have first

    a, b = (dict(leaves(torch.load(path, weights_only=True, map_location="cpu"))) for path in (ours, theirs))
    found = [f"{path} is too much" for path in sorted(a.keys() - b.keys())]
    found += [f"{path} is missing" for path in sorted(b.keys() - a.keys())]
    found += [f"{path} differs" for path in a if path in b and a[path] != b[path]]
    return [problem for problem in found if not problem.startswith(VOLATILE)]


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested containers by its path, tensors as their type, shape and bytes."""
    import torch

    if isinstance(node, torch.Tensor):
        content = node.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield path, (str(node.dtype), tuple(node.shape), content)
    elif isinstance(node, dict | list | tuple):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        yield path, (type(node).__name__, len(node))
        for key, value in items:
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, repr(node)  # repr: NaN equals NaN


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
