"""The real side of an evaluation: the data that a checkpoint was trained on, found again, or others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganctl import data
from ganctl.data.dataset import Dataset, DatasetFacts
from ganctl.data.source import Source
from ganctl.errors import UsageError
from ganctl.label_names import LABEL_NAMES
from ganctl.scoring import Request
from ganctl.sides import Fakes, Reals, of_dataset, of_path
from ganctl.snapshot import Snapshot


def find(
    fakes: Fakes,
    snapshot: Snapshot | None,
    text: str | None,
    root: Path | None,
    path: Path | None,
    request: Request,
) -> Reals:
    """The real side of an evaluation; the labels of `fakes` become its labels.

    Args:
        snapshot: of a checkpoint that is scored.
        text: the data set that someone typed, a name or a path; without it that of the checkpoint.
        root: where the data set is.
        path: real images or their statistics, instead of a data set.

    Raises:
        UsageError: they are not there, are not what they were, or are of another shape; or the classifier of
            the request was made for others.
    """
    judge = request.classifier
    if path is not None:
        names = judge.label_names if judge else ()
        reals = of_path(path, fakes.shape, names)
    else:
        said = {} if snapshot is None else _section(snapshot)
        if text is not None:
            source = _of_shape(Source.of_text(text, root), fakes.shape, said)
            dataset = data.load(source, val_size=0)
        else:
            assert snapshot is not None
            dataset = trained_on(snapshot, root)
        reals, names = of_dataset(dataset, fakes, request.seed), dataset.facts.label_names
    if judge is not None:
        wanted = snapshot.facts.label_names if snapshot and text is None else names
        judge.require_fit(reals.protocol["data"], fakes.shape, wanted)
    fakes.name_labels(names)
    return reals


def trained_on(snapshot: Snapshot, root: Path | None = None) -> Dataset:
    """The data set that the checkpoint says it was trained on, training and validation part in one.

    Args:
        root: where it is now; without it where the checkpoint says, from the working directory on. A known
            set is looked for as ever where that is gone.

    Raises:
        UsageError: a user's own data are not there any more, or are not what they were; or as `data.load`.
    """
    facts, source = snapshot.facts, _source(snapshot)
    if root is not None:
        source = replace(source, root=root)
    elif source.root is not None and not os.path.exists(source.root):
        if facts.name not in LABEL_NAMES:
            seen_from = "" if source.root.is_absolute() else f" (from {Path.cwd()})"
            raise UsageError(
                f"the checkpoint was trained on {facts.name}, which is not at {source.root}{seen_from}",
                "say where it is now: --data PATH",
            )
        source = replace(source, root=None)
    dataset = data.load(source, val_size=0)
    now = dataset.facts
    if facts.digest != now.digest or (now.digest and facts.label_names != now.label_names):
        raise UsageError(
            f"{source.root or source.name} is not what the checkpoint was trained on: "
            f"{_difference(facts, now)}",
            f"restore it, or compare with what it is now: --data {source.root or source.name}",
        )
    return dataset


def _section(snapshot: Snapshot) -> Mapping[str, Any]:
    """What the checkpoint says of its data: a file that anyone may have written."""
    found = snapshot.config.get("data")
    return found if isinstance(found, dict) else {}


def _source(snapshot: Snapshot) -> Source:
    facts, said = snapshot.facts, _section(snapshot)
    if not isinstance(said.get("name"), str):
        if facts.name in LABEL_NAMES:
            return Source(facts.name)
        raise UsageError(
            f"the checkpoint does not say where its data are: {facts.name}", "say it: --data NAME|PATH"
        )
    root = said.get("root")
    source = Source.of_config({**said, "root": root if isinstance(root, str) else None})
    return _of_shape(source, (facts.channels, facts.resolution), said)


def _of_shape(source: Source, shape: tuple[int, int], said: Mapping[str, Any]) -> Source:
    """The pictures of a folder become what the network draws, whatever else is said."""
    if source.name != "folder":
        return source
    channels, resolution = shape
    return replace(
        source,
        channels=1 if channels == 1 else 3,
        resolution=resolution,
        crop="none" if said.get("crop") == "none" else "center",
    )


def _difference(before: DatasetFacts, now: DatasetFacts) -> str:
    if before.label_names != now.label_names:
        gone = [name for name in before.label_names if name not in now.label_names]
        new = [name for name in now.label_names if name not in before.label_names]
        parts = [f"without {', '.join(gone)}" if gone else "", f"with {', '.join(new)}" if new else ""]
        return f"other labels, {' and '.join(filter(None, parts)) or 'in another order'}"
    return f"its images or labels have changed (sha256 {before.digest[:8]} then, {now.digest[:8]} now)"
