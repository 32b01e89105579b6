"""Imports point down: what is below knows nothing of what is above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ganctl"

# From the top; modules of one tier may import each other.
TIERS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("terminal", "completion"),
    ("sweeps",),
    ("doctor", "describe", "cleaning"),
    ("run_table",),
    ("replay", "arrays", "singles"),
    ("train", "dry_run", "preview", "sample", "evaluate", "own_classifier", "compare", "sharing", "web"),
    ("real_side",),
    ("scoring", "pixel_scores", "generator", "probe", "config_diff"),
    ("build",),
    ("sides",),
    (
        "gan",
        "callbacks",
        "saving",
        "stop_signals",
        "resume",
        "runs",
        "checkpoint",
        "checkpoint_io",
        "snapshot",
        "loggers",
        "jsonl_logger",
        "wandb_logger",
        "comet_logger",
        "report",
        "reproduce",
        "weights",
        "launch",
        "watchdog",
    ),
    ("networks", "data", "metrics", "expressions", "generate", "inputs", "png_folder"),
    (
        "losses",
        "augment",
        "hyperparameters",
        "ema",
        "latents",
        "images",
        "movies",
        "digest",
        "pngs",
        "npz",
        "growing",
        "pickled",
        "untrusted",
        "fetch",
        "tarballs",
        "progress",
        "config",
        "label_names",
        "config_hints",
        "config_schema",
        "config_tree",
        "logger_config",
        "symptoms",
        "wording",
        "requirements",
    ),
    ("collectives", "lost_rank", "ranks", "devices", "atomic"),
    ("errors",),
)
HEIGHT = {name: len(TIERS) - i for i, tier in enumerate(TIERS) for name in tier}


def part_of(module: str) -> str | None:
    """`ganctl.data.mnist` -> `data`; None for what is not ours, and for the bare package (its version)."""
    names = module.split(".")
    return names[1] if names[0] == "ganctl" and len(names) > 1 else None


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """The parts of ganctl that a module imports: at its top, in functions, and under TYPE_CHECKING."""
    found: set[str | None] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {part_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                keep = len(module.split(".")) - node.level + is_package
                base = ".".join([*module.split(".")[:keep], *([node.module] if node.module else [])])
            if base == "ganctl":
                # `from ganctl import x`: a module, or a name of the package itself such as its version
                found |= {part_of(f"ganctl.{alias.name}") for alias in node.names if alias.name in HEIGHT}
            else:
                found.add(part_of(base))
    return {part for part in found if part is not None}


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of a module that point up."""
    own = part_of(module)
    assert own is not None
    return sorted(p for p in imported(source, module, is_package) if HEIGHT[p] > HEIGHT[own])


def at_import(source: str) -> set[str]:
    """What a module imports as soon as it is imported itself."""
    body = ast.parse(source).body
    found = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module or "." for node in body if isinstance(node, ast.ImportFrom)}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("ganctl", *path.relative_to(PACKAGE).with_suffix("").parts)
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_every_module_has_a_tier() -> None:
    parts = {part_of(module) for module, _ in modules()} - {None}
    assert parts == set(HEIGHT)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda x: x if isinstance(x, str) else "")
def test_imports_point_down(module: str, path: Path) -> None:
    source, is_package = path.read_text(encoding="utf-8"), path.name == "__init__.py"
    if module == "ganctl":
        assert imported(source, module, is_package) == {"generator"}, "of ganctl.load, and no other"
        assert at_import(source) == {"typing"}, "the package itself imports nothing of ours or heavy"
    else:
        assert upward(source, module, is_package) == []


@pytest.mark.parametrize(
    ("source", "module", "is_package", "found"),
    [
        ("from ganctl.train import train", "ganctl.gan", False, ["train"]),
        ("from ganctl import train, images", "ganctl.gan", False, ["train"]),
        ("import ganctl.cli", "ganctl.errors", False, ["cli"]),
        ("import torch, ganctl.gan as g", "ganctl.networks.dcgan", False, ["gan"]),
        ("def f():\n    from ganctl import checkpoint", "ganctl.metrics.extract", False, ["checkpoint"]),
        ("if TYPE_CHECKING:\n    from ganctl.runs import RunFolder", "ganctl.data", True, ["runs"]),
        ("from ..gan import GAN", "ganctl.networks.dcgan", False, ["gan"]),
        ("from .. import gan", "ganctl.networks.dcgan", False, ["gan"]),
        ("from ..gan import GAN", "ganctl.networks", True, ["gan"]),
        ("from .gan import GAN", "ganctl.losses", False, ["gan"]),
        ("from ganctl import __version__, errors", "ganctl.losses", False, []),
        ("from ganctl.gan import GAN", "ganctl.callbacks", False, []),
        ("from .conditioning import x", "ganctl.networks.dcgan", False, []),
        ("import torch\nfrom pathlib import Path", "ganctl.errors", False, []),
    ],
)
def test_upward_imports_are_seen(source: str, module: str, is_package: bool, found: list[str]) -> None:
    assert upward(source, module, is_package) == found
