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

from ganctl import __version__, ranks
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
    "replay": Verb(
        "sample:replay", "Draw pictures again from what they say of themselves, and compare every pixel."
    ),
    "eval": Verb(
        "evaluate:eval_",
        "Score a checkpoint or pictures against real images, with the score of real images beside it.",
    ),
    "train-classifier": Verb(
        "classifier:train_classifier",
        "Train a classifier of your own labels, for the scores of `eval` and `train`.",
    ),
    "compare": Verb("evaluate:compare", "Put reports side by side; say which differences exceed the noise."),
    "export": Verb(
        "export:export",
        "Write the generator in another format; both draw before it is there, and must agree.",
    ),
    "push": Verb(
        "hub:push", "Upload the generator to the Hugging Face Hub: weights, card, scores and a picture."
    ),
    "pull": Verb(
        "hub:pull", "Download a generator from the Hugging Face Hub, and verify it before it is there."
    ),
    "ls": Verb("runs:ls", "List the runs: age, state, images seen, scores, size on disk."),
    "info": Verb(
        "runs:info",
        "Say what a run, checkpoint, picture or report is, where it came from and what to do with it.",
    ),
    "clean": Verb(
        "runs:clean",
        "Show what can go, and remove it with --force: debug runs, empty runs, leftovers, caches.",
    ),
    "doctor": Verb("doctor:doctor", "Look at this machine: packages, devices, data, weights, W&B, folders."),
    "configs": Group(
        "Look at configurations, compare them, begin your own.",
        ("ganctl configs ls", "ganctl configs show dcgan", "ganctl configs diff dcgan mlp"),
        {
            "ls": Verb(
                "configs:ls",
                "List what configurations are made of: experiments, then each group's options.",
            ),
            "show": Verb("configs:show", "Print an experiment or an option, resolved."),
            "diff": Verb(
                "configs:diff",
                "Print the keys in which two configurations differ: of experiments, runs, or overrides.",
            ),
            "validate": Verb("configs:validate", "Check overrides as `train` would; name all that is wrong."),
            "cp": Verb("configs:cp", "Copy an option to DIR/GROUP/NAME.yaml, as a start for your own."),
        },
    ),
    "sweep": Verb(
        "sweep:sweep", "Train many times to find good settings; killed or not, the same command goes on."
    ),
    "sweep show": Verb(
        "sweep:show",
        "Show a sweep: its trials, best first, which parameters matter, and sweep.png in its folder.",
    ),
    "report": Verb(
        "report:report",
        "Write one HTML file about a run, or several side by side: curves, samples, scores, configuration.",
    ),
    "data": Group(
        "Get the data sets; make one of your own pictures.",
        ("ganctl data fetch mnist", "ganctl data prepare pictures --resolution 64"),
        {
            "fetch": Verb("data:fetch", "Get a data set or the Inception weights, checksums verified."),
            "prepare": Verb("data:prepare", "Make one file of your own pictures, all of one size."),
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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        two = " ".join(args[:2])  # `sweep show`, beside `sweep` itself
        return super().resolve_command(ctx, [two, *args[2:]] if " " in two and two in self.table else args)

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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self.table:
            # No option stands before a verb: to find that out, Typer would import pydantic.
            self.params, self.add_help_option = [], False
        return super().parse_args(ctx, args)

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
    try:
        app()
    except SystemExit as end:
        ranks.leave(end.code)
        raise
