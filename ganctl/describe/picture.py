"""Where a picture comes from."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from ganctl import pngs
from ganctl.describe.description import Description, when
from ganctl.errors import UsageError
from ganctl.weights import Weights


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
    data |= {"made_by": None, "command": None}
    try:
        ckpt = Weights(root=root).where(digest)
    except UsageError as error:
        rows.append(("made by", error.what))
        return Description(rows, data)
    command = f"ganctl replay {shlex.quote(str(path))} --out again.png"
    rows += [("made by", str(ckpt)), ("draw again", command)]
    return Description(rows, data | {"made_by": str(ckpt), "command": command})
