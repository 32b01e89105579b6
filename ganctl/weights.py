"""Which file holds the weights that a digest names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ganctl import checkpoint, runs
from ganctl.errors import UsageError
from ganctl.snapshot import Snapshot


class Weights:
    """Finds weights by their digest: the bundled ones, then those of the runs, the newest first. What was
    read on the way is remembered, so that a folder of pictures costs one search.

    Args:
        ckpt: look into this file alone.
        root: of the runs.
    """

    def __init__(self, ckpt: str | None = None, root: Path = Path("runs")) -> None:
        self._ckpt, self._root = ckpt, root
        self._files = iter([runs.find_checkpoint(ckpt, root)]) if ckpt else _candidates(root)
        self._seen: dict[str, Path] = {}
        self._read = self._skipped = 0
        self._last: Snapshot | None = None

    def where(self, digest: str) -> Path:
        """The file that holds them.

        Raises:
            UsageError: they are not there.
        """
        self.find(digest)
        return self._seen[digest]

    def find(self, digest: str) -> Snapshot:
        """
        Raises:
            UsageError: they are not there.
        """
        if self._last is not None and self._last.digest == digest:
            return self._last
        if digest in self._seen:
            self._last = checkpoint.read(self._seen[digest])
            if self._last.digest == digest:  # a training may have replaced the file
                return self._last
        for path in self._files:
            try:
                snapshot = checkpoint.read(path)
            except UsageError:
                self._skipped += 1
                continue
            self._read += 1
            self._seen.setdefault(snapshot.digest, path)
            if snapshot.digest == digest:
                self._last = snapshot
                return snapshot
        if self._ckpt is not None:
            raise UsageError(
                f"{self._ckpt} does not hold the weights {digest}",
                "leave out --ckpt to look for them in runs/",
            )
        looked = f"{self._root}/ and the bundled generator: {self._read} checkpoints" + (
            f", and {self._skipped} that cannot be read" if self._skipped else ""
        )
        raise UsageError(f"there are no weights {digest} in {looked}", "give their file with --ckpt FILE")


def _candidates(root: Path) -> Iterator[Path]:
    """The bundled one; then those of runs, newest first, each once whatever it is called."""
    yield runs.BUNDLED
    seen = set()
    for run in sorted(runs.below(root), key=lambda run: run.config.stat().st_mtime_ns, reverse=True):
        folder = run.checkpoint("last.ckpt").parent
        files = [*folder.glob("*.ckpt"), *folder.glob("*.safetensors")]
        # What pictures are most often drawn with comes first.
        order = {name: i for i, name in enumerate(runs.CHECKPOINTS)}
        for path in sorted(files, key=lambda path: (order.get(path.name, len(order)), path.name)):
            if path.is_file() and (found := path.stat()) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                yield path
