"""What a checkpoint or a `.safetensors` holds."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ganctl import checkpoint, networks, resume, runs
from ganctl.describe import run
from ganctl.describe.description import Description, when
from ganctl.errors import UsageError
from ganctl.metrics import cache
from ganctl.snapshot import Snapshot

MAX_SHOWN = 20  # names of labels
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def describe(path: Path, resumable: bool) -> Description:
    """A generator in either of its forms, or statistics of real images.

    Args:
        resumable: whether it is of the form that can hold the state of a training.

    Raises:
        UsageError: it is damaged, or another program's.
    """
    try:
        snapshot = checkpoint.read(path)
    except UsageError as error:
        statistics = None if resumable else _statistics(path)
        if statistics is None:
            raise error
        return statistics
    content = checkpoint.load(path) if resumable else {}
    resumable = resume.KEY in content
    weights = {"generator": _parameters(snapshot.ema)}
    if resumable:
        # Of the training G is G_ema, before it is averaged.
        weights["discriminator"] = _parameters(content.get("state_dict"), "D.")
    model = snapshot.config.get("model")
    specs = {"generator": snapshot.generator}
    if isinstance(model, dict) and isinstance(model.get("discriminator"), dict):
        specs["discriminator"] = model["discriminator"]
    nets = {
        name: {
            "class": str(spec.get("_target_")),
            "arguments": {k: v for k, v in spec.items() if k != "_target_"},
            "parameters": weights.get(name),
            "trusted": networks.is_ours(spec),
        }
        for name, spec in specs.items()
    }
    folder = runs.run_of(path)
    data: dict[str, Any] = {
        "kind": "checkpoint" if resumable else "generator",
        "path": str(path),
        "bytes": path.stat().st_size,
        "digest": snapshot.digest,
        "resumable": resumable,
        "data": {**vars(snapshot.facts), "num_classes": snapshot.facts.num_classes},
        "latent_dim": snapshot.latent_dim,
        "images_seen": snapshot.nimg,
        "steps": snapshot.steps,
        "networks": nets,
        "needs_trust_code": not nets["generator"]["trusted"],
        "versions": snapshot.versions,
        "wandb_id": snapshot.wandb_id,
        "run": str(folder.path) if folder else None,
        "command": run.train_command(snapshot.config),
    }
    return Description(_generator_rows(path, snapshot, data), data)


def _generator_rows(path: Path, snapshot: Snapshot, data: dict[str, Any]) -> list[tuple[str, str]]:
    state = "with" if data["resumable"] else "without"
    rows = [
        (data["kind"], f"{path}, {when(path)}, {state} the state of its training"),
        ("digest", snapshot.digest),
        ("data", _data(snapshot)),
        (
            "trained",
            f"{snapshot.nimg:,} images in {snapshot.steps:,} steps; {run.recipe(snapshot.config)}",
        ),
    ]
    for name, net in data["networks"].items():
        arguments = ", ".join(f"{k}={v}" for k, v in net["arguments"].items())
        size = "" if net["parameters"] is None else f": {net['parameters']:,} parameters"
        foreign = "" if net["trusted"] else "; not of ganctl: to build it needs --trust-code"
        rows.append((name, f"{net['class']}({arguments:.300}){size}{foreign}"))
    rows += [
        ("latent dim", str(snapshot.latent_dim)),
        ("versions", ", ".join(f"{name} {version}" for name, version in snapshot.versions.items())),
    ]
    if snapshot.wandb_id:
        rows.append(("W&B id", snapshot.wandb_id))
    label = " --label 0" if snapshot.facts.num_classes else ""
    trust = " --trust-code" if data["needs_trust_code"] else ""
    rows.append(("sample", f"ganctl sample --ckpt {shlex.quote(str(path))}{label} --n 64{trust}"))
    if data["resumable"]:
        rows.append(("go on", f"ganctl resume {shlex.quote(str(path))}{trust}"))
    if data["command"]:
        rows.append(("train again", data["command"]))
    return rows


def _data(snapshot: Snapshot) -> str:
    facts = snapshot.facts
    colour = {1: "grey", 3: "RGB"}.get(facts.channels, f"{facts.channels} channels")
    shape = f"{facts.name}, {facts.resolution} × {facts.resolution} {colour}"
    if not facts.num_classes:
        return f"{shape}, without labels"
    names = ", ".join(facts.label_names[:MAX_SHOWN]) + (" …" if facts.num_classes > MAX_SHOWN else "")
    return f"{shape}, {sum(facts.class_counts):,} images with {facts.num_classes} labels: {names}"


def _parameters(tensors: Any, prefix: str = "") -> int | None:
    """How many numbers were learned, by the names of tensors."""
    if not isinstance(tensors, dict):
        return None
    return sum(
        int(w.numel())
        for name, w in tensors.items()
        if str(name).startswith(prefix) and not str(name).endswith(_BUFFERS) and hasattr(w, "numel")
    )


def _statistics(path: Path) -> Description | None:
    """Statistics of real images, which are `.safetensors` too; None where it is another program's file."""
    try:
        extracted, key = cache.load_statistics(path)
    except UsageError:
        return None
    count, dim = int(extracted.moments.count), len(extracted.moments.total)
    kept = [name for name in ("logits", "features") if getattr(extracted, name) is not None]
    rows = [
        ("statistics", f"{path}, {when(path)}, of {count:,} real images in {dim} features"),
        ("kept", ", ".join(["mean and covariance", *kept])),
        *((name, str(value)) for name, value in key.items()),
        ("use", f"ganctl eval --real {shlex.quote(str(path))}"),
    ]
    data = {"kind": "statistics", "path": str(path), "images": count, "features": dim, "key": key}
    return Description(rows, data)
