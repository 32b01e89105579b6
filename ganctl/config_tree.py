"""The files that configurations are composed from: groups, their options, and what each says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganctl import atomic
from ganctl.errors import UsageError, nearest

GROUPS = ("experiment", "data", "model", "loss", "augment", "trainer", "logger", "callbacks")

# What `group=` takes beside its options, in `ganctl train` alone: commands/train.py knows what it means.
WORDS = {"augment": ("preview",)}

MAX_BYTES = 1 << 17  # of a configuration; that of a run has two thousand
MAX_DEPTH = 20


@dataclass(frozen=True)
class Option:
    """What `group=name` chooses.

    Args:
        path: its file.
        about: the first comment line of the file, or nothing.
        own: whether it is the user's.
    """

    group: str
    name: str
    path: Path
    about: str
    own: bool

    @property
    def full_name(self) -> str:
        return f"{self.group}/{self.name}"


def conf_dir() -> Path:
    """The Hydra tree: inside the installed package, or at the top of the checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """The names that `group=NAME` takes."""
    folders = [conf_dir()] if config_dir is None else [config_dir, conf_dir()]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def listing(config_dir: Path | None = None) -> list[Option]:
    """Every option of every group, experiments first; of two with one name the user's, as in composing."""
    return [_option(group, name, config_dir) for group in GROUPS for name in options(group, config_dir)]


def find(name: str, config_dir: Path | None = None) -> Option:
    """The option that `name` means: an experiment (`dcgan`), or `group/name` (`model/dcgan`).

    Raises:
        UsageError: there is none; with the nearest name.
    """
    group, _, leaf = name.rpartition("/")
    if (group or "experiment") in GROUPS and leaf in options(group or "experiment", config_dir):
        return _option(group or "experiment", leaf, config_dir)
    if group in GROUPS:
        raise UsageError(f"there is no {group} {leaf!r}", nearest(leaf, options(group, config_dir)))
    experiments = options("experiment", config_dir)
    others = [f"{g}/{x}" for g in GROUPS[1:] for x in options(g, config_dir)]
    same = [other for other in others if other.rpartition("/")[2] == name]
    fix = f"did you mean {same[0]}?" if same else nearest(name, [*experiments, *others])
    raise UsageError(f"there is no experiment {name!r}", fix)


def copy(option: Option, folder: Path, force: bool) -> Path:
    """Copies the option's file to `folder/group/name.yaml`, as a start for one's own.

    Raises:
        UsageError: the file is there already (without `force`), or cannot be written.
    """
    target = folder / option.group / option.path.name
    if target.exists() and not force:
        raise UsageError(f"{target} is there already", "give --force to replace it, or another folder")
    content = option.path.read_bytes()
    atomic.write_output(target, lambda file: file.write(content))
    return target


def defaults(chosen: Mapping[str, str], config_dir: Path | None = None) -> dict[str, Any]:
    """What `conf/train.yaml` and the options of its groups say, others where they are `chosen` by group.

    Roughly what is composed, without Hydra: for completion, which has no time for it. Files that cannot be
    read are left out.
    """
    plain = _yaml(conf_dir() / "train.yaml")
    for entry in plain.pop("defaults", []):
        for group, name in entry.items() if isinstance(entry, dict) else ():
            plain[group] = _yaml(_option(group, chosen.get(group, name), config_dir).path)
    return plain


def value_at(plain: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def to_yaml(plain: Mapping[str, Any]) -> str:
    """As `config.yaml` has it, without the last line end."""
    import yaml

    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip("\n")


def require_folder(config_dir: Path) -> None:
    """
    Raises:
        UsageError: `config_dir` holds no groups.
    """
    if not any((config_dir / group).is_dir() for group in GROUPS):
        what = "holds no folder of a group" if config_dir.is_dir() else "is no folder"
        raise UsageError(
            f"--config-dir {config_dir} {what}",
            f"it holds {', '.join(GROUPS)}, or some of them; ganctl configs cp dcgan {config_dir} begins one",
        )


def read(path: Path) -> dict[str, Any]:
    """A `config.yaml`, as `ganctl train` writes it into run folders.

    Raises:
        UsageError: it cannot be read, or is no configuration.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is longer than {MAX_BYTES} bytes")
        depth = 0
        for event in yaml.parse(content, loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # the parser needs longer for each level than for the one before
                raise ValueError("it is nested too deeply")
            if isinstance(event, yaml.AliasEvent):
                # a few lines of references to references can stand for more than any memory holds
                raise ValueError("it refers to parts of itself")
        plain = yaml.load(content, loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"cannot read {path}: {reason}", "give the config.yaml of a run") from error
    if not isinstance(plain, dict):
        raise UsageError(f"{path} is no configuration", "give the config.yaml of a run")
    return plain


def _option(group: str, name: str, config_dir: Path | None) -> Option:
    own = config_dir / group / f"{name}.yaml" if config_dir is not None else None
    if own is not None and own.is_file():
        return Option(group, name, own, _about(own), own=True)
    shipped = conf_dir() / group / f"{name}.yaml"
    return Option(group, name, shipped, _about(shipped), own=False)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return read(path)
    except UsageError:
        return {}


def _about(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return ""
    comments = (line[1:].strip() for line in lines if line.startswith("#"))
    return next((text for text in comments if text and not text.startswith("@package")), "")
