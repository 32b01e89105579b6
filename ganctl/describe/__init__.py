"""What a file or a run is, told without importing anything that it names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ganctl import runs
from ganctl.describe import run
from ganctl.describe.description import Description, when
from ganctl.errors import UsageError, nearest
from ganctl.runs import RunFolder


def describe(what: str | None, root: Path = Path("runs")) -> Description:
    """What a run folder, a checkpoint, a PNG, an `.npz` or a report is.

    Args:
        what: a path; the name of a run below `root`; the name of a checkpoint of the newest run. None is the
            newest run, or the bundled generator where there is none.

    Raises:
        UsageError: there is no such thing (names the nearest), or it is damaged or another program's.
    """
    path = _find(what, root)
    if path.is_dir():
        return run.describe(RunFolder(path))
    start = _start(path)
    if start.startswith(b"\x89PNG"):
        from ganctl.describe import picture

        return picture.describe(path, root)
    if start.lstrip()[:1] == b"{":
        return _report(path)
    if path.suffix.lower() == ".npz":
        return _arrays(path)
    from ganctl.describe import generator

    return generator.describe(path, resumable=start.startswith(b"PK"))


def _find(what: str | None, root: Path) -> Path:
    if what is None:
        newest = runs.newest_run(root)
        return newest.path if newest else runs.BUNDLED
    for path in (Path(what), root / what):
        if os.path.exists(path):
            return path
    found = runs.newest(root, what) if Path(what).name == what else None
    if found is not None:
        return found
    beside = Path(what).parent
    if what != Path(what).name and beside.is_dir():
        known = [str(beside / name) for name in os.listdir(beside)]
    else:
        known = [str(folder.path.relative_to(root)) for folder in runs.below(root)]
        known += [
            name for name in os.listdir() if Path(name).suffix in (".ckpt", ".safetensors", ".png", ".npz")
        ]
    fix = nearest(what, known) if known else "ganctl ls shows the runs; without a name it is the newest"
    raise UsageError(f"there is no {what}", fix)


def _start(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe waits for somebody to write into it
        raise UsageError(f"{path} is no regular file", "give a run folder, a checkpoint, a PNG, or a report")
    try:
        with open(path, "rb") as file:
            return file.read(9)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "make it readable") from error


def _arrays(path: Path) -> Description:
    from ganctl import inputs

    images = inputs.open_images(path)
    data = {
        "kind": "images",
        "path": str(path),
        "images": images.num_images,
        "channels": images.channels,
        "resolution": images.resolution,
        "labels": images.labels is not None,
        "digest": images.digest,
    }
    colour = "grey" if images.channels == 1 else "RGB"
    labels = "with" if images.labels is not None else "without"
    rows = [
        (
            "images",
            f"{path}, {when(path)}: {images.num_images:,} of "
            f"{images.resolution} × {images.resolution} {colour}, {labels} labels",
        ),
        ("digest", images.digest),
        ("score", f"ganctl eval {shlex.quote(str(path))} --data mnist"),
    ]
    return Description(rows, data)


def _report(path: Path) -> Description:
    from ganctl.report import read_report

    report = read_report(path)
    p = report.protocol
    scored = p.images or f"checkpoint {p.checkpoint}" + (
        "" if p.nimg is None else f" after {p.nimg:,} images"
    )
    extractors = ", ".join(f"{name} {stamp.sha256[:8]}" for name, stamp in p.extractors.items()) or "pixels"
    rows = [
        ("report", f"{path}, {when(path)}"),
        ("scored", scored),
        (
            "protocol",
            f"{p.num_gen} images against {p.num_real} of {p.data}: {p.real}; seed {p.seed}; {p.device}",
        ),
        ("extractors", extractors),
        ("versions", ", ".join(f"{name} {version}" for name, version in p.versions.items())),
    ]
    data = {"kind": "report", "path": str(path), **report.model_dump(mode="json", by_alias=True)}
    return Description(rows, data, dict(report.metrics))
