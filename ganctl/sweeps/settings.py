"""What makes two sweeps the same one, and which way an objective goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganctl.errors import UsageError
from ganctl.sweeps import grammar
from ganctl.sweeps.search_space import Space

PRUNERS = ("median", "none")
_HIGHER = ("accuracy", "is", "is_mean", "precision", "recall", "density", "coverage", "modes", "images_per_s")
_LOWER = ("fd", "fid", "kid", "kl", "loss")


@dataclass(frozen=True)
class Settings:
    """What makes two sweeps the same one.

    Args:
        overrides: as `grammar.parse` takes them.
        grid: every point of the space once, instead of points that Optuna's TPE proposes.
        objective: the row of `metrics.jsonl` whose last value counts.
        maximize: whether higher is better.
        pruner: one of `PRUNERS`.
        seed: of the proposals; the trainings have the configuration's.
        config_dir: as `grammar.parse` takes it.
    """

    overrides: tuple[str, ...]
    grid: bool
    objective: str
    maximize: bool
    pruner: str
    seed: int
    config_dir: Path | None = None

    def space(self) -> Space:
        """What varies."""
        return grammar.parse(self.overrides, self.config_dir)


def higher_is_better(objective: str, maximize: bool | None) -> bool:
    """Whether higher is better: as was said, or as its name says.

    Raises:
        UsageError: it is a score on test images, or its name says nothing.
    """
    prefix, _, name = objective.partition("/")
    if prefix == "test":
        raise UsageError(
            f"{objective} is measured on test images: what is chosen by it is not honest any more",
            f"choose by validation images: --objective val/{name}",
        )
    if prefix not in ("train", "val") or not name:
        raise UsageError(f"there is no row {objective!r}", "rows are val/… and train/…, as in val/digit_fd")
    if maximize is not None:
        return maximize
    for known, higher in ((_HIGHER, True), (_LOWER, False)):
        if any(name == end or name.endswith(f"_{end}") for end in known):
            return higher
    raise UsageError(f"it is not known whether a high {objective} is good", "add --maximize or --minimize")
