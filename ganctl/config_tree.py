"""The files that configurations are composed from: groups, their options, and what each says of itself."""

from __future__ import annotations

from pathlib import Path

GROUPS = ("experiment", "data", "model", "loss", "trainer", "logger", "callbacks")


def conf_dir() -> Path:
    """The Hydra tree: inside the installed package, or at the top of the checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def options(group: str) -> list[str]:
    """The names that `group=NAME` takes."""
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))
