"""How Lightning writes a checkpoint: whole or not at all.

Apart from what reads one: `sample` and `eval` do not wait for Lightning to be imported.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ganctl.errors import GanctlError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: the previous file lives until the new one is whole.

    Lightning's own writing stages elsewhere and moves, which on a full disk destroyed the previous file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises `GanctlError` when the disk does not take it; the previous file is then untouched."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise GanctlError(
                f"cannot write {target}: {reason}",
                "free disk space; the previous checkpoint is untouched",
            ) from error
