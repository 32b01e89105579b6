"""Which data set is meant, however it was said: in a configuration, on the command line, in a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganctl.errors import UsageError, nearest
from ganctl.label_names import LABEL_NAMES


@dataclass(frozen=True)
class Source:
    """A data set, where it is looked for, and what of it is wanted.

    Args:
        name: of the data set.
        root: a folder that has the files, or the user's own folder or file; without it known sets are
            searched for and fetched.
        conditional: True wants labels, False leaves them out, None takes what there is.
        resolution, crop, channels: what the pictures of a folder become, as in `prepare.Recipe`.
    """

    name: str
    root: Path | None = None
    conditional: bool | None = None
    resolution: int | None = None
    crop: Literal["center", "none"] = "center"
    channels: Literal[1, 3] = 3

    @classmethod
    def of_config(cls, section: Mapping[str, Any]) -> Source:
        """What the `data` section of a configuration means, this run's or that in a checkpoint."""
        root = section.get("root")
        return cls(
            section["name"],
            None if root is None else Path(root).expanduser(),
            section.get("conditional"),
            section.get("resolution"),
            section.get("crop") or "center",
            section.get("channels") or 3,
        )

    @classmethod
    def of_text(cls, text: str, root: Path | None = None) -> Source:
        """What someone types: the name of a data set, or a path: a folder or zip of pictures, an `.npz`.

        A name goes before a path: `./mnist` is the folder.

        Args:
            root: for a name.

        Raises:
            UsageError: it is neither; or a path that has a root of its own.
        """
        if text in LABEL_NAMES:
            return cls(text, root)
        path = Path(text).expanduser()
        if not os.path.exists(path):  # unlike Path.exists, False for what no file can be called
            raise UsageError(
                f"there is no data set {text!r}, and no folder or file of that name",
                nearest(text, LABEL_NAMES),
            )
        if root is not None:
            raise UsageError(f"{text} is a place, and {root} another", "leave out --data-root")
        if path.is_dir() or path.suffix.lower() == ".zip":
            return cls("folder", path)
        if path.suffix.lower() == ".npz":
            return cls("npz", path)
        raise UsageError(
            f"{text} is no data set",
            "give a folder of pictures, a zip of one, or an .npz of ganctl data prepare",
        )
