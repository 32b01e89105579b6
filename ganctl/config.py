"""Overrides -> one validated configuration. The only file that imports Hydra and OmegaConf."""

from __future__ import annotations

import copy
import difflib
import functools
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ganctl.config_schema import Config, section_at
from ganctl.config_tree import GROUPS, conf_dir, options
from ganctl.errors import UsageError, nearest

_HOW = "`ganctl train --help` shows how overrides look"


def compose(overrides: Sequence[str]) -> Config:
    """Composes `conf/train.yaml` with Hydra overrides and checks every value.

    `+experiment=x` and `experiment=x` are the same, and so is a `+` before any other group.

    Raises:
        UsageError: an override that cannot be read, a name or key that does not exist, or values that are
            wrong (all of them at once).
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    composed = _compose([_normalised(o) for o in overrides])
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:  # ${…} that leads nowhere, or in a circle
        raise UsageError(f"{error.full_key}: {_first_line(error)}", _HOW) from None
    cfg = validate(plain)
    return _one_batch_of_everything(cfg) if cfg.debug else cfg


def changed(plain: dict[str, Any], overrides: Sequence[str]) -> Config:
    """The configuration of a run that goes on, with overrides of single keys: `trainer.max_epochs=40`.

    Values stay what they are: interpolations in it are not resolved, as it may be a stranger's.

    Raises:
        UsageError: an override cannot be read, is a group's, or names no key; or values are wrong.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    plain = copy.deepcopy(plain)
    for text in overrides:
        unreadable = UsageError(
            f"cannot read the override {text!r}", "write key=value, as in trainer.max_epochs=40"
        )
        try:
            override = OverridesParser.create().parse_override(text)
            value = override.value()
        except (HydraException, ValueError):  # a number of thousands of digits
            raise unreadable from None
        if override.type.name != "CHANGE" or override.is_sweep_override():
            raise unreadable
        if override.key_or_group in GROUPS:
            raise UsageError(
                f"{text}: a run that goes on takes keys, no groups", "write section.key=value instead"
            )
        *path, leaf = override.key_or_group.split(".")
        section: Any = plain
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise UsageError(f"there is no key {override.key_or_group!r}", "`ganctl train --help` shows how")
        section[leaf] = value
    return validate(plain)


def validate(plain: Any) -> Config:
    """A plain mapping -> `Config`.

    Raises:
        UsageError: names every wrong key and value.
    """
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        problems = [_problem(e) for e in error.errors()]
        raise UsageError(
            "; ".join(what for what, _ in problems), "; ".join(dict.fromkeys(fix for _, fix in problems))
        ) from None


def _one_batch_of_everything(cfg: Config) -> Config:
    """What `debug=true` means: one step, one validation batch, one small evaluation, a folder of its own."""
    trainer = cfg.trainer.model_copy(update={"max_epochs": 1, "max_steps": 1})
    callbacks = cfg.callbacks
    if callbacks.evaluate is not None:
        few = callbacks.evaluate.model_copy(update={"num_gen": 64})
        callbacks = callbacks.model_copy(update={"evaluate": few})
    return cfg.model_copy(update={"name": "debug", "trainer": trainer, "callbacks": callbacks})


def _normalised(override: str) -> str:
    """`+data=x` -> `data=x`, and `experiment=x` -> `+experiment=x`: the group has no default."""
    match = re.match(r"^\+{0,2}(\w+)=", override)
    if match and match[1] in GROUPS:
        bare = override.lstrip("+")
        return f"+{bare}" if match[1] == "experiment" else bare
    return override


def _compose(overrides: list[str]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import (
        ConfigCompositionException,
        MissingConfigException,
        OverrideParseException,
    )

    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            return hydra_compose("train", overrides)
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").partition("/")
        known = nearest(name, options(group))
        raise UsageError(f"there is no {group or 'config'} {name!r}", known) from None
    except OverrideParseException as error:
        raise UsageError(
            f"cannot read the override {error.override!r}",
            "write key=value, as in model.latent_dim=64 or +experiment=dcgan",
        ) from None
    except ConfigCompositionException as error:
        raise _unknown_key(overrides, error) from None
    except Exception as error:  # Hydra answers malformed overrides with ValueError, AttributeError and others
        raise UsageError(f"{_first_line(error)} (in {' '.join(overrides)})", _HOW) from None


@functools.cache
def _defaults() -> Any:
    """What is composed without overrides, to be named in messages."""
    return _compose([])


def _unknown_key(overrides: list[str], error: Exception) -> UsageError:
    known = _keys(_defaults(), "")
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in known and key not in GROUPS:
            return UsageError(f"there is no key {key!r}", _nearest_key(key, known))
    return UsageError(_first_line(error), _HOW)


def _nearest_key(key: str, known: Sequence[str]) -> str:
    """A key of that name elsewhere, or what its section holds, or the whole key that looks most like it."""
    section, _, leaf = key.rpartition(".")
    elsewhere = [k for k in known if k.rpartition(".")[2] == leaf]
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == section]
    close = elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not elsewhere and (section in known or not close):
        return nearest(leaf, siblings or [k for k in known if "." not in k])
    return f"did you mean {close[0]}?"


def _keys(node: Any, prefix: str) -> list[str]:
    """Every dotted path in a composed configuration."""
    found: list[str] = []
    for key in node:
        path = f"{prefix}{key}"
        found.append(path)
        child = node._get_node(key)
        if hasattr(child, "keys") and not child._is_none():
            found += _keys(child, f"{path}.")
    return found


def _problem(error: Any) -> tuple[str, str]:
    """One of pydantic's complaints as (what is wrong, what would work)."""
    parts = [str(p) for p in error["loc"] if not str(p).startswith(("literal", "constrained", "function"))]
    key = ".".join(parts)
    if error["type"] == "extra_forbidden":
        section = section_at(parts[:-1])
        fix = nearest(parts[-1], section.model_fields) if section else f"remove {key}"
        return f"there is no key {key!r}", fix
    from omegaconf import OmegaConf

    default = OmegaConf.select(_defaults(), key)
    fix = f"the default is {key}={default}" if not OmegaConf.is_config(default) else f"look at {key} in conf/"
    if error["type"] == "missing":
        return f"{key} is missing", fix
    return f"{key}={error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}", fix


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
