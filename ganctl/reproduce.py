"""The command that trains as a configuration says."""

from __future__ import annotations

import functools
import json
import re
import shlex
from typing import Any

import yaml

from ganctl import config

# Where a run writes and what it went on from: a repetition has its own.
_OWN = ("run", "ckpt_path")
_WORDS = ("null", "true", "false", "inf", "nan")  # that mean a value in an override
_GROUPS = ("data", "model", "loss", "augment", "trainer", "logger", "callbacks")


def command(found: dict[str, Any]) -> str:
    """`ganctl train +experiment=NAME`, with the groups and keys in which `found` differs from it.

    Args:
        found: a resolved configuration, plain values. It may be a stranger's: nothing in it is interpolated,
            and every word is quoted for a shell.

    Raises:
        UsageError: it is no configuration.
    """
    words = _base(found)
    usual = _composed(*words)
    for group in _GROUPS:
        section = found.get(group)
        if isinstance(section, dict) and differences(section, usual[group]):
            # mlp and a few keys, say, rather than all the keys in which mlp differs from dcgan.
            words += _option(group, section, usual[group])
    known = _composed(*words)
    changes = differences(found, known)
    for key, (_, value) in changes.items():
        if key.partition(".")[0] not in _OWN:
            words.append(_override(key, value, key in _flat(known)))
    return shlex.join(["ganctl", "train", *words])


def of_experiment(found: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{key: (the experiment's value, this one)}, where they differ."""
    changes = differences(found, _composed(*_base(found)))
    return {key: pair for key, pair in changes.items() if key.partition(".")[0] not in _OWN}


def differences(found: Any, known: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """{dotted key: (known, found)}; what `found` lacks is as in `known`, as older runs lack newer keys."""
    if not (isinstance(found, dict) and isinstance(known, dict)):
        return {prefix.rstrip("."): (known, found)} if found != known else {}
    out: dict[str, tuple[Any, Any]] = {}
    for key, value in found.items():
        out |= differences(value, known.get(key), f"{prefix}{key}.")
    return out


@functools.cache
def _composed(*words: str) -> dict[str, Any]:
    """Nobody may change it."""
    return config.compose(words).model_dump()


def _option(group: str, section: dict[str, Any], usual: dict[str, Any]) -> list[str]:
    """`group=NAME` for the option with which most keys agree, if that is not the usual one."""
    best, fewest = [], _weight(differences(section, usual))
    for name in config.options(group):
        plain = yaml.safe_load((config.conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8"))
        count = _weight(differences(section, usual | {k: v for k, v in plain.items() if k in usual}))
        if count < fewest:
            best, fewest = [f"{group}={name}"], count
    return best


def _weight(found: dict[str, tuple[Any, Any]]) -> int:
    """The number of values to write: a mapping has as many as are in it."""
    return sum(max(len(_flat(old)), len(_flat(new)), 1) for old, new in found.values())


def _base(found: dict[str, Any]) -> list[str]:
    name = found.get("name")
    return [f"+experiment={name}"] if name in config.options("experiment") else []


def _flat(node: Any, prefix: str = "") -> set[str]:
    if not isinstance(node, dict):
        return set()
    own = {f"{prefix}{key}" for key in node}
    return own.union(*(_flat(value, f"{prefix}{key}.") for key, value in node.items()))


def _override(key: str, value: Any, exists: bool) -> str:
    return f"{'' if exists else '+'}{key}={_hydra(value)}"


def _hydra(value: Any) -> str:
    """As Hydra's overrides write it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, str):
        if re.fullmatch(r"[A-Za-z_][\w.]*", value) and value.lower() not in _WORDS:
            return value
        # Backslashes count before a quote alone; an interpolation stays text.
        text = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
        return "'" + re.sub(r"(\\*)\$\{", r"\1\1\\${", text) + "'"
    return json.dumps(value)
