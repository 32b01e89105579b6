"""How Lightning writes a checkpoint: whole or not at all.

Apart from what reads one: `sample` and `eval` do not wait for Lightning to be imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ganctl import atomic
from ganctl.errors import GanctlError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: the previous file lives until the new one is whole.

    Lightning's own writing stages elsewhere and moves, which on a full disk destroyed the previous file. It
    must not raise either: the other ranks wait for this one after the writing.
    """

    failure: GanctlError | None = None
    """Why the latest writing failed; None when it did not."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes, or sets `failure`; the previous file is then untouched."""
        target, self.failure = Path(path), None
        try:
            atomic.write(target, lambda file: torch.save(checkpoint, file))
        except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.failure = GanctlError(
                f"cannot write {target}: {reason}", "free disk space; the previous checkpoint is untouched"
            )
