"""What a shell offers behind <TAB>. It waits for the answer, so nothing heavy is imported.

Words alone: Typer breaks what is shown beside them into lines of 80 letters, which fish takes for offers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import typer

from ganctl.errors import UsageError

_MAX_FILES = 200  # that are looked at; a folder of pictures can have any number
_RUNS = Path("runs")
_CHECKPOINTS = (".ckpt", ".safetensors")


def overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """`experiment=dcgan`, `model=mlp`, `model.lr=`: groups with their options, and keys."""
    from ganctl import config_tree
    from ganctl.config_hints import keys

    config_dir = ctx.params.get("config_dir")
    typed = _joined(ctx.params.get("overrides") or [])
    key, equals, value = incomplete.partition("=")
    if not equals and typed and (typed[-1].endswith("=") or (not incomplete and "=" not in typed[-1])):
        # bash breaks words at "=": the key is the word before, and only what stands behind is replaced
        values = _values(typed[-1].rstrip("="), typed[:-1], config_dir)
        return [v for v in values if v.startswith(incomplete)]
    if equals:
        return [f"{key}={v}" for v in _values(key, typed, config_dir) if v.startswith(value)]
    plus = incomplete[: len(incomplete) - len(incomplete.lstrip("+"))]
    bare = incomplete[len(plus) :]
    plain = config_tree.defaults(_chosen(typed), config_dir)
    sections = {k for k in keys(plain) if isinstance(config_tree.value_at(plain, k), dict)}
    known = [k for k in ("experiment", *keys(plain)) if k in config_tree.GROUPS or k not in sections]
    found = [k for k in known if k.startswith(bare)]
    if len(found) == 1:  # with its values, as shells put a blank behind the only offer
        single = [f"{plus}{found[0]}={v}" for v in _values(found[0], typed, config_dir)]
        return [f"{plus}{found[0]}=", *single] if len(single) == 1 else single
    return [f"{plus}{k}=" for k in found]


def config_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """`dcgan`, `model/mlp`."""
    from ganctl import config_tree

    found = config_tree.listing(ctx.params.get("config_dir"))
    names = [o.name if o.group == "experiment" else o.full_name for o in found]
    return [name for name in names if name.startswith(incomplete)]


def labels(ctx: typer.Context, incomplete: str) -> list[str]:
    """The label names of the checkpoint that `--ckpt` means; after a comma one more."""
    from ganctl.label_names import LABEL_NAMES

    names = LABEL_NAMES.get(_data_of(ctx.params.get("ckpt")), ())
    before, comma, last = incomplete.rpartition(",")
    offered = names if comma or not names else (*names, "all")
    return [f"{before}{comma}{name}" for name in offered if name.startswith(last)]


def checkpoints(ctx: typer.Context, incomplete: str) -> list[str]:
    """Checkpoints: of the newest run, run folders, files where the typed path leads.

    Folders on the way are left to the shell, which puts no blank behind them.
    """
    from ganctl import runs

    found = [name for name in ("last.ckpt", "best.ckpt") if runs.newest(_RUNS, name)]
    configs = islice(_RUNS.glob("*/*/config.yaml"), _MAX_FILES)
    found += sorted((str(path.parent) for path in configs), reverse=True)
    folder = os.path.dirname(incomplete)
    found += [
        os.path.join(folder, entry.name) for entry in _entries(folder or ".") if _is_checkpoint(entry.name)
    ]
    return list(dict.fromkeys(path for path in found if path.startswith(incomplete)))


def devices(incomplete: str) -> list[str]:
    return [name for name in ("auto", "cpu", "cuda", "mps") if name.startswith(incomplete)]


def _joined(words: Iterable[str]) -> list[str]:
    """`model`, `=`, `mlp` -> `model=mlp`: bash hands over what it has broken."""
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _chosen(typed: Iterable[str]) -> dict[str, str]:
    """Group -> option, of the overrides that are typed already."""
    return {key.lstrip("+"): name for key, _, name in (word.partition("=") for word in typed)}


def _values(key: str, typed: list[str], config_dir: Path | None) -> list[str]:
    """What may stand behind `key=`: a group's options, one of a few words, or what it is otherwise."""
    from ganctl import config_tree

    key = key.lstrip("+")
    if key in config_tree.GROUPS:
        return [*config_tree.options(key, config_dir), *config_tree.WORDS.get(key, ())]
    default = config_tree.value_at(config_tree.defaults(_chosen(typed), config_dir), key)
    if isinstance(default, dict):
        return []
    if isinstance(default, bool):
        return ["true", "false"]
    from ganctl.config_schema import section_at

    *path, leaf = key.split(".")
    field = getattr(section_at(path), "model_fields", {}).get(leaf)
    words = list(dict.fromkeys(_words(field.annotation))) if field else []
    return words or [_typed(default)]


def _words(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str | int):
            yield str(part)
        else:
            yield from _words(part)


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _data_of(ckpt: str | None) -> str:
    """The name of the data set that a checkpoint was trained on, as its run's config.yaml has it."""
    from ganctl import config_tree, runs

    try:
        path = runs.find_checkpoint(ckpt, _RUNS)
        if path == runs.BUNDLED:
            return "mnist"
        run = runs.run_of(path)
        data = config_tree.read(run.config).get("data") if run else None
    except UsageError:
        return ""
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, _MAX_FILES), key=lambda entry: entry.name)
    except OSError:
        return []


def _is_checkpoint(name: str) -> bool:
    return name.endswith(_CHECKPOINTS) and not name.startswith(".")
