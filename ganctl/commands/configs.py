"""`configs …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganctl import completion
from ganctl.commands.options import ConfigDir, Overrides
from ganctl.terminal import note, result, verb

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An experiment (dcgan), or an option of a group (model/dcgan).",
        autocompletion=completion.config_names,
    ),
]
_SIDE = {
    "help": 'An experiment, an option, a run folder, or overrides: "experiment=dcgan model.lr=1e-4".',
    "autocompletion": completion.config_names,
}


@verb(
    "ganctl configs ls",
    "ganctl configs ls --config-dir my_configs --json",
)
def ls(config_dir: ConfigDir = None) -> None:
    """List what configurations are made of: experiments, then each group's options."""
    from ganctl import config_tree

    if config_dir is not None:
        config_tree.require_folder(config_dir)
    found = config_tree.listing(config_dir)
    width = max(len(option.name) for option in found)
    lines = []
    for group in config_tree.GROUPS:
        lines += ["", f"{group}:"]
        for option in found:
            if option.group == group:
                mark = f"  ({option.path})" if option.own else ""
                lines.append(f"  {option.name:<{width}}  {option.about}{mark}".rstrip())
    data = [
        {"group": o.group, "name": o.name, "about": o.about, "path": str(o.path), "own": o.own} for o in found
    ]
    result("\n".join(lines[1:]), data)


@verb(
    "ganctl configs show dcgan",
    "ganctl configs show model/mlp",
)
def show(name: Name, config_dir: ConfigDir = None) -> None:
    """Print an experiment or an option, resolved."""
    from ganctl import config, config_tree

    option = config_tree.find(name, config_dir)
    plain = config.compose([f"{option.group}={option.name}"], config_dir).model_dump()
    if option.group != "experiment":
        plain = {option.group: plain[option.group]}
    result(config_tree.to_yaml(plain), plain)


@verb(
    "ganctl configs diff dcgan mlp",
    'ganctl configs diff dcgan "experiment=dcgan model.lr=1e-4"',
)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", **_SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", **_SIDE)],
    config_dir: ConfigDir = None,
) -> None:
    """Print the keys in which two configurations differ: of experiments, runs, or overrides."""
    from ganctl.config_diff import diff as compare

    found = compare(a, b, config_dir)
    result(found.table(), found.to_dict())


@verb(
    "ganctl configs validate experiment=dcgan model.lr=1e-4",
    "ganctl configs validate --config-dir my_configs +experiment=mine",
)
def validate(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Check overrides as `train` would; name all that is wrong."""
    from ganctl import config, config_hints

    plain = config.compose(overrides or [], config_dir).model_dump()
    num_keys = len(config_hints.keys(plain))
    result(f"ok: {num_keys} keys", {"ok": True, "keys": num_keys})


@verb(
    "ganctl configs cp dcgan my_configs",
    "ganctl configs cp model/dcgan my_configs --force",
)
def cp(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder for options of your own.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Copy an option to DIR/GROUP/NAME.yaml, as a start for your own."""
    from ganctl import config_tree

    option = config_tree.find(name, config_dir)
    target = config_tree.copy(option, folder, force)
    result(str(target), {"name": option.full_name, "path": str(target)})
    plus = "+" if option.group == "experiment" else ""
    note(f"next         ganctl train --config-dir {folder} {plus}{option.group}={option.name}")
