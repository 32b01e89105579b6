"""What differs between two configurations: experiments, runs, or overrides."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganctl import config, config_tree
from ganctl.config_schema import differences
from ganctl.errors import UsageError


@dataclass(frozen=True)
class Diff:
    """Values by key where they are not the same, in the order of the configuration."""

    a: str
    b: str
    values: dict[str, tuple[Any, Any]]

    def table(self) -> str:
        """A line for each key."""
        if not self.values:
            return "no difference"
        shown = {key: (_text(before), _text(after)) for key, (before, after) in self.values.items()}
        rows = [("", self.a, self.b), *((key, *pair) for key, pair in shown.items())]
        wide, wider = (max(len(row[i]) for row in rows) for i in (0, 1))
        return "\n".join(f"{key:<{wide}}  {x:<{wider}}  {y}".rstrip() for key, x, y in rows)

    def to_dict(self) -> dict[str, Any]:
        found = {key: {"a": one, "b": other} for key, (one, other) in self.values.items()}
        return {"a": self.a, "b": self.b, "differences": found}


def diff(a: str, b: str, config_dir: Path | None = None) -> Diff:
    """Compares two sides, each resolved.

    Args:
        a, b: an experiment (`dcgan`), an option (`model/mlp`, all else as the defaults have it), overrides in
            one word (`"experiment=dcgan model.lr=1e-4"`), or a run folder or its `config.yaml`.

    Raises:
        UsageError: a side is none of them.
    """
    return Diff(a, b, differences(_side(a, config_dir), _side(b, config_dir)))


def _side(text: str, config_dir: Path | None) -> dict[str, Any]:
    path = Path(text)
    if path.is_dir() and (path / "config.yaml").is_file():
        return config_tree.read(path / "config.yaml")
    if path.suffix in (".yaml", ".yml"):
        return config_tree.read(path)
    if "=" in text:
        try:
            overrides = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"cannot read the overrides {text!r}: {error}", "close every quote") from None
        return config.compose(overrides, config_dir).model_dump()
    option = config_tree.find(text, config_dir)
    return config.compose([f"{option.group}={option.name}"], config_dir).model_dump()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
