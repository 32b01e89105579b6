"""The command line: which verbs there are, and where each is; its module is imported when it is asked for.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the work failed, 2 the input is wrong,
3 the watchdog ended the training, 128 + the signal's number: interrupted.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import typer
from typer.core import TyperGroup

from ganctl import __version__
from ganctl.terminal import examples


@dataclass(frozen=True)
class Verb:
    """A function of `ganctl.commands`.

    Args:
        at: `module:function`.
        help: how its docstring begins; here, so that a list of verbs need not import them.
    """

    at: str
    help: str


@dataclass(frozen=True)
class Group:
    """Verbs behind a word of their own, as in `ganctl data fetch`."""

    help: str
    examples: tuple[str, ...]
    verbs: dict[str, Verb]


VERBS: dict[str, Verb | Group] = {
    "train": Verb("train:train", "Train a conditional GAN; the run folder explains itself."),
    "resume": Verb(
        "train:resume", "Go on with a run, exactly where it was, in the same folder and the same W&B run."
    ),
    "sample": Verb(
        "sample:sample", "Draw images of a label: the same checkpoint, label and seed give the same bytes."
    ),
    "eval": Verb(
        "evaluate:eval_",
        "Score a checkpoint or pictures against real images, with the score of real images beside it.",
    ),
    "compare": Verb("evaluate:compare", "Put reports side by side; say which differences exceed the noise."),
    "report": Verb(
        "report:report",
        "Write one HTML file about a run, or several side by side: curves, samples, scores, configuration.",
    ),
    "data": Group(
        "Get the data sets.",
        ("ganctl data fetch mnist", "ganctl data fetch inception"),
        {
            "fetch": Verb("data:fetch", "Get a data set or the Inception weights, checksums verified."),
        },
    ),
}

_PLAIN: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}


class _Table(TyperGroup):
    """A group whose verbs stand in a table."""

    table: ClassVar[dict[str, Verb | Group]] = VERBS

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = cast(Any, dict.fromkeys(self.table))  # their names: to list, to suggest

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.table:
            return None
        entry = self.table[cmd_name]
        if isinstance(entry, Group):
            cls = type("_Group", (_Table,), {"table": entry.verbs})
            group = typer.Typer(
                cls=cls,
                no_args_is_help=True,
                add_completion=False,
                help=entry.help,
                epilog=examples(*entry.examples),
                **_PLAIN,
            )
            group.callback()(lambda: None)
            return typer.main.get_command(group)
        module, _, name = entry.at.partition(":")
        function = getattr(importlib.import_module(f"ganctl.commands.{module}"), name)
        single = typer.Typer(add_completion=False, **_PLAIN)
        single.command(cmd_name, epilog=examples(*function.examples))(function)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])


app = typer.Typer(
    cls=_Table,
    no_args_is_help=True,
    help="Train, sample and honestly evaluate class-conditional GANs.",
    epilog=examples(
        "ganctl train +experiment=quick",
        "ganctl sample --label 5 --n 64",
        "ganctl eval --ckpt last.ckpt",
    ),
    **_PLAIN,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(2)


def main() -> None:
    """The console script."""
    app()
