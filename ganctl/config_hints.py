"""What is wrong with an override or a value, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganctl.config_schema import section_at
from ganctl.config_tree import GROUPS, defaults, options, value_at
from ganctl.errors import UsageError, nearest


def keys(plain: dict[str, Any], prefix: str = "") -> list[str]:
    """Every dotted path in a plain configuration, sections included."""
    found: list[str] = []
    for key, value in plain.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += keys(value, f"{prefix}{key}.")
    return found


def nearest_key(key: str, known: Sequence[str]) -> str:
    """A key of that name elsewhere, or what its section holds, or the key that looks most like it."""
    section, _, leaf = key.rpartition(".")
    fields = getattr(section_at(section.split(".")) if section else None, "model_fields", {})
    children = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section]
    if leaf in fields and not children:
        whole = ", ".join(f"{name}: …" for name in fields)
        return f"{section} is not set, so give all of it: ++{section}={{{whole}}}"
    if section in GROUPS and leaf in fields:  # of other options than the chosen one
        having = [x for x in options(section) if leaf in defaults({section: x}).get(section, {})]
        if having:
            return f"it is a key of {' and '.join(f'{section}={x}' for x in having)}"
    if same := [k for k in known if k.rpartition(".")[2] == leaf]:
        return f"did you mean {difflib.get_close_matches(key, same, n=1, cutoff=0)[0]}?"
    if section and (fields or section in known):
        return nearest(leaf, fields or children)
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.6):
        return f"did you mean {close[0]}?"
    leaves = {k.rpartition(".")[2]: k for k in reversed(known)}
    if close := difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6):
        return f"did you mean {leaves[close[0]]}?"
    return nearest(leaf, [k for k in known if "." not in k])


def meant(override: str, known: Sequence[str], config_dir: Path | None) -> str:
    """What would be the override that cannot be read."""
    group, _, name = override.rpartition("/")
    if (group or "experiment") in GROUPS and name in options(group or "experiment", config_dir):
        return f"did you mean {group or '+experiment'}={name}?"
    if override in known:
        return f"write key=value, as in {override}=VALUE"
    return "write key=value, as in model.latent_dim=64 or +experiment=dcgan"


def wrong_value(error: Any, defaults: dict[str, Any]) -> UsageError:
    """One of pydantic's complaints; `defaults` is the configuration without overrides."""
    parts = [str(p) for p in error["loc"] if not str(p).startswith(("literal", "constrained", "function"))]
    key = ".".join(parts)
    if error["type"] == "extra_forbidden":
        return UsageError(f"there is no key {key!r}", nearest_key(key, keys(defaults)))
    default = value_at(defaults, key)
    fix = f"the default is {key}={default}" if not isinstance(default, dict) else f"look at {key} in conf/"
    if error["type"] == "missing":
        return UsageError(f"{key} is missing", fix)
    return UsageError(f"{key}={error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}", fix)


def together(problems: Sequence[UsageError]) -> UsageError:
    """Several as one."""
    what, fix = (
        "; ".join(dict.fromkeys(texts)) for texts in zip(*((p.what, p.fix) for p in problems), strict=True)
    )
    return UsageError(what, fix)
