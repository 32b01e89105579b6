"""Overrides -> one validated configuration.

The only file that imports OmegaConf, and, beside `sweeps.grammar`, Hydra.
"""

from __future__ import annotations

import copy
import functools
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from ganctl.config_hints import keys, meant, nearest_key, together, wrong_value
from ganctl.config_schema import Config
from ganctl.config_tree import GROUPS, WORDS, conf_dir, options, require_folder
from ganctl.errors import UsageError, nearest

log = logging.getLogger("ganctl")

_HOW = "`ganctl train --help` shows how overrides look"


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """Composes `conf/train.yaml` with Hydra overrides and checks every value.

    `+experiment=x` and `experiment=x` are the same, and so is a `+` before any other group.

    Args:
        config_dir: a folder with options of the user's own (`model/NAME.yaml`, …), which go before shipped
            ones of the same name.

    Raises:
        UsageError: overrides that cannot be read, names or keys that do not exist, values that are wrong: all
            that can be told at once.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if config_dir is not None:
        require_folder(config_dir)
    log.debug("configuration: %s, from %s", " ".join(overrides) or "the defaults", config_dir or conf_dir())
    kept, refused = [_normalised(o) for o in overrides], list[_RefusedError]()
    while True:
        try:
            composed = _compose(kept, config_dir)
            break
        except _RefusedError as error:
            refused.append(error)
            if error.override not in kept:
                raise together(refused) from None
            kept.remove(error.override)  # what is wrong besides?
            if _group(error.override):  # which keys there are depends on it
                kept = [o for o in kept if _group(o)]
    if any(_group(error.override or "") for error in refused):
        raise together(refused)
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:  # ${…} that leads nowhere, or in a circle
        raise together([*refused, UsageError(f"{error.full_key}: {_first_line(error)}", _HOW)]) from None
    cfg, problems = _validated(plain)
    if cfg is None or refused:
        raise together([*refused, *problems])
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


def completed(plain: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run, with keys that are newer than the run: their values change nothing.

    One that is no configuration comes back as it is.
    """
    cfg, _ = _validated(plain)
    return plain if cfg is None else cfg.model_dump()


def validate(plain: Any) -> Config:
    """A plain mapping -> `Config`.

    Raises:
        UsageError: names every wrong key and value.
    """
    cfg, problems = _validated(plain)
    if cfg is None:
        raise together(problems)
    return cfg


def _validated(plain: Any) -> tuple[Config | None, list[UsageError]]:
    try:
        return Config.model_validate(plain), []
    except ValidationError as error:
        return None, [wrong_value(e, _composed((), None)) for e in error.errors()]


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


def _group(override: str) -> str | None:
    """The group that an override chooses an option of."""
    key = override.lstrip("+~").partition("=")[0]
    return key if key in GROUPS else None


class _RefusedError(UsageError):
    """What Hydra refuses, and which override it is for; None where that is unknown."""

    def __init__(self, what: str, fix: str, override: str | None = None) -> None:
        super().__init__(what, fix)
        self.override = override


def _compose(overrides: list[str], config_dir: Path | None) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import (
        ConfigCompositionException,
        MissingConfigException,
        OverrideParseException,
    )
    from yaml import MarkedYAMLError

    try:
        with _own_options(config_dir), initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            return hydra_compose("train", overrides)
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").partition("/")
        source = next((o for o in overrides if o.lstrip("+") == f"{group}={name}"), None)
        words = [word for word in WORDS.get(group, ()) if word != name]
        known = nearest(name, [*options(group, config_dir), *words])
        raise _RefusedError(f"there is no {group or 'config'} {name!r}", known, source) from None
    except OverrideParseException as error:
        fix = meant(error.override, keys(_composed((), config_dir)), config_dir)
        raise _RefusedError(f"cannot read the override {error.override!r}", fix, error.override) from None
    except ConfigCompositionException as error:
        raise _not_composed(overrides, config_dir, error) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
        raise _RefusedError(f"{where}: {error.problem}", "mend the file") from None
    except Exception as error:  # Hydra answers malformed overrides with ValueError, AttributeError and others
        raise _RefusedError(f"{_first_line(error)} (in {' '.join(overrides)})", _HOW) from None


@contextmanager
def _own_options(config_dir: Path | None) -> Iterator[None]:
    """Hydra takes the first file of a name on its search path: there `config_dir` goes before `conf/`."""
    plugin = _search_path_plugin()
    plugin.folder = config_dir
    try:
        yield
    finally:
        plugin.folder = None


@functools.cache
def _search_path_plugin() -> Any:
    from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class OwnOptions(SearchPathPlugin):
        folder: ClassVar[Path | None] = None

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            if self.folder is not None:
                place = f"file://{self.folder.resolve()}"
                search_path.prepend("--config-dir", place, SearchPathQuery(provider="main"))

    Plugins.instance().register(OwnOptions)
    return OwnOptions


@functools.cache
def _composed(groups: tuple[str, ...], config_dir: Path | None) -> dict[str, Any]:
    """What is composed of the choices of options alone, not resolved: to be named in messages."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(_compose(list(groups), config_dir))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _not_composed(overrides: list[str], config_dir: Path | None, error: Exception) -> _RefusedError:
    for override in overrides:
        if _gives_several_values(override):
            return _RefusedError(
                f"{override} gives several values, and a training takes one",
                "write a list as [1,2]; text with a comma wants quotes of its own: \"name='a,b'\"",
                override,
            )
    experiments = [o for o in overrides if o.startswith("+experiment=")]
    if len(experiments) > 1:
        names = " and ".join(o.partition("=")[2] for o in experiments)
        fix = "give one; other options and keys beside it change it"
        return _RefusedError(f"{names} are {len(experiments)} experiments", fix, experiments[-1])
    groups = tuple(o for o in overrides if _group(o))
    if len(groups) == len(overrides):
        return _RefusedError(_first_line(error), _HOW)
    known = keys(_composed(groups, config_dir))
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in known and key not in GROUPS and not override.startswith("+"):
            return _RefusedError(f"there is no key {key!r}", nearest_key(key, known), override)
    return _RefusedError(_first_line(error), _HOW)


def _gives_several_values(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except (HydraException, ValueError):
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
