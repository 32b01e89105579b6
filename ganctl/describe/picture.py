"""Where a picture comes from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ganctl import checkpoint, pngs, progress, runs
from ganctl.describe.description import Description, when
from ganctl.errors import GanctlError


def describe(path: Path, root: Path) -> Description:
    """A PNG, the generator below `root` that drew it, and the command that draws it again.

    Raises:
        UsageError: it is damaged, or of a mode we don't write.
    """
    shape, text = pngs.provenance(path)
    rows = [("picture", f"{path}, {when(path)}, {shape}")]
    data: dict[str, Any] = {
        "kind": "picture",
        "path": str(path),
        "height": shape.height,
        "width": shape.width,
    }
    data |= {"channels": shape.channels, "provenance": text}
    digest = text.get("ganctl:checkpoint", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        rows.append(("provenance", "none: ganctl sample did not draw it"))
        return Description(rows, data)
    rows += [(key.removeprefix("ganctl:"), f"{value:.300}") for key, value in text.items()]
    found = _made_by(digest, root)
    data |= {"made_by": str(found[0]) if found else None, "command": None}
    if found is None:
        rows.append(
            ("made by", f"no checkpoint below {root}/ has that digest, nor has the bundled generator")
        )
        return Description(rows, data)
    ckpt, resolution = found
    rows.append(("made by", str(ckpt)))
    labels, seeds = (_numbers(text.get(f"ganctl:{key}", "")) for key in ("label", "seed"))
    if seeds:
        label = f" --label {','.join(map(str, labels))}" if labels else ""
        alone = (
            len(seeds) == 1 and len(labels) <= 1 and (shape.height, shape.width) == (resolution, resolution)
        )
        target = f"--outdir {shlex.quote(path.stem)}" if alone else "--out again.png"
        data["command"] = (
            f"ganctl sample --ckpt {shlex.quote(str(ckpt))}{label} --seeds {_spans(seeds)} {target}"
        )
        rows.append(("draw again", data["command"]))
    return Description(rows, data)


def _made_by(digest: str, root: Path) -> tuple[Path, int] | None:
    """The generator with that digest, and its resolution: the bundled one, or the newest run's."""
    files = list(_generators(root))
    with progress.bar(len(files), "file", "looking for the checkpoint") as bar:
        for path in files:
            try:
                snapshot = checkpoint.read(path)
            except GanctlError:
                continue
            if snapshot.digest == digest:
                return path, snapshot.facts.resolution
            bar.update()
    return None


def _generators(root: Path) -> Iterator[Path]:
    """The bundled one; then those of runs, newest first, each once whatever it is called."""
    yield runs.BUNDLED
    seen = set()
    newest_first = sorted(runs.below(root), key=lambda run: run.config.stat().st_mtime, reverse=True)
    for run in newest_first:
        folder = run.checkpoint("last.ckpt").parent
        for path in sorted([*folder.glob("*.ckpt"), *folder.glob("*.safetensors")], reverse=True):
            if path.is_file() and (found := path.stat()) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                yield path


def _numbers(text: str) -> list[int]:
    """`0,1,2` -> [0, 1, 2]; nothing where it is none of this form."""
    return [int(n) for n in text.split(",")] if re.fullmatch(r"[0-9]{1,20}(,[0-9]{1,20})*", text) else []


def _spans(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> `0-2,5`, as `--seeds` takes it."""
    spans: list[list[int]] = []
    for n in numbers:
        if spans and spans[-1][1] == n - 1:
            spans[-1][1] = n
        else:
            spans.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
